"""TFRecord files of tf.train.Example, written and read without TensorFlow.

A record is: length (uint64), masked CRC-32C of the length, payload, masked CRC-32C of the payload;
little-endian. tensorflow/core/lib/io/record_writer.h defines it, tensorflow/core/example/*.proto
the payload; TensorFlow reads what this writes, and vice versa.
"""

import functools
import struct

import google_crc32c
import numpy as np
from etils import epath
from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory

from jax3dgan.data import handles, skips

HEADER_BYTES = 12
FOOTER_BYTES = 4
# An invalid length (of a corrupt or foreign file) must not become an allocation.
_MAX_RECORD = 2**30


class RecordError(ValueError):
  """A file that is not a TFRecord file, or a damaged one; the message says where."""


def frame(payload):
  """The record of a payload: bytes to append to a TFRecord file."""
  length = struct.pack('<Q', len(payload))
  return b''.join([length, _masked_crc(length), payload, _masked_crc(payload)])


def unframe(data):
  """The payload of one whole record; RecordError where it is damaged."""
  size = payload_size(data[:HEADER_BYTES])
  payload = data[HEADER_BYTES : HEADER_BYTES + size]
  if len(data) < HEADER_BYTES + size + FOOTER_BYTES:
    raise RecordError('record is truncated')
  if data[HEADER_BYTES + size : HEADER_BYTES + size + FOOTER_BYTES] != _masked_crc(payload):
    raise RecordError('checksum of the record is wrong')
  return payload


def payload_size(header):
  """The payload's size that a record's first 12 bytes give; RecordError where they are damaged."""
  if len(header) < HEADER_BYTES:
    raise RecordError('record is truncated')
  if header[8:] != _masked_crc(header[:8]):
    raise RecordError('checksum of the length is wrong')
  (size,) = struct.unpack('<Q', header[:8])
  if size > _MAX_RECORD:
    raise RecordError(f'record claims {size} bytes')
  return size


def scan(file):
  """Finds the records of an open file, reading only their lengths.

  Args:
    file: binary file that can seek.

  Returns:
    int64 [n + 1]: where each record begins, and where the last one ends.
  """
  end = file.seek(0, 2)
  offsets = [0]
  while offsets[-1] < end:
    file.seek(offsets[-1])
    size = payload_size(file.read(HEADER_BYTES)) + HEADER_BYTES + FOOTER_BYTES
    offsets.append(offsets[-1] + size)
  if offsets[-1] > end:
    raise RecordError(f'record {len(offsets) - 2} is truncated')
  return np.array(offsets, np.int64)


def encode_example(features):
  """Serialises a tf.train.Example, the same bytes for the same features.

  Args:
    features: dict of name -> bytes or str, float array or integer array (flattened).

  Returns:
    bytes.
  """
  example = _example_class()()
  for name, value in features.items():
    feature = example.features.feature[name]
    if isinstance(value, str):
      value = value.encode()
    if isinstance(value, (bytes, bytearray)):
      feature.bytes_list.value.append(bytes(value))
      continue
    value = np.asarray(value).ravel()
    if np.issubdtype(value.dtype, np.integer) or value.dtype == bool:
      feature.int64_list.value.extend(value.astype(np.int64).tolist())
    elif np.issubdtype(value.dtype, np.floating):
      feature.float_list.value.extend(value.tolist())
    else:
      raise TypeError(f'Feature {name!r} has the type {value.dtype}.')
  return example.SerializeToString(deterministic=True)


def decode_example(payload):
  """Parses a tf.train.Example.

  Args:
    payload: bytes.

  Returns:
    dict of name -> bytes (list of bytes, where there are several), float32 [n] or int64 [n].

  Raises:
    RecordError: where the payload is none.
  """
  try:
    example = _example_class().FromString(payload)
  except message.DecodeError as error:
    raise RecordError('record is not a tf.train.Example') from error
  result = {}
  for name, feature in example.features.feature.items():
    kind = feature.WhichOneof('kind')
    if kind == 'bytes_list':
      values = list(feature.bytes_list.value)
      result[name] = values[0] if len(values) == 1 else values
    elif kind == 'float_list':
      result[name] = np.array(feature.float_list.value, np.float32)
    elif kind == 'int64_list':
      result[name] = np.array(feature.int64_list.value, np.int64)
  return result


class RecordFiles:
  """Random access to the records of TFRecord files, local or in a bucket; safe with threads.

  Threads read at the same time, also from one file.

  Args:
    paths: the files.
    offsets: for each file int64 [n + 1], as from `scan`.
  """

  def __init__(self, paths, offsets):
    self._paths = opened = [epath.Path(path) for path in paths]
    self._offsets = [np.asarray(part, np.int64) for part in offsets]
    self._starts = np.cumsum([0] + [len(part) - 1 for part in self._offsets])
    self._files = handles.Handles(lambda file: opened[file].open('rb'))
    self.close = self._files.close

  def __len__(self):
    return int(self._starts[-1])

  def where(self, i):
    """(file, number within it) of record i."""
    file = int(np.searchsorted(self._starts, i, side='right')) - 1
    return file, int(i - self._starts[file])

  def describe(self, i):
    """Record i in words, for messages."""
    file, number = self.where(i)
    return f'record {number} of {self._paths[file]}'

  def payload(self, i):
    """The payload of record i; a UserError of `skips`, which names it, where there is none."""
    if not 0 <= i < len(self):
      raise IndexError(f'record {i} of {len(self)}')
    file, number = self.where(i)
    begin, end = (int(x) for x in self._offsets[file][number : number + 2])
    try:
      try:
        return unframe(self._files.read(file, begin, end - begin))
      except RecordError:
        # Is it the file, or was it this read? A mount that comes back may give zeros for a while.
        self._files.forget(file)
        return unframe(self._files.read(file, begin, end - begin))
    except OSError as error:
      raise skips.UnreachableError(
        f'Cannot read {self._paths[file]}: {error.strerror or error}. '
        'Bring the file or its disk back, then run the same command.'
      ) from error
    except RecordError as error:
      raise skips.DamagedError(f'Cannot read {self.describe(i)}: {error}.') from error


def _masked_crc(data):
  # Masked, as a checksum of data that contains its own checksum is weak.
  crc = google_crc32c.value(bytes(data))
  return struct.pack('<I', ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


@functools.cache
def _example_class():
  """The message class, built in a pool of its own: TensorFlow registers the same names."""
  field_type = descriptor_pb2.FieldDescriptorProto
  file = descriptor_pb2.FileDescriptorProto(
    name='jax3dgan_example.proto', package='jax3dgan', syntax='proto3'
  )

  def add(parent, name, number, kind, repeated=False, type_name=None, oneof=None):
    field = parent.field.add(
      name=name,
      number=number,
      type=kind,
      label=field_type.LABEL_REPEATED if repeated else field_type.LABEL_OPTIONAL,
    )
    if type_name:
      field.type_name = '.jax3dgan.' + type_name
    if oneof is not None:
      field.oneof_index = oneof

  lists = (
    ('BytesList', field_type.TYPE_BYTES),
    ('FloatList', field_type.TYPE_FLOAT),
    ('Int64List', field_type.TYPE_INT64),
  )
  for name, kind in lists:
    add(file.message_type.add(name=name), 'value', 1, kind, repeated=True)
  feature = file.message_type.add(name='Feature')
  feature.oneof_decl.add(name='kind')
  for number, (name, _) in enumerate(lists, start=1):
    field_name = name.replace('List', '_list').lower()
    add(feature, field_name, number, field_type.TYPE_MESSAGE, type_name=name, oneof=0)
  features = file.message_type.add(name='Features')
  entry = features.nested_type.add(name='FeatureEntry')
  entry.options.map_entry = True
  add(entry, 'key', 1, field_type.TYPE_STRING)
  add(entry, 'value', 2, field_type.TYPE_MESSAGE, type_name='Feature')
  message_type = field_type.TYPE_MESSAGE
  add(features, 'feature', 1, message_type, repeated=True, type_name='Features.FeatureEntry')
  example = file.message_type.add(name='Example')
  add(example, 'features', 1, field_type.TYPE_MESSAGE, type_name='Features')
  pool = descriptor_pool.DescriptorPool()
  pool.Add(file)
  return message_factory.GetMessageClass(pool.FindMessageTypeByName('jax3dgan.Example'))
