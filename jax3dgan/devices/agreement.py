"""Whether all processes of a run have the same config, code and number of devices."""

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
# Fields that may differ: a cache can be a local disk of each machine.
_OWN = ('config.data.cache_dir',)


def source_hash(package: pathlib.Path = _PACKAGE) -> str:
  """The first 16 hexadecimal digits of the SHA-256 of a package's source files and their names."""
  digest = hashlib.sha256()
  for path in sorted(package.rglob('*.py')):
    content = path.read_bytes()
    digest.update(f'{path.relative_to(package).as_posix()}\0{len(content)}\0'.encode() + content)
  return digest.hexdigest()[:16]


def record(config, **more) -> dict:
  """All that the processes of a run must have alike."""
  return {
    'config': config_json.plain(config),
    'jax': jax.__version__,
    'jax3dgan': jax3dgan.__version__,
    'source files': source_hash(),
    **more,
  }


def check_same(config, **more) -> None:
  """UserError, the same on all processes, where they differ in devices, config or code.

  Args:
    config: Of this process.
    **more: What else has to be the same, as JSON's types.
  """
  if jax.process_count() == 1:
    return
  counts = np.bincount([device.process_index for device in jax.devices()])
  if len(set(counts.tolist())) > 1 or len(counts) < jax.process_count():
    raise UserError(
      f'The processes have {", ".join(map(str, counts))} devices. Give every one as many.'
    )
  # As bytes, all in one length, since arrays are what processes can exchange.
  data = np.frombuffer(json.dumps(record(config, **more)).encode(), np.uint8)
  lengths = multihost_utils.process_allgather(np.int32(len(data))).ravel()
  padded = np.pad(data, (0, int(lengths.max()) - len(data)))
  everyone = multihost_utils.process_allgather(padded).reshape(len(lengths), -1)
  records = [
    json.loads(row[:n].astype(np.uint8).tobytes()) for row, n in zip(everyone, lengths, strict=True)
  ]
  problem = difference(records)
  if problem:
    raise UserError(problem)


def difference(records: list[dict]) -> str:
  """What tells the first process that is unlike process 0 from it, in one line; '' if none is."""
  for i, other in enumerate(records):
    changed = config_json.differences(records[0], other)
    changed = {name: pair for name, pair in changed.items() if name not in _OWN}
    if changed:
      fields = [
        f'{name.removeprefix("config.")} {_short(there)} and process 0 has {_short(here)}'
        for name, (here, there) in changed.items()
      ]
      more = f' ({len(fields) - 4} more)' if len(fields) > 4 else ''
      return (
        f'Process {i} has {"; ".join(fields[:4])}{more}. Start all processes with the same '
        '--config, overrides and installation.'
      )
  return ''


def _short(value) -> str:
  text = 'none' if value is None else str(value)
  return text if len(text) <= 60 else text[:57] + '...'
