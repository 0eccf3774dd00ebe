"""Checks that all processes of a run have the same config, code and number of devices."""

import hashlib
import json
import pathlib

import jax
import numpy as np
from jax.experimental import multihost_utils

import jax3dgan
from jax3dgan import config_json
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
  # As bytes, padded to one length: processes can exchange arrays only.
  data = np.frombuffer(json.dumps(record(config, **more)).encode(), np.uint8)
  lengths = multihost_utils.process_allgather(np.int32(len(data))).ravel()
  padded = np.pad(data, (0, int(lengths.max()) - len(data)))
  gathered = multihost_utils.process_allgather(padded).reshape(len(lengths), -1)
  records = [
    json.loads(row[:n].astype(np.uint8).tobytes()) for row, n in zip(gathered, lengths, strict=True)
  ]
  problem = difference(records)
  if problem:
    raise UserError(problem)


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
