"""The record that every app saves with its output, from which `--repeat` makes the file again.

A record is JSON: the app, its flags with all defaults filled in, the model with its step and a
fingerprint of its weights, and what an app adds, such as its cameras. It is in the text chunk
`jax3dgan` of a PNG file, and in `FILE.json` beside any other file.

  python -m jax3dgan.apps.samples --repeat=samples.png --out=again.png
"""

import argparse
import hashlib
import json
import pathlib
from typing import Any

import numpy as np

from jax3dgan import json_text
from jax3dgan.errors import UserError

KEY = 'jax3dgan'  # of the PNG text chunk, and of the version in a record
# Flags that are not recorded: they say where to write or which record to read.
_NOT_RECORDED = ('out', 'splats', 'repeat', 'app', 'recorded_weights')


def record(app: str, args: argparse.Namespace, model, **more) -> dict[str, Any]:
  """Returns the record of a file.

  Args:
    app: The app's name, a module of `jax3dgan.apps`.
    args: Its flags; defaults that depend on the model (psi, step, resolution) are filled in.
    model: A `trained.Trained`.
    **more: What else made the file, such as `camera=`; arrays become lists.
  """
  import jax3dgan

  flags = {key: value for key, value in vars(args).items() if key not in _NOT_RECORDED}
  defaults = {
    'psi': model.config.display.truncation_psi,
    'resolution': model.resolution,
    'step': model.step,
  }
  if flags.get('pretrained'):
    defaults.pop('step')  # there is only one
    if '/' in flags['pretrained'] and pathlib.Path(flags['pretrained']).is_dir():
      flags['pretrained'] = str(pathlib.Path(flags['pretrained']).resolve())
  if flags.get('workdir'):
    flags['workdir'] = str(pathlib.Path(flags['workdir']).resolve())
    defaults['ema'] = str(model.config.ema.display_rate)
  for key, value in defaults.items():
    if key in flags and flags[key] is None:
      flags[key] = value
  about = {'name': model.name, 'step': int(model.step), 'weights': fingerprint(model.params)}
  return _plain({KEY: jax3dgan.__version__, 'app': app, 'flags': flags, 'model': about, **more})


def fingerprint(params) -> str:
  """Returns 16 hexadecimal digits of a hash of a tree of arrays."""
  import jax

  digest = hashlib.sha256()
  for path, leaf in jax.tree_util.tree_leaves_with_path(params):
    leaf = np.ascontiguousarray(leaf)
    digest.update(f'{jax.tree_util.keystr(path)} {leaf.dtype} {leaf.shape}'.encode())
    digest.update(leaf.tobytes())
  return digest.hexdigest()[:16]


def _plain(value):
  if isinstance(value, dict):
    return {str(key): _plain(item) for key, item in value.items()}
  if isinstance(value, (list, tuple)):
    return [_plain(item) for item in value]
  if isinstance(value, pathlib.PurePath):
    return str(value)
  if hasattr(value, 'tolist'):  # NumPy, JAX
    return _plain(np.asarray(value).tolist())
  return value


def texts(entry: dict[str, Any]) -> dict[str, str]:
  """Returns the text chunks of a PNG file, for `viz.save_png`."""
  return {KEY: json_text.dumps(entry, None)}


def beside(path) -> pathlib.Path:
  """Returns the path of the record of a file that is not a PNG."""
  path = pathlib.Path(path)
  return path.with_name(f'{path.name}.json')


def save_beside(path, entry: dict[str, Any]) -> pathlib.Path:
  """Writes the record of a file beside it, and returns its path."""
  file = beside(path)
  file.write_text(json_text.dumps(entry), encoding='utf-8')
  return file


def read(path) -> dict[str, Any]:
  """Returns the record of a file: from its text chunk, from beside it, or from the record itself.

  Raises:
    UserError: There is no such file, or it has no record.
  """
  path = pathlib.Path(path)
  if not path.is_file():
    raise UserError(f'--repeat={path}: there is no such file.')
  try:
    entry = json.loads(_text(path))
  except (OSError, ValueError, SyntaxError):  # Pillow raises the last for broken chunks
    entry = None
  if not isinstance(entry, dict) or not isinstance(entry.get('flags'), dict) or 'app' not in entry:
    raise UserError(
      f'--repeat={path}: the file has no record of how it was made. Give a PNG that an app of '
      f'jax3dgan wrote, or another of its files with {beside(path).name} beside it.'
    )
  return entry


def _text(path: pathlib.Path) -> str:
  if path.suffix.lower() == '.png':
    from PIL import Image

    with Image.open(path) as image:
      image.load()  # the chunk may come after the pixels
      text = image.text.get(KEY)
    if text is not None:
      return text
  if path.suffix.lower() != '.json' or beside(path).is_file():
    path = beside(path)
  return path.read_text(encoding='utf-8-sig')


def parse(
  parser: argparse.ArgumentParser, argv, app: str, sources: tuple[str, ...] = ()
) -> argparse.Namespace:
  """Parses flags; those of `--repeat=FILE` are the defaults of the others.

  Args:
    parser: Has the flag `--repeat` (see `common.parser`).
    argv: The arguments; None for the command line's.
    app: The app whose records are accepted.
    sources: Flags of which exactly one must be given or come from the record.
  """
  first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
  first.add_argument('--repeat')
  given = first.parse_known_args(argv)[0].repeat
  if given is not None:
    try:
      entry = read(given)
    except UserError as error:
      parser.error(str(error))
    if entry['app'] != app:
      parser.error(f'{given} was made by {entry["app"]}: jax3dgan {entry["app"]} --repeat={given}')
    known = {action.dest for action in parser._actions}
    flags = {key: value for key, value in entry['flags'].items() if key in known}
    # A source on the command line replaces that of the record.
    own = parser.parse_known_args(argv)[0] if sources else None
    if own is not None and any(getattr(own, name) is not None for name in sources):
      flags = {key: v for key, v in flags.items() if key not in (*sources, 'step', 'ema')}
    parser.set_defaults(**flags)
  args = parser.parse_args(argv)
  args.recorded_weights = entry['model']['weights'] if given is not None else None
  if sources and not any(getattr(args, name, None) is not None for name in sources):
    parser.error(f'one of the arguments {" ".join(f"--{name}" for name in sources)} is required')
  return args
