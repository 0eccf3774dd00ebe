"""From EG3D's official checkpoints to workdirs, and back to official names."""

import math

import numpy as np

from jax3dgan import config as config_lib
from jax3dgan import config_json, discriminators, generators
from jax3dgan.cameras import camera_generator
from jax3dgan.convert import (
  eg3d,
  eg3d_curricula,
  eg3d_generator,
  eg3d_rendering,
  networks,
  values,
)
from jax3dgan.convert import workdir as workdir_lib
from jax3dgan.errors import UserError
from jax3dgan.nn import stylegan2

# Thousands of training images of the released checkpoints, which do not contain it.
_THOUSANDS = {'ffhq': 25_000, 'afhq': 31_000, 'shapenet_cars': 25_000}
_NOT_TRAINED = ('noise_const', 'w_average')
_THOUSANDS_AT_128 = 2_500  # additional ones, if 64² was followed by 128²


def curriculum_of(path, checkpoint: eg3d.Checkpoint) -> str:
  """The curriculum with the cameras of the file; UserError if it has none of them."""
  found = eg3d_rendering.family_of(checkpoint.rendering)
  if found is None:
    raise UserError(
      f'{path} looks at {values.show(str(checkpoint.rendering.get("avg_camera_pivot")))}, which is '
      'none of the release, so the field of view is not known. Give --curriculum=ffhq, afhq or '
      'shapenet_cars.'
    )
  return found


def config_for(path, curriculum: str, checkpoint: eg3d.Checkpoint):
  """The config of the workdir.

  Raises:
    UserError: Settings of the file contradict each other, or are not supported.
  """
  config = eg3d_curricula.create(curriculum)
  family, average = config.to_dict(), checkpoint.average
  low = checkpoint.low_resolution
  config_lib.set_model(config, 'eg3d', **average.fields, low_resolution=low)
  if checkpoint.discriminator is not None:
    config_lib.set_discriminator(config, **checkpoint.discriminator.fields)
  render = eg3d_rendering.render_fields(path, checkpoint.rendering, family['render'])
  resolution = generators.create(config).resolution or low
  if low > (average.fields.get('super_input') or low) and not checkpoint.rendering.get(
    'sr_antialias', True
  ):
    raise UserError(
      f'{path} makes renderings of {low}² smaller without a filter (sr_antialias), which is not '
      'supported. Give a checkpoint of the release.'
    )
  with config.unlocked():
    config.resolution = resolution
    config.stages = ()
    config.render.update(render, low_resolution=low)
    config.display.update(num_coarse=2 * render['num_coarse'], num_fine=2 * render['num_fine'])
    if checkpoint.discriminator is None:
      sizes = config.resolution.bit_length() - 2
      config.discriminator.channels = stylegan2.channels_of(4 << (sizes - 1))
  _check(path, config, checkpoint)
  return config


def _check(path, config, checkpoint: eg3d.Checkpoint) -> None:
  """Raises a UserError if the parameters are not those of the config's networks."""
  workdir_lib.check_networks(path, config, checkpoint, "EG3D's network of these sizes")
  said = checkpoint.average.module.attributes().get('img_resolution', config.resolution)
  if said != config.resolution:
    raise UserError(
      f'{path} says img_resolution {values.show(said)}, but makes {config.resolution}². '
      f'{values.DAMAGED}'
    )
  discriminator = discriminators.create(config.discriminator)
  if discriminator.resolution != config.resolution:
    raise UserError(
      f'{path} has a discriminator of {discriminator.resolution}² and a generator of '
      f'{config.resolution}². {values.DAMAGED}'
    )


def step_of(curriculum: str, checkpoint: eg3d.Checkpoint, config) -> tuple[int, str]:
  """(training step of the file, how it is known)."""
  if checkpoint.num_images is not None:
    return checkpoint.num_images // config.batch_size, 'by its cur_nimg'
  thousands = _THOUSANDS[curriculum]
  if curriculum != 'shapenet_cars' and checkpoint.low_resolution > 64:
    thousands += _THOUSANDS_AT_128
  return thousands * 1000 // config.batch_size, f"the paper's {thousands:,} kimg: it says none"


def summary(workdir, curriculum: str, config, step: int, known: str, checkpoint):
  """Lines that describe what was converted and how to continue."""
  model, render = config.model, config.render
  average = checkpoint.average.params
  shapes = networks.shapes(average)
  num = sum(math.prod(shape) for key, shape in shapes.items() if key not in _NOT_TRAINED)
  camera = 'on the camera' if model.label_dim and model.label_scale else 'on no camera'
  yield (
    f'Generator: {checkpoint.average.module.cls.name}, {num:,} parameters (z {model.z_dim}, w '
    f'{model.w_dim}, planes of {4 << (len(model.channels) - 1)}² x {model.plane_features}, '
    f"'{model.plane_axes}' axes), conditioned {camera}, {render.low_resolution}² → "
    f'{config.resolution}².'
  )
  yield f'Step {step:,}: {known}.'
  yield workdir_lib.about_average(config, checkpoint, 'G_ema')
  if checkpoint.generator is not None:
    pairs = ((checkpoint.generator.params[name], average[name]) for name in _NOT_TRAINED)
    if not all(np.array_equal(own, averaged) for own, averaged in pairs):
      yield "Note: the buffers of G (running mean, noise) differ from G_ema's, which serve both."
  if checkpoint.discriminator is None:
    yield 'Discriminator: a fresh one, the file has none.'
  else:
    fields = config.discriminator
    size = 4 << (len(fields.channels) - 1)
    yield f'Discriminator: {fields.name}, {size}², label {fields.label_dim}.'
  ends = f'the cube of side {render.box:g}' if render.box else f'{render.near:g} to {render.far:g}'
  yield (
    f'Config: eg3d_{curriculum}, {render.num_coarse}+{render.num_fine} samples, {ends}, radius '
    f'{render.radius:g}, pivot {tuple(render.pivot)}, field of view {render.fov_degrees:.4g}°.'
  )
  for note in checkpoint.notes:
    yield f'Note: {note}'
  file = config_json.plain(eg3d_curricula.create(curriculum))
  yield from workdir_lib.commands(
    workdir, config, step, f'configs/eg3d_{curriculum}.py', workdir_lib.flags_between(file, config)
  )


def release(workdir, config, weights: str, step: int | None = None) -> workdir_lib.Released:
  """The generator of a workdir in official names, see `runs.release`."""
  workdir_lib.check_released(workdir, config.model, dict(separable=False), 'EG3D')
  step, variables, source = workdir_lib.read_generator(workdir, config, weights, step)
  params = {**variables['params'], **variables['buffers']}
  params = {name: value for name, value in params.items() if name != camera_generator.PARAMS}
  named = eg3d_generator.generator_state(params, config.model.super_ups)
  return workdir_lib.Released(named, step, source, 'TriPlaneGenerator')
