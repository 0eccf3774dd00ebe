"""Tensors of pickles: storages, which are outside of the pickle, and views of them.

Nothing is copied or computed before `Tensor.numpy`; every view is checked against its storage when
it is read. Storages are little-endian C arrays in the file.
"""

import dataclasses
import math
from typing import Any

import ml_dtypes
import numpy as np

from jax3dgan.convert.values import HOSTILE, Global, Inert, show

# PyTorch's storage classes of `torch` and the type of their elements.
STORAGES = {
  'DoubleStorage': np.dtype(np.float64),
  'FloatStorage': np.dtype(np.float32),
  'HalfStorage': np.dtype(np.float16),
  'BFloat16Storage': np.dtype(ml_dtypes.bfloat16),
  'LongStorage': np.dtype(np.int64),
  'IntStorage': np.dtype(np.int32),
  'ShortStorage': np.dtype(np.int16),
  'CharStorage': np.dtype(np.int8),
  'ByteStorage': np.dtype(np.uint8),
  'BoolStorage': np.dtype(np.bool_),
  'ComplexFloatStorage': np.dtype(np.complex64),
  'ComplexDoubleStorage': np.dtype(np.complex128),
}
_DTYPES = (
  *('float64', 'float32', 'float16', 'bfloat16', 'int64', 'int32', 'int16', 'int8', 'uint8'),
  *('bool', 'complex64', 'complex128', 'double', 'float', 'half', 'long', 'int', 'short'),
)
# Names of torch that are allowed and stay names.
CLASSES = (
  *(f'torch.{name}' for name in STORAGES),
  *(f'torch.{name}' for name in _DTYPES),
  'torch.device',
)
_MAX_DIMS = 32
_MAX_SIZE = 2**40


@dataclasses.dataclass(eq=False, slots=True, repr=False)
class Storage(Inert):
  """A sequence of numbers.

  Attributes:
    dtype: Their type.
    size: Their number.
    buffer, start: Their position; None until the file has been read that far.
    whole, first: The storage that contains this one, from its element `first`; else None.
  """

  dtype: np.dtype
  size: int
  buffer: Any = None
  start: int = 0
  whole: 'Storage | None' = None
  first: int = 0

  @property
  def num_bytes(self) -> int:
    return self.size * self.dtype.itemsize

  def place(self) -> tuple[Any, int]:
    """(buffer, first byte in it)."""
    if self.whole is None:
      return self.buffer, self.start
    return self.whole.buffer, self.whole.start + self.first * self.dtype.itemsize


@dataclasses.dataclass(eq=False, slots=True, repr=False)
class Tensor(Inert):
  """A view of a storage.

  Attributes:
    storage: What it is a view of.
    offset: Its first element there.
    shape, strides: By axis; strides in elements.
  """

  storage: Storage
  offset: int
  shape: tuple[int, ...]
  strides: tuple[int, ...]

  def __repr__(self):
    return f'<{self.dtype} tensor {list(self.shape)}>'

  @property
  def dtype(self) -> np.dtype:
    return self.storage.dtype

  @property
  def num_bytes(self) -> int:
    return math.prod(self.shape) * self.dtype.itemsize

  def numpy(self) -> np.ndarray:
    """The tensor as a read-only array on the file itself (bool: a copy)."""
    width = self.dtype.itemsize
    buffer, start = self.storage.place()
    if not math.prod(self.shape):
      return np.zeros(self.shape, self.dtype)
    is_bool = self.dtype == np.bool_
    array = np.ndarray(
      self.shape,
      np.uint8 if is_bool else self.dtype,
      buffer,
      start + self.offset * width,
      tuple(stride * width for stride in self.strides),
    )
    if is_bool:  # NumPy relies on bytes of 0 and 1, a file may hold any
      return array != 0
    array.flags.writeable = False
    return array


def storage_from(machine, storages: dict, fields: tuple) -> Storage:
  """The storage of a persistent id ('storage', class, key, device, size): one for each key."""
  match fields:
    case ('storage', Global() as cls, str(key), str(), int(size)):
      dtype = STORAGES.get(cls.name) if cls.module == 'torch' else None
      if dtype is None:
        raise machine.error(f'a storage of the class {show(str(cls))}', HOSTILE)
    case _:
      raise machine.error('a reference that is none of torch.save', HOSTILE)
  if isinstance(size, bool) or not 0 <= size <= _MAX_SIZE:
    raise machine.error(f'a storage of {size} elements', HOSTILE)
  storage = storages.setdefault(key, Storage(dtype, size))
  if storage.dtype != dtype or storage.size != size:
    raise machine.error(f'two different storages under the key {show(key)}', HOSTILE)
  return storage


def part_of(machine, storage: Storage, first, size) -> Storage:
  """A slice of a storage, as in files of the first versions of PyTorch."""
  first, size = _sizes(machine, (first, size), 'a part of a storage')
  if first + size > storage.size or storage.whole is not None:
    raise machine.error('a part that reaches beyond its storage', HOSTILE)
  return Storage(storage.dtype, size, whole=storage, first=first)


def _sizes(machine, values, what: str) -> tuple[int, ...]:
  if not isinstance(values, tuple | list) or len(values) > _MAX_DIMS:
    raise machine.error(f'{what} of {show(values)}', HOSTILE)
  for value in values:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MAX_SIZE:
      raise machine.error(f'{what} of {show(value)}', HOSTILE)
  return tuple(values)


def _rebuild_tensor(machine, args) -> Tensor:
  """(storage, offset, shape, strides, ...) as a view inside of its storage."""
  if len(args) < 4 or not isinstance(args[0], Storage):
    raise machine.error('a tensor without its storage', HOSTILE)
  storage = args[0]
  (offset,) = _sizes(machine, args[1:2], 'a tensor with an offset')
  shape = _sizes(machine, args[2], 'a tensor with a size')
  strides = _sizes(machine, args[3], 'a tensor with a stride')
  if len(shape) != len(strides):
    raise machine.error('a tensor with other strides than axes', HOSTILE)
  if math.prod(size or 1 for size in shape) > _MAX_SIZE:
    raise machine.error(f'a tensor of the shape {list(shape)}', HOSTILE)
  num = math.prod(shape)
  last = sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True)) if num else 0
  if offset + last >= storage.size + (not num):
    raise machine.error(
      f'a tensor that reaches beyond its storage: element {offset + last} of {storage.size}',
      HOSTILE,
    )
  # Axes of stride 0 make large tensors of small storages.
  machine.budget.view_bytes -= num * storage.dtype.itemsize
  if machine.budget.view_bytes < 0:
    raise machine.error('tensors that are many times as large as the file', HOSTILE)
  return Tensor(storage, offset, shape, strides)


def _rebuild_parameter(machine, args):
  """(tensor, requires_grad, hooks): the tensor."""
  if not args or not isinstance(args[0], Tensor):
    raise machine.error('a parameter without its tensor', HOSTILE)
  return args[0]


def _size(machine, args) -> tuple[int, ...]:
  return _sizes(machine, args[0] if len(args) == 1 else args, 'a torch.Size')


CONSTRUCTORS = {
  ('torch._utils', '_rebuild_tensor'): _rebuild_tensor,
  ('torch._utils', '_rebuild_tensor_v2'): _rebuild_tensor,
  ('torch._utils', '_rebuild_parameter'): _rebuild_parameter,
  ('torch._utils', '_rebuild_parameter_with_state'): _rebuild_parameter,
  ('torch', 'Size'): _size,
}
