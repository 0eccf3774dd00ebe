"""From GRAF's official checkpoints to workdirs, and back to official names."""

import math

from jax3dgan import config as config_lib
from jax3dgan import config_json, discriminators
from jax3dgan.convert import graf, graf_names, networks
from jax3dgan.convert import workdir as workdir_lib
from jax3dgan.convert.graf_curricula import azimuth_of, file_of
from jax3dgan.convert.graf_curricula import create as create_config
from jax3dgan.errors import UserError

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
  workdir_lib.check_networks(path, config, checkpoint, _WHERE)
  return config


step_of = workdir_lib.step_of


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
  yield workdir_lib.about_average(config, checkpoint)
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
  model = config.model
  unused = () if model.view_dependent else ('direction_frequencies',)
  values = {name: value for name, value in _RELEASED.items() if name not in unused}
  workdir_lib.check_released(workdir, model, values, 'GRAF')
  if not 0 < model.skip_layer < model.num_layers:
    raise UserError(
      f'{workdir} holds a GRAF without a skip layer, which has no official form. Give one with '
      'config.model.skip_layer.'
    )
  step, variables, source = workdir_lib.read_generator(workdir, config, weights, step)
  named = graf_names.generator_state(variables['params'], model)
  return workdir_lib.Released(named, step, source, 'Generator')
