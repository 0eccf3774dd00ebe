"""The loader without TensorFlow: batches as NumPy arrays, or drawn inside the compiled step.

`batches` decodes on threads. `resident` decodes a whole data set once and keeps it on the device;
`draw` then gathers a batch there, so that a step needs nothing from the host.
"""

import collections
import concurrent.futures
import os

import jax
import jax.numpy as jnp
import numpy as np
import tqdm

from jax3dgan.data import labels, order
from jax3dgan.errors import UserError

# Batches that are decoded while one is being used.
_AHEAD = 2


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
    dict of image, uint8 [batch_size, h, w, 3], and, where there are labels, label, float32
    [batch_size, 25].
  """
  num_threads = min(16, os.cpu_count() or 1)
  start, step = process_index * batch_size, stride or process_count * batch_size

  def submit(pool, position):
    place = order.batch(position, batch_size, len(dataset), start=start)
    indices = order.shuffled_index(place, len(dataset), seed, same_order=dataset.same_order)
    flips = np.zeros(batch_size, bool)
    if dataset.flip:
      flips = order.flipped(place, len(dataset), seed)
    pairs = zip(indices.tolist(), flips.tolist(), strict=True)
    return [pool.submit(_example, dataset, *pair) for pair in pairs]

  with concurrent.futures.ThreadPoolExecutor(num_threads) as pool:
    queue = collections.deque()
    try:
      while True:
        while len(queue) <= _AHEAD:
          queue.append(submit(pool, position))
          position += step
        yield _stack([future.result() for future in queue.popleft()])
    finally:
      for futures in queue:
        for future in futures:
          future.cancel()


def _example(dataset, index, flip):
  image, label = dataset[index]
  if flip:
    image = image[:, ::-1]
    label = label if label is None else labels.mirror(label)
  return image, label


def _stack(examples):
  batch = {'image': np.stack([image for image, _ in examples])}
  if examples[0][1] is not None:
    batch['label'] = np.stack([label for _, label in examples])
  return batch


def resident(dataset, sharding=None, progress=True):
  """Decodes the whole data set and puts it on the device.

  Args:
    dataset: from `pipeline.open_dataset`; n images.
    sharding: where to put the arrays (replicate them over a mesh); by default the first device.
    progress: whether to show a bar.

  Returns:
    dict of image, uint8 [n, h, w, 3], and, where there are labels, label, float32 [n, 25]; JAX
    arrays for `draw`.

  Raises:
    UserError: where the images do not fit into memory.
  """
  count, size = len(dataset), dataset.resolution
  _check_memory(count * size * size * 3)
  result = {'image': np.empty((count, size, size, 3), np.uint8)}
  if dataset.labelled:
    result['label'] = np.empty((count, labels.NUM_NUMBERS), np.float32)

  def decode(i):
    image, label = dataset[i]
    result['image'][i] = image
    if label is not None:
      result['label'][i] = label

  with concurrent.futures.ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:
    # In blocks: a future for each of a million images would take more memory than the images.
    blocks = [range(i, min(i + 256, count)) for i in range(0, count, 256)]
    done = pool.map(lambda block: [decode(i) for i in block] and len(block), blocks)
    with tqdm.tqdm(
      total=count, desc='decode', unit='img', disable=not progress, leave=False
    ) as bar:
      for number in done:
        bar.update(number)
  return jax.device_put(result, sharding)


def draw(resident, position, batch_size, seed, flip, start=0, same_order=False):
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

  Returns:
    dict of image, uint8 [batch_size, h, w, 3], and, where there are labels, label, float32
    [batch_size, 25].
  """
  size = resident['image'].shape[0]
  place = order.batch(position, batch_size, size, jnp, start)
  indices = order.shuffled_index(place, size, seed, jnp, same_order).astype(jnp.int32)
  batch = {name: jnp.take(array, indices, axis=0) for name, array in resident.items()}
  if not flip:
    return batch
  flips = order.flipped(place, size, seed, jnp)
  image = batch['image']
  batch['image'] = jnp.where(flips[:, None, None, None], image[:, :, ::-1], image)
  if 'label' in batch:
    batch['label'] = jnp.where(flips[:, None], labels.mirror(batch['label']), batch['label'])
  return batch


def _check_memory(num_bytes):
  stats = jax.local_devices()[0].memory_stats() or {}
  limit = stats.get('bytes_limit')
  if limit is None and hasattr(os, 'sysconf') and 'SC_PHYS_PAGES' in os.sysconf_names:
    # On a CPU the copy on the device comes on top of the one that it is made from.
    limit = os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') // 2
  if limit is not None and num_bytes > 0.8 * limit:
    raise UserError(
      f'The images take {num_bytes / 2**30:.1f} GiB, the device has {limit / 2**30:.1f}. '
      'Set --config.data.on_device=False.'
    )
