"""Ctrl-C and SIGTERM as a request to stop after the step, so that nothing is lost."""

import contextlib
import os
import signal

import jax


class Terminated(KeyboardInterrupt):
  """A stop by SIGTERM, which schedulers send before they kill, instead of Ctrl-C."""


def on_sigterm(number, frame):
  """Handler of SIGTERM outside of the steps: stops at once."""
  del number, frame
  raise Terminated


def exit_code(stop: KeyboardInterrupt) -> int:
  """130 after Ctrl-C; after SIGTERM 0, since the state is saved and nothing failed.

  JAX3DGAN_SIGTERM_EXIT_CODE replaces this 0, for schedulers that treat 0 as a finished run.
  """
  if isinstance(stop, Terminated):
    return int(os.environ.get('JAX3DGAN_SIGTERM_EXIT_CODE') or 0)
  return 130


class Interruption:
  """Turns Ctrl-C and SIGTERM into a request to stop after the step, with the state saved.

  A second signal stops at once. With several processes JAX makes them agree on the step, so that
  all of them save the same one: a signal to any of them is enough.
  """

  def __init__(self):
    self._signal = None
    self._before = {}

  def __enter__(self):
    handlers = {signal.SIGINT: self._note, signal.SIGTERM: self._note}
    if jax.process_count() > 1:
      # JAX's preemption service handles SIGTERM there, in C++.
      handlers = {signal.SIGINT: self._forward}
    # A thread other than the main one (a notebook's, a test's) may not set handlers.
    with contextlib.suppress(ValueError):
      for number, handler in handlers.items():
        self._before[number] = signal.signal(number, handler)
    return self

  def __exit__(self, *exception):
    for number, handler in self._before.items():
      signal.signal(number, handler)
    self._before = {}

  def _note(self, number, frame):
    del frame
    if self._signal is not None:
      raise self.reason()
    self._signal = number

  def _forward(self, number, frame):
    """Ctrl-C on one of several processes: JAX's preemption service reacts to SIGTERM only."""
    self._note(number, frame)
    if jax.config.jax_enable_preemption_service:
      os.kill(os.getpid(), signal.SIGTERM)

  def stops_alone(self) -> bool:
    """Returns whether this process, the only one, is to stop: it need not agree on a step."""
    return self._signal is not None and jax.process_count() == 1

  def requested(self, step: int) -> bool:
    """Returns whether to stop after `step`."""
    if jax.process_count() == 1:
      return self._signal is not None
    if not jax.config.jax_enable_preemption_service:  # nothing makes the processes agree on a step
      return False
    from jax.experimental import multihost_utils

    return multihost_utils.reached_preemption_sync_point(step)

  def reason(self) -> KeyboardInterrupt:
    """What to raise once the state is saved: `Terminated`, or KeyboardInterrupt after Ctrl-C here.

    Of several processes only the one that received Ctrl-C raises it; the others, `Terminated`.
    """
    return KeyboardInterrupt() if self._signal == signal.SIGINT else Terminated()
