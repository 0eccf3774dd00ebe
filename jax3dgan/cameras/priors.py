"""Pose priors: the distribution of the cameras of random images."""

import math

import flax.struct
import jax
import jax.numpy as jnp

from jax3dgan.cameras.camera import POLE
from jax3dgan.errors import UserError

_PRIORS = ('gaussian', 'truncated_gaussian', 'uniform', 'spherical_uniform')


@flax.struct.dataclass
class PosePrior:
  """Distribution of (yaw, pitch), π-GAN's angles in radians (π-GAN, Sec. 4; its release's sampling
  modes).

  Attributes:
    name: 'gaussian' (mean + std·n), 'truncated_gaussian' (the first of four normals within two
      standard deviations), 'uniform' (mean ± std), 'spherical_uniform' (uniform on the sphere
      between pitch_mean ± pitch_std, both in radians of the polar measure v = pitch/π), or
      'mixture'.
    radius_std: half the range of the cameras' distances, uniform around `render.radius`.
    components, weights: the components of a mixture and their probabilities.
  """

  name: str = flax.struct.field(pytree_node=False, default='gaussian')
  yaw_mean: float = flax.struct.field(pytree_node=False, default=math.pi / 2)
  yaw_std: float = flax.struct.field(pytree_node=False, default=0.3)
  pitch_mean: float = flax.struct.field(pytree_node=False, default=math.pi / 2)
  pitch_std: float = flax.struct.field(pytree_node=False, default=0.155)
  radius_std: float = flax.struct.field(pytree_node=False, default=0.0)
  components: tuple = flax.struct.field(pytree_node=False, default=())
  weights: tuple = flax.struct.field(pytree_node=False, default=())


def pose_prior(name, components=(), weights=(), **angles) -> PosePrior:
  """A PosePrior from a config's fields; a mixture's components are dicts of the same fields."""
  if name == 'mixture':
    if not components or (weights and len(weights) != len(components)):
      raise UserError(
        'A mixture of poses needs components, and as many weights as components or none.'
      )
    weights = weights or (1.0,) * len(components)
    if min(weights) < 0 or sum(weights) <= 0:
      raise UserError('The weights of a mixture of poses must be positive.')
    mixture = tuple(pose_prior(**dict(component)) for component in components)
    weights = tuple(w / sum(weights) for w in weights)
    radius_std = angles.get('radius_std', 0.0)
    return PosePrior(name, radius_std=radius_std, components=mixture, weights=weights)
  if name not in _PRIORS:
    raise UserError(
      f"No pose prior is called '{name}'. Choose one of {', '.join(_PRIORS)}, mixture."
    )
  return PosePrior(name, **angles)


def angles_from_draws(prior: PosePrior, draw_yaw, draw_pitch):
  """(yaw, pitch) from raw draws.

  Args:
    prior: not a mixture.
    draw_yaw, draw_pitch: normals [...] for 'gaussian', normals [..., 4] for 'truncated_gaussian',
      else uniforms [...] in [0, 1).
  """
  if prior.name == 'truncated_gaussian':
    draw_yaw, draw_pitch = _first_within_two(draw_yaw), _first_within_two(draw_pitch)
  if prior.name in ('gaussian', 'truncated_gaussian'):
    return (
      prior.yaw_mean + prior.yaw_std * draw_yaw,
      prior.pitch_mean + prior.pitch_std * draw_pitch,
    )
  yaw = (draw_yaw - 0.5) * 2 * prior.yaw_std + prior.yaw_mean
  if prior.name == 'uniform':
    return yaw, (draw_pitch - 0.5) * 2 * prior.pitch_std + prior.pitch_mean
  v = (draw_pitch - 0.5) * 2 * (prior.pitch_std / math.pi) + prior.pitch_mean / math.pi
  return yaw, jnp.arccos(1 - 2 * jnp.clip(v, POLE, 1 - POLE))


def _first_within_two(normals):
  index = jnp.argmax(jnp.abs(normals) < 2, axis=-1, keepdims=True)  # 0 where none is
  return jnp.take_along_axis(normals, index, axis=-1)[..., 0]


def sample_angles(prior: PosePrior, key):
  """One (yaw, pitch) from the prior for one key; vmap over keys for a batch."""
  if prior.name == 'mixture':
    key, choice = jax.random.split(key)
    each = [sample_angles(component, key) for component in prior.components]
    index = jax.random.choice(choice, len(each), p=jnp.array(prior.weights))
    return tuple(jnp.stack(values)[index] for values in zip(*each, strict=True))
  keys = jax.random.split(key)
  if prior.name == 'gaussian':
    draws = [jax.random.normal(k) for k in keys]
  elif prior.name == 'truncated_gaussian':
    draws = [jax.random.normal(k, (4,)) for k in keys]
  else:
    draws = [jax.random.uniform(k) for k in keys]
  yaw, pitch = angles_from_draws(prior, *draws)
  # A wide gaussian may cross a pole; the camera is clamped there, and so is its angle.
  return yaw, jnp.clip(pitch, POLE, math.pi - POLE)


def sample_radius(prior: PosePrior, key, radius: float):
  """One distance of a camera for one key: `radius` within ± prior.radius_std; the number itself
  where that is 0. vmap over keys for a batch."""
  if not prior.radius_std:
    return radius
  return radius + prior.radius_std * jax.random.uniform(key, minval=-1.0)


def yaw_half_range(prior: PosePrior) -> float:
  """Half the range of yaw (two standard deviations of a gaussian), at most π."""
  if prior.name == 'mixture':
    return max(yaw_half_range(component) for component in prior.components)
  return min(prior.yaw_std * (2 if 'gaussian' in prior.name else 1), math.pi)


def goes_round(half_range: float) -> bool:
  """Whether cameras whose azimuths have this half range, in radians, go all the way round."""
  return half_range > math.radians(170)


def mean_pitch(prior: PosePrior) -> float:
  """Mean pitch in radians, π-GAN's angle."""
  if prior.name == 'mixture':
    return sum(
      w * mean_pitch(component)
      for w, component in zip(prior.weights, prior.components, strict=True)
    )
  if prior.name == 'spherical_uniform':
    return math.acos(1 - 2 * min(max(prior.pitch_mean / math.pi, POLE), 1 - POLE))
  return prior.pitch_mean
