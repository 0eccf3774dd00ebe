"""StyleSDF's official checkpoints: dicts of state dicts, 'g_ema', 'g' and 'd', of either stage."""

from collections.abc import Callable

from jax3dgan import convert
from jax3dgan.convert import official, state_dicts, stylesdf_names, wrapped
from jax3dgan.convert.networks import Checkpoint, Network, shapes
from jax3dgan.errors import UserError

_MARK = 'renderer.sigmoid_beta'
_WHAT = 'generator of StyleSDF'


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
  otherwise = f'({_MARK}). Give a checkpoint of StyleSDF, of either stage.'
  shown = wrapped.shown_generator(path, tree, entry, found, is_generator, _WHAT, otherwise)
  say(f'Checking {", ".join(name for name, value in found.items() if value)} ...')
  notes: list[str] = []
  average = _generator(path, shown, found[shown], notes)
  generator = None
  if shown == 'g_ema' and is_generator(found['g']):
    generator = _generator(path, 'g', found['g'], [])
    official.compare_shapes(path, shapes(generator.params), shapes(average.params), 'g_ema')
  discriminator = _discriminator(path, found['d']) if found['d'] is not None else None
  return Checkpoint(average, generator, discriminator, wrapped.step_of(tree), notes)


def _generator(path, name: str, state, notes: list[str]) -> Network:
  weights = state_dicts.of_entry(path, name, state, 'StyleSDF')
  try:
    fields = stylesdf_names.model_fields(weights)
    names = stylesdf_names.generator_names(fields)
    channels = fields['decoder_channels']
    num_noises = 2 * len(channels) - 1 if channels else 0
    params = stylesdf_names.from_official(weights, names, num_noises)
  except UserError as error:
    raise UserError(f'{path}, {name}: {error}') from None
  unused = [value for key, value in weights.items() if stylesdf_names.UNUSED.fullmatch(key)]
  if any(value.any() for value in unused):
    notes.append(
      f'{len(unused)} biases of styled convolutions (decoder.*.bias) are left out, which the '
      'release never adds; --to writes zeros for them.'
    )
  return Network(fields, params)


def _discriminator(path, state) -> Network:
  weights = state_dicts.of_entry(path, 'd', state, 'StyleSDF')
  try:
    fields = stylesdf_names.discriminator_fields(weights)
    names = stylesdf_names.discriminator_names(fields)
    return Network(fields, stylesdf_names.from_official(weights, names))
  except UserError as error:
    raise UserError(f'{path}, d: {error}') from None
