"""Pickles, zips and old torch files put together byte by byte."""

import struct
import zlib

MAGIC = 0x1950A86A20F9469CFC6C
EMPTY = b'\x80\x02}.'


def text(value: str) -> bytes:
  """Pushes a text."""
  encoded = value.encode()
  return b'X' + struct.pack('<I', len(encoded)) + encoded


def number(value: int) -> bytes:
  """Pushes a whole number."""
  size = value.bit_length() // 8 + 1
  return b'\x8a' + bytes([size]) + value.to_bytes(size, 'little', signed=True)


def numbers(values) -> bytes:
  """Pushes a tuple of whole numbers."""
  return b'(' + b''.join(map(number, values)) + b't'


def name(module: str, of: str) -> bytes:
  """Pushes a name."""
  return f'c{module}\n{of}\n'.encode()


def call(module: str, of: str, *args: bytes) -> bytes:
  """Calls a name."""
  return name(module, of) + b'(' + b''.join(args) + b'tR'


def pickled(*parts: bytes) -> bytes:
  """A pickle."""
  return b'\x80\x02' + b''.join(parts) + b'.'


def storage(key='0', size=4, cls='FloatStorage', more=b'') -> bytes:
  """Pushes a storage from outside of the pickle."""
  fields = text('storage') + name('torch', cls) + text(key) + text('cpu') + number(size)
  return b'(' + fields + more + b'tQ'


def tensor(offset=0, shape=(4,), strides=(1,), of=None) -> bytes:
  """Pushes a view of a storage."""
  of = storage() if of is None else of
  return call(
    'torch._utils',
    '_rebuild_tensor_v2',
    of,
    number(offset),
    numbers(shape),
    numbers(strides),
    b'\x89',
    b'N',
  )


def entries(**parts: bytes) -> bytes:
  """Pushes a dict of texts and what parts push."""
  return b'}(' + b''.join(text(key) + part for key, part in parts.items()) + b'u'


def module(cls: str, modules: bytes = b'}', parameters: bytes = b'}', of='siren.siren') -> bytes:
  """Pushes a module of PyTorch with the dicts of its parts."""
  state = entries(_modules=modules, _parameters=parameters, _buffers=b'}')
  return name(of, cls) + b')\x81' + state + b'b'


FLOATS = struct.pack('<4f', 1, 2, 3, 4)


def entry(path: str, data: bytes = b'', **fields) -> dict:
  """An entry of `archive`; fields: method, flags, crc, size, local (its name in its own header)."""
  return dict(path=path, data=data, **fields)


def archive(parts: list[dict], comment: bytes = b'') -> bytes:
  """A zip file of `entry`s, as wrong as they say; an entry with `at` is not written but refers to
  that place."""
  out, directory = bytearray(), bytearray()
  for part in parts:
    data, path = part['data'], part['path'].encode()
    size, method = part.get('size', len(data)), part.get('method', 0)
    content = zlib.compress(data, 9)[2:-4] if method else data
    crc, flags = part.get('crc', zlib.crc32(data)), part.get('flags', 0)
    packed = len(content) if method else size
    local = part.get('local', part['path']).encode()
    common = struct.pack('<HHHHIIIH', flags, method, 0, 33, crc, packed, size, len(path))
    at = part.get('at', len(out))
    if 'at' not in part:
      header = struct.pack('<HHHHIIIH', flags, method, 0, 33, crc, packed, size, len(local))
      out += b'PK\x03\x04' + struct.pack('<H', 20) + header + struct.pack('<H', 0) + local + content
    tail = struct.pack('<HHHHII', 0, 0, 0, 0, 0, at)
    directory += b'PK\x01\x02' + struct.pack('<HH', 20, 20) + common + tail + path
  num = len(parts) & 0xFFFF
  ends = struct.pack('<HHHHIIH', 0, 0, num, num, len(directory), len(out), len(comment))
  return bytes(out + directory) + b'PK\x05\x06' + ends + comment


def torch_zip(program: bytes, *more: dict, **storages: bytes) -> bytes:
  """A zip file of torch.save: a pickle and its storages, called 's' + their key."""
  data = [entry(f'm/data/{key[1:]}', value) for key, value in storages.items()]
  return archive([entry('m/data.pkl', program), *data, *more, entry('m/version', b'3\n')])


def torch_row(
  program: bytes,
  keys=('0',),
  rows=((4, FLOATS),),
  version=1001,
  little_endian=True,
  magic=MAGIC,
) -> bytes:
  """A file of torch.save before PyTorch 1.6."""
  system = entries(little_endian=b'\x88' if little_endian else b'\x89')
  listed = b'](' + b''.join(map(text, keys)) + b'e'
  head = b''.join(map(pickled, (number(magic), number(version), system)))
  body = b''.join(struct.pack('<q', size) + data for size, data in rows)
  return head + program + pickled(listed) + body
