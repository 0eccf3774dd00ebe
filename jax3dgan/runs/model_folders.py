"""A trained generator as a folder that others can read: `config.json` and `model.safetensors`.

`model.safetensors` holds the parameters of the moving average, and the buffers under `buffers/`;
`config.json` the config and how the model was trained. The package `safetensors` reads and writes
the former: an optional extra. `jax3dgan.hub` writes such folders with a card.
"""

import json
import pathlib
import re

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
# What some fields of config.json are where they are there; a group is before what is in it.
_KINDS = {
  'name': str,
  'step': int,
  'config': dict,
  'config.recipe': str,
  **{
    f'config.{group}': dict
    for group in ('model', 'discriminator', 'ema', 'data', 'eval')
    + ('render', 'display', 'pose_prior', 'optimizer')
  },
  'config.model.name': str,
  'config.discriminator.name': str,
  'config.ema.display_rate': int | float,
}
_WORDS = {str: 'a text', int: 'a whole number', dict: 'a group of fields'}
# Fields of the machine that trained, which say nothing about another: its folders are not written
# to, nor is anything of it read.
_OF_MACHINE = {
  'platform': 'auto',
  'init_from': '',
  'data.cache_dir': '',
  'data.local_copy': '',
  'eval.inception': '',
}
# An absolute path, of Windows too, maybe as a URL of a file or behind a word, as in 'ict:/home/me'.
_PLACE = re.compile(
  r'(?:file://(?=/)|(?P<scheme>(?:[\w+-]{2,}:)*))(?P<path>(?:/(?!/)|~|\\|[A-Za-z]:[/\\]).*)'
)


def is_folder(path) -> bool:
  """Whether there is a folder, of whatever content."""
  return pathlib.Path(path).is_dir()


def facts_of(folder) -> dict:
  """The contents of a folder's config.json, with the fields of a machine at their defaults.

  Raises:
    UserError: the folder holds no model, a run, or that of another library; or a field is of
      another kind.
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
  if missing:
    raise UserError(f'{folder / CONFIG} has no {missing[0]}. Copy the folder again.')
  _check_kinds(folder / CONFIG, facts)
  return {**facts, 'config': _of_any_machine(facts['config'])}


def read(folder) -> dict:
  """The arrays of a folder's weights, nested, floats in float32.

  Raises:
    UserError: the weights are damaged or not finite, or `safetensors` is missing.
  """
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
  return packaged.nested(arrays)


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
  facts['config'] = _without_places(_of_any_machine(facts['config']))
  folder.mkdir(parents=True, exist_ok=True)
  atomic.write(folder / WEIGHTS, data)
  atomic.write(folder / CONFIG, json_text.dumps(facts).encode())
  return folder


def serialized(arrays: dict[str, np.ndarray]) -> bytes:
  """The bytes of a .safetensors file of {name: array}."""
  library, _ = _library()
  return library.save({k: np.ascontiguousarray(x) for k, x in arrays.items()})


def _check_kinds(path, facts: dict) -> None:
  for field, kind in _KINDS.items():
    *groups, last = field.split('.')
    group = facts
    for key in groups:
      group = group.get(key, {})
    value = group.get(last)
    if last in group and (not isinstance(value, kind) or isinstance(value, bool)):
      raise UserError(
        f'{path}: {field} is {repr(value)[:60]}, not {_WORDS.get(kind, "a number")}. Copy the '
        'folder again.'
      )


def _of_any_machine(config: dict) -> dict:
  """A plain config with the fields of `_OF_MACHINE` at their defaults, where it has them."""
  config = {key: dict(x) if isinstance(x, dict) else x for key, x in config.items()}
  for field, default in _OF_MACHINE.items():
    group, _, key = field.rpartition('.')
    fields = config.get(group, {}) if group else config
    if key in fields:
      fields[key] = default
  return config


def _without_places(value):
  """A plain config without folders of the machine that trained: of an absolute path the last part,
  which is the data's name."""
  if isinstance(value, dict):
    return {key: _without_places(item) for key, item in value.items()}
  if isinstance(value, list):
    return [_without_places(item) for item in value]
  if not isinstance(value, str):
    return value
  found = _PLACE.fullmatch(value)
  return (
    (found['scheme'] or '') + re.split(r'[/\\]', found['path'].rstrip('/\\'))[-1]
    if found
    else value
  )


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
