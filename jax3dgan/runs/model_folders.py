"""A trained generator as a folder that others can read: `config.json` and `model.safetensors`.

`model.safetensors` holds the parameters of the moving average, and the buffers under `buffers/`;
`config.json` the config and how the model was trained. The package `safetensors` reads and writes
the former: an optional extra. `jax3dgan.hub` writes such folders with a card.
"""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from jax3dgan import atomic, json_text
from jax3dgan.errors import UserError, first_line
from jax3dgan.runs import packaged, workdirs

CONFIG = 'config.json'
WEIGHTS = 'model.safetensors'
LIBRARY = 'jax3dgan'  # in config.json, which other libraries write too
_NEEDED = ('name', 'step', 'config')


def is_folder(path) -> bool:
  """Whether there is a folder, of whatever content."""
  return pathlib.Path(path).is_dir()


def facts_of(folder) -> dict:
  """The contents of a folder's config.json.

  Raises:
    UserError: the folder holds no model, a run, or that of another library.
  """
  folder = pathlib.Path(folder)
  if not (folder / WEIGHTS).is_file():
    run = (folder / workdirs.CHECKPOINTS).is_dir()
    remedy = (
      f'It is a run: give --workdir={folder}, or make a model of it with '
      'jax3dgan.hub.save_pretrained.'
      if run
      else 'Name a folder that jax3dgan.hub.save_pretrained wrote.'
    )
    raise UserError(f'{folder} has no {WEIGHTS}. {remedy}')
  try:
    facts = json.loads((folder / CONFIG).read_text(encoding='utf-8-sig'))
  except (OSError, ValueError) as error:
    raise UserError(
      f'{folder / CONFIG} cannot be read ({first_line(error)}). Copy the folder again.'
    ) from None
  if not isinstance(facts, dict) or facts.get('library') != LIBRARY:
    raise UserError(f'{folder} holds a model of another library. Name one of {LIBRARY}.')
  missing = [name for name in _NEEDED if name not in facts]
  if missing or not isinstance(facts['config'], dict) or not isinstance(facts['step'], int):
    what = (missing or ['config and step of their kinds'])[0]
    raise UserError(f'{folder / CONFIG} has no {what}. Copy the folder again.')
  return facts


def read(folder) -> tuple[dict, int]:
  """The arrays of a folder's weights, nested, floats in float32, and the number of training steps.

  Raises:
    UserError: as `facts_of`; the weights are damaged or not finite, or `safetensors` is missing.
  """
  step = facts_of(folder)['step']
  path = pathlib.Path(folder) / WEIGHTS
  library, safetensors_error = _library()
  try:
    flat = library.load(path.read_bytes())
  except (OSError, ValueError, KeyError, safetensors_error) as error:
    raise UserError(f'{path} is damaged ({first_line(error)}). Copy it again.') from None
  broken = [name for name, array in flat.items() if not np.isfinite(array).all()]
  if broken:
    raise UserError(f'{path} has numbers in {broken[0]} that are not finite. Copy it again.')
  arrays = {name: jnp.asarray(packaged.in_precision(x, np.float32)) for name, x in flat.items()}
  return packaged.nested(arrays), step


def check(folder, variables, expected) -> None:
  """UserError where variables are not those of the generator that the config describes.

  Args:
    variables, expected: trees; of the latter the shapes alone are read.
  """
  found, wanted = _shapes(variables), _shapes(expected)
  for name in sorted(found.keys() | wanted.keys()):
    if found.get(name) != wanted.get(name):
      there = f'of shape {list(found[name])}' if name in found else 'missing'
      here = f'has shape {list(wanted[name])}' if name in wanted else 'does not exist'
      raise UserError(
        f'{pathlib.Path(folder) / WEIGHTS}: {name} is {there}, and in the model of {CONFIG} it '
        f'{here}. Take both files from one version of the model.'
      )


def write(model, folder, notes: str = '', dtype=np.float32) -> pathlib.Path:
  """Writes config.json and model.safetensors; returns the folder.

  Args:
    model: A `trained.Trained`.
    folder: Made where it is not there; files of the same names are replaced.
    notes: How it was trained, as text.
    dtype: of the weights that are floats; float16 halves the file.

  Raises:
    UserError: the folder is that of a run; weights beyond the range of the type.
  """
  folder = pathlib.Path(folder)
  if (folder / workdirs.CHECKPOINTS).is_dir():
    raise UserError(
      f'{folder} is the folder of a run, whose {CONFIG} would be replaced. Choose another folder.'
    )
  flat = packaged.flat(model)
  for name, array in flat.items():
    if not packaged.fits(array, dtype):
      raise UserError(f'{name} has values that {np.dtype(dtype).name} cannot hold. Use float32.')
  data = serialized({name: packaged.in_precision(x, dtype) for name, x in flat.items()})
  facts = {'library': LIBRARY, **packaged.facts(model, notes)}
  facts['config'] = _without_places(facts['config'])
  folder.mkdir(parents=True, exist_ok=True)
  atomic.write(folder / WEIGHTS, data)
  atomic.write(folder / CONFIG, json_text.dumps(facts).encode())
  return folder


def serialized(arrays: dict[str, np.ndarray]) -> bytes:
  """The bytes of a .safetensors file of {name: array}."""
  library, _ = _library()
  return library.save({k: np.ascontiguousarray(x) for k, x in arrays.items()})


def _without_places(value):
  """A plain config without folders of the machine that trained: of an absolute path the last part,
  which is the data's name."""
  if isinstance(value, dict):
    return {key: _without_places(item) for key, item in value.items()}
  if not isinstance(value, str):
    return value
  scheme, colon, path = value.rpartition(':')
  if path.startswith(('/', '~', '\\\\')) and not path.startswith('//'):
    return f'{scheme}{colon}{pathlib.PurePath(path).name}'
  return value


def _shapes(tree) -> dict:
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  return {jax.tree_util.keystr(p, simple=True, separator='/'): tuple(x.shape) for p, x in leaves}


def _library():
  """`safetensors.numpy`, and the error that it raises."""
  try:
    import safetensors.numpy
  except ImportError:
    raise UserError(
      f"{WEIGHTS} needs the package safetensors. Install it: pip install 'jax3dgan[hub]'."
    ) from None
  return safetensors.numpy, safetensors.SafetensorError
