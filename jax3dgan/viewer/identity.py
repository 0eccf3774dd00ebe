"""The identity to render: a seed or a photo, truncated, mixed with another seed, edited."""

import dataclasses
import threading

import jax
import numpy as np

from jax3dgan.errors import UserError
from jax3dgan.trained import expressions


@dataclasses.dataclass(frozen=True)
class Identity:
  """The settings of the panel that determine the style; hashable.

  Attributes:
    seed: Of the latent.
    psi: Truncation.
    mix_seed: Of the second latent, used in the layers [first, last); None for none.
    mix_layers: (first, last).
    edits: ((name, strength), ...) of the directions.
    photo: Number of the inversion whose style is used; None for that of the seed.
    expression: ((word, strength), ...) that the face is told, see `trained.expressions`; None for
      its own.
  """

  seed: int = 0
  psi: float = 1.0
  mix_seed: int | None = None
  mix_layers: tuple[int, int] = (0, 0)
  edits: tuple[tuple[str, float], ...] = ()
  photo: int | None = None
  expression: tuple[tuple[str, float], ...] | None = None


class Styles:
  """Makes the styles of identities; what does not depend on the camera is computed once.

  Args:
    model: A `trained.Trained`.
  """

  def __init__(self, model):
    self.model = model
    self.directions = None  # an `editing.Directions`, once found
    self.faces = expressions.Faces(model) if model.generator.code_sizes else None
    self.photos: dict[int, np.ndarray] = {}  # styles [1, ...] of inversions
    self._lock = threading.Lock()
    self._scenes = {}  # the last few identities

  def num_layers(self) -> int:
    """Returns how many layers can be mixed; 0 where w has no axis of layers [n, layers, ...]."""
    shape = np.shape(self.model.average_w)
    return shape[0] if len(shape) >= 2 else 0

  def w(self, identity: Identity):
    """Returns the styles [1, ...]."""
    if identity.photo is not None:
      if identity.photo not in self.photos:
        raise UserError('There is no such photo any more. Upload it again.')
      w = self.photos[identity.photo]
    else:
      w = np.asarray(self.model.map(self.model.latents([identity.seed]), identity.psi))
    first, last = identity.mix_layers
    if identity.mix_seed is not None and last > first and self.num_layers():
      other = self.model.map(self.model.latents([identity.mix_seed]), identity.psi)
      w = np.array(w)
      w[:, first:last] = np.asarray(other)[:, first:last]
    edits = {name: strength for name, strength in identity.edits if strength}
    if edits and self.directions is not None:
      w = self.directions.apply(w, edits)
    if identity.expression is None or self.faces is None:
      return w
    alone = dataclasses.replace(identity, expression=None, edits=tuple(edits.items()))
    of_seed = alone == Identity(seed=identity.seed, psi=identity.psi)
    people = self.faces.of_seeds([identity.seed]) if of_seed else self.faces.of_styles(w)
    return self.faces.styles(people, self.faces.told(identity.expression), identity.psi)

  def scene(self, identity: Identity):
    """Returns what `model.render` takes: the prepared styles [1, ...], kept for the next view."""
    # A photo's style changes while it is searched for.
    key = (identity, id(self.photos.get(identity.photo)))
    with self._lock:
      if key in self._scenes:
        self._scenes[key] = self._scenes.pop(key)  # the youngest
        return self._scenes[key]
    scene = jax.block_until_ready(self.model.prepare(self.w(identity)))
    with self._lock:
      self._scenes[key] = scene
      while len(self._scenes) > 8:
        self._scenes.pop(next(iter(self._scenes)))
    return scene
