"""One thread that renders for every client: the latest request of each, in turn."""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

# draw(client, request) → (seconds to wait, the request that refines this one), or None.
Draw = Callable[[Hashable, Any], tuple[float, Any] | None]


class Worker:
  """Draws the latest request of each client, the clients in turn.

  Only the latest request of each client is kept, so the queue is never longer than the number of
  clients. A client with a new request keeps its place in the queue, and one that was served goes to
  its end: a client waits for at most one drawing of each other client.
  Refinements are drawn when there are no requests, and are dropped when their client sends another
  request.

  Args:
    draw: Draws a request of a client; what it returns is drawn later.
  """

  def __init__(self, draw: Draw):
    self._draw = draw
    self._pending: OrderedDict[Hashable, Any] = OrderedDict()
    self._later: dict[Hashable, tuple[float, Any]] = {}
    self._condition = threading.Condition()
    self._stopped = False
    self._thread = threading.Thread(target=self._run, name='viewer-render')
    self.num_drawn = 0

  def start(self) -> None:
    """Starts the thread."""
    self._thread.start()

  def submit(self, client: Hashable, request) -> None:
    """Asks for a drawing; an earlier request of the client that is not drawn yet is dropped."""
    with self._condition:
      if self._stopped:
        return
      self._pending[client] = request  # an existing key keeps its place
      self._later.pop(client, None)
      self._condition.notify_all()

  def forget(self, client: Hashable) -> None:
    """Drops what a client asked for."""
    with self._condition:
      self._pending.pop(client, None)
      self._later.pop(client, None)

  @property
  def num_waiting(self) -> int:
    """Requests that wait, refinements not counted."""
    return len(self._pending)

  def stop(self, timeout: float = 30.0) -> bool:
    """Ends the thread after the current drawing; returns whether it has ended in time."""
    with self._condition:
      self._stopped = True
      self._pending.clear()
      self._later.clear()
      self._condition.notify_all()
    if self._thread.is_alive():
      self._thread.join(timeout)
    return not self._thread.is_alive()

  def _next(self):
    """Waits for the next (client, request); None when stopped."""
    with self._condition:
      while not self._stopped:
        if self._pending:
          return self._pending.popitem(last=False)
        now = time.monotonic()
        due = min(self._later.items(), key=lambda item: item[1][0], default=None)
        if due and due[1][0] <= now:
          del self._later[due[0]]
          return due[0], due[1][1]
        self._condition.wait(due[1][0] - now if due else None)
    return None

  def _run(self) -> None:
    while (item := self._next()) is not None:
      client, request = item
      try:
        again = self._draw(client, request)
      except Exception:  # an error of one client must not end the others' pictures
        logging.exception('could not draw')
        again = None
      self.num_drawn += 1
      if again is not None:
        with self._condition:
          if client not in self._pending and not self._stopped:
            self._later[client] = (time.monotonic() + again[0], again[1])
