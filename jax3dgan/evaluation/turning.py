"""Turning an object by whatever turns it, and what that does to its identity.

A 3D-aware generator turns by its camera, a 2D one by a direction in its latent space, a real object
by a renderer. All give the same thing, a `Traversal`: images along a path, the azimuth and the
embedding read from each. They are compared at equal achieved turns, whatever the path's own units.
"""

import dataclasses
import math

import numpy as np

from jax3dgan import viz
from jax3dgan.evaluation import pose
from jax3dgan.evaluation.probes import Probes

ANGLES = (15, 30, 60, 90)  # degrees of turn at which identity is compared
KEPT = 0.5  # identity counts as kept up to this part of the distance between two objects
_TOLERANCE = 10  # degrees by which an achieved turn may miss the angle asked for
_JUMP = 60  # degrees between neighbouring images beyond which nothing has turned


@dataclasses.dataclass(eq=False)
class Traversal:
  """Objects along paths that should turn them.

  Attributes:
    grid: [s] positions along the path, in its own units; the start is where it is 0.
    azimuth: [l, s] radians, read from the images.
    embedded: [l, s, d].
    images: uint8 [l, s, h, w, 3], those of the first latents only where memory counts.
  """

  grid: np.ndarray
  azimuth: np.ndarray
  embedded: np.ndarray
  images: np.ndarray | None = None

  @property
  def start(self) -> int:
    """Index of the start in the grid."""
    return int(np.abs(self.grid).argmin())

  @property
  def turn(self) -> np.ndarray:
    """Degrees turned since the start, [l, s], in [−180, 180).

    The difference to the start, not the sum of the steps: one misread image on the way would shift
    all that follow.
    """
    return np.degrees(pose.wrap(self.azimuth - self.azimuth[:, self.start, None]))

  @property
  def across(self) -> float:
    """Mean squared distance between two starts."""
    return float(2 * self.embedded[:, self.start].var(axis=0, ddof=1).sum())

  @property
  def change(self) -> np.ndarray:
    """Squared distance to the start's embedding, over the mean one of two starts: [l, s]."""
    first = self.embedded[:, self.start, None]
    return ((self.embedded - first) ** 2).sum(-1) / max(self.across, 1e-300)

  @property
  def followed(self) -> np.ndarray:
    """Whether each latent reached an image by steps of at most 60°, [l, s].

    An object whose direction jumps from one image to the next has not turned.
    """
    steps = np.abs(np.degrees(pose.wrap(np.diff(self.azimuth, axis=1)))) <= _JUMP
    out = np.ones(self.azimuth.shape, bool)
    out[:, self.start + 1 :] = np.cumprod(steps[:, self.start :], axis=1)
    out[:, : self.start] = np.cumprod(steps[:, : self.start][:, ::-1], axis=1)[:, ::-1]
    return out

  def at(self, degrees: float) -> np.ndarray:
    """Where each latent has turned by so much, either way: index in the grid [l], −1 for nowhere.

    The first crossing on the way out, on the side that gets there in fewer steps. A latent that
    jumps past the angle by more than 10° (half the angle, if less) has not been turned to it, nor
    one that has got there by a jump, see `followed`.
    """
    tolerance = min(_TOLERANCE, degrees / 2)
    found = np.full(len(self.azimuth), -1)
    for i, turn in enumerate(np.abs(self.turn) * self.followed):
      best = None
      for side in (-1, 1):
        path = np.arange(self.start, len(turn) if side > 0 else -1, side)
        past = np.flatnonzero(turn[path] >= degrees)
        # The last before the crossing or the first after it; without one, the farthest.
        near = path[past[0] - 1 : past[0] + 1] if past.size else path[turn[path].argmax()][None]
        index = near[np.abs(turn[near] - degrees).argmin()]
        if abs(turn[index] - degrees) <= tolerance:
          steps = abs(int(index) - self.start)
          best = min(best or (steps, index), (steps, index))
      if best:
        found[i] = best[1]
    return found

  def share(self, degrees: float) -> float:
    """Part of the latents that can be turned by so much."""
    return float((self.at(degrees) >= 0).mean())

  def identity_change(self, degrees: float) -> float:
    """Mean `change` of the latents that can be turned by so much; NaN if none can.

    0: the same object; 1: as different as any two objects.
    """
    index = self.at(degrees)
    rows = np.flatnonzero(index >= 0)
    return float(self.change[rows, index[rows]].mean()) if rows.size else math.nan

  def reach(self, kept: float = KEPT) -> np.ndarray:
    """Degrees from end to end over which each latent turns and keeps its identity, [l].

    On each side the largest turn before `change` first exceeds `kept`, or before the object jumps,
    see `followed`.
    """
    total = np.zeros(len(self.azimuth))
    good = (self.change <= kept) & self.followed
    for side in (slice(self.start, None), slice(self.start, None, -1)):
      total += np.abs(self.turn[:, side] * np.cumprod(good[:, side], axis=1)).max(1)
    return total

  def calibrated_error(self, degrees: float) -> float:
    """Mean error, degrees, of turns to which one position on the path is set for all latents.

    The position is the one whose mean turn (circular, either way) is nearest to `degrees`, the
    error taken about that mean; NaN where none comes within 10°.
    """
    mean = np.degrees(np.angle(np.exp(1j * np.radians(self.turn)).mean(0)))
    miss = np.abs(np.abs(mean) - degrees)
    index = miss.argmin()
    if miss[index] > _TOLERANCE:
      return math.nan
    error = pose.wrap(np.radians(self.turn[:, index] - mean[index]))
    return float(np.degrees(np.abs(error).mean()))

  def score(self) -> float:
    """For choosing among directions: share that can be turned × identity kept, mean of `ANGLES`."""
    kept = [self.share(a) * max(1 - self.identity_change(a), 0) for a in ANGLES if self.share(a)]
    return sum(kept) / len(ANGLES)

  def values(self, prefix: str = 'turn') -> dict[str, float]:
    """The figures: 'identity_ANGLE', 'share_ANGLE', 'error_ANGLE', 'reach_degrees' (median)."""
    out = {}
    for angle in ANGLES:
      out[f'{prefix}/identity_{angle}'] = self.identity_change(angle)
      out[f'{prefix}/share_{angle}'] = self.share(angle)
      out[f'{prefix}/error_{angle}'] = self.calibrated_error(angle)
    return out | {f'{prefix}/reach_degrees': float(np.median(self.reach()))}

  def strip(self, latent: int, degrees) -> np.ndarray:
    """Images [k, h, w, 3] of a latent where it has turned nearest to each of k angles (signed).

    White where the path does not come within 20° of the angle.
    """
    turn, tiles = self.turn[latent], []
    for angle in degrees:
      near = np.abs(turn - angle)
      # The nearest to the start among all about as near: far out, images fall apart.
      good = np.flatnonzero(near <= max(near.min(), 5))
      index = good[np.abs(good - self.start).argmin()]
      image = self.images[latent, index]
      tiles.append(image if near[index] <= 20 else np.full_like(image, 255))
    return np.stack(tiles)


def read(probes: Probes, grid: np.ndarray, images: np.ndarray) -> Traversal:
  """The Traversal of images [l, s, h, w, 3] along a grid [s]."""
  shape = images.shape[:2]
  flat = images.reshape(-1, *images.shape[2:])
  azimuth = pose.azimuth(probes.direction(flat)).reshape(shape)
  return Traversal(grid, azimuth, probes.embedding(flat).reshape(*shape, -1), images)


def camera_grid(num: int = 49) -> np.ndarray:
  """Degrees of turn from −180 to 180, 0 among them."""
  return np.linspace(-180, 180, num)


def starts(num: int, half_range: float, seed: int) -> np.ndarray:
  """Azimuths [n] in radians at which the objects are when the turning begins."""
  return np.random.default_rng(seed).uniform(-half_range, half_range, num)


def by_camera(model, probes: Probes, w, start: np.ndarray, grid: np.ndarray) -> Traversal:
  """Styles w [l, ...] turned by the camera from azimuths start [l] by grid [s] degrees."""
  azimuths = start[:, None] + np.radians(grid)
  styles = np.repeat(np.asarray(w), len(grid), axis=0)
  images = viz.to_uint8(model.render(styles, model.orbit(azimuths.ravel())).image)
  return read(probes, grid, images.reshape(len(start), len(grid), *images.shape[1:]))
