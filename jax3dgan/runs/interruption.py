"""Ctrl-C and SIGTERM as a request to stop after the step, so that nothing is lost."""

import contextlib
import os
import signal

import jax


class Terminated(KeyboardInterrupt):
  """A stop by SIGTERM, the scheduler's polite one, instead of Ctrl-C."""


def on_sigterm(number, frame):
  """Handler of SIGTERM outside of the steps: stops at once."""
  del number, frame
  raise Terminated


def exit_code(stop: KeyboardInterrupt) -> int:
  """130 after Ctrl-C. After SIGTERM 0, since the state is saved and nothing failed, or the value of
  JAX3DGAN_SIGTERM_EXIT_CODE, for a scheduler that takes 0 for a finished run."""
  if isinstance(stop, Terminated):
    return int(os.environ.get('JAX3DGAN_SIGTERM_EXIT_CODE') or 0)
  return 130


class Interruption:
  """Turns Ctrl-C and SIGTERM into a request to stop after the step, with the state saved.

  A second signal stops at once. With several processes JAX agrees on the step, so that all of them
  save the same one: a signal to any of them is enough.
  """

  def __init__(self):
    self._signal = None
    self._before = {}

  def __enter__(self):
    handlers = {signal.SIGINT: self._note, signal.SIGTERM: self._note}
    if jax.process_count() > 1:
      # SIGTERM is JAX's there, whose preemption service hears it in C++.
      handlers = {signal.SIGINT: self._pass_on}
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

  def _pass_on(self, number, frame):
    """Ctrl-C on one of several processes: their agreement is reached by SIGTERM alone."""
    self._note(number, frame)
    if jax.config.jax_enable_preemption_service:
      os.kill(os.getpid(), signal.SIGTERM)

  def requested(self, step: int) -> bool:
    """Returns whether to stop after `step`."""
    if jax.process_count() == 1:
      return self._signal is not None
    if not jax.config.jax_enable_preemption_service:  # nothing there to agree on a step
      return False
    from jax.experimental import multihost_utils

    return multihost_utils.reached_preemption_sync_point(step)

  def reason(self) -> KeyboardInterrupt:
    """What to raise once the state is saved: `Terminated`, or KeyboardInterrupt after Ctrl-C here.

    Of several processes only the one that got Ctrl-C knows of it; the others were terminated.
    """
    return KeyboardInterrupt() if self._signal == signal.SIGINT else Terminated()
