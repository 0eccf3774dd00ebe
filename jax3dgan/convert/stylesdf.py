"""StyleSDF's official checkpoints: dicts of state dicts, 'g_ema', 'g' and 'd', of either stage."""

from collections.abc import Callable

from jax3dgan import convert
from jax3dgan.convert import state_dicts, stylesdf_names, training_state, wrapped
from jax3dgan.convert.networks import Checkpoint, Network
from jax3dgan.errors import UserError

_MARK = 'renderer.sigmoid_beta'


def is_generator(value) -> bool:
  """Whether it is a state dict of StyleSDF's generator, of either stage."""
  return wrapped.is_state_dict(value) and _MARK in wrapped.plain_names(value)


def read_checkpoint(
  path, say: Callable[[str], None] = lambda line: None, entry: str | None = None
) -> Checkpoint:
  """Reads a file of the release, or a state dict of its generator.

  Args:
    path: The file.
    say: Called with lines of progress.
    entry: The generator's name in a training state, where several are there.

  Raises:
    UserError: It is not a checkpoint of StyleSDF, is damaged, or has a network of other sizes.
  """
  tree = convert.read(path)
  whole = isinstance(tree, dict) and entry is None
  found = {name: tree.get(name) if whole else None for name in ('g_ema', 'g', 'd')}
  networks = training_state.read(path, tree, found, _RELEASE, say, entry)
  return Checkpoint(*networks, wrapped.step_of(tree), networks[0].notes)


def _generator(path, name: str, state) -> Network:
  weights = state_dicts.of_entry(path, name, state, 'StyleSDF')
  try:
    fields = stylesdf_names.model_fields(weights)
    names = stylesdf_names.generator_names(fields)
    channels = fields['decoder_channels']
    num_noises = 2 * len(channels) - 1 if channels else 0
    params = stylesdf_names.from_official(weights, names, num_noises)
  except UserError as error:
    raise UserError(f'{path}, {name}: {error}') from None
  notes = []
  unused = [value for key, value in weights.items() if stylesdf_names.UNUSED.fullmatch(key)]
  if any(value.any() for value in unused):
    notes.append(
      f'{len(unused)} biases of styled convolutions (decoder.*.bias) are left out, which the '
      'release never adds; --to writes zeros for them.'
    )
  return Network(fields, params, notes=notes)


def _discriminator(path, state) -> Network:
  weights = state_dicts.of_entry(path, 'd', state, 'StyleSDF')
  try:
    fields = stylesdf_names.discriminator_fields(weights)
    names = stylesdf_names.discriminator_names(fields)
    return Network(fields, stylesdf_names.from_official(weights, names))
  except UserError as error:
    raise UserError(f'{path}, d: {error}') from None


_RELEASE = training_state.Release(
  'generator of StyleSDF',
  f'({_MARK}). Give a checkpoint of StyleSDF, of either stage.',
  is_generator,
  _generator,
  _discriminator,
)
