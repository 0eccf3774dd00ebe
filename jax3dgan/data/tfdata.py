"""The loader on tf.data, of prepared shards.

The indices come from `order`, the records by random access, so the batches are a function of the
position here too. Records are read ahead on threads, as by `arrays`; TensorFlow decodes the images,
box-downscales and mirrors them to the very bytes that `arrays` gives.
"""

import contextlib
import itertools
import os

import numpy as np

from jax3dgan.data import images, labels, order, reading
from jax3dgan.errors import UserError

# TensorFlow's notes about the instructions it was built for are of no use here.
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
try:
  import tensorflow as tf
except ImportError as missing:
  raise UserError(
    'TensorFlow is not installed. Set --config.data.loader=arrays, or install tensorflow.'
  ) from missing

try:
  # tf.data works on the CPU; TensorFlow would take the accelerator's memory from JAX.
  tf.config.set_visible_devices([], 'GPU')
  tf.config.set_visible_devices([], 'TPU')
except (RuntimeError, ValueError):  # The caller has used TensorFlow already, and has decided.
  pass


def batches(
  dataset, batch_size, position=0, *, seed=0, process_index=0, process_count=1, stride=None
):
  """Yields the batches of one host, without end; see `pipeline.batches`."""
  # Bound here: when the interpreter exits, a module's names are deleted before its generators.
  tensorflow_error = tf.errors.OpError
  failures = []
  start, step = process_index * batch_size, stride or process_count * batch_size
  while True:
    options = dict(
      seed=seed, process_index=process_index, process_count=process_count, stride=stride
    )
    try:
      with make_dataset(dataset, batch_size, position, failures=failures, **options) as batched:
        for batch in batched.as_numpy_iterator():
          if batch.pop('failed').any():
            raise failures[0]
          # TensorFlow's buffers are read-only; callers may write to a batch.
          yield {name: np.array(array) for name, array in batch.items()}
          position += step
    except tensorflow_error as error:
      # TensorFlow does not say which image it was: each of the batch is tried, and skipped.
      cause = (str(error.message or error).splitlines() or ['unknown'])[0][:200]
      place = order.batch(position, batch_size, len(dataset), start=start)
      indices = order.shuffled_index(place, len(dataset), seed, same_order=dataset.same_order)
      before = len(dataset.skips)
      for i in indices.tolist():
        dataset.skips.usable(i, lambda i: _check_decodes(dataset, i))
      if len(dataset.skips) == before:
        raise UserError(
          f'TensorFlow cannot decode an image of {dataset.name} ({cause}). Prepare the data set, '
          'which leaves such images out: python -m jax3dgan.data.prepare --help'
        ) from error


@contextlib.contextmanager
def make_dataset(
  dataset,
  batch_size,
  position=0,
  *,
  seed=0,
  process_index=0,
  process_count=1,
  stride=None,
  failures=None,
):
  """The tf.data.Dataset that `batches` iterates over, once; its threads end with the context.

  Args:
    dataset: from `pipeline.open_dataset`.
    batch_size, position, seed, process_index, process_count, stride: see `pipeline.batches`.
    failures: list to which the errors of reading are appended.

  Yields:
    an infinite tf.data.Dataset of dicts of image, uint8 [batch_size, h, w, 3], where there are
    labels label, float32 [batch_size, 25], and failed, bool [batch_size]: whether the image could
    not be read (it is black then).
  """
  order.batch(position, batch_size, len(dataset))  # Bad arguments fail here, not in a thread.
  failures = [] if failures is None else failures
  stored = dataset.source.resolution
  black = images.encode_png(np.zeros((stored, stored, 3), np.uint8))
  failed = black, np.zeros(labels.NUM_NUMBERS, np.float32), False, True
  start, step = process_index * batch_size, stride or process_count * batch_size

  def encoded_and_label(index):
    record = dataset.record(index)
    return record.image, record.label

  def read_one(index, flip):
    try:
      encoded, label = dataset.skips.usable(index, encoded_and_label)
      if label is None:
        label = np.zeros(labels.NUM_NUMBERS, np.float32)
      return encoded, labels.mirror(label) if flip else label, flip, False
    except UserError as error:
      # Not raised here: TensorFlow would log its stack, and lose its type.
      failures.append(error)
      return failed

  def wanted():
    for number in itertools.count():
      place = order.batch(position + number * step, batch_size, len(dataset), start=start)
      indices = order.shuffled_index(place, len(dataset), seed, same_order=dataset.same_order)
      flips = order.flipped(place, len(dataset), seed) & dataset.flip
      yield list(zip(indices.tolist(), flips.tolist(), strict=True))

  def read():
    # Without end, unless the context has ended, or the interpreter: then this batch is not needed.
    try:
      examples = next(found, [failed] * batch_size)
    except UserError as error:  # as in read_one
      failures.append(error)
      examples = [failed] * batch_size
    encoded, *others = zip(*examples, strict=True)
    return np.array(encoded, object), *map(np.array, others)

  @tf.autograph.experimental.do_not_convert
  def read_batch(number):
    del number  # one call after the other, as `map` does without num_parallel_calls
    types = (tf.string, tf.float32, tf.bool, tf.bool)
    parts = tf.numpy_function(read, [], types)
    shapes = ([batch_size], [batch_size, labels.NUM_NUMBERS], [batch_size], [batch_size])
    return tuple(tf.ensure_shape(part, shape) for part, shape in zip(parts, shapes, strict=True))

  @tf.autograph.experimental.do_not_convert
  def decode(encoded, label, flip, failed):
    image = tf.ensure_shape(tf.io.decode_png(encoded, channels=3), [stored, stored, 3])
    image = _box_downscale(image, stored // dataset.resolution)
    image = tf.where(flip, image[:, ::-1], image)
    example = {'image': image, 'failed': failed}
    if dataset.labelled:
      example['label'] = label
    return example

  result = tf.data.Dataset.range(np.iinfo(np.int64).max).map(read_batch)
  result = result.flat_map(_slices).map(decode, num_parallel_calls=tf.data.AUTOTUNE)
  result = result.batch(batch_size, drop_remainder=True).prefetch(tf.data.AUTOTUNE)
  options = tf.data.Options()
  options.deterministic = True
  with reading.threads(dataset.read_threads, 'read') as readers:
    ahead = reading.num_ahead(batch_size, dataset.read_threads)
    found = reading.in_order(readers, read_one, wanted(), ahead)
    yield result.with_options(options)


def _check_decodes(dataset, i):
  """UserError where image i cannot be decoded by Pillow, or not by TensorFlow."""
  dataset.decode(i)
  try:
    tf.io.decode_png(dataset.record(i).image, channels=3)
  except (tf.errors.OpError, ValueError) as error:
    raise dataset.unusable(i, 'TensorFlow cannot decode it') from error


@tf.autograph.experimental.do_not_convert
def _slices(*parts):
  return tf.data.Dataset.from_tensor_slices(parts)


def _box_downscale(image, factor):
  """`images.box_downscale`, to the same bytes. uint8 [h, w, 3] -> [h / factor, w / factor, 3]."""
  if factor == 1:
    return image
  height, width, channels = image.shape
  image = tf.cast(image, tf.int32)
  image = tf.reshape(image, [height // factor, factor, width // factor, factor, channels])
  area = factor * factor
  return tf.cast((2 * tf.reduce_sum(image, axis=[1, 3]) + area) // (2 * area), tf.uint8)
