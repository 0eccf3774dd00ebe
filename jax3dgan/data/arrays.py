"""The loader without TensorFlow: batches as NumPy arrays, or drawn inside the compiled step.

`batches` reads and decodes on threads. `resident` decodes a whole data set once and keeps it on the
devices; `draw` then gathers a batch there, so that a step needs nothing from the host.
"""

import contextlib
import itertools
import math
import os

import jax
import jax.numpy as jnp
import numpy as np
import tqdm
from jax.sharding import NamedSharding

from jax3dgan.data import codes as codes_lib
from jax3dgan.data import order, reading
from jax3dgan.devices import hosts, parallel
from jax3dgan.errors import UserError

# Images of a resident set that are read and decoded together.
_BLOCK = 64
# Of the memory that resident sets may take: the rest is for the networks.
_SHARE = 0.8


def batches(
  dataset, batch_size, position=0, *, seed=0, process_index=0, process_count=1, stride=None
):
  """Yields the batches of one host, without end.

  Args:
    dataset: from `pipeline.open_dataset`.
    batch_size: number of images for this host.
    position: number of images that all hosts together have consumed before.
    seed: of the order and of the flips.
    process_index, process_count: this host's number, and how many there are.
    stride: images from one batch to the next, where that is less than all hosts together read: the
      last images of a batch are then also the first of the next.

  Yields:
    dict of image, uint8 [batch_size, h, w, 3], where there are labels, label, float32
    [batch_size, 25], and the data set's codes by their names, float32 [batch_size, k].
  """
  start, step = process_index * batch_size, stride or process_count * batch_size

  def places():
    for number in itertools.count():
      yield order.batch(position + number * step, batch_size, len(dataset), start=start)

  def indices(place):
    return order.shuffled_index(place, len(dataset), seed, same_order=dataset.same_order).tolist()

  found = reading.examples(dataset, map(indices, places()), batch_size)
  with contextlib.closing(found):
    for place, examples in zip(places(), found, strict=True):
      flips = order.flipped(place, len(dataset), seed) & dataset.flip
      pairs = zip(examples, flips, strict=True)
      yield _stack(
        [_mirrored(*each, dataset.codes) if flip else each for each, flip in pairs], dataset.codes
      )


def _mirrored(image, row, codes):
  return image[:, ::-1], row if row is None else codes.mirror(row)


def _stack(examples, codes):
  batch = {'image': np.stack([image for image, _ in examples])}
  if examples[0][1] is not None:
    batch |= codes.split(np.stack([row for _, row in examples]))
  return batch


def resident(dataset, mesh=None, progress=True):
  """Decodes the whole data set, once, and puts it on every device of a mesh.

  Of several processes each reads and decodes its part, and the devices exchange the parts. Images
  are rows, which a gather copies whole: an array [n, h, w, 3] could be laid out on a TPU with its
  last axis padded from 3 to 128.

  Args:
    dataset: from `pipeline.open_dataset`; n images.
    mesh: the devices; None for the first one.
    progress: whether to show a bar.

  Returns:
    dict of image, uint8 [n', h·w·c], and, where there are labels or codes, label, the rows float32
    [n', `dataset.codes.size`]; JAX arrays for `draw`. Of several processes n' is the next multiple
    of the number of devices, with zeros at the end; of one it is n.

  Raises:
    UserError: where the images do not fit into memory.
  """
  mesh = parallel.make_mesh(jax.local_devices()[:1]) if mesh is None else mesh
  whole, split = (NamedSharding(mesh, spec) for spec in (parallel.REPLICATED, parallel.SPLIT))
  count, row = len(dataset), dataset.channels * dataset.resolution**2
  shared = len({device.process_index for device in mesh.devices.flat}) > 1
  size = -(-count // mesh.size) * mesh.size if shared else count
  numbers = _part(split, size) if shared else np.arange(size)
  on_device = row * (size + (size // mesh.size if shared else 0))
  _check_memory(row * len(numbers), on_device, len(mesh.local_devices))
  result = {'image': np.zeros((len(numbers), row), np.uint8)}
  if dataset.codes.size:
    result['label'] = np.zeros((len(numbers), dataset.codes.size), np.float32)
  wanted = numbers[numbers < count].tolist()
  blocks = [wanted[i : i + _BLOCK] for i in range(0, len(wanted), _BLOCK)]
  found = reading.watched(
    reading.examples(dataset, blocks, _BLOCK), dataset.name, lambda line: dataset.skips.say(line)
  )
  done = 0
  with tqdm.tqdm(
    total=len(wanted), desc='decode', unit='img', disable=not progress, leave=False
  ) as bar:
    for examples in found:
      for i, (image, label) in enumerate(examples, done):
        result['image'][i] = image.reshape(-1)
        if label is not None:
          result['label'][i] = label
      done += len(examples)
      bar.update(len(examples))
  if not shared:
    # From the host to each device: a copy made on the first one would need its room twice.
    return {
      name: jax.make_array_from_callback(array.shape, whole, array.__getitem__)
      for name, array in result.items()
    }
  # Some may take hours longer than others, which a collective operation would not wait.
  hosts.wait_for_all('they decode their part of the data')
  gather = jax.jit(lambda parts: parts, out_shardings=whole)
  return gather(
    {name: jax.make_array_from_process_local_data(split, x) for name, x in result.items()}
  )


def _part(split, size):
  """The rows of an array of `size` rows that this process's devices have, in order."""
  slices = split.addressable_devices_indices_map((size,)).values()
  return np.concatenate(sorted((np.arange(size)[each] for each in slices), key=lambda x: x[0]))


def draw(
  resident,
  position,
  batch_size,
  seed,
  flip,
  start=0,
  same_order=False,
  size=None,
  channels=3,
  codes=None,
):
  """Gathers a batch; for use inside a compiled function. The same images as `batches`.

  Args:
    resident: from `resident`.
    position: position of the first image of the global batch: int32 or uint32 (read as uint32), or
      a pair of scalars (epoch, offset) as from `order.split`; may be traced.
    batch_size: number of images to draw, static.
    seed: int, of the order and of the flips; static.
    flip: whether images are mirrored at random, static.
    start: where in the global batch the drawn part begins, as in
      `jax.lax.axis_index('data') * batch_size`; may be traced.
    same_order: whether every epoch has the same order, static.
    size: number of images of the data set, static; by default the number of rows.
    channels: c of the images, static.
    codes: `Dataset.codes`, static; None for labels alone.

  Returns:
    dict of image, uint8 [batch_size, h, w, c], where there are labels, label, float32
    [batch_size, 25], and the codes by their names, float32 [batch_size, k].
  """
  rows, numbers = resident['image'].shape
  size = rows if size is None else size
  side = math.isqrt(numbers // channels)
  place = order.batch(position, batch_size, size, jnp, start)
  indices = order.shuffled_index(place, size, seed, jnp, same_order).astype(jnp.int32)
  # 'clip', as the indices are in range: the default compares each with the range.
  batch = {name: jnp.take(x, indices, axis=0, mode='clip') for name, x in resident.items()}
  batch['image'] = batch['image'].reshape(batch_size, side, side, channels)
  codes = codes_lib.Codes() if codes is None else codes
  rows = batch.pop('label', None)
  if flip:
    flips = order.flipped(place, size, seed, jnp)
    image = batch['image']
    batch['image'] = jnp.where(flips[:, None, None, None], image[:, :, ::-1], image)
    if rows is not None:
      rows = jnp.where(flips[:, None], codes.mirror(rows), rows)
  return batch if rows is None else batch | codes.split(rows)


def _check_memory(on_host, on_device, num_devices):
  """UserError where so many bytes on the host, and on each of its devices, are too many."""
  stats = jax.local_devices()[0].memory_stats() or {}
  limit = stats.get('bytes_limit')
  if limit is None:  # a CPU's devices share the memory of the host
    on_host += num_devices * on_device
  elif on_device > _SHARE * limit:
    _refuse(on_device, 'the device has', limit)
  if hasattr(os, 'sysconf') and 'SC_PHYS_PAGES' in os.sysconf_names:
    memory = os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
    if on_host > _SHARE * memory:
      _refuse(on_host, 'this machine has', memory)


def _refuse(num_bytes, what, limit):
  raise UserError(
    f'The images take {num_bytes / 2**30:.1f} GiB, {what} {limit / 2**30:.1f}. '
    'Set --config.data.on_device=False.'
  )
