"""Files that are whole or not there: after any interruption a path has its old or its new
content."""

import contextlib
import os
import pathlib
from collections.abc import Iterator


@contextlib.contextmanager
def replacing(path, alone: bool = False) -> Iterator[pathlib.Path]:
  """The path of a file to write, beside `path` and with its ending, which replaces `path` at the
  end of the block; after an error in the block it is removed.

  Args:
    path: of the file; its folder is there.
    alone: whether no other process writes it at the same time: what a killed one leaves is written
      over by the next, PATH.tmp.
  """
  path = pathlib.Path(path)
  name = f'{path.name}.tmp' if alone else f'.{os.getpid()}-{path.name}'
  temporary = path.with_name(name)
  try:
    yield temporary
    with open(temporary, 'rb') as file:
      os.fsync(file.fileno())  # else a crash of the machine may leave an empty file
    os.replace(temporary, path)
  finally:
    temporary.unlink(missing_ok=True)


def write(path, data, alone: bool = False) -> None:
  """Writes bytes, see `replacing`."""
  with replacing(path, alone) as temporary:
    temporary.write_bytes(data)
