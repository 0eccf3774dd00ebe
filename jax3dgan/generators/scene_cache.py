"""What no camera changes of a few objects, computed once for all their views."""

from collections import Counter
from collections.abc import Callable, Sequence

import jax
import numpy as np

from jax3dgan.generators.base import Scene

# Scenes that are held for views yet to come. EG3D's has 26 MB.
_MOST = 16


class Scenes:
  """The scenes of styles among which some come repeatedly.

  Args:
    prepare: Styles [1, ...] → their scene, see `Trained.prepare`.
    w: [n, ...] styles of n views.
  """

  def __init__(self, prepare: Callable, w: np.ndarray):
    self._prepare, self._w = prepare, w
    self._keys = [row.tobytes() for row in w]
    self._left = Counter(self._keys)  # views that are still to come, by object
    self._scenes = {}

  def take(self, rows: Sequence[int], num: int):
    """Returns the scenes [len(rows), ...] of some views, of which the first `num` count as done."""
    scenes = [self._scene(row) for row in rows]
    for row in rows[:num]:
      self._left[self._keys[row]] -= 1
    for key in [key for key in self._scenes if not self._left[key]]:
      del self._scenes[key]
    while len(self._scenes) > _MOST:
      del self._scenes[next(iter(self._scenes))]
    if len(scenes) == 1:
      return scenes[0]
    return jax.tree.map(lambda *leaves: np.concatenate([np.asarray(x) for x in leaves]), *scenes)

  def _scene(self, row: int):
    key = self._keys[row]
    if key not in self._scenes:
      self._scenes[key] = self._prepare(self._w[row : row + 1])
    return self._scenes[key]


def of(prepare: Callable, w) -> Scenes | None:
  """The scenes of styles w [n, ...]; None of scenes, and where no style comes twice."""
  if isinstance(w, Scene):
    return None
  w = np.asarray(w)
  return Scenes(prepare, w) if len({row.tobytes() for row in w}) < len(w) else None
