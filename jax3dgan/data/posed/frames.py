"""What every format of a posed scene is read into."""

import dataclasses
import re

import numpy as np

from jax3dgan.data.posed.lens import LARGEST, Lens
from jax3dgan.errors import UserError


@dataclasses.dataclass(frozen=True)
class Frame:
  """A photo and its camera.

  Attributes:
    name: what the scene calls it.
    path: its file, as `files.Files` names it; '' where it is missing.
    cam2world: float64 [4, 4], OpenCV axes, in the world of the scene's file.
    lens: intrinsics and distortion.
  """

  name: str
  path: str
  cam2world: np.ndarray
  lens: Lens


@dataclasses.dataclass(frozen=True)
class Capture:
  """A scene as its files describe it.

  Attributes:
    format: what it is, for people.
    splits: dict of split -> list of Frame, sorted by name, numbers in names by their value.
    up: the axis of the file's world that points upwards, 'z' or 'y'; 'auto' where it is not known.
    points: float64 [n, 3] of the scene's surface in its world; n is 0 without any.
    region: (centre [3], half side) of the cube that the file says the scene is in; None without.
    has_region_centre: whether the file gives the cube's centre, not only its size.
    applied_transform: float64 [4, 4] that made the file's world of an earlier one; None without.
    notes: what was found and is not used, a line each.
  """

  format: str
  splits: dict[str, list[Frame]]
  up: str
  points: np.ndarray
  region: tuple[np.ndarray, float] | None = None
  has_region_centre: bool = False
  applied_transform: np.ndarray | None = None
  notes: tuple[str, ...] = ()

  @property
  def reference(self):
    """The frames that decide on the scene's framing: of 'train', else of the first split."""
    return self.splits.get('train') or next(iter(self.splits.values()))


def in_order(frames, where):
  """Frames sorted by name, r_2 before r_10; UserError where there is none, or two of a name."""
  if not frames:
    raise UserError(f'{where} has no frames. Name another scene.')
  for frame in frames:
    if np.abs(frame.cam2world[:3, 3]).max() > LARGEST:
      raise UserError(
        f'{where}: {frame.name} is farther than {LARGEST:g} from the origin. Leave it out, or use '
        'smaller units.'
      )
  names = [frame.name for frame in frames]
  if len(set(names)) < len(names):
    twice = next(name for name in names if names.count(name) > 1)
    raise UserError(f'{where} has {twice} more than once. Leave one of them out.')
  return sorted(frames, key=lambda frame: _natural(frame.name))


def _natural(name):
  parts = re.split(r'(\d+)', name)
  return [(int(part), '') if i % 2 else (0, part) for i, part in enumerate(parts)], name
