"""Where a style is searched: z, w or w+, for any generator.

* `z`: the latent; the style is what the mapping network makes of it. Nothing but what the generator
  has learned to draw, and so the worst likeness and the safest other views.
* `w`: one style for all layers. Where the mapping network gives every layer the same (StyleGAN2,
  EG3D: w [n, layers, 512]) that one moves. π-GAN's mapping network gives each layer frequencies and
  phases of its own: what one vector can say to all layers there is z, and `w` means `z`.
* `w+`: every number of w (Abdal et al. 2019, *Image2StyleGAN*). π-GAN's w [n, layers, 2, h] are the
  raw frequencies and phases: its w+ is the space of the FiLM conditions, in which its authors
  search.

In w and w+ the search moves along the principal axes of the styles that the mapping network gives,
in units of their standard deviations (Zhu et al. 2020, *Improved StyleGAN Embedding: Where are the
Good Latents?*, P_N): a step means as much for any model, and the squared length of the offset is
how unlikely a style is.

Styles of scenes of objects have numbers of their own, see `scenes`.
"""

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from jax3dgan.errors import UserError
from jax3dgan.inversion import scenes
from jax3dgan.nn import precision

SPACES = ('z', 'w', 'w+')
_NUM_STYLES = 2048  # of which the mean and the axes are taken
_MAX_AXES = 1024  # a decomposition of more would take minutes
# Of the largest deviation: an axis along which the mapping network hardly moves still may move.
_MIN_DEVIATION = 1e-2


@flax.struct.dataclass
class Space:
  """Coordinates of styles.

  Attributes:
    mean: [...] the average style.
    axes: [k, m] principal axes times their standard deviations, of styles as rows of m numbers (of
      one layer's, where all layers share one); None in `z`.
    z: [z_dim] where a search in z begins.
    spread: [] or [...] standard deviation of each number of w, for noise.
    name: 'z', 'w' or 'w+'.
    shared: whether the mapping network gives every layer the same style.
    label: [25] the camera that the mapping network is conditioned on; None if it is not.
    moved: [k] whether a search moves each coordinate; None for all.
  """

  mean: jax.Array
  axes: jax.Array | None
  z: jax.Array
  spread: jax.Array
  name: str = flax.struct.field(pytree_node=False)
  shared: bool = flax.struct.field(pytree_node=False)
  label: jax.Array | None = None
  moved: jax.Array | None = None

  def start(self, num: int) -> jax.Array:
    """Coordinates of `num` average styles: [num, z_dim], [num, k] or [num, layers, k]."""
    if self.name == 'z':
      return jnp.broadcast_to(self.z, (num, *self.z.shape))
    layers = self.mean.shape[:1] if self.shared and self.name == 'w+' else ()
    return jnp.zeros((num, *layers, self.axes.shape[0]), self.mean.dtype)

  def style(self, generator, variables, coordinates) -> jax.Array:
    """Styles w [n, ...] of coordinates (see `start`)."""
    if self.name == 'z':
      label = self.label
      if label is not None:
        label = jnp.broadcast_to(label, (coordinates.shape[0], *label.shape))
      return generator.apply(variables, coordinates, label, method='map')
    coordinates = self._with_constants(coordinates)
    offset = precision.einsum('...k,km->...m', coordinates, self.axes)  # [n, m] or [n, layers, m]
    if self.shared and self.name == 'w':
      offset = offset[:, None]
    elif not self.shared:
      offset = offset.reshape(-1, *self.mean.shape)
    return self.mean + offset

  def unlikelihood(self, coordinates) -> jax.Array:
    """Mean square of the coordinates [n]: about 1 for random styles, 0 for the average."""
    coordinates = self._with_constants(coordinates)
    return jnp.mean(coordinates**2, axis=tuple(range(1, coordinates.ndim)))

  def _with_constants(self, coordinates):
    """Coordinates without gradients of those that no search moves."""
    if self.moved is None:
      return coordinates
    return jnp.where(self.moved, coordinates, jax.lax.stop_gradient(coordinates))


def create(model, name: str = 'w+', seed: int = 0) -> Space:
  """The space of a `trained.Trained`; UserError for a name that is none."""
  if name not in SPACES:
    raise UserError(f"No space is called '{name}'. Choose one of {', '.join(SPACES)}.")
  size = model.generator.z_dim
  z = np.random.default_rng(seed).standard_normal((_NUM_STYLES, size), np.float32)
  styles = np.asarray(model.map(z, psi=1.0))
  if model.generator.object_layout is not None:
    return Space(**scenes.fields(model, styles))
  mean = np.asarray(model.average_w)
  shared = styles.ndim > 2 and bool((styles == styles[:, :1]).all())
  if name == 'w' and not shared:
    name = 'z'
  distance = ((styles - mean) ** 2).reshape(len(z), -1).sum(1)
  axes = None
  if name != 'z':
    rows = styles[:, 0] - mean[0] if shared else styles - mean
    axes = jnp.asarray(_axes(rows.reshape(len(z), -1)))
  return Space(
    jnp.asarray(mean),
    axes,
    jnp.asarray(z[np.argmin(distance)]),
    jnp.asarray(styles.std(0)),
    name,
    shared,
    jnp.asarray(model.front.label()[0]) if model.is_conditioned else None,
  )


def _axes(rows: np.ndarray) -> np.ndarray:
  """Principal axes [k, m] of rows [n, m] about zero, each as long as its standard deviation."""
  if rows.shape[1] > _MAX_AXES:
    rows = rows[:_MAX_AXES]
  _, values, axes = np.linalg.svd(rows, full_matrices=False)
  deviation = values / np.sqrt(len(rows))
  deviation = np.maximum(deviation, _MIN_DEVIATION * deviation[:1])
  return (deviation[:, None] * axes).astype(np.float32)


def described(model, space: Space, asked: str) -> str:
  """What a space is, in a line for people."""
  sizes = f'{int(np.prod(space.start(1).shape)):,} numbers'
  if model.generator.object_layout is not None:
    same = '' if asked == space.name else f', the same as {asked} here'
    return f'{space.name}{same}, {sizes}: {scenes.described(model, space)}'
  if asked == 'w' and space.name == 'z':
    return f'z, {sizes} (each layer has a style of its own here: w has no single one)'
  return f'{space.name}, {sizes}'
