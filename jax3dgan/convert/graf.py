"""GRAF's official checkpoints: dicts of state dicts, 'generator_test' (the moving average),
'generator' and 'discriminator'."""

from collections.abc import Callable

from jax3dgan import convert
from jax3dgan.convert import graf_names, state_dicts, training_state, wrapped
from jax3dgan.convert.networks import Checkpoint, Network
from jax3dgan.errors import UserError

_MARKS = {'pts_linears.0.weight', 'views_linears.0.weight', 'alpha_linear.weight'}
_AVERAGE, _TRAINED, _JUDGE = 'generator_test', 'generator', 'discriminator'


def is_generator(value) -> bool:
  """Whether it is a state dict of GRAF's generator."""
  return wrapped.is_state_dict(value) and _MARKS <= wrapped.plain_names(value).keys()


def read_checkpoint(
  path, say: Callable[[str], None] = lambda line: None, entry: str | None = None
) -> Checkpoint:
  """Reads a file of the release, or a state dict of its generator.

  Args:
    path: The file.
    say: Called with lines of progress.
    entry: The generator's name in a training state, where several are there.

  Raises:
    UserError: It is not a checkpoint of GRAF, is damaged, or has a network of other sizes.
  """
  tree = convert.read(path)
  whole = isinstance(tree, dict) and entry is None
  found = {name: tree.get(name) if whole else None for name in (_AVERAGE, _TRAINED, _JUDGE)}
  networks = training_state.read(path, tree, found, _RELEASE, say, entry)
  return Checkpoint(*networks, wrapped.iteration_of(path, tree))


def _generator(path, name: str, state) -> Network:
  weights = state_dicts.of_entry(path, name, state, 'GRAF')
  try:
    fields = graf_names.model_fields(weights)
    return Network(fields, graf_names.generator_params(weights, fields))
  except UserError as error:
    raise UserError(f'{path}, {name}: {error}') from None


def _discriminator(path, state) -> Network:
  weights = state_dicts.of_entry(path, _JUDGE, state, 'GRAF')
  try:
    fields, variables = graf_names.discriminator_params(weights)
    return Network(fields, variables['params'], buffers=variables['buffers'])
  except UserError as error:
    raise UserError(f'{path}, {_JUDGE}: {error}') from None


_RELEASE = training_state.Release(
  'generator of GRAF',
  '(pts_linears). Give a checkpoint of GRAF.',
  is_generator,
  _generator,
  _discriminator,
)
