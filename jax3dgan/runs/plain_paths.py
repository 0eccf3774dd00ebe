"""Paths of checkpoints, which Orbax must take as they are written.

Orbax finds the files of a checkpoint by `glob` below its folder, and there the whole path is the
pattern: in a folder `[exp1] faces` nothing matches, and what was saved is unreadable. TensorStore
reads a backslash as a slash and takes no name that is not UTF-8.
"""

import os
import pathlib
from collections.abc import Iterator

from etils import epath

from jax3dgan.errors import UserError

_PATH = type(epath.Path(os.sep))  # of this operating system


class PlainPath(_PATH):
  """Orbax's kind of path, in which only what is given to `glob` is a pattern."""

  def glob(self, pattern: str) -> Iterator['PlainPath']:
    """The paths below this one that match a pattern."""
    for path in sorted(pathlib.Path(os.fspath(self)).glob(pattern)):
      yield type(self)(os.fspath(path))


def checked(path) -> pathlib.Path:
  """The absolute path of a folder for checkpoints.

  Raises:
    UserError: It has characters for which Orbax or TensorStore would take another folder.
  """
  resolved = pathlib.Path(path).resolve()
  text = os.fspath(resolved)
  printable = text.encode('utf-8', 'backslashreplace').decode()
  problem = None
  if printable != text:
    problem = 'its path has bytes that are not UTF-8'
  elif '\\' in text and os.sep != '\\':
    problem = 'its path has a backslash, which the checkpoint library reads as a slash'
  elif os.fspath(epath.Path(text)) != text:
    problem = f'the checkpoint library reads its path as {epath.Path(text)}'
  if problem:
    raise UserError(
      f'Checkpoints cannot be saved in {printable}: {problem}. Rename the folder, or choose '
      'another one, such as --workdir=runs/NAME.'
    )
  return resolved
