"""The models that come with the package, as files.

`NAME.npz` holds the EMA parameters in half precision, plain arrays, and the buffers under
`buffers/`, of which integers and booleans stay what they are; `NAME.json` the config and how the
model was trained.
"""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from jax3dgan import config_json, generators, json_text
from jax3dgan.errors import UserError

PRETRAINED = pathlib.Path(__file__).parents[1] / 'pretrained'
MAX_BYTES = 8 * 2**20  # so that the repository stays small


def pretrained_names(directory=PRETRAINED) -> list[str]:
  """Returns the names of the models in `directory`."""
  return sorted(path.stem for path in pathlib.Path(directory).glob('*.npz'))


def metadata(name: str, directory=PRETRAINED) -> dict:
  """Returns the contents of NAME.json; UserError if there is no such model."""
  names = pretrained_names(directory)
  if name not in names:
    known = f'There are: {", ".join(names)}' if names else 'This copy of the package has none'
    raise UserError(f'No pretrained model is called {name!r}. {known}.')
  return json.loads((pathlib.Path(directory) / f'{name}.json').read_text(encoding='utf-8'))


def read(name: str, directory=PRETRAINED) -> tuple[dict, int]:
  """Returns the arrays of a model, in float32 if not integers or booleans, and its number of
  training steps."""
  step = metadata(name, directory)['step']
  with np.load(pathlib.Path(directory) / f'{name}.npz', allow_pickle=False) as file:
    arrays = {key: jnp.asarray(in_precision(file[key], np.float32)) for key in file.files}
  return nested(arrays), step


def variables_of(generator, arrays: dict) -> dict:
  """Returns the variables of a generator, of arrays of `read`.

  Models of earlier versions have their buffers among the parameters.
  """
  shapes = jax.eval_shape(lambda: generators.init(generator, jax.random.key(0)))
  names = shapes.get('buffers', {}).keys()
  if not names:
    return {'params': arrays}
  stored = arrays.get('buffers', arrays)
  params = {name: x for name, x in arrays.items() if name not in names and name != 'buffers'}
  # Earlier versions wrote all buffers as floats.
  buffers = {name: stored[name].astype(shapes['buffers'][name].dtype) for name in names}
  return {'params': params, 'buffers': buffers}


def in_precision(array, dtype):
  """An array of floats in another precision; integers and booleans, such as the corners of a
  mesh's triangles, as they are: float16 has not all integers beyond 2048."""
  return array.astype(dtype) if jnp.issubdtype(array.dtype, jnp.floating) else array


def fits(array, dtype) -> bool:
  """Whether `in_precision` has room for all values of an array."""
  floats = jnp.issubdtype(array.dtype, jnp.floating)
  return not floats or bool(np.abs(array).max(initial=0) <= np.finfo(dtype).max)


def save_pretrained(model, directory=PRETRAINED, notes: str = '') -> pathlib.Path:
  """Writes `NAME.npz` (half precision, plain arrays) and `NAME.json` (config, step, notes).

  Args:
    model: A `trained.Trained`; its name names the files.
    directory: Where the files are written.
    notes: How it was trained, as text.

  Returns:
    The path of the npz file.

  Raises:
    ValueError: A parameter is beyond the range of half precision, or the file exceeds 8 MB.
  """
  arrays = flat(model)
  for key, value in arrays.items():
    if not fits(value, np.float16):
      raise ValueError(f'{key} has values that half precision cannot hold')
  directory = pathlib.Path(directory)
  directory.mkdir(parents=True, exist_ok=True)
  path = directory / f'{model.name}.npz'
  np.savez_compressed(path, **{key: in_precision(x, np.float16) for key, x in arrays.items()})
  if path.stat().st_size > MAX_BYTES:
    path.unlink()
    raise ValueError(f'the parameters take more than {MAX_BYTES} bytes')
  text = json_text.dumps(facts(model, notes))
  (directory / f'{model.name}.json').write_text(text, encoding='utf-8')
  return path


def flat(model) -> dict[str, np.ndarray]:
  """The arrays of a `trained.Trained` by name: parameters, and buffers under `buffers/`."""
  buffers = {'buffers': model.variables['buffers']} if 'buffers' in model.variables else {}
  return {
    jax.tree_util.keystr(path, simple=True, separator='/'): np.asarray(leaf)
    for path, leaf in jax.tree_util.tree_leaves_with_path({**model.params, **buffers})
  }


def facts(model, notes: str = '') -> dict:
  """What a stored model's JSON says of a `trained.Trained`."""
  return {
    'name': model.name,
    'notes': notes,
    'step': int(model.step),
    'num_parameters': sum(value.size for value in flat(model).values()),
    'config': config_json.plain(model.config),
  }


def nested(arrays: dict[str, jax.Array]) -> dict:
  """The tree of arrays whose names have slashes, the inverse of `flat`."""
  tree = {}
  for name, leaf in arrays.items():
    *folders, last = name.split('/')
    here = tree
    for folder in folders:
      here = here.setdefault(folder, {})
    here[last] = leaf
  return tree
