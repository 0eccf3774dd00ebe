"""What a batch of EG3D's fakes is made from: latents, cameras, points where density is compared
(Chan et al., CVPR 2022, Sec. 5 and supplement).

Every random number is of a per-example key, folded with the number of its stream.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jax3dgan import cameras
from jax3dgan.cameras import camera_generator
from jax3dgan.losses import density

GENERATOR, DENSITY, DISCRIMINATOR, AUGMENT, LABEL_NOISE = 0, 1, 2, 3, 4


class Inputs(NamedTuple):
  """What a batch of fakes is made from.

  Attributes:
    z: [b, z_dim] latents.
    label: [b, 25] the cameras.
    condition: [b, 25] what the mapping network is told of them.
    rendering: per-example keys [b], or `hierarchical.Draws`.
    angles: [b, 2, 2] yaw and pitch (last) of `label` and `condition`, still of the given pose
      prior, where a learned one moves them; else None.
    noise: [b, 25] what is added to the label that the discriminator is told; None for nothing.
  """

  z: jax.Array
  label: jax.Array
  condition: jax.Array
  rendering: Any
  angles: Any = None
  noise: Any = None


def swap_probability(num_images, probability: float, fade: float):
  """How often the mapping network is told another camera than the one that it is seen from.

  From always at first to `probability` after `fade` images.
  """
  share = jnp.minimum(num_images / fade, 1.0) if fade else 1.0
  return (1 - share) + share * probability


def draw_inputs(keys, stream: int, config, z_dim: int, labels=None, swap=0.0) -> Inputs:
  """Inputs of the fakes of a stream for per-example keys [b].

  Args:
    labels: [n, 25] cameras of photos, of all devices; None draws from the pose prior.
    swap: probability of telling the mapping network another camera.
  """
  keys = jax.vmap(lambda key: jax.random.fold_in(key, stream))(keys)
  z_keys, own, other, choice, render_keys = jnp.moveaxis(
    jax.vmap(lambda key: jax.random.split(key, 5))(keys), 1, 0
  )
  z = jax.vmap(lambda key: jax.random.normal(key, (z_dim,)))(z_keys)

  def angles_of(keys):
    prior = cameras.pose_prior(**config.pose_prior)
    return jax.vmap(functools.partial(cameras.sample_angles, prior))(keys)

  def camera_labels(keys):
    if labels is not None:
      return labels[jax.vmap(lambda key: jax.random.randint(key, (), 0, len(labels)))(keys)]
    return _label(config, *angles_of(keys))

  label = camera_labels(own)
  swapped = jax.vmap(jax.random.uniform)(choice) < swap
  condition = jnp.where(swapped[:, None], camera_labels(other), label)
  angles, noise = None, None
  if camera_generator.is_learned(config):
    seen, told = (jnp.stack(angles_of(keys), axis=-1) for keys in (own, other))
    angles = jnp.stack([seen, jnp.where(swapped[:, None], told, seen)], axis=1)
  if config.eg3d.label_noise and labels is not None:
    noise = label_noise(keys, config, labels)
  return Inputs(z, label, condition, render_keys, angles, noise)


def _label(config, yaw, pitch):
  """The cameras [b, 25] of a config by their angles [b]."""
  render = config.render
  return cameras.from_yaw_pitch(
    yaw, pitch, render.radius, render.fov_degrees, tuple(render.pivot)
  ).label()


def label_noise(keys, config, labels):
  """Noise [b, 25] of per-example keys [b], in deviations of the labels [n, 25] of the batch."""
  keys = jax.vmap(lambda key: jax.random.fold_in(key, LABEL_NOISE))(keys)
  noise = jax.vmap(lambda key: jax.random.normal(key, labels.shape[1:]))(keys)
  return config.eg3d.label_noise * labels.std(axis=0) * noise


def placed(config, params, inputs: Inputs) -> Inputs:
  """Inputs whose cameras are where a learned pose prior moves them.

  The generator's parameters get a gradient through the cameras that the pictures are seen from, not
  through what the mapping network is told.
  """
  if inputs.angles is None:
    return inputs
  prior = camera_generator.pose_prior(config, params)
  yaw, pitch = prior.move(inputs.angles[..., 0], inputs.angles[..., 1])
  seen, told = (_label(config, yaw[:, i], pitch[:, i]) for i in (0, 1))
  return inputs._replace(label=seen, condition=jax.lax.stop_gradient(told), angles=None)


def draw_points(keys, config, box: float):
  """Points and their neighbours, ([b, n, 3], ...) each, for the terms of the density.

  The last are of 'l1'; 'monotonic' has some more before them.
  """
  keys = jax.vmap(lambda key: jax.random.split(jax.random.fold_in(key, DENSITY), 3))(keys)
  own = config.eg3d
  points = density.uniform_points(keys[:, 0], own.density_points)
  if own.density_kind == 'l1':
    return (points,), (
      points + density.normal_offsets(keys[:, 1], own.density_points, own.density_std),
    )
  front = density.uniform_points(keys[:, 2], 2 * own.density_points)
  near = points + density.normal_offsets(keys[:, 1], own.density_points, box / 256)
  return (front, points), (front + density.backward_offset(box / 256), near)
