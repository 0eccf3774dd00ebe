"""Files of `torch.save`, and pickles with tensors in them, read without PyTorch and without
executing them.

Three containers: the zip archive (since PyTorch 1.6), the older sequence of pickles followed
by the storages, and a bare pickle whose tensors are such sequences. The result is a tree
of dicts, lists, tuples, numbers and texts; instead of instances there are `values.Object`s and
instead of tensors `tensors.Tensor`s, whose numbers stay in the file until they are used.
"""

import mmap
import os
import stat

from jax3dgan.convert import constructors, numpy_arrays, persistent, tensors
from jax3dgan.convert.containers import Zip
from jax3dgan.convert.pickles import Budget, Machine, Policy
from jax3dgan.convert.values import DAMAGED, HOSTILE, Bytes, Global, show
from jax3dgan.errors import UserError

# Class names that the files of every release may contain.
CLASSES = (
  *tensors.CLASSES,
  *numpy_arrays.CLASSES,
  'torch.nn.modules.**',
  'torch.nn.parallel.data_parallel.DataParallel',
  'torch.nn.parallel.distributed.DistributedDataParallel',
  'torch.nn.backends.thnn._get_thnn_function_backend',  # in modules of PyTorch before 1.5
  'torch_ema.ema.ExponentialMovingAverage',
)
_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
_MAX_PICKLE = 64 * 2**20
# Views may overlap, but a model is not many times as large as its file.
_MAX_EXPANSION, _FREE_BYTES = 4, 16 * 2**20
_BIG_ENDIAN = 'Save it again on a little-endian machine, as nearly all are.'


def read(path, classes=()):
  """The tree of a checkpoint.

  Args:
    path: A file of torch.save or a pickle with tensors.
    classes: Patterns of the names that it may mention besides `CLASSES`, see `pickles.Policy`.

  Raises:
    UserError: It is damaged, is not a checkpoint, or contains names that no model needs.
  """
  try:
    # Checked before it is opened, since opening a pipe waits for its other end.
    if not stat.S_ISREG(os.stat(path).st_mode):
      raise UserError(f'{path} is no regular file. Give the path of a checkpoint.')
    with open(path, 'rb') as file:
      if not os.fstat(file.fileno()).st_size:
        raise UserError(f'{path} is empty. Download it again.')
      # Closed when the last array on it is deleted.
      data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
      return _read(path, file, data, tuple(classes))
  except OSError as error:
    raise UserError(f'{path} cannot be read: {error.strerror}. Give the path of a file.') from None


def _read(path, file, data, classes):
  hint = _other_format(data)
  if hint:
    raise UserError(f'{path} is {hint}')
  budget = Budget(view_bytes=_MAX_EXPANSION * len(data) + _FREE_BYTES)
  if data[:4] == b'PK\x03\x04' or data[:4] == b'PK\x05\x06':
    return _read_zip(Zip(path, file, data), path, data, classes, budget)
  policy = Policy(_constructors(_inner_storage(classes)), (*CLASSES, *classes))
  return _read_pickles(str(path), data, policy, budget)


def _other_format(data) -> str | None:
  start = bytes(data[:512])
  if start.lstrip()[:1] == b'<':
    return 'a web page, not a checkpoint. Download the file itself.'
  if start.startswith(b'version https://git-lfs'):
    return 'a pointer of Git LFS, not the file. Run git lfs pull.'
  if start[257:262] == b'ustar':
    return 'a tar of PyTorch before 0.1.10 or another tar. Unpack it, or save it again with torch.'
  if start.startswith(b'\x1f\x8b') or start.startswith(b'BZh') or start.startswith(b'\xfd7zXZ'):
    return 'compressed. Unpack it first.'
  return None


def _constructors(load_from_bytes=None):
  known = constructors.CONSTRUCTORS | tensors.CONSTRUCTORS | numpy_arrays.CONSTRUCTORS
  known = known | persistent.CONSTRUCTORS
  if load_from_bytes is not None:
    known = known | {('torch.storage', '_load_from_bytes'): load_from_bytes}
  return known


def _read_zip(archive, path, data, classes, budget):
  if 'data.pkl' not in archive:
    if 'constants.pkl' in archive or any(name.startswith('code/') for name in archive.names()):
      raise UserError(f'{path} is a program of TorchScript. Give a file of torch.save.')
    raise UserError(f'{path} is a zip without data.pkl. Give a file of torch.save.')
  order = archive.read('byteorder', 64) if 'byteorder' in archive else b'little'
  if order != b'little':
    raise UserError(f'{path} has the byte order {show(order)}. {_BIG_ENDIAN}')
  storages = {}

  def persistent_load(machine, fields):
    if not isinstance(fields, tuple):
      raise machine.error('a reference that is none of torch.save', HOSTILE)
    storage = tensors.storage_from(machine, storages, fields)
    if storage.buffer is None:
      entry = archive.entry(f'data/{fields[2]}')
      if entry.end - entry.start != storage.num_bytes:
        raise machine.error(
          f'a storage of {storage.num_bytes:,} bytes, of which the file has '
          f'{entry.end - entry.start:,}'
        )
      storage.buffer, storage.start = data, entry.start
    return storage

  program = archive.read('data.pkl', _MAX_PICKLE)
  policy = Policy(_constructors(), (*CLASSES, *classes))
  machine = Machine(program, f'{path}, data.pkl', policy, budget, persistent_load)
  tree = machine.run()
  _check_end(machine)
  return tree


def _check_end(machine):
  if machine.pos != machine.end:
    machine.at = machine.pos
    raise machine.error(f'{machine.end - machine.pos:,} byte(s) more behind the end', DAMAGED)


def _read_pickles(where, data, policy, budget, start=0, end=None):
  """A bare pickle, or torch.save's sequence of pickles."""
  machine = Machine(data, where, policy, budget, start=start, end=end)
  tree = machine.run()
  if isinstance(tree, int) and tree == _MAGIC:
    return _read_row(machine)
  _check_end(machine)
  return tree


def _read_row(machine):
  """The rest after the magic number: version, machine, the tree, keys of storages, storages."""

  def next_pickle(persistent_load=None):
    machine.persistent_load = persistent_load
    machine.restart()
    return machine.run()

  version = next_pickle()
  if version != _PROTOCOL:
    raise machine.error(f'version {show(version)} of the format instead of {_PROTOCOL}')
  system = next_pickle()
  if not isinstance(system, dict) or system.get('little_endian') is not True:
    raise machine.error('numbers that are not little-endian', _BIG_ENDIAN)
  storages, parts = {}, {}
  tree = next_pickle(_row_loader(storages, parts))
  keys = next_pickle()
  if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
    raise machine.error('the list of the storages is none')
  if sorted(keys) != sorted(storages):
    raise machine.error('the storages are others than the tensors need')
  for key in keys:
    machine.at = machine.pos
    storage = storages[key]
    size = int.from_bytes(machine.take(8), 'little', signed=True)
    if size != storage.size:
      raise machine.error(f'a storage of {size:,} elements instead of {storage.size:,}')
    storage.buffer, storage.start = machine.data, machine.pos
    machine.skip(storage.num_bytes)
  _check_end(machine)
  return tree


def _row_loader(storages, parts):
  def persistent_load(machine, fields):
    match fields:
      case ('module', Global() as cls, *_):  # with the source of the class, which stays a text
        return cls
      case ('storage', _, _, _, _) | ('storage', _, _, _, _, None):
        return tensors.storage_from(machine, storages, fields[:5])
      case ('storage', _, _, _, _, (str(key), first, size)):
        storage = tensors.storage_from(machine, storages, fields[:5])
        if key not in parts:
          parts[key] = tensors.part_of(machine, storage, first, size)
        return parts[key]
    raise machine.error('a reference that is none of torch.save', HOSTILE)

  return persistent_load


def _inner_storage(classes):
  """The constructor of storages in bare pickles: bytes that are a sequence of pickles."""
  done = {}

  def load_from_bytes(machine, args):
    match args:
      case (bytes(data),):
        place = data, 0, len(data)
      case (Bytes() as data,):
        place = data.buffer, data.start, data.start + data.size
      case _:
        raise machine.error('a storage that is no bytes', HOSTILE)
    # One for each value, however often it is referred to; the value is kept, so that its id is.
    if id(data) not in done:
      policy = Policy(_constructors(), (*tensors.CLASSES, *classes))
      where = f'{machine.where}, byte {machine.at - machine.start}, storage'
      buffer, start, end = place
      storage = _read_pickles(where, buffer, policy, machine.budget, start, end)
      if not isinstance(storage, tensors.Storage):
        raise machine.error('bytes that are no storage', HOSTILE)
      done[id(data)] = data, storage
    return done[id(data)][1]

  return load_from_bytes
