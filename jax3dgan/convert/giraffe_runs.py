"""From GIRAFFE's official checkpoints to workdirs, and back to official names."""

import math

from jax3dgan import config as config_lib
from jax3dgan import config_json, discriminators, generators
from jax3dgan.convert import giraffe, giraffe_names, networks, official
from jax3dgan.convert import workdir as workdir_lib
from jax3dgan.convert.giraffe_curricula import create as create_config
from jax3dgan.convert.giraffe_curricula import file_of
from jax3dgan.errors import UserError
from jax3dgan.runs import checkpoints

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
  _check(path, config, checkpoint)
  return config


def _check(path, config, checkpoint: giraffe.Checkpoint) -> None:
  """Raises a UserError if the parameters are not those of the config's networks."""
  wanted = workdir_lib.initial_shapes(generators.init, generators.create(config))
  found = networks.shapes(checkpoint.average.params)
  official.compare_shapes(path, found, networks.shapes(wanted['params']), _WHERE)
  if (judge := checkpoint.discriminator) is not None:
    module = discriminators.create(config.discriminator)
    wanted = workdir_lib.initial_shapes(discriminators.init_params, module)
    official.compare_shapes(path, networks.shapes(judge.params), networks.shapes(wanted), _WHERE)
    module.check_resolution(config.resolution, '')


def step_of(curriculum: str, checkpoint: giraffe.Checkpoint, config) -> tuple[int, str]:
  """(training step of the file, how it is known)."""
  del curriculum
  if checkpoint.step is not None:
    return checkpoint.step, 'by its own'
  return config.num_steps, f'{config.num_steps:,}: the file says none'


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
  source = 'generator_test' if checkpoint.generator is not None else 'the only one of the file'
  yield f'EMA {config.ema.display_rate:.6g}: {source}, shown.'
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
  model, rate = config.model, str(config.ema.display_rate)
  for name, value in _RELEASED.items():
    if model[name] != value:
      raise UserError(
        f'{workdir} holds a GIRAFFE with config.model.{name} {model[name]}, which has no official '
        f'form. Give one with {value}.'
      )
  step, variables = checkpoints.read_variables(
    workdir, generators.create(config), rate if weights == 'ema' else None, step
  )
  named = giraffe_names.generator_state(variables['params'], model)
  source = f'EMA {rate}' if weights == 'ema' else 'raw weights'
  return workdir_lib.Released(named, step, source, 'Generator')
