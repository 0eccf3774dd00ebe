"""From StyleNeRF's official checkpoints to workdirs, and back to official names."""

import math

import jax
import jax.numpy as jnp

from jax3dgan import config as config_lib
from jax3dgan import config_json, discriminators
from jax3dgan.convert import networks, stylenerf, stylenerf_generator
from jax3dgan.convert import workdir as workdir_lib
from jax3dgan.convert.stylenerf_curricula import create as create_config
from jax3dgan.convert.stylenerf_curricula import file_of
from jax3dgan.errors import UserError

_WHERE = "StyleNeRF's network of these sizes"
_NOT_TRAINED = ('powers', 'w_average')
_IMAGES = 25_000_000  # of the paper


def curriculum_of(path, checkpoint: stylenerf.Checkpoint) -> str:
  """By the up-sampler: the release doubles the size of cars in another way."""
  del path
  return 'cars' if checkpoint.average.fields['upsampling'] == 'pixelshuffle' else 'ffhq'


def _largest(checkpoint: stylenerf.Checkpoint) -> int:
  """Pixels on a side of the images of fully grown networks."""
  fields = checkpoint.average.fields
  return fields['low_resolution'] << len(fields['channels'])


def config_for(path, curriculum: str, checkpoint: stylenerf.Checkpoint):
  """The config of the workdir: no stages, images of the size that the networks have grown to.

  Raises:
    UserError: The networks do not go together.
  """
  fields, judge, size = checkpoint.average.fields, checkpoint.discriminator, _largest(checkpoint)
  config = create_config(curriculum, size)
  config_lib.set_model(config, 'stylenerf', **fields)
  own = judge.fields if judge else {'name': 'stylenerf', 'channels': config.discriminator.channels}
  config_lib.set_discriminator(config, lowest=max(fields['low_resolution'], 8), **own)
  with config.unlocked():
    config.resolution, config.stages = checkpoint.resolution, ()
    config.loss.fade_steps = 0
    if own.get('pose_dim'):
      config.loss.pose = 1.0
      config.loss.pose_encoding = 'angles' if own['pose_dim'] == 2 else 'direction'
  workdir_lib.check_networks(path, config, checkpoint, _WHERE)
  largest = discriminators.create(config.discriminator).largest
  if largest != size:
    raise UserError(
      f'{path} has a discriminator of {largest}² and a generator of {size}². Give a file of the '
      'release.'
    )
  return config


def step_of(curriculum: str, checkpoint: stylenerf.Checkpoint, config) -> tuple[int, str]:
  """(training step of the file, how it is known)."""
  del curriculum
  if checkpoint.num_images is not None:
    return checkpoint.num_images // config.batch_size, 'by its cur_nimg'
  return _IMAGES // config.batch_size, f"the paper's {_IMAGES // 1000:,} kimg: the file says none"


def summary(workdir, curriculum: str, config, step: int, known: str, checkpoint):
  """Lines that describe what was converted and how to continue."""
  model = config.model
  shapes = networks.shapes(checkpoint.average.params)
  num = sum(math.prod(shape) for key, shape in shapes.items() if key not in _NOT_TRAINED)
  behind = (
    f'a background of codes of {model.background_dim}' if model.background else 'no background'
  )
  yield (
    f'Generator: {num:,} parameters (z {model.latent_dim}, {model.num_layers} layers of '
    f'{model.hidden_dim}, {behind}), {model.low_resolution}² → {config.resolution}² by '
    f"'{model.upsampling}'."
  )
  yield f'Step {step:,}: {known}.'
  yield workdir_lib.about_average(config, checkpoint, 'G_ema')
  if checkpoint.discriminator is None:
    yield 'Discriminator: a fresh one, the file has none.'
  else:
    pose = config.discriminator.pose_dim
    yield f'Discriminator: {_largest(checkpoint)}², {f"pose {pose}" if pose else "no pose"}.'
  file, size = file_of(curriculum, _largest(checkpoint))
  render = config.render
  yield (
    f'Config: {file}, {render.num_coarse}+{render.num_fine} samples, {render.near:g} to '
    f'{render.far:g}, field of view {render.fov_degrees:g}°.'
  )
  for note in checkpoint.notes:
    yield f'Note: {note}'
  plain = config_json.plain(create_config(curriculum, size))
  flags = workdir_lib.flags_between(plain, config)
  yield from workdir_lib.commands(workdir, config, step, f'configs/{file}.py', flags)


def release(workdir, config, weights: str, step: int | None = None) -> workdir_lib.Released:
  """The generator of a workdir in official names, see `runs.release`."""
  model = config.model
  if not model.channels:
    raise UserError(
      f'{workdir} holds a StyleNeRF without an up-sampler, which has no official form. Give one '
      'with config.model.channels.'
    )
  step, variables, source = workdir_lib.read_generator(workdir, config, weights, step)
  tree = {**variables['params'], **variables['buffers']}
  if model.density_gain != 1:  # a factor that only ours has
    density = tree['foreground']['density']
    scaled = {key: density[key] * model.density_gain for key in ('kernel', 'bias')}
    tree['foreground'] = {**tree['foreground'], 'density': {**density, **scaled}}
  named = stylenerf_generator.generator_state(jax.tree.map(jnp.asarray, tree), dict(model))
  return workdir_lib.Released(named, step, source, 'Generator')
