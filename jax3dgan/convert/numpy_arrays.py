"""NumPy's scalars and arrays in pickles: built from their bytes, without calling anything."""

import dataclasses
import math
import re
from typing import Any

import numpy as np

from jax3dgan.convert.values import HOSTILE, Bytes, Global, Stateful, show

# Fixed size, no pointers. Byte order: as of the machine or little-endian, see `Dtype`.
_TYPES = re.compile('[<=|]?(b1|[iu][1248]|f[248]|c8|c16)')
_BIG_ENDIAN = 'Save it again on a little-endian machine, as nearly all are.'
_MAX_DIMS, _MAX_SIZE = 32, 2**40
CLASSES = ('numpy.ndarray',)


@dataclasses.dataclass(eq=False, slots=True)
class Dtype(Stateful):
  """A type of numbers."""

  dtype: np.dtype

  def set_state(self, machine, state):
    """(version, byte order, then what types with parts have)."""
    if not isinstance(state, tuple) or len(state) < 5 or any(x is not None for x in state[2:5]):
      raise machine.error('a NumPy type with parts', HOSTILE)
    if state[1] not in ('<', '=', '|'):
      raise machine.error('numbers that are not little-endian', _BIG_ENDIAN)


@dataclasses.dataclass(eq=False, slots=True, repr=False)
class Array(Stateful):
  """An array of NumPy, with its data left in the file.

  Attributes:
    dtype, shape, order: Of its numbers; order 'C' or 'F'.
    data: bytes or `Bytes`.
  """

  dtype: np.dtype = np.dtype(np.float32)
  shape: tuple[int, ...] = (0,)
  order: str = 'C'
  data: Any = b''

  def __repr__(self):
    return f'<{self.dtype} array {list(self.shape)}>'

  def set_state(self, machine, state):
    """(version, shape, type, whether in Fortran's order, bytes)."""
    match state:
      case (int(), tuple(shape), Dtype() as kind, bool(fortran), bytes() | Bytes() as data):
        _fill(machine, self, kind.dtype, shape, 'F' if fortran else 'C', data)
      case _:
        raise machine.error('a NumPy array without its bytes', HOSTILE)

  def numpy(self) -> np.ndarray:
    """The numbers, read-only."""
    if not math.prod(self.shape):
      return np.zeros(self.shape, self.dtype)
    is_bool = self.dtype == np.bool_
    buffer, start = self.data, 0
    if isinstance(buffer, Bytes):
      buffer, start = buffer.buffer, buffer.start
    array = np.ndarray(
      self.shape, np.uint8 if is_bool else self.dtype, buffer, start, order=self.order
    )
    if is_bool:  # NumPy relies on bytes of 0 and 1, a file may hold any
      return array != 0
    array.flags.writeable = False
    return array


def _fill(machine, array: Array, dtype, shape, order: str, data):
  sizes = [isinstance(n, int) and not isinstance(n, bool) and 0 <= n <= _MAX_SIZE for n in shape]
  if len(shape) > _MAX_DIMS or not all(sizes):
    raise machine.error('a NumPy array of a shape that is none', HOSTILE)
  if math.prod(shape) * dtype.itemsize != len(data):
    raise machine.error(
      f'a NumPy array of the shape {show(str(list(shape)))} in {len(data):,} bytes', HOSTILE
    )
  machine.budget.view_bytes -= len(data)
  if machine.budget.view_bytes < 0:
    raise machine.error('arrays that are many times as large as the file', HOSTILE)
  array.dtype, array.shape, array.order, array.data = dtype, tuple(shape), order, data


def _dtype(machine, args) -> Dtype:
  match args:
    case (str(name), *_) if _TYPES.fullmatch(name):
      return Dtype(np.dtype(name))
    case (str(name), *_):
      raise machine.error(f'the NumPy type {show(name)}', HOSTILE)
  raise machine.error('a NumPy type without its name', HOSTILE)


def _scalar(machine, args):
  """(type, bytes): the number."""
  match args:
    case (Dtype() as kind, bytes(data)) if len(data) == kind.dtype.itemsize:
      return np.frombuffer(data, kind.dtype)[0].item()
  raise machine.error('a NumPy number without its bytes', HOSTILE)


def _reconstruct(machine, args) -> Array:
  """(numpy.ndarray, ...): an array that gets its state later."""
  match args:
    case (Global(module='numpy', name='ndarray'), *_):
      return Array()
  raise machine.error('a NumPy array of another class', HOSTILE)


def _from_buffer(machine, args) -> Array:
  """(bytes, type, shape, order), as protocol 5 has it."""
  match args:
    case (bytes() | Bytes() as data, Dtype() as kind, tuple(shape), 'C' | 'F' as order):
      array = Array()
      _fill(machine, array, kind.dtype, shape, order, data)
      return array
  raise machine.error('a NumPy array without its bytes', HOSTILE)


CONSTRUCTORS = {('numpy', 'dtype'): _dtype} | {
  (f'numpy.{core}.{module}', name): make
  for core in ('core', '_core')  # the latter since NumPy 2
  for module, name, make in (
    ('multiarray', 'scalar', _scalar),
    ('multiarray', '_reconstruct', _reconstruct),
    ('numeric', '_frombuffer', _from_buffer),
  )
}
