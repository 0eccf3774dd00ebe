"""The loader on tf.data: shards and TFDS data sets. The only module that imports TensorFlow.

The indices come from `order`, the records by random access, so the batches are a function of the
position here too. Shards are decoded, box-downscaled and mirrored to the very bytes that `arrays`
gives. Images of TFDS are cropped and resized with an antialiasing filter first, small ones
enlarged; `prepare` leaves those out instead.
"""

import os

import numpy as np

from jax3dgan.data import images, labels, order, records
from jax3dgan.errors import UserError

# TensorFlow's notes about the instructions it was built for help nobody here.
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


def batches(dataset, batch_size, position=0, *, seed=0, process_index=0, process_count=1):
  """Yields the batches of one host, for ever; see `pipeline.batches`."""
  # Bound here: when the interpreter ends, a module's names go before its generators.
  tensorflow_error = tf.errors.OpError
  failures = []
  start, step = process_index * batch_size, process_count * batch_size
  while True:
    batched = make_dataset(
      dataset,
      batch_size,
      position,
      seed=seed,
      process_index=process_index,
      process_count=process_count,
      failures=failures,
    )
    try:
      for batch in batched.as_numpy_iterator():
        if batch.pop('failed').any():
          raise failures[0]
        # TensorFlow's buffers are read-only; the contract says nothing of the kind.
        yield {name: np.array(array) for name, array in batch.items()}
        position += step
    except tensorflow_error as error:
      # Which image it was, TensorFlow does not say. It is skipped from now on, from here.
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


def make_dataset(
  dataset, batch_size, position=0, *, seed=0, process_index=0, process_count=1, failures=None
):
  """The tf.data.Dataset that `batches` iterates over.

  Args:
    dataset: from `pipeline.open_dataset`.
    batch_size, position, seed, process_index, process_count: see `pipeline.batches`.
    failures: list to which the errors of reading are appended.

  Returns:
    an infinite tf.data.Dataset of dicts of image, uint8 [batch_size, h, w, 3], where there are
    labels label, float32 [batch_size, 25], and failed, bool [batch_size]: whether the image could
    not be read (it is black then).
  """
  order.batch(position, batch_size, len(dataset))  # Bad arguments fail here, not in a thread.
  failures = [] if failures is None else failures
  prepared = isinstance(dataset.source, records.Shards)
  stored = dataset.source.resolution if prepared else dataset.resolution
  black = images.encode_png(np.zeros((stored, stored, 3), np.uint8))
  start, step = process_index * batch_size, process_count * batch_size

  def encoded_and_label(index):
    record = dataset.record(index)
    label = record.label
    if label is not None and not prepared:
      try:
        size = images.size(record.image)
        label = labels.crop(label, *size, images.crop_box(*size, dataset.crop))
      except images.ImageError as error:
        raise dataset.unusable(index, error) from error
    return record.image, label

  def read_one(index, flip):
    try:
      encoded, label = dataset.skips.usable(index, encoded_and_label)
      if label is None:
        label = np.zeros(labels.NUM_NUMBERS, np.float32)
      return encoded, labels.mirror(label) if flip else label, False
    except UserError as error:
      # Not raised here: TensorFlow would log its stack, and lose its type.
      failures.append(error)
      return black, np.zeros(labels.NUM_NUMBERS, np.float32), True

  def read(number):
    place = order.batch(int(position) + int(number) * step, batch_size, len(dataset), start=start)
    indices = order.shuffled_index(place, len(dataset), seed, same_order=dataset.same_order)
    flips = np.zeros(batch_size, bool)
    if dataset.flip:
      flips = order.flipped(place, len(dataset), seed)
    examples = [read_one(*pair) for pair in zip(indices.tolist(), flips.tolist(), strict=True)]
    encoded, label, failed = zip(*examples, strict=True)
    return np.array(encoded, object), np.stack(label), flips, np.array(failed)

  @tf.autograph.experimental.do_not_convert
  def read_batch(number):
    types = (tf.string, tf.float32, tf.bool, tf.bool)
    parts = tf.numpy_function(read, [number], types)
    shapes = ([batch_size], [batch_size, labels.NUM_NUMBERS], [batch_size], [batch_size])
    return tuple(tf.ensure_shape(part, shape) for part, shape in zip(parts, shapes, strict=True))

  @tf.autograph.experimental.do_not_convert
  def decode(encoded, label, flip, failed):
    if prepared:
      image = tf.ensure_shape(tf.io.decode_png(encoded, channels=3), [stored, stored, 3])
      image = _box_downscale(image, stored // dataset.resolution)
    else:
      image = _crop_and_resize(_decode_any(encoded), dataset.resolution, dataset.crop)
    image = tf.where(flip, image[:, ::-1], image)
    example = {'image': image, 'failed': failed}
    if dataset.labelled:
      example['label'] = label
    return example

  result = tf.data.Dataset.range(np.iinfo(np.int64).max)
  result = result.map(read_batch, num_parallel_calls=tf.data.AUTOTUNE)
  result = result.flat_map(_slices).map(decode, num_parallel_calls=tf.data.AUTOTUNE)
  result = result.batch(batch_size, drop_remainder=True).prefetch(tf.data.AUTOTUNE)
  options = tf.data.Options()
  options.deterministic = True
  return result.with_options(options)


def _check_decodes(dataset, i):
  """UserError where image i cannot be decoded by Pillow, or not by TensorFlow."""
  dataset.decode(i)
  prepared = isinstance(dataset.source, records.Shards)
  decode = (lambda data: tf.io.decode_png(data, channels=3)) if prepared else _decode_any
  try:
    decoded = decode(dataset.record(i).image)
    if not prepared:
      _crop_and_resize(decoded, dataset.resolution, dataset.crop)
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


def _decode_any(encoded):
  """Decodes any image to uint8 [h, w, 3]; grey is repeated, alpha is composited on white."""
  image = tf.cast(tf.io.decode_image(encoded, expand_animations=False), tf.int32)
  channels = tf.shape(image)[-1]
  colour = tf.cond(channels < 3, lambda: tf.repeat(image[..., :1], 3, -1), lambda: image[..., :3])
  alpha = tf.where(channels % 2 == 0, image[..., -1:], 255)
  return tf.cast((colour * alpha + 255 * (255 - alpha) + 127) // 255, tf.uint8)


def _crop_and_resize(image, resolution, crop):
  """Crops as `images.crop_box` does, and resizes with an antialiased Lanczos filter."""
  crop = images.parse_crop(crop)
  height, width = tf.shape(image)[0], tf.shape(image)[1]
  if isinstance(crop, tuple):
    left, top, size = crop
  else:
    shorter = tf.cast(tf.minimum(height, width), tf.float64)
    size = tf.maximum(1, tf.cast(tf.round(crop * shorter), tf.int32))
    left, top = (width - size) // 2, (height - size) // 2
  image = tf.image.crop_to_bounding_box(image, top, left, size, size)
  image = tf.image.resize(image, [resolution] * 2, method='lanczos3', antialias=True)
  image = tf.cast(tf.clip_by_value(tf.round(image), 0.0, 255.0), tf.uint8)
  return tf.ensure_shape(image, [resolution, resolution, 3])


def tfds_files(name, split='train', data_dir=None, download=False):
  """The TFRecord files of a TFDS data set.

  Args:
    name: its name in TFDS, with version and config if need be.
    split: a whole split.
    data_dir: where TFDS keeps its data; by default its own choice.
    download: whether to fetch and prepare the data set at need.

  Returns:
    list of paths.

  Raises:
    UserError: where there is none, or it is not there and cannot be fetched.
  """
  import tensorflow_datasets as tfds

  try:
    builder = tfds.builder(name, data_dir=data_dir)
  except (tfds.core.DatasetNotFoundError, ValueError, ImportError) as error:
    cause = (str(error).strip().splitlines() or [type(error).__name__])[0]
    raise UserError(
      f'TFDS cannot open {name!r}: {cause} Look the name up in the catalogue of TFDS.'
    ) from error
  if not builder.is_prepared():
    if not download:
      raise UserError(
        f'tfds:{name} is not in {builder.data_dir}. Fetch it with python -m jax3dgan.data.prepare '
        f'--source=tfds:{name} --out=DIR --resolution=64 and set --config.data.source=DIR.'
      )
    try:
      builder.download_and_prepare(file_format='tfrecord')
    except Exception as error:  # Whatever a download, an archive or a builder can raise.
      cause = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
      raise UserError(
        f'TFDS cannot fetch {name}: {cause} Fetch its images by hand and give their folder as '
        '--source (for CelebA with --crop=celeba).'
      ) from error
  splits = builder.info.splits
  if split not in splits:
    raise UserError(f'tfds:{name} has no split {split!r}. Choose one of {", ".join(splits)}.')
  file_format = builder.info.file_format
  if file_format is not None and file_format.value != 'tfrecord':
    raise UserError(
      f'tfds:{name} is stored as {file_format.value}. Prepare it in TFDS as tfrecord.'
    )
  return [os.fspath(path) for path in splits[split].filepaths]
