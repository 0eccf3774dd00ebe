"""A run's progress on the terminal, and the seconds that its activities took.

In `train.py`:

  timings = progress.Timings()
  with timings('data'):
    dataset = ...
  line = progress.Progress(config.num_steps, first_step)
  with timings('steps'):
    for step in ...:
      line.update(step, images=images_seen, losses={'g': 0.7, 'd': 1.2})
  line.close()
  summary['seconds'] = timings.seconds  # {'data': 3.1, 'steps': 451.0}
"""

import contextlib
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping

import jax


def duration(seconds: float) -> str:
  """Returns '45 s', '7 min 30 s', '3 h 05 min' or '2 d 07 h'."""
  seconds = max(int(round(seconds)), 0)
  minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
  if days:
    return f'{days} d {hours % 24:02d} h'
  if hours:
    return f'{hours} h {minutes % 60:02d} min'
  if minutes:
    return f'{minutes} min {seconds % 60:02d} s'
  return f'{seconds} s'


class Timings:
  """Seconds of wall time by activity: `with timings('data'): ...`; repeated ones are summed.

  The time of an activity inside another one is subtracted from the outer one, so that the sum is
  the total.

  Args:
    clock: Returns the time in seconds.
  """

  def __init__(self, clock=time.perf_counter):
    self._clock = clock
    self._began = clock()
    self._inner = []
    self.seconds: dict[str, float] = {}

  @contextlib.contextmanager
  def __call__(self, name: str) -> Iterator[None]:
    began = self._clock()
    self._inner.append(0.0)
    try:
      yield
    finally:
      passed = self._clock() - began
      inner = self._inner.pop()
      self.seconds[name] = self.seconds.get(name, 0.0) + passed - inner
      if self._inner:
        self._inner[-1] += passed

  @property
  def total(self) -> float:
    """Seconds since this object was made, within activities or not."""
    return self._clock() - self._began

  def __str__(self) -> str:
    return ', '.join(f'{name} {duration(value)}' for name, value in self.seconds.items())


class Line:
  """A line of progress.

  In a terminal the line is rewritten in place; elsewhere (a file, a notebook) each is a new line.

  Args:
    stream: Where to write; None for the standard error of process 0 and nothing on the others.
  """

  def __init__(self, stream=None):
    self._stream = stream or (sys.stderr if jax.process_index() == 0 else None)
    self._open = False

  def show(self, text: str) -> None:
    """Writes the line over the last one."""
    if self._stream is None:
      return
    if self._stream.isatty():
      width = shutil.get_terminal_size().columns - 1
      # \033[K clears the rest of a longer line before.
      print(f'\r{text[:width]}\033[K', end='', file=self._stream, flush=True)
      self._open = True
    else:
      print(text, file=self._stream, flush=True)

  def say(self, text: str) -> None:
    """Writes a line that stays."""
    if self._stream is None:
      return
    self.close()
    print(text, file=self._stream, flush=True)

  def close(self) -> None:
    """Ends a line that is rewritten in place."""
    if self._open:
      print(file=self._stream, flush=True)
      self._open = False


def figure(value: float) -> str:
  """A number of a loss, '0.0123', or a count, '8,192'."""
  return f'{value:,.0f}' if 1000 <= abs(value) < 1e6 else f'{value:.3g}'


class Progress(Line):
  """One line: step, images per second, time left, losses.

  Args:
    num_steps: The step at which the run ends.
    first_step: The step at which this process begins.
    stream: See `Line`.
    clock: Returns the time in seconds.
  """

  def __init__(self, num_steps: int, first_step: int = 0, stream=None, clock=time.perf_counter):
    super().__init__(stream)
    self._num_steps = num_steps
    self._clock = clock
    self._last = (first_step, 0, clock())
    self._seconds_per_step = None

  def update(self, step: int, images: int, losses: Mapping[str, float] | None = None) -> float:
    """Writes the line.

    Args:
      step: Steps done.
      images: Training images since `first_step`, of all devices together.
      losses: Numbers to show, by a short name.

    Returns:
      Images per second since the last update.
    """
    last_step, last_images, last_time = self._last
    now = self._clock()
    passed = max(now - last_time, 1e-9)
    self._last = (step, images, now)
    rate = (images - last_images) / passed
    if step > last_step:
      seconds = passed / (step - last_step)
      # An exponential average: early steps are slower, and stages differ in their cost.
      before = self._seconds_per_step
      self._seconds_per_step = seconds if before is None else 0.7 * before + 0.3 * seconds
    parts = [f'step {step:,}/{self._num_steps:,}', f'{rate:.1f} images/s']
    if self._seconds_per_step is not None:
      left = (self._num_steps - step) * self._seconds_per_step
      parts.append(f'{duration(left)} left')
    parts += [f'{name} {figure(value)}' for name, value in (losses or {}).items()]
    self.show(' · '.join(parts))
    return rate

  def restart_clock(self) -> None:
    """Excludes the time since the last update (compilation, pictures) from the next rate."""
    self._last = (*self._last[:2], self._clock())


class Counter:
  """Counts images: 'photos 1,280/7,007 · 31.2 images/s · 3 min 04 s left'.

  Args:
    name: What is counted.
    total: How many there will be.
    say: Called with the text, at most every few seconds and at the end, as `Line.show`; or None.
    every: Seconds between two texts.
    clock: Returns the time in seconds.
    unit: Of the rate, what is counted in one word.
  """

  def __init__(
    self,
    name: str,
    total: int,
    say: Callable[[str], None] | None = None,
    every: float = 5.0,
    clock=time.perf_counter,
    unit: str = 'images',
  ):
    self._unit = unit
    self._name, self._total, self._say, self._every, self._clock = name, total, say, every, clock
    self._count = 0
    self._first = (0, clock())
    self._last_text = clock()

  def add(self, number: int) -> None:
    """Counts `number` more."""
    now = self._clock()
    if not self._count:
      # The first batch waits for a compilation: the rate is that of the later ones.
      self._first = (number, now)
    self._count += number
    if self._say and (now - self._last_text >= self._every or self._count >= self._total):
      self._last_text = now
      self._say(self._text(now))

  def _text(self, now):
    parts = [f'{self._name} {self._count:,}/{self._total:,}']
    first, began = self._first
    if self._count > first and now > began:
      rate = (self._count - first) / (now - began)
      parts.append(f'{rate:.1f} {self._unit}/s')
      if self._count < self._total:
        parts.append(f'{duration((self._total - self._count) / rate)} left')
    return ' · '.join(parts)
