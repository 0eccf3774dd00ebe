"""Ctrl-C and SIGTERM as a request to stop after the step, so that nothing is lost."""

import contextlib
import signal

import jax


class Interruption:
  """Turns Ctrl-C and SIGTERM into a request to stop after the step, with the state saved.

  A second signal stops at once. With several processes JAX agrees on the step, so that all of them
  save the same one.
  """

  _SIGNALS = (signal.SIGINT, signal.SIGTERM)

  def __init__(self):
    self._signal = None
    self._before = {}

  def __enter__(self):
    if jax.process_count() == 1:
      # A thread other than the main one (a notebook's, a test's) may not set handlers.
      with contextlib.suppress(ValueError):
        for number in self._SIGNALS:
          self._before[number] = signal.signal(number, self._note)
    return self

  def __exit__(self, *exception):
    for number, handler in self._before.items():
      signal.signal(number, handler)
    self._before = {}

  def _note(self, number, frame):
    del frame
    if self._signal is not None:
      raise KeyboardInterrupt
    self._signal = number

  def requested(self, step: int) -> bool:
    """Returns whether to stop after `step`."""
    if jax.process_count() == 1:
      return self._signal is not None
    if not jax.config.jax_enable_preemption_service:  # nothing there to agree on a step
      return False
    from jax.experimental import multihost_utils

    return multihost_utils.reached_preemption_sync_point(step)
