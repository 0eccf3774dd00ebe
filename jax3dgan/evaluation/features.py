"""Features of images by the FID Inception, on all devices.

from jax3dgan.evaluation import features
from jax3dgan.feature_networks import inception_weights

extract = features.FeatureExtractor(inception_weights.load())
for values in extract(batches):  # float32 [n, 2048] for each batch [n, h, w, 3]
  ...
"""

import collections
import functools
from collections.abc import Iterable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from jax3dgan import viz
from jax3dgan.devices import parallel
from jax3dgan.errors import UserError
from jax3dgan.feature_networks import inception
from jax3dgan.feature_networks.inception_weights import Weights
from jax3dgan.nn import backend

# Images per iteration on a CPU: their activations fit its caches, and a single image does not use
# all cores. The iterations of a loop also reuse memory that is mapped already.
_CPU_CHUNK = 4
# Generators exceed [−1, 1] a little; larger values mean images of 0 to 255.
_LARGEST = 8.0
_REMEDY = 'Give uint8 images, or floats in [−1, 1]'


def checked(images) -> np.ndarray:
  """The batch as an array.

  Args:
    images: [n, h, w, 3], uint8 or float in [−1, 1].

  Raises:
    UserError: Another shape or type, NaN or infinite values, or values far outside [−1, 1].
  """
  images = np.asarray(images)
  if images.ndim != 4 or images.shape[-1] != 3 or 0 in images.shape[1:]:
    raise UserError(
      f'Images of the shape {images.shape} have no features. Give colour images [n, h, w, 3].'
    )
  if images.dtype == np.uint8:
    return images
  if not jnp.issubdtype(images.dtype, jnp.floating):
    raise UserError(f'Images of the type {images.dtype} have no known range. {_REMEDY}.')
  images = images.astype(np.float32)
  wrong = np.flatnonzero(~np.isfinite(images).all((1, 2, 3)))
  if len(wrong):
    raise UserError(
      f'{len(wrong)} of {len(images)} images have values that are not finite, the first of them '
      f'image {wrong[0]}. A generator that gives these has diverged: take an earlier checkpoint.'
    )
  if images.size and (largest := float(np.abs(images).max())) > _LARGEST:
    raise UserError(f'Images with the value {largest:.4g} are not in [−1, 1]. {_REMEDY}.')
  return images


class FeatureExtractor:
  """Images to features.

  Attributes:
    weights: The network's.
    dims: Length of the features, 2048 or 768.
    label: The name of a distance of these features: 'FID-2048' or 'FID-768'.
    fingerprint: Of everything that determines the features, for the names of cached statistics.
    batch_size: Images of one program, on all devices together.
  """

  def __init__(
    self,
    weights: Weights,
    mesh: jax.sharding.Mesh | None = None,
    resize: str = 'half_pixel',
    batch_size: int = 64,
    quantize: bool = True,
  ):
    """
    Args:
      weights: Of `inception_weights.load`.
      mesh: Of `parallel.make_mesh`, whose devices share every batch; None for all devices
        of this process. Each process has its own images.
      resize: 'half_pixel' as pytorch-fid, 'tensorflow' as the original graph; see
        `inception.resize_matrix`.
      batch_size: Rounded up to a multiple of the devices.
      quantize: Round floats to the 256 values of a saved PNG first, as in the photos that they are
        compared with.
    """
    if resize not in inception.RESIZES:
      names = ', '.join(inception.RESIZES)
      raise UserError(f"No resizing is called '{resize}'. Choose one of {names}.")
    if batch_size < 1:
      raise UserError(f'A batch of {batch_size} images has no features. Set at least 1.')
    self.weights, self.dims, self.quantize = weights, weights.dims, quantize
    self.label = f'FID-{self.dims}'
    self.fingerprint = '-'.join([weights.fingerprint, resize] + ['floats'] * (not quantize))
    self._mesh = parallel.make_mesh(jax.local_devices()) if mesh is None else mesh
    self._num_devices = self._mesh.devices.size
    self._local = -(-batch_size // self._num_devices)
    self.batch_size = self._local * self._num_devices
    self._network = inception.Inception(self.dims, resize=resize)

  @functools.cached_property
  def _params(self):
    return parallel.replicate(self.weights.params, self._mesh)

  @functools.cached_property
  def _features(self):
    """The compiled program: (params, images [batch_size, h, w, 3], number of valid ones)."""

    def local_features(params, images, num):
      apply = functools.partial(self._network.apply, {'params': params})
      if not backend.cpu_forms():
        return apply(images)
      chunk = min(_CPU_CHUNK, len(images))
      padded = jnp.pad(images, ((0, -len(images) % chunk), (0, 0), (0, 0), (0, 0)))
      first = jax.lax.axis_index(parallel.AXIS) * len(images)
      num_chunks = (jnp.clip(num - first, 0, len(images)) + chunk - 1) // chunk

      def add(i, found):
        part = jax.lax.dynamic_slice_in_dim(padded, i * chunk, chunk)
        return jax.lax.dynamic_update_slice_in_dim(found, apply(part), i * chunk, 0)

      found = jnp.zeros((len(padded), self.dims), jnp.float32)
      return jax.lax.fori_loop(0, num_chunks, add, found)[: len(images)]

    return jax.jit(
      jax.shard_map(
        local_features,
        mesh=self._mesh,
        in_specs=(parallel.REPLICATED, parallel.SPLIT, parallel.REPLICATED),
        out_specs=parallel.SPLIT,
        check_vma=False,
      )
    )

  def __call__(self, batches: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Yields float32 [n, dims] for each batch.

    Args:
      batches: Images [n, h, w, 3], uint8 or float in [−1, 1]; any n, any size of image (a program
        is compiled for each), resized to 299² whatever their shape. Small batches of one size are
        joined and large ones split, so the features of a batch may be yielded only after later
        batches were read.

    Raises:
      UserError: See `checked`.
    """
    batches_left = collections.deque()  # [number of images, features so far]
    waiting = []  # images that do not fill a batch of the program yet
    running = None  # a program whose features have not been fetched

    def collect(done):
      """Adds features to their batches."""
      values, num = done
      values = np.asarray(values)[:num]
      for batch in batches_left:
        need = batch[0] - sum(map(len, batch[1]))
        if need and len(values):
          batch[1].append(values[:need])
          values = values[need:]

    def finished():
      while batches_left and batches_left[0][0] == sum(map(len, batches_left[0][1])):
        _, features = batches_left.popleft()
        yield np.concatenate(features) if features else np.zeros((0, self.dims), np.float32)

    def start(images):
      """Runs the program on at most batch_size images, and fetches the previous result."""
      nonlocal running
      before, running = running, (self._run(images), len(images))
      if before:
        collect(before)

    for images in batches:
      images = checked(images)
      images = viz.to_uint8(images) if self.quantize else images
      if waiting and (waiting[0].shape[1:], waiting[0].dtype) != (images.shape[1:], images.dtype):
        start(np.concatenate(waiting))
        waiting = []
      batches_left.append([len(images), []])
      if len(images):
        waiting.append(images)
      while sum(map(len, waiting)) >= self.batch_size:
        images = np.concatenate(waiting) if len(waiting) > 1 else waiting[0]
        start(images[: self.batch_size])
        rest = images[self.batch_size :]
        waiting = [rest] if len(rest) else []
      yield from finished()
    if waiting:
      start(np.concatenate(waiting))
    if running:
      collect(running)
    yield from finished()

  def _run(self, images):
    padding = ((0, self.batch_size - len(images)), (0, 0), (0, 0), (0, 0))
    split = parallel.shard(np.pad(images, padding), self._mesh)
    return self._features(self._params, split, np.int32(len(images)))
