"""The sizes to render at: fast enough while the camera moves, the best when it rests.

Sizes and numbers of samples are few and fixed, since each is compiled separately.
"""

import dataclasses
import threading
import time

from jax3dgan.devices import ray_parallel
from jax3dgan.pictures import traced as traced_lib

MOVING_SIZES = (16, 32, 64, 128)
STILL_SIZES = (64, 128, 256, 512)
TARGET_SECONDS = 1 / 20  # of a picture while the mouse drags
_MAX_SECONDS_AT_REST = 1.5  # of the sharp picture, if no size is chosen


@dataclasses.dataclass(frozen=True)
class Level:
  """A size and a number of samples to render with.

  Attributes:
    resolution: Pixels on a side.
    num_coarse, num_fine: Samples per ray; None leaves the model's.
    traced: The kind of picture that is drawn by sphere tracing; '' for a volume rendering.
  """

  resolution: int
  num_coarse: int | None = None
  num_fine: int | None = None
  traced: str = ''

  def of_kind(self, kind: str) -> 'Level':
    """The same for another kind of picture; a volume rendering serves all of them."""
    return dataclasses.replace(self, traced=kind) if self.traced else self

  def overrides(self) -> dict[str, int]:
    """The rendering options that differ from the model's."""
    fields = {'num_coarse': self.num_coarse, 'num_fine': self.num_fine}
    return {name: value for name, value in fields.items() if value is not None}


def any_size(model) -> bool:
  """Whether a model renders at any resolution: a field without an up-sampler, or Gaussians."""
  return ray_parallel.cuts_pictures(model.generator) or model.generator.has_gaussians


def moving_levels(model) -> list[Level]:
  """Returns the levels for moving pictures, the cheapest first."""
  options = model.options()
  sizes = MOVING_SIZES if any_size(model) else (model.resolution,)
  if not model.has_field:
    return [Level(size) for size in sizes]
  # Half of the samples, in one pass: on the toys nearer to the picture with many (30.9 dB) than
  # two passes of a quarter each (28.6 dB), and a little faster.
  total = options.num_coarse + options.num_fine
  samples = {'num_coarse': max(total // 2, 4), 'num_fine': 0}
  return [Level(size, **samples) for size in sizes]


def traced_levels(model) -> list[Level]:
  """Returns the levels for moving pictures by sphere tracing, the cheapest first; none for a model
  without a signed distance."""
  sizes = MOVING_SIZES if traced_lib.can_trace(model) else ()
  return [Level(size, traced='colour') for size in sizes]


def still_sizes(model) -> list[int]:
  """Returns the resolutions for pictures at rest."""
  if not any_size(model):
    return [model.resolution]
  return sorted({*STILL_SIZES, model.resolution})


class Ladder:
  """Chooses levels by the time that they take on this machine.

  Args:
    model: A `trained.Trained`.
    still: The resolution of pictures at rest; None chooses one.
    target: Seconds that a moving picture may take.
  """

  def __init__(self, model, still: int | None = None, target: float = TARGET_SECONDS):
    self.levels = moving_levels(model)
    self.traced_levels = traced_levels(model)
    self.target = target
    self.sizes = sorted({*still_sizes(model), *([still] if still else [])})
    self._still = still
    # The relative cost of each level, and a common factor for the current speed of the machine, so
    # that the estimates of unused levels stay up to date too.
    self._costs: dict[Level, float] = {}
    self._slowness = 1.0
    self._lock = threading.Lock()

  def measured(self, level: Level, seconds: float) -> None:
    """Records the seconds of a picture, after its compilation; later ones have more weight."""
    level = level.of_kind('colour')
    with self._lock:
      if level not in self._costs:
        self._costs[level] = seconds / self._slowness
      else:
        self._slowness = 0.8 * self._slowness + 0.2 * seconds / self._costs[level]

  def seconds(self, level: Level) -> float | None:
    """Returns the current seconds of a picture; None if none was measured."""
    cost = self._costs.get(level.of_kind('colour'))
    return None if cost is None else cost * self._slowness

  def moving(self, clients: int = 1, traced: str = '') -> Level:
    """Returns the largest measured level that is fast enough for so many moving clients.

    Args:
      clients: How many there are.
      traced: The kind of picture, where it is drawn by sphere tracing.
    """
    levels = self.traced_levels if traced else self.levels
    ready = [level for level in levels if level in self._costs]
    fast = [level for level in ready if self.seconds(level) * max(clients, 1) <= self.target]
    chosen = fast[-1] if fast else min(ready or levels, key=lambda level: level.resolution)
    return chosen.of_kind(traced)

  def still(self, chosen: int | None = None, traced: str = '') -> Level:
    """Returns the level at rest: all samples, at the chosen size or the largest fast one.

    Args:
      chosen: Pixels on a side; None for automatic.
      traced: See `moving`.
    """
    size = chosen or self._still
    if traced:
      return Level(size or STILL_SIZES[min(1, len(STILL_SIZES) - 1)], traced=traced)
    if size is None:
      fits = [s for s in self.sizes if s <= 128 and self._guess(s) <= _MAX_SECONDS_AT_REST]
      size = fits[-1] if fits else self.sizes[0]
    return Level(size)

  def _guess(self, size: int) -> float:
    """Seconds of a picture of this size with all samples, on an idle machine: the size at rest
    must not depend on the current load."""
    if not any(not level.traced for level in self._costs):
      return 0.0
    near = Level(size) if Level(size) in self._costs else self._largest()
    share = 1 if near.num_coarse is None else 2
    return share * self._costs[near] * (size / near.resolution) ** 2

  def _largest(self) -> Level:
    volume = [level for level in self._costs if not level.traced]
    return max(volume, key=lambda level: level.resolution)

  def warm_up(self, render, report=lambda level: None, stopped=lambda: False) -> None:
    """Compiles and measures the moving levels, up to the first that is too slow.

    Args:
      render: Called with a level; renders one picture.
      report: Called with each level before it is compiled, and with None at the end.
      stopped: Whether to stop early.
    """
    for levels in (self.traced_levels, self.levels):
      if levels:
        self._warm_up(levels, render, report, stopped)
    report(None)

  def _warm_up(self, levels, render, report, stopped) -> None:
    first = min(len(levels) - 1, 1)  # 32²: 16² only if that is too slow
    for index in [*range(first, len(levels)), *range(first)]:
      level = levels[index]
      done = [self.seconds(done) for done in levels if done in self._costs]
      too_slow = any(seconds > self.target for seconds in done)
      if stopped() or (too_slow if index >= first and done else index < first and not too_slow):
        continue
      report(level)
      render(level)
      times = []
      for _ in range(3):  # the minimum: other load varies
        start = time.perf_counter()
        render(level)
        times.append(time.perf_counter() - start)
      self.measured(level, min(times))
