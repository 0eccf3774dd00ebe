"""From Exp-GAN's official checkpoints to workdirs, and back to official names."""

import math

import numpy as np

from jax3dgan import config as config_lib
from jax3dgan import config_json, generators
from jax3dgan.convert import expgan, networks
from jax3dgan.convert import workdir as workdir_lib
from jax3dgan.convert.expgan_curricula import create as create_config
from jax3dgan.convert.expgan_curricula import file_of
from jax3dgan.errors import UserError
from jax3dgan.generators import expgan_faces

_WHERE = "Exp-GAN's network of these sizes"


def curriculum_of(path, checkpoint: expgan.Checkpoint) -> str:
  """The release has one."""
  del path, checkpoint
  return 'ffhq256'


def config_for(path, curriculum: str, checkpoint: expgan.Checkpoint):
  """The config of the workdir; the generators get their buffers of the face model.

  Raises:
    UserError: The networks do not go together, or the face model has other codes than they.
  """
  config = create_config(curriculum)
  fields, distance = checkpoint.average.fields, config.model.orthographic
  config_lib.set_model(config, 'expgan', orthographic=distance, **fields)
  with config.unlocked():
    if checkpoint.face_model:
      config.expgan.face_model = checkpoint.face_model
    if (judge := checkpoint.discriminator) is not None:
      config_lib.set_discriminator(config, **judge.fields)
    else:
      sizes = dict(expression_dim=fields['num_expression'], identity_dim=fields['num_identity'])
      config.discriminator.update(sizes, low_resolution=fields['low_resolution'])
    config.resolution = fields['low_resolution'] << (len(fields['up_channels']) - 1)
  _add_face(config, checkpoint)
  workdir_lib.check_networks(path, config, checkpoint, _WHERE)
  return config


def _add_face(config, checkpoint) -> None:
  generator = generators.create(config)
  if checkpoint.face_model:
    own = config.expgan
    found, numbers, path = expgan_faces.read(
      generator, own.face_model, '', own.face_scale, own.face_offset
    )
    for name in ('jaw', 'num_identity', 'num_expression'):
      if numbers[name] != config.model[name]:
        raise UserError(
          f'The face model {path} has {name} {numbers[name]}, and the checkpoint '
          f'{config.model[name]}. Give the one that it was trained with.'
        )
    config.model.update(numbers)
  else:
    shapes = expgan_faces.shapes(generator)
    found = {name: np.zeros(shape, dtype) for name, (shape, dtype) in shapes.items()}
  for network in (checkpoint.average, checkpoint.generator):
    if network is not None:
      network.params |= found


step_of = workdir_lib.step_of


def summary(workdir, curriculum: str, config, step: int, known: str, checkpoint):
  """Lines that describe what was converted and how to continue."""
  model = config.model
  face = {*expgan_faces.shapes(generators.create(config)), 'w_average'}
  shapes = networks.shapes(checkpoint.average.params)
  num = sum(math.prod(shape) for key, shape in shapes.items() if key not in face)
  yield (
    f'Generator: {num:,} parameters (z {model.latent_dim}, codes of {model.num_identity} and '
    f'{model.num_expression}), {model.low_resolution}² → '
    f'{config.resolution}².'
  )
  yield f'Step {step:,}: {known}.'
  yield workdir_lib.about_average(config, checkpoint, expgan.AVERAGE)
  if checkpoint.discriminator is None:
    yield 'Discriminators: fresh ones, the file has none.'
  else:
    yield f'Discriminators: {config.resolution}² and {model.low_resolution}².'
  yield f'Config: {file_of(curriculum)}, orthographic cameras.'
  if model.num_triangles:
    yield f'Face model: {model.num_triangles:,} triangles of {config.expgan.face_model}.'
  else:
    yield (
      'Note: without --face_model, a file of FLAME (docs/morphable.md), pictures show the volume '
      'without the face, and seeds have no codes.'
    )
  for note in checkpoint.notes:
    yield f'Note: {note}'
  plain = config_json.plain(create_config(curriculum))
  flags = workdir_lib.flags_between(plain, config)
  yield from workdir_lib.commands(workdir, config, step, f'configs/{file_of(curriculum)}.py', flags)


def release(workdir, config, weights: str, step: int | None = None) -> workdir_lib.Released:
  """The generator of a workdir in official names, see `runs.release`."""
  model = config.model
  inputs = range(model.num_expression - expgan.JAW, model.num_expression)
  told = dict(jaw=True, identity_inputs=model.num_identity, expression_inputs=tuple(inputs))
  fixed = dict(box_half=(2.5, 2.0, 2.5), box_centre=(0.0, 0.0, -2.0), clamp=256.0)
  workdir_lib.check_released(workdir, model, told | fixed, 'Exp-GAN')
  if not (model.orthographic and model.up_channels):
    raise UserError(
      f'{workdir} holds an Exp-GAN with perspective cameras or without an up-sampler, which has no '
      'official form.'
    )
  step, variables, source = workdir_lib.read_generator(workdir, config, weights, step)
  named = expgan.generator_state({**variables['params'], **variables['buffers']}, model)
  return workdir_lib.Released(named, step, source, 'Generator')
