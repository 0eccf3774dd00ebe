"""From GGHead's official checkpoints to workdirs, and back to official names."""

import math

from jax3dgan import config as config_lib
from jax3dgan import config_json, discriminators
from jax3dgan.convert import gghead_names, networks
from jax3dgan.convert import workdir as workdir_lib
from jax3dgan.convert.gghead_curricula import create as create_config
from jax3dgan.convert.gghead_curricula import file_of
from jax3dgan.errors import UserError

_WHERE = "GGHead's network of these sizes"
_NOT_TRAINED = ('w_average', 'noise_const', 'template_points', 'template_places')


def curriculum_of(path, checkpoint: networks.Checkpoint) -> str:
  """By the number of Gaussians: the second stage has 512² points of a map, some of which are not on
  the template."""
  del path
  return 'ffhq512' if checkpoint.average.fields['num_given'] > 256**2 else 'ffhq256'


def config_for(path, curriculum: str, checkpoint: networks.Checkpoint):
  """The config of the workdir.

  Raises:
    UserError: The networks do not go together.
  """
  config = create_config(curriculum)
  config_lib.set_model(config, 'gghead', **checkpoint.average.fields)
  with config.unlocked():
    config.init_from = ''
  if (judge := checkpoint.discriminator) is not None:
    config_lib.set_discriminator(config, **judge.fields)
    with config.unlocked():
      config.resolution = discriminators.create(config.discriminator).resolution
  workdir_lib.check_networks(path, config, checkpoint, _WHERE)
  return config


step_of = workdir_lib.step_of


def summary(workdir, curriculum: str, config, step: int, known: str, checkpoint):
  """Lines that describe what was converted and how to continue."""
  model = config.model
  shapes = networks.shapes(checkpoint.average.params)
  num = sum(math.prod(shape) for key, shape in shapes.items() if key not in _NOT_TRAINED)
  told = 'told the camera' if model.label_dim else 'not told the camera'
  yield (
    f'Generator: {num:,} parameters (z {model.z_dim}, maps of {4 << (len(model.channels) - 1)}², '
    f'{model.num_given:,} Gaussians, colours of degree {model.sh_degree}, {told}).'
  )
  yield f'Step {step:,}: {known}.'
  yield workdir_lib.about_average(config, checkpoint, 'G_ema')
  if checkpoint.discriminator is None:
    yield 'Discriminator: a fresh one, the file has none.'
  else:
    yield f'Discriminator: {config.resolution}².'
  yield f'Config: {file_of(curriculum)}, {config.resolution}².'
  yield (
    'Note: pixels do not end at a transmittance of 1e-4 as in the release, which changes them by '
    'less than .01; --config.model.compat_stop=True does it.'
  )
  plain = config_json.plain(create_config(curriculum))
  flags = workdir_lib.flags_between(plain, config)
  yield from workdir_lib.commands(workdir, config, step, f'configs/{file_of(curriculum)}.py', flags)


def release(workdir, config, weights: str, step: int | None = None) -> workdir_lib.Released:
  """The generator of a workdir in official names, see `runs.release`."""
  model = config.model
  workdir_lib.check_released(workdir, model, gghead_names.RELEASED, 'GGHead')
  if model.opacity_bias or model.scale_floor or any(gain != 1 for gain in model.gains):
    raise UserError(
      f'{workdir} holds a GGHead with an opacity_bias, a scale_floor or gains, which have no '
      'official form.'
    )
  step, variables, source = workdir_lib.read_generator(workdir, config, weights, step)
  named = gghead_names.generator_state({**variables['params'], **variables['buffers']})
  return workdir_lib.Released(named, step, source, 'Generator')
