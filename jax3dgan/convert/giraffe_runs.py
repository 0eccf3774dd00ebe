"""From GIRAFFE's official checkpoints to workdirs, and back to official names."""

import math

from jax3dgan import config as config_lib
from jax3dgan import config_json, discriminators
from jax3dgan.convert import giraffe, giraffe_names, networks
from jax3dgan.convert import workdir as workdir_lib
from jax3dgan.convert.giraffe_curricula import create as create_config
from jax3dgan.convert.giraffe_curricula import file_of

_WHERE = "GIRAFFE's network of these sizes"
# What `giraffe_names` takes for granted; a run with others has no official form.
_RELEASED = dict(point_frequencies=10, direction_frequencies=4, skip=4)


def curriculum_of(path, checkpoint: giraffe.Checkpoint) -> str:
  """Scenes of many objects have narrow networks; the weights of all other data are alike."""
  del path
  fields = checkpoint.average.fields
  if fields['hidden_dim'] == 64:
    return 'clevr'
  return 'cars' if len(fields['channels']) > 2 else 'celeba'


def config_for(path, curriculum: str, checkpoint: giraffe.Checkpoint):
  """The config of the workdir.

  Raises:
    UserError: The networks do not go together.
  """
  fields, judge = checkpoint.average.fields, checkpoint.discriminator
  config = create_config(curriculum, 16 << len(fields['channels']))
  with config.unlocked():
    config.model.update(fields)
    if judge is not None:
      config_lib.set_discriminator(config, **judge.fields)
  workdir_lib.check_networks(path, config, checkpoint, _WHERE)
  if judge is not None:
    discriminators.create(config.discriminator).check_resolution(config.resolution, '')
  return config


step_of = workdir_lib.step_of


def summary(workdir, curriculum: str, config, step: int, known: str, checkpoint):
  """Lines that describe what was converted and how to continue."""
  model = config.model
  shapes = networks.shapes(checkpoint.average.params)
  num = sum(math.prod(shape) for shape in shapes.values())
  yield (
    f'Generator: {num:,} parameters (codes of {model.latent_dim}, {model.num_layers} layers of '
    f'{model.hidden_dim}, {model.num_objects} object{"s" * (model.num_objects > 1)}), '
    f'{config.resolution}².'
  )
  yield f'Step {step:,}: {known}.'
  yield workdir_lib.about_average(config, checkpoint)
  if checkpoint.discriminator is None:
    yield 'Discriminator: a fresh one, the file has none.'
  else:
    yield f'Discriminator: images of {config.resolution}².'
  yield (
    f'Config: {curriculum}. Weights do not say where objects are: --curriculum does, and flags '
    'such as --config.model.turns.'
  )
  plain = config_json.plain(create_config(file_of(curriculum).removeprefix('giraffe_')))
  flags = workdir_lib.flags_between(plain, config)
  yield from workdir_lib.commands(workdir, config, step, f'configs/{file_of(curriculum)}.py', flags)


def release(workdir, config, weights: str, step: int | None = None) -> workdir_lib.Released:
  """The generator of a workdir in official names, see `runs.release`."""
  model = config.model
  workdir_lib.check_released(workdir, model, _RELEASED, 'GIRAFFE')
  step, variables, source = workdir_lib.read_generator(workdir, config, weights, step)
  named = giraffe_names.generator_state(variables['params'], model)
  return workdir_lib.Released(named, step, source, 'Generator')
