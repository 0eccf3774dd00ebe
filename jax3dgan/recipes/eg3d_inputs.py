"""What a batch of EG3D's fakes is made from: latents, cameras, points where density is compared
(Chan et al., CVPR 2022, Sec. 5 and supplement)."""

import jax
import jax.numpy as jnp

from jax3dgan import cameras
from jax3dgan.cameras import camera_generator
from jax3dgan.devices import parallel
from jax3dgan.losses import density
from jax3dgan.recipes import base, views
from jax3dgan.recipes.base import Inputs
from jax3dgan.training.streams import named_keys

_OF_CAMERAS = ('angles', 'label_noise')  # what `Inputs.extras` have of cameras


def swap_probability(num_images, probability: float, fade: float):
  """How often the mapping network is conditioned on another camera than the one of the rendering.

  Always at first, `probability` after `fade` images, linearly.
  """
  share = jnp.minimum(num_images / fade, 1.0) if fade else 1.0
  return (1 - share) + share * probability


def draw_cameras(keys, config, labels=None, swap=0.0) -> Inputs:
  """Inputs with the cameras of fakes for per-example keys [b]: `camera`, `condition`, `label`.

  Where a pose prior is learned, `extras` has the angles of the given prior, [b, 2, 2], yaw and
  pitch (last axis) of the camera and of the condition: `move_cameras` makes the cameras of them.

  Args:
    labels: [n, 25] cameras of photos, of all devices; None draws from the pose prior.
    swap: Probability of conditioning the mapping network on another camera.
  """
  own, other, choice = (
    named_keys(keys, name) for name in ('camera', 'swapped camera', 'camera swap')
  )
  prior = cameras.pose_prior(**config.pose_prior)

  def camera_labels(keys):
    if labels is not None:
      return labels[jax.vmap(lambda key: jax.random.randint(key, (), 0, len(labels)))(keys)]
    return base.camera_of(config, *base.draw_angles(keys, prior)).label()

  label = camera_labels(own)
  swapped = jax.vmap(jax.random.uniform)(choice) < swap
  condition = jnp.where(swapped[:, None], camera_labels(other), label)
  extras = {}
  if camera_generator.is_learned(config):
    rendered, conditioned = (
      jnp.stack(base.draw_angles(keys, prior), axis=-1) for keys in (own, other)
    )
    conditioned = jnp.where(swapped[:, None], conditioned, rendered)
    extras['angles'] = jnp.stack([rendered, conditioned], axis=1)
  return Inputs(camera=cameras.from_label(label), condition=condition, label=label, extras=extras)


def move_cameras(config, params, inputs: Inputs) -> Inputs:
  """Inputs whose cameras are where a learned pose prior moves them.

  The generator's parameters get a gradient through the cameras that the images are rendered from,
  not through what the mapping network is conditioned on.
  """
  if 'angles' not in inputs.extras:
    return inputs
  prior = camera_generator.pose_prior(config, params)
  angles = inputs.extras['angles']
  yaw, pitch = prior.move(angles[..., 0], angles[..., 1])  # [b, 2]
  camera = base.camera_of(config, yaw[:, 0], pitch[:, 0])
  condition = base.camera_of(config, yaw[:, 1], pitch[:, 1]).label()
  return inputs._replace(
    camera=camera, label=camera.label(), condition=jax.lax.stop_gradient(condition)
  )


def with_views(inputs: Inputs, num_views: int, batch_size: int) -> Inputs:
  """Inputs with further views of each object, by the cameras of other ones, see `views.rolled`;
  what was drawn with a camera goes with it."""
  of_cameras = {'label': inputs.label}
  of_cameras |= {name: inputs.extras[name] for name in _OF_CAMERAS if name in inputs.extras}
  others = views.rolled(of_cameras, num_views, batch_size)
  return inputs._replace(extras={**inputs.extras, views.VIEWS: others})


def view_of(inputs: Inputs, number: int) -> Inputs:
  """Inputs [b] of one view of each object, the first of which is that of the inputs themselves. The
  others have streams of their own."""
  if not number:
    return inputs
  own = jax.tree.map(lambda x: x[:, number - 1], inputs.extras[views.VIEWS])
  label = own.pop('label')

  def of_view(keys):
    return named_keys(keys, f'view {number}') if parallel.are_keys(keys) else keys

  extras = {**inputs.extras, **own}
  if (name := 'augment fakes') in extras:
    extras[name] = of_view(extras[name])
  return inputs._replace(
    camera=cameras.from_label(label), label=label, keys=of_view(inputs.keys), extras=extras
  )


def label_noise(keys, scale: float, labels):
  """Noise [b, 25] of per-example keys [b], in standard deviations of the batch's labels [n, 25]."""
  noise = jax.vmap(lambda key: jax.random.normal(key, labels.shape[1:]))(keys)
  return scale * labels.std(axis=0) * noise


def draw_points(keys, own, box: float) -> dict:
  """Points [b, n, 3] and neighbours of the terms of the density, for `Inputs.extras`.

  Args:
    keys: Per-example keys [b].
    own: `config.eg3d`.
    box: Side of the volume, world units.
  """
  places, steps, front = (named_keys(keys, name) for name in ('points', 'offsets', 'front points'))
  points = density.uniform_points(places, own.density_points)
  std = own.density_std if own.density_kind == 'l1' else box / 256
  drawn = {
    'points': points,
    'neighbours': points + density.normal_offsets(steps, own.density_points, std),
  }
  if own.density_kind == 'monotonic':
    before = density.uniform_points(front, 2 * own.density_points)
    drawn |= {'front': before, 'behind': before + density.backward_offset(box / 256)}
  return drawn
