"""What the processes of a run exchange: config and code, values, errors of what all of them do.

All processes call `check_same`, `exchange` and `together`, in the same order.
"""

import hashlib
import json
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

import jax3dgan
from jax3dgan import config_json
from jax3dgan.devices import hosts
from jax3dgan.errors import UserError

_PACKAGE = pathlib.Path(jax3dgan.__file__).parent
# Fields that may differ: each machine may have a local disk for its cache.
_MAY_DIFFER = ('config.data.cache_dir',)


def source_hash(package: pathlib.Path = _PACKAGE) -> str:
  """The first 16 hexadecimal digits of the SHA-256 of a package's source files and their names."""
  digest = hashlib.sha256()
  for path in sorted(package.rglob('*.py')):
    content = path.read_bytes()
    digest.update(f'{path.relative_to(package).as_posix()}\0{len(content)}\0'.encode() + content)
  return digest.hexdigest()[:16]


def record(config, **more) -> dict:
  """What must be equal in all processes of a run."""
  return {
    'config': config_json.plain(config),
    'jax': jax.__version__,
    'jax3dgan': jax3dgan.__version__,
    'source files': source_hash(),
    **more,
  }


def check_same(config, **more) -> None:
  """Raises a UserError, the same in every process, if the processes differ.

  Compared are the number of devices, the config and the source code.

  Args:
    config: The config of this process.
    **more: What else has to be equal, as JSON's types.
  """
  if jax.process_count() == 1:
    return
  counts = np.bincount([device.process_index for device in jax.devices()])
  if len(set(counts.tolist())) > 1 or len(counts) < jax.process_count():
    raise UserError(
      f'The processes have {", ".join(map(str, counts))} devices. Give all of them the same number.'
    )
  records = exchange(record(config, **more))
  problem = difference(records)
  if problem:
    raise UserError(problem)


def exchange(value, what: str = 'they start') -> list:
  """The values of all processes, in their order.

  Args:
    value: Of this process, in JSON's types.
    what: What others may still be doing, for a line that says so.
  """
  if jax.process_count() == 1:
    return [value]
  # A collective gives up after half a minute; a process may wait longer for its file system.
  hosts.wait_for_all(what)
  # As bytes, padded to one length: processes can exchange arrays only. The lengths are powers of
  # two, since each is a program to compile.
  data = np.frombuffer(json.dumps(value).encode(), np.uint8)
  lengths = multihost_utils.process_allgather(np.int32(len(data))).ravel()
  size = 1 << max(10, int(lengths.max() - 1).bit_length())
  padded = np.pad(data, (0, size - len(data)))
  gathered = multihost_utils.process_allgather(padded).reshape(len(lengths), -1)
  return [
    json.loads(row[:n].astype(np.uint8).tobytes()) for row, n in zip(gathered, lengths, strict=True)
  ]


def together(work: Callable[[], Any], what: str = 'they start'):
  """Returns `work()`; where it fails in one process, no process goes on.

  Args:
    work: What all processes do.
    what: See `exchange`.

  Raises:
    UserError: The error of the first process in which `work` failed, in all other processes.
    Exception: The process's own error, in a process in which it failed.
  """
  try:
    result, error = work(), None
  except Exception as raised:
    result, error = None, raised
  texts = exchange(None if error is None else first_line(error), what)
  if isinstance(error, UserError) and jax.process_count() > 1:
    raise UserError(of_processes(texts)) from error
  if error is not None:
    raise error
  if any(text is not None for text in texts):
    raise UserError(of_processes(texts))
  return result


def first_line(error: BaseException) -> str:
  """An error in one line: a UserError's text; of any other its type too."""
  lines = [line.strip() for line in str(error).splitlines() if line.strip()]
  text = lines[0] if lines else ''
  if isinstance(error, UserError):
    return text
  return f'{type(error).__name__}: {text}'[:300]


def of_processes(texts: list[str | None]) -> str:
  """The text of the first process that has one, with its number unless all have the same."""
  first, text = next((i, text) for i, text in enumerate(texts) if text is not None)
  if all(other == text for other in texts):
    return text
  others = sum(other is not None for other in texts) - 1
  more = f' (and {others} more)' if others else ''
  return f'Process {first} of {len(texts)}{more}: {text}'


def difference(records: list[dict]) -> str:
  """Describes, in one line, how the first process that differs from process 0 differs.

  Args:
    records: Of all processes, see `record`.

  Returns:
    A sentence with cause and remedy; '' if all are equal.
  """
  for process, other in enumerate(records):
    changed = config_json.differences(records[0], other)
    changed = {name: pair for name, pair in changed.items() if name not in _MAY_DIFFER}
    if changed:
      fields = [
        f'{name.removeprefix("config.")} {_short(there)} and process 0 has {_short(here)}'
        for name, (here, there) in changed.items()
      ]
      more = f' ({len(fields) - 4} more)' if len(fields) > 4 else ''
      return (
        f'Process {process} has {"; ".join(fields[:4])}{more}. Start all processes with the same '
        '--config, overrides and installation.'
      )
  return ''


def _short(value) -> str:
  text = 'none' if value is None else str(value)
  return text if len(text) <= 60 else text[:57] + '...'
