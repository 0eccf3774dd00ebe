"""From channels of a map to 3D Gaussians (Kirschstein et al., GGHead, SIGGRAPH Asia 2024, arXiv
2406.09377, Sec. 3.2)."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jax3dgan.rendering import spherical_harmonics
from jax3dgan.rendering.splatting import Gaussians
from jax3dgan.rendering.splatting_projection import axis_angle_quaternions

OVERSHOOT = 0.001  # of bounded activations, which then reach their ends
ROTATIONS = {'quaternion': 4, 'axis_angle': 3}  # numbers of each
_IDENTITY = np.float32([3, 0, 0, 0])  # added to a quaternion: fresh networks turn a little


class Raw(NamedTuple):
  """What the network says of Gaussians, before activations, [b, n, ...].

  Attributes:
    position, scale: [b, n, 3].
    rotation: [b, n, 4] quaternions or [b, n, 3] axis and angle.
    colour: [b, n, 3k], coefficient by coefficient of k spherical harmonics.
    opacity: [b, n, 1].
  """

  position: jax.Array
  scale: jax.Array
  rotation: jax.Array
  colour: jax.Array
  opacity: jax.Array


def sizes(rotation: str, sh_degree: int) -> tuple[int, ...]:
  """Channels of each of `Raw`."""
  return 3, 3, ROTATIONS[rotation], 3 * (sh_degree + 1) ** 2, 1


def split(channels, rotation: str, sh_degree: int) -> Raw:
  """Channels [..., c] in their order → `Raw`."""
  ends = np.cumsum(sizes(rotation, sh_degree))[:-1]
  return Raw(*jnp.split(channels, ends.tolist(), axis=-1))


def offsets(raw, reach: float):
  """Offsets from the template of raw positions, both [..., 3]: below `reach` along each axis."""
  return reach * jnp.tanh(raw)


def scale_offset(start: float, largest: float) -> float:
  """k, with which log s = log largest − softplus(k − raw) gives the scale `start` at raw 0."""
  return math.log(math.expm1(math.log(largest / start)))


def scales(raw, start: float, largest: float, least: float = 0.0):
  """Standard deviations of raw scales: `start` at 0, below `largest`.

  Args:
    least: its square is added to theirs, as of a low-pass filter in space (Yu et al.,
      Mip-Splatting, CVPR 2024, Sec. 5.1): Gaussians cannot shrink until there are gaps.
  """
  free, end = (math.sqrt(s**2 - least**2) for s in (start, largest))
  s = end * jnp.exp(-jax.nn.softplus(scale_offset(free, end) - raw))
  return jnp.sqrt(s**2 + least**2) if least else s


def quaternions(raw, compat: bool = False):
  """Rotations (w, x, y, z) of raw ones, [..., 4] near the identity or [..., 3] axis and angle.

  Args:
    compat: of axis and angle: with the last number read as the first, as the release does.
  """
  if raw.shape[-1] == 4:
    return raw + _IDENTITY
  q = axis_angle_quaternions(2 * math.pi * jnp.tanh(raw))
  return jnp.roll(q, 1, axis=-1) if compat else q


def opacities(raw, bias: float = 0.0):
  """[..., 1] → [...]; a little beyond 0 and 1."""
  return (1 + 2 * OVERSHOOT) * jax.nn.sigmoid(raw[..., 0] + bias) - OVERSHOOT


def harmonics(raw, compat: bool = False):
  """Coefficients [..., k, 3] of raw colours [..., 3k].

  Args:
    compat: shifts them by the overshoot, as the release does.
  """
  c = (1 + 2 * OVERSHOOT) * jnp.tanh(raw) - (OVERSHOOT if compat else 0)
  return (0.5 / spherical_harmonics.C0 * c).reshape(*c.shape[:-1], -1, 3)


def gaussians(
  raw: Raw,
  points,
  *,
  reach: float,
  start_scale: float,
  max_scale: float,
  min_scale: float,
  opacity_bias: float,
  compat: bool,
) -> Gaussians:
  """Gaussians of raw attributes around a template's points [n, 3].

  Args:
    reach: how far they go from their points along each axis, world units.
    start_scale, max_scale, min_scale: see `scales`.
    opacity_bias: see `opacities`.
    compat: see `quaternions` and `harmonics`.
  """
  return Gaussians(
    means=points + offsets(raw.position, reach),
    scales=scales(raw.scale, start_scale, max_scale, min_scale),
    quaternions=quaternions(raw.rotation, compat),
    opacities=opacities(raw.opacity, opacity_bias),
    harmonics=harmonics(raw.colour, compat),
  )
