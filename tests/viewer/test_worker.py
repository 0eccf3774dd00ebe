"""The render thread: the latest request of each client, the clients in turn, refinements last."""

import threading
import time

from browser import wait_for

from jax3dgan.viewer.worker import Worker


class Gate:
  """Draws one request at each `open()`."""

  def __init__(self, again=None):
    self.drawn, self._again = [], again or {}
    self._permits = threading.Semaphore(0)
    self.waiting = threading.Event()

  def __call__(self, client, request):
    self.waiting.set()
    assert self._permits.acquire(timeout=30)
    self.drawn.append((client, request))
    return self._again.get(request)

  def open(self, num=1):
    for _ in range(num):
      self._permits.release()


def started(gate):
  worker = Worker(gate)
  worker.start()
  return worker


def test_only_the_latest_request_is_drawn():
  gate = Gate()
  worker = started(gate)
  worker.submit('a', 0)
  assert gate.waiting.wait(30)  # 0 is being drawn
  for i in range(1, 1001):
    worker.submit('a', i)
    assert worker.num_waiting <= 1
  gate.open(2)
  wait_for('two drawings', lambda: len(gate.drawn) == 2)
  assert gate.drawn == [('a', 0), ('a', 1000)]
  assert worker.stop()


def test_clients_take_turns_however_often_one_asks():
  gate = Gate()
  worker = started(gate)
  worker.submit('a', 0)
  assert gate.waiting.wait(30)
  worker.submit('a', 1)
  worker.submit('b', 0)
  worker.submit('c', 0)
  for i in range(2, 50):
    worker.submit('a', i)  # keeps its place, and gets no other
  gate.open(4)
  wait_for('four drawings', lambda: len(gate.drawn) == 4)
  assert gate.drawn == [('a', 0), ('a', 49), ('b', 0), ('c', 0)]
  assert worker.stop()


def test_a_refinement_waits_for_everybody_and_is_dropped_by_its_client():
  gate = Gate({'rough': (0.0, 'sharp'), 'draft': (0.0, 'never')})
  worker = started(gate)
  worker.submit('a', 'rough')
  assert gate.waiting.wait(30)
  worker.submit('b', 'plain')
  worker.submit('c', 'draft')
  gate.open(2)
  wait_for('two drawings', lambda: len(gate.drawn) == 2)
  worker.submit('c', 'another')  # whatever comes of draft is forgotten
  gate.open(3)
  wait_for('the others', lambda: len(gate.drawn) == 4 + (('c', 'draft') in gate.drawn))
  assert gate.drawn[:2] == [('a', 'rough'), ('b', 'plain')]
  assert ('a', 'sharp') in gate.drawn and ('c', 'another') in gate.drawn
  assert gate.drawn.index(('a', 'sharp')) > gate.drawn.index(('c', 'another'))
  assert ('c', 'never') not in gate.drawn
  assert worker.stop()


def test_one_client_that_fails_ends_nothing(caplog):
  drawn = []

  def draw(client, request):
    if request == 'bad':
      raise ValueError('no')
    drawn.append(request)

  worker = started(draw)
  worker.submit('a', 'bad')
  worker.submit('b', 'good')
  wait_for('the good one', lambda: drawn)
  assert drawn == ['good'] and 'could not draw' in caplog.text
  assert worker.stop()


def test_it_stops_while_it_waits_and_takes_nothing_more():
  worker = started(lambda client, request: (3600.0, 'later'))
  worker.submit('a', 0)
  wait_for('a drawing', lambda: worker.num_drawn == 1)
  start = time.monotonic()
  assert worker.stop()
  assert time.monotonic() - start < 25  # not the hour that the refinement has
  worker.submit('a', 1)
  assert worker.num_waiting == 0


def test_what_is_forgotten_is_not_drawn():
  gate = Gate()
  worker = started(gate)
  worker.submit('a', 0)
  assert gate.waiting.wait(30)
  worker.submit('gone', 0)
  worker.submit('b', 0)
  worker.forget('gone')
  gate.open(2)
  wait_for('two drawings', lambda: len(gate.drawn) == 2)
  assert gate.drawn == [('a', 0), ('b', 0)]
  assert worker.stop()
