"""Where GIRAFFE's objects are: their poses, the distribution of these, and their place in styles
(Niemeyer & Geiger, CVPR 2021, arXiv 2011.12100, Sec. 3.2 and eq. 6 and 7).

An object's field lives in a box of ±1. Its affine pose scales the box, turns it about the vertical
axis and moves it into the world. All is in the library's world, y up. The release's has z up: its
(y, z, x) are our (x, y, z), and its rotation by q turns the object by −q.
"""

import dataclasses
import math

import flax.struct
import jax
import jax.numpy as jnp

from jax3dgan.errors import UserError

GAP = 0.1  # between the boxes of two objects, world units (the release's)


@flax.struct.dataclass
class Poses:
  """Of n objects and of the background.

  Attributes:
    size: [b, n, 3] half sizes of the box, world units.
    position: [b, n, 3] of its centre.
    turn: [b, n] radians about the vertical axis, counter-clockwise from above.
    presence: [b, n] factor on the density, 1 or 0.
    background_turn, background_presence: [b] the same of the background.
  """

  size: jax.Array
  position: jax.Array
  turn: jax.Array
  presence: jax.Array
  background_turn: jax.Array
  background_presence: jax.Array


@flax.struct.dataclass
class Fractions:
  """Uniform numbers in [0, 1] that poses are made of; beyond it they are outside of the ranges.

  Attributes:
    size: [b, n, 1], or [b, n, 3] of each axis alone.
    position: [b, p, n, 3] of each of p placements, of which the first one without overlaps counts.
    turn: [b, n].
    background_turn: [b].
    count, order: [b] and [b, n]: how many objects there are, and which; None for all.
  """

  size: jax.Array
  position: jax.Array
  turn: jax.Array
  background_turn: jax.Array
  count: jax.Array | None = None
  order: jax.Array | None = None


@dataclasses.dataclass(frozen=True)
class PoseRanges:
  """The distribution of poses; static. See `generators.giraffe.GIRAFFE` for the fields."""

  num_objects: int
  size_min: tuple[float, ...]
  size_max: tuple[float, ...]
  free_ratio: bool
  position_min: tuple[float, ...]
  position_max: tuple[float, ...]
  turns: tuple[float, float]
  background_turns: tuple[float, float]
  counts: tuple[float, ...]
  placements: int

  def __post_init__(self):
    if self.counts and len(self.counts) != self.num_objects:
      raise UserError(
        f'config.model.counts has {len(self.counts)} probabilities, of one object, of two and so '
        f'on, and config.model.num_objects is {self.num_objects}. Give as many, or ().'
      )
    if self.counts and not (
      min(self.counts) >= 0 and math.isclose(sum(self.counts), 1, abs_tol=1e-3)
    ):
      raise UserError(
        f'config.model.counts are {self.counts}, and probabilities sum to 1. Correct them.'
      )  # fmt: skip
    if self.placements < 1:
      raise UserError('config.model.placements is how many are tried. Set it to at least 1.')
    for low, high, name in (
      (self.size_min, self.size_max, 'size'),
      (self.position_min, self.position_max, 'position'),
    ):
      if len(low) != 3 or len(high) != 3 or not _in_order(low, high):
        raise UserError(
          f'config.model.{name}_min and {name}_max are {low} and {high}. Give three numbers each, '
          'of x, y and z, the smaller ones first.'
        )
    for name in ('turns', 'background_turns'):
      turns = getattr(self, name)
      # In either order: a turn is drawn between them.
      if len(turns) != 2 or not all(map(math.isfinite, turns)):
        raise UserError(f'config.model.{name} is {turns}. Give two angles in degrees.')
    if min(self.size_min) <= 0:
      raise UserError(f'config.model.size_min is {self.size_min}. Set positive half sizes.')

  def _shapes(self) -> dict[str, tuple[int, ...]]:
    """Of the fractions, without the batch, in their order."""
    n = self.num_objects
    shapes = {
      'size': (n, 3 if self.free_ratio else 1),
      'position': (self.placements, n, 3),
      'turn': (n,),
      'background_turn': (),
    }
    return shapes | ({'count': (), 'order': (n,)} if self.counts else {})

  @property
  def num_latents(self) -> int:
    """Numbers of a latent that say the poses."""
    return sum(math.prod(shape) for shape in self._shapes().values())

  def of_latents(self, z) -> Fractions:
    """Fractions of normals [b, num_latents]: their cumulative probabilities, which are uniform."""
    u = 0.5 * jax.scipy.special.erfc(-z / math.sqrt(2))
    parts, start = {}, 0
    for name, shape in self._shapes().items():
      end = start + math.prod(shape)
      parts[name] = u[:, start:end].reshape(u.shape[0], *shape)
      start = end
    return Fractions(**parts)

  def draw(self, uniform) -> Fractions:
    """Fractions of uniform(name, shape) → [b, *shape], a stream of random numbers by its name."""
    return Fractions(**{name: uniform(name, shape) for name, shape in self._shapes().items()})

  def poses(self, fractions: Fractions) -> Poses:
    """The poses [b] of fractions."""
    n = self.num_objects
    size = _between(fractions.size, self.size_min, self.size_max)
    presence = jnp.ones(fractions.turn.shape, size.dtype)
    if self.counts:
      edges = jnp.cumsum(jnp.asarray(self.counts, size.dtype))[:-1]
      count = 1 + jnp.sum(fractions.count[:, None] >= edges, axis=-1, keepdims=True)
      before = fractions.order[:, :, None] > fractions.order[:, None, :]  # [b, n, n]
      presence = (jnp.sum(before, axis=-1) < count).astype(size.dtype)
    placements = _between(fractions.position, self.position_min, self.position_max)
    position = placements[:, 0]
    if self.placements > 1 and n > 1:
      free = ~overlaps(size[:, None], placements, presence[:, None])  # [b, p]
      first = jnp.where(free.any(-1), jnp.argmax(free, axis=-1), self.placements - 1)
      position = jnp.take_along_axis(placements, first[:, None, None, None], axis=1)[:, 0]
    b = size.shape[0]
    return Poses(
      size=jnp.broadcast_to(size, (b, n, 3)),
      position=position,
      turn=_angle(fractions.turn, self.turns),
      presence=presence,
      background_turn=_angle(fractions.background_turn, self.background_turns),
      background_presence=jnp.ones((b,), size.dtype),
    )

  def middle(self, dtype=jnp.float32) -> Poses:
    """The poses [1] in the middle of the ranges, of all objects."""
    half = {name: jnp.full((1, *shape), 0.5, dtype) for name, shape in self._shapes().items()}
    poses = dataclasses.replace(self, counts=(), placements=1).poses(
      Fractions(**{**half, 'position': half['position'][:, :1], 'count': None, 'order': None})
    )
    return poses


def overlaps(size, position, presence):
  """Whether boxes of objects overlap, or nearly so [...]; turns are not regarded, as in the
  release.

  Args:
    size, position: [..., n, 3].
    presence: [..., n].
  """
  apart = jnp.abs(position[..., :, None, :] - position[..., None, :, :])  # [..., n, n, 3]
  free = jnp.any(apart >= size[..., :, None, :] + size[..., None, :, :] + GAP, axis=-1)
  n = size.shape[-2]
  both = (presence[..., :, None] > 0) & (presence[..., None, :] > 0) & ~jnp.eye(n, dtype=bool)
  return jnp.any(both & ~free, axis=(-1, -2))


def _in_order(low, high) -> bool:
  return all(-math.inf < a <= b < math.inf for a, b in zip(low, high, strict=True))


def _between(fraction, low, high):
  low, high = jnp.asarray(low, fraction.dtype), jnp.asarray(high, fraction.dtype)
  return low + fraction * (high - low)


def _angle(fraction, degrees):
  low, high = map(math.radians, degrees)
  return low + fraction * (high - low)


def needs_objects(generator, name: str) -> None:
  """UserError for a generator without objects; `name` is what to call the model."""
  if generator.object_layout is None:
    raise UserError(
      f'{name} has no objects to move: its generator makes each image as a whole. Give a model '
      "'giraffe'."
    )


@dataclasses.dataclass(frozen=True)
class Layout:
  """Which numbers of styles w [b, n + 1, width] are what: a row of each object, then the
  background's.

  A row is (shape code, appearance code, size (3), position (3), turn, presence); the background's
  is (shape code, appearance code, turn, presence), and zeros.

  Attributes:
    num_objects: n.
    latent_dim, background_dim: length of each code.
  """

  num_objects: int
  latent_dim: int
  background_dim: int

  @property
  def width(self) -> int:
    """Numbers of a row."""
    return 2 * max(self.latent_dim + 4, self.background_dim + 1)

  @property
  def num_codes(self) -> int:
    """Numbers of a latent that are codes; poses follow."""
    return 2 * (self.num_objects * self.latent_dim + self.background_dim)

  def join(self, objects, background, poses: Poses):
    """Styles of codes [b, n, 2·latent_dim] and [b, 2·background_dim], and poses."""
    rows = (objects, poses.size, poses.position, poses.turn[..., None], poses.presence[..., None])
    rows = jnp.concatenate(rows, axis=-1)
    turn, presence = poses.background_turn[:, None], poses.background_presence[:, None]
    last = jnp.concatenate([background, turn, presence], axis=-1)[:, None]
    rows, last = (jnp.pad(x, ((0, 0), (0, 0), (0, self.width - x.shape[-1]))) for x in (rows, last))
    return jnp.concatenate([rows, last], axis=1)

  def split(self, w):
    """(codes of the objects, of the background, poses) of styles, see `join`."""
    n, d, e = self.num_objects, 2 * self.latent_dim, 2 * self.background_dim
    rows, last = w[:, :n], w[:, n]
    poses = Poses(
      size=rows[..., d : d + 3],
      position=rows[..., d + 3 : d + 6],
      turn=rows[..., d + 6],
      presence=rows[..., d + 7],
      background_turn=last[:, e],
      background_presence=last[:, e + 1],
    )
    return rows[..., :d], last[:, :e], poses
