"""Gaussians by levels, each relative to an anchor of the level above (GSGAN: Hyun & Heo, NeurIPS
2024, arXiv 2406.02968, Sec. 3.2; CGS-GAN: Barthel et al., NeurIPS 2025, arXiv 2505.17590).

Attributes are those before activations: the logarithm of scales, the logit of opacities, and
quaternions of any length. Anchors are Gaussians that are never drawn.
"""

import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jax3dgan.rendering.splatting import Gaussians
from jax3dgan.rendering.splatting_projection import rotation_rows

_SPREAD = 0.2  # of the first level's positions
_BOUND = 20.0  # of everything but positions
_IDENTITY = np.float32([1, 0, 0, 0])


class Attributes(NamedTuple):
  """Of Gaussians [..., n].

  Attributes:
    position, scale, colour: [..., n, 3].
    rotation: [..., n, 4] (w, x, y, z).
    opacity: [..., n, 1].
  """

  position: jax.Array
  scale: jax.Array
  rotation: jax.Array
  colour: jax.Array
  opacity: jax.Array


SIZES = Attributes(3, 3, 4, 3, 1)


def split(channels) -> Attributes:
  """Channels [..., 14] in their order → `Attributes`."""
  return Attributes(*jnp.split(channels, np.cumsum(SIZES)[:-1].tolist(), axis=-1))


@dataclasses.dataclass(frozen=True)
class Scales:
  """What scales begin with and end at, world units.

  Attributes:
    num_points: Gaussians of the first level.
    resolution: of the images whose pixels are the smallest scale that is halved further.
    half: half of the side of the cube.
    log_first: logarithm of the first level's scales where the network gives 0.
  """

  num_points: int
  resolution: int
  half: float
  log_first: float

  @property
  def log_largest(self) -> float:
    """Logarithm of the scale that the first level's stay below: as if the points were a grid on a
    square of the cube's half side."""
    return math.log(self.half / math.sqrt(self.num_points))

  @property
  def log_end(self) -> float:
    """Logarithm of the scale below which children are not made smaller than the network says."""
    return math.log(self.half / self.resolution)

  @property
  def log_split(self) -> float:
    """How much smaller the logarithm of a child's scale is than its larger parent's."""
    return (self.log_largest - self.log_end) / (math.log2(self.resolution / 2) - 3)


def _bounded(attributes: Attributes) -> Attributes:
  """All but positions softly within ±20, for gradients that stay finite (CGS-GAN, App. A.2)."""
  position, *rest = attributes
  return Attributes(position, *(_BOUND * jnp.tanh(x / _BOUND) for x in rest))


def first(out: Attributes, scales: Scales, logit: float) -> Attributes:
  """The first level, of what its head says [b, n, ...]; it has no anchors above.

  Args:
    logit: of the opacity where the network gives 0.
  """
  largest = scales.log_largest
  return _bounded(
    Attributes(
      position=_SPREAD * out.position,
      scale=largest - jax.nn.softplus(largest - (scales.log_first + out.scale)),
      rotation=_IDENTITY + out.rotation,
      colour=out.colour,
      opacity=logit + out.opacity,
    )
  )


def children(parent: Attributes, out: Attributes, scales: Scales) -> Attributes:
  """A further level: Gaussians [b, n·r, ...] near their anchors [b, n, ...], of no larger scale.

  Args:
    parent: the anchors; r consecutive Gaussians have the same.
    out: what the head says [b, n·r, ...].
  """
  b, n = parent.opacity.shape[:2]
  r = out.opacity.shape[1] // n
  out = Attributes(*(x.reshape(b, n, r, x.shape[-1]) for x in out))
  parent = Attributes(*(x[:, :, None] for x in parent))
  # Inside of the parent's box, turned as it is; by coordinates, as in `splatting_projection`.
  inside = jnp.exp(parent.scale) * jnp.tanh(out.position)
  rows = rotation_rows(parent.rotation)
  moved = [sum(row[i] * inside[..., i] for i in range(3)) for row in rows]
  larger = jnp.max(parent.scale, axis=-1, keepdims=True) > scales.log_end
  level = _bounded(
    Attributes(
      position=parent.position + jnp.stack(moved, axis=-1),
      scale=parent.scale - jnp.where(larger, scales.log_split, 0.0) - jax.nn.softplus(-out.scale),
      rotation=parent.rotation + out.rotation,
      colour=parent.colour + out.colour,
      opacity=parent.opacity + out.opacity,
    )
  )
  return Attributes(*(x.reshape(b, n * r, x.shape[-1]) for x in level))


def gaussians(levels: list[Attributes], half: float) -> Gaussians:
  """What is drawn of all levels: means within ±half, colours the same from everywhere."""
  every = Attributes(*(jnp.concatenate(parts, axis=1) for parts in zip(*levels, strict=True)))
  return Gaussians(
    means=jnp.clip(every.position, -half, half),
    scales=jnp.exp(every.scale),
    quaternions=every.rotation,
    opacities=jax.nn.sigmoid(every.opacity[..., 0]),
    harmonics=every.colour[..., None, :],
  )
