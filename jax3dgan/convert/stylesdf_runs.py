"""From StyleSDF's official checkpoints to workdirs, and back to official names."""

import math

import numpy as np

from jax3dgan import config as config_lib
from jax3dgan import config_json, discriminators
from jax3dgan.convert import networks, stylesdf, stylesdf_names
from jax3dgan.convert import workdir as workdir_lib
from jax3dgan.convert.stylesdf_curricula import create as create_config
from jax3dgan.convert.stylesdf_curricula import file_of
from jax3dgan.errors import UserError
from jax3dgan.fields import signed_distance

_WHERE = "StyleSDF's network of these sizes"


def curriculum_of(path, checkpoint: stylesdf.Checkpoint) -> str:
  """By the size of the pictures: the release has animals at 512², and faces at other sizes."""
  del path
  return 'afhq' if _size(checkpoint) == 512 else 'ffhq'


def _size(checkpoint) -> int | None:
  """Pixels on a side of the pictures; None where nothing says it."""
  fields = checkpoint.average.fields
  if num := len(fields['decoder_channels']):
    return fields['low_resolution'] << (num - 1)
  judge = checkpoint.discriminator
  return 2 ** len(judge.fields['channels']) if judge else None


def config_for(path, curriculum: str, checkpoint: stylesdf.Checkpoint):
  """The config of the workdir.

  Raises:
    UserError: The networks do not go together.
  """
  fields, judge = checkpoint.average.fields, checkpoint.discriminator
  stage1 = not fields['decoder_channels']
  resolution = _size(checkpoint) or 64
  config = create_config(curriculum, stage1, resolution)
  scale = 2 / (config.render.far - config.render.near)
  # As the config has it, to the last digit, which a run that goes on compares.
  scale = config.model.input_scale if math.isclose(scale, config.model.input_scale) else scale
  config_lib.set_model(config, 'stylesdf', input_scale=scale, **fields)
  if judge is not None:
    if judge.fields['name'] != config.discriminator.name:
      raise UserError(
        f"{path}: d is a discriminator '{judge.fields['name']}', which is of the other stage than "
        'the generator. Give a file of the release.'
      )
    config_lib.set_discriminator(config, **judge.fields)
  workdir_lib.check_networks(path, config, checkpoint, _WHERE)
  size = discriminators.create(config.discriminator).resolution
  if judge is not None and size != config.resolution:
    raise UserError(
      f'{path} has a discriminator of {size}² and a generator of {config.resolution}². Give a file '
      'of the release.'
    )
  return config


step_of = workdir_lib.step_of


def summary(workdir, curriculum: str, config, step: int, known: str, checkpoint):
  """Lines that describe what was converted and how to continue."""
  model = config.model
  shapes = networks.shapes(checkpoint.average.params)
  num = sum(math.prod(shape) for key, shape in shapes.items() if key != 'noise_const')
  beta = float(checkpoint.average.params['field']['beta'])
  decoder = f'{model.low_resolution}² → ' if model.decoder_channels else 'without a decoder, '
  yield (
    f'Generator: {num:,} parameters (z {model.z_dim}, {model.num_layers} layers of '
    f'{model.hidden_dim}), {decoder}{config.resolution}², β {beta:.3g}.'
  )
  yield f'Step {step:,}: {known}.'
  yield workdir_lib.about_average(config, checkpoint, 'g_ema')
  if checkpoint.discriminator is None:
    yield 'Discriminator: a fresh one, the file has none.'
  else:
    yield f'Discriminator: {config.discriminator.name}, {config.resolution}².'
  prior, render = config.pose_prior, config.render
  yield (
    f'Config: {file_of(curriculum, config)}, {render.num_coarse} samples from {render.near:g} to '
    f'{render.far:g}, field of view {render.fov_degrees:g}°, azimuth ±{prior.yaw_std:g}.'
  )
  for note in checkpoint.notes:
    yield f'Note: {note}'
  file = file_of(curriculum, config)
  size = config.resolution if file.endswith(str(config.resolution)) else None
  plain = config_json.plain(create_config(curriculum, not model.decoder_channels, size))
  flags = workdir_lib.flags_between(plain, config)
  yield from workdir_lib.commands(workdir, config, step, f'configs/{file}.py', flags)


def release(workdir, config, weights: str, step: int | None = None) -> workdir_lib.Released:
  """The generator of a workdir in official names, see `runs.release`."""
  step, variables, source = workdir_lib.read_generator(workdir, config, weights, step)
  tree = {**variables['params'], **variables.get('buffers', {})}
  # The release scales points by 2/(far − near), whatever our field does.
  scale = config.model.input_scale * (config.render.far - config.render.near) / 2
  if not math.isclose(scale, 1, rel_tol=1e-6):
    first = np.asarray(tree['field']['film_0_kernel']) * np.float32(scale)
    tree['field'] = {**tree['field'], 'film_0_kernel': first}
  if floor := config.model.beta_floor:  # there, β has none
    beta = signed_distance.width(tree['field']['beta'], floor)
    tree['field'] = {**tree['field'], 'beta': np.asarray(beta)}
  named = stylesdf_names.generator_state(tree, config.model)
  return workdir_lib.Released(named, step, source, 'Generator')
