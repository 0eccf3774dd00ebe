"""Files of configs: those of the current folder, and those that come with the package.

In the repository they are in `configs/`; a wheel brings them as `jax3dgan/configs/`.
"""

import difflib
import os
import pathlib
import re

from jax3dgan.errors import UserError

_FOLDER = 'configs'
# A second stage's config says in the usual workdir of which one it begins, see `default_workdir`.
_BEGINS = re.compile(r"^ *config\.init_from = 'runs/(\w+)'", re.MULTILINE)


def packaged(package: pathlib.Path | None = None) -> pathlib.Path | None:
  """The folder of the configs that come with the package; None where there is none.

  Args:
    package: folder of the package; by default of this one.
  """
  package = package or pathlib.Path(__file__).resolve().parent
  inside, beside = package / _FOLDER, package.parent / _FOLDER
  if inside.is_dir():
    return inside
  # Beside an installed package there may be another project's configs.
  return beside if beside.is_dir() and (package.parent / 'setup.py').is_file() else None


def find(name: str) -> tuple[str, str]:
  """Finds the file of a config.

  Args:
    name: its path; or the name of a file in `configs/` of the current folder or of the package,
      with or without the folder and the extension: 'configs/toys.py', 'toys.py', 'toys'.

  Returns:
    The path, and a line for the user: where the file is, if that is not what `name` says; else ''.

  Raises:
    UserError: there is no such file; the message names the nearest one.
  """
  path = pathlib.Path(name)
  if path.is_file():
    return name, ''
  if str(path.parent) in ('.', _FOLDER) and path.suffix in ('', '.py'):
    file = path.stem + '.py'
    here, inside = pathlib.Path(_FOLDER, file), packaged()
    if here.is_file():
      return str(here), f'Config: {here}.'
    if inside is not None and (inside / file).is_file():
      missing = f'{name} is not in this folder; ' if path.suffix else ''
      return str(inside / file), f'Config: {missing}{inside / file} of the package is used.'
  raise UserError(f'The config file {name} does not exist. {_nearest(path)}')


def listing(folder: pathlib.Path | None = None) -> str:
  """The configs of a folder, by default of the package, as flags."""
  folder = folder or packaged()
  files = [] if folder is None else sorted(folder.glob('*.py'))
  return ', '.join(f'--config={_short(path)}' for path in files) or 'a file with get_config()'


def default_workdir(path: str) -> str:
  """The workdir of a config's runs where none is given: 'runs/toys' for 'configs/toys.py'."""
  return f'runs/{pathlib.Path(path).stem}'


def _short(path: pathlib.Path) -> str:
  """A config of the package by its name alone, any other by its path."""
  return path.stem if path.parent == packaged() else os.path.relpath(path)


def _nearest(path: pathlib.Path) -> str:
  """What could have been meant by a path where no file is."""
  folders = [f for f in (path.parent, pathlib.Path(_FOLDER), packaged()) if f is not None]
  files = {file.stem: file for folder in reversed(folders) for file in folder.glob('*.py')}
  # Of a model's name, each of its configs could be meant.
  named = [stem for stem in sorted(files) if stem.startswith(f'{path.stem}_')]
  if len(named) > 1:
    return f'There are: {", ".join(f"--config={_short(files[stem])}" for stem in named)}.'
  if near := difflib.get_close_matches(path.stem, files, n=1):
    file = files[near[0]]
    begins = _BEGINS.search(file.read_text(encoding='utf-8', errors='replace'))
    stage1 = f', which begins with a run of --config={begins[1]}' if begins else ''
    return f'Did you mean --config={_short(file)}{stage1}?'
  # The current folder itself may hold any programs.
  listed = [f for f in folders if f != pathlib.Path() and any(f.glob('*.py'))]
  return f'There are: {listing(listed[0] if listed else None)}.'
