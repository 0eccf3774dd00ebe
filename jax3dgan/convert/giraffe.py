"""GIRAFFE's official checkpoints: one state dict 'model' with the generator, its moving average
'generator_test' and the discriminator."""

from collections.abc import Callable

import numpy as np

from jax3dgan import convert
from jax3dgan.convert import giraffe_names, official, state_dicts, wrapped
from jax3dgan.convert.networks import Checkpoint, Network, shapes
from jax3dgan.errors import UserError

_MARK = 'decoder.fc_in.weight'
_AVERAGE, _TRAINED, _JUDGE = 'generator_test', 'generator', 'discriminator'


def is_generator(value) -> bool:
  """Whether it is a state dict with GIRAFFE's generator, alone or in a whole model."""
  return wrapped.is_state_dict(value) and any(
    name.endswith(_MARK) for name in wrapped.plain_names(value)
  )


def read_checkpoint(
  path, say: Callable[[str], None] = lambda line: None, entry: str | None = None
) -> Checkpoint:
  """Reads a file of the release, or a state dict of its generator.

  Args:
    path: The file.
    say: Called with lines of progress.
    entry: The state dict's name in a training state, where several are there.

  Raises:
    UserError: It is not a checkpoint of GIRAFFE, is damaged, or has a network of other sizes.
  """
  tree = convert.read(path)
  chosen = wrapped.choose(path, tree, entry, is_generator, 'model of GIRAFFE')
  if not is_generator(chosen):
    names = wrapped.names_of(chosen)
    if any('conv_img' in name for name in names):
      raise UserError(
        f"{path} is GIRAFFE's 2D baseline, a network without fields, which is not here. Give a "
        'checkpoint of a GIRAFFE, or train the model stylegan2 for a comparison.'
      )
    raise UserError(
      f'{path} has no generator of GIRAFFE ({_MARK}). Give a checkpoint of the release.'
    )
  weights = state_dicts.weights(str(path), chosen)
  parts = {name: _part(weights, name) for name in (_AVERAGE, _TRAINED, _JUDGE)}
  if not (parts[_AVERAGE] or parts[_TRAINED]):
    parts[_AVERAGE] = weights
  shown = _AVERAGE if parts[_AVERAGE] else _TRAINED
  say(f'Checking {", ".join(name for name, part in parts.items() if part)} ...')
  average = _generator(path, shown, parts[shown])
  generator = None
  if shown == _AVERAGE and parts[_TRAINED]:
    generator = _generator(path, _TRAINED, parts[_TRAINED])
    official.compare_shapes(path, shapes(generator.params), shapes(average.params), _AVERAGE)
  judge = _discriminator(path, parts[_JUDGE]) if parts[_JUDGE] else None
  return Checkpoint(average, generator, judge, wrapped.iteration_of(path, tree))


def _part(weights, name: str) -> dict[str, np.ndarray]:
  prefix = f'{name}.'
  return {k.removeprefix(prefix): x for k, x in weights.items() if k.startswith(prefix)}


def _generator(path, name: str, weights) -> Network:
  try:
    fields = giraffe_names.model_fields(weights)
    names = giraffe_names.generator_names(fields)
    return Network(fields, giraffe_names.from_official(weights, names))
  except UserError as error:
    raise UserError(f'{path}, {name}: {error}') from None


def _discriminator(path, weights) -> Network:
  try:
    fields = giraffe_names.discriminator_fields(weights)
    names = giraffe_names.discriminator_names(fields)
    return Network(fields, giraffe_names.from_official(weights, names))
  except UserError as error:
    raise UserError(f'{path}, {_JUDGE}: {error}') from None
