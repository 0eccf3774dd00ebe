"""State dicts as files of `torch.save`, written without PyTorch; as npz and safetensors.

The zip holds a pickle of an OrderedDict whose tensors refer to one entry each.
"""

import io
import pathlib
import struct
import zipfile
from collections.abc import Callable

import numpy as np

from jax3dgan import atomic
from jax3dgan.convert.tensors import STORAGES
from jax3dgan.runs import model_folders

_CLASSES = {dtype: name for name, dtype in STORAGES.items()}
_ALIGNMENT = 64  # PyTorch's own, so that a mapped file can be used as it is
_LOCAL_SIZE = 30
_PADDING_ID = b'FB'  # of PyTorch's extra field


def npz(path, weights: dict[str, np.ndarray]) -> None:
  """Writes {name: array} as npz, atomically."""
  _write(path, lambda file: np.savez(file, **weights))


def torch(path, weights: dict[str, np.ndarray]) -> None:
  """Writes {name: array} so that `torch.load(path, weights_only=True)` reads it; atomically.

  Args:
    path: The file; PyTorch's own end in .pth.
    weights: Arrays of any type in `tensors.STORAGES`.
  """
  _write(path, lambda file: _archive(file, weights))


def safetensors(path, weights: dict[str, np.ndarray]) -> None:
  """Writes {name: array} as safetensors, atomically; UserError without that package."""
  data = model_folders.serialized(weights)
  _write(path, lambda file: file.write(data))


def _write(path, write: Callable) -> None:
  path = pathlib.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  with atomic.replacing(path) as temporary, open(temporary, 'wb') as file:
    write(file)


def _archive(file, weights):
  # Entries of two gigabytes and more would need another header; force_zip64 below allows them.
  with zipfile.ZipFile(file, 'w', zipfile.ZIP_STORED) as archive:

    def add(name, content):
      info = zipfile.ZipInfo(f'archive/{name}')  # of 1980: files of equal content are equal
      header = file.tell() + _LOCAL_SIZE + len(info.filename) + 4
      zip64 = len(content) >= zipfile.ZIP64_LIMIT
      padding = -(header + 20 * zip64) % _ALIGNMENT
      info.extra = _PADDING_ID + struct.pack('<H', padding) + b'Z' * padding
      with archive.open(info, 'w', force_zip64=zip64) as entry:
        entry.write(content)

    add('data.pkl', _pickle(weights))
    add('byteorder', b'little')
    for i, array in enumerate(weights.values()):
      array = np.ascontiguousarray(array, array.dtype.newbyteorder('<'))
      add(f'data/{i}', memoryview(array.reshape(-1).view(np.uint8)))
    add('version', b'3\n')


def _pickle(weights) -> bytes:
  """The pickle, in protocol 2."""
  out = io.BytesIO()

  def text(value):
    encoded = value.encode()
    out.write(b'X' + struct.pack('<I', len(encoded)) + encoded)

  def number(value):
    size = value.bit_length() // 8 + 1
    out.write(b'\x8a' + bytes([size]) + value.to_bytes(size, 'little', signed=True))

  def numbers(values):
    out.write(b'(')
    for value in values:
      number(value)
    out.write(b't')

  ordered_dict = b'ccollections\nOrderedDict\n)R'
  out.write(b'\x80\x02' + ordered_dict + b'(')
  for i, (name, array) in enumerate(weights.items()):
    text(name)
    out.write(b'ctorch._utils\n_rebuild_tensor_v2\n((')
    text('storage')
    out.write(f'ctorch\n{_CLASSES[array.dtype]}\n'.encode())
    text(str(i))
    text('cpu')
    number(array.size)
    out.write(b'tQ')
    number(0)
    numbers(array.shape)
    # In C order, in elements.
    numbers(int(np.prod(array.shape[axis + 1 :], dtype=np.int64)) for axis in range(array.ndim))
    out.write(b'\x89' + ordered_dict + b'tR')
  out.write(b'u.')
  return out.getvalue()
