"""From GRAF's official checkpoints to workdirs, and back to official names."""

import math

from jax3dgan import config as config_lib
from jax3dgan import config_json, discriminators, generators
from jax3dgan.convert import graf, graf_names, networks, official
from jax3dgan.convert import workdir as workdir_lib
from jax3dgan.convert.graf_curricula import azimuth_of, file_of
from jax3dgan.convert.graf_curricula import create as create_config
from jax3dgan.errors import UserError
from jax3dgan.runs import checkpoints

_WHERE = "GRAF's network of these sizes"
# What `graf_names` takes for granted; a run with others has no official form.
_RELEASED = dict(point_frequencies=10, direction_frequencies=4)


def curriculum_of(path, checkpoint: graf.Checkpoint) -> str:
  """Birds have no view direction; the weights of all other data are alike."""
  del path
  return 'carla' if checkpoint.average.fields['view_dependent'] else 'birds'


def config_for(path, curriculum: str, checkpoint: graf.Checkpoint):
  """The config of the workdir.

  Raises:
    UserError: The networks do not go together.
  """
  config = create_config(curriculum)
  fields = dict(checkpoint.average.fields, azimuth=azimuth_of(curriculum))
  config_lib.set_model(config, 'graf', **fields)
  if checkpoint.discriminator is not None:
    config_lib.set_discriminator(config, **checkpoint.discriminator.fields)
    patch = discriminators.create(config.discriminator).resolution
    with config.unlocked():
      config.loss.r1 = 20 / patch**2  # see `recipes.graf.Loss`
      config.resolution = max(config.resolution, patch)
  _check(path, config, checkpoint)
  return config


def _check(path, config, checkpoint: graf.Checkpoint) -> None:
  """Raises a UserError if the parameters are not those of the config's networks."""
  wanted = workdir_lib.initial_shapes(generators.init, generators.create(config))
  found = networks.shapes(checkpoint.average.params)
  official.compare_shapes(path, found, networks.shapes(wanted['params']), _WHERE)
  if (judge := checkpoint.discriminator) is not None:
    module = discriminators.create(config.discriminator)
    wanted = networks.shapes(workdir_lib.initial_shapes(discriminators.init, module))
    found = networks.shapes({'params': judge.params, 'buffers': judge.buffers})
    official.compare_shapes(path, found, wanted, _WHERE)


def step_of(curriculum: str, checkpoint: graf.Checkpoint, config) -> tuple[int, str]:
  """(training step of the file, how it is known)."""
  del curriculum
  if checkpoint.step is not None:
    return checkpoint.step, 'by its own'
  return config.num_steps, f'{config.num_steps:,}: the file says none'


def summary(workdir, curriculum: str, config, step: int, known: str, checkpoint):
  """Lines that describe what was converted and how to continue."""
  model, render = config.model, config.render
  shapes = networks.shapes(checkpoint.average.params)
  num = sum(math.prod(shape) for shape in shapes.values())
  view = 'colours by view direction' if model.view_dependent else 'colours without view direction'
  yield (
    f'Generator: {num:,} parameters (codes {model.shape_dim} + {model.appearance_dim}, '
    f'{model.num_layers} layers of {model.hidden_dim}, {view}).'
  )
  yield f'Step {step:,}: {known}.'
  source = 'generator_test' if checkpoint.generator is not None else 'the only one of the file'
  yield f'EMA {config.ema.display_rate:.6g}: {source}, shown.'
  if checkpoint.discriminator is None:
    yield 'Discriminator: a fresh one, the file has none.'
  else:
    yield f'Discriminator: patches of {4 << len(config.discriminator.channels)}².'
  yield (
    f'Config: {curriculum}, {config.resolution}², {render.num_coarse} samples from {render.near:g} '
    f'to {render.far:g}, field of view {render.fov_degrees:g}°. Weights do not say the data: '
    f'--curriculum does.'
  )
  file = file_of(curriculum)
  plain = config_json.plain(create_config(file.removeprefix('graf_')))
  flags = workdir_lib.flags_between(plain, config)
  yield from workdir_lib.commands(workdir, config, step, f'configs/{file}.py', flags)


def release(workdir, config, weights: str, step: int | None = None) -> workdir_lib.Released:
  """The generator of a workdir in official names, see `runs.release`."""
  model, rate = config.model, str(config.ema.display_rate)
  for name, value in _RELEASED.items():
    if model[name] != value and (name != 'direction_frequencies' or model.view_dependent):
      raise UserError(
        f'{workdir} holds a GRAF with config.model.{name} {model[name]}, which has no official '
        f'form. Give one with {value}.'
      )
  if not 0 < model.skip_layer < model.num_layers:
    raise UserError(
      f'{workdir} holds a GRAF without a skip layer, which has no official form. Give one with '
      'config.model.skip_layer.'
    )
  step, variables = checkpoints.read_variables(
    workdir, generators.create(config), rate if weights == 'ema' else None, step
  )
  named = graf_names.generator_state(variables['params'], model)
  source = f'EMA {rate}' if weights == 'ema' else 'raw weights'
  return workdir_lib.Released(named, step, source, 'Generator')
