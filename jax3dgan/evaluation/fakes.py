"""Generated images for the distribution metrics, on all devices, by camera protocol.

Image i of a protocol depends on (seed, i) only, not on the batch or the devices. The protocol
changes FID as much as a method does, so each figure names it:
  random: cameras from the pose prior of the training;
  dataset: cameras of the photos, drawn without replacement, from the start again if there are fewer
    photos than images; a mapping network that is conditioned on the camera gets the same one;
  fixed: the same cameras, but the mapping network is always conditioned on the frontal one
    (FID_3D).
"""

import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from jax3dgan import cameras
from jax3dgan.cameras import camera_generator
from jax3dgan.devices import parallel
from jax3dgan.errors import UserError
from jax3dgan.recipes import base

PROTOCOLS = ('random', 'dataset', 'fixed')


def dataset_labels(dataset, num: int, seed: int) -> np.ndarray:
  """Camera labels [num, 25] of a data set, in a seeded order.

  Raises:
    UserError: The data has no labels.
  """
  if not dataset.labelled:
    raise UserError(
      f'{dataset.name} has no cameras for the protocol dataset. Set --config.eval.cameras=random, '
      'or name a data set with labels: --config.data.source=DIR.'
    )
  order = np.random.default_rng(seed).permutation(len(dataset))
  labels = {int(i): dataset.source.read(int(i)).label for i in np.sort(order[:num])}
  return np.stack([labels[int(order[i % len(order)])] for i in range(num)])


class Fakes:
  """Generated images of one generator, compiled once; `model` may be given other parameters.

  Args:
    model: A `trained.Trained`.
    mesh: The devices that share the work; None for all of this process.
    batch_size: Images at a time, of all devices together; rounded up to a multiple of them.
    truncation_psi: 1 for none, which is the usual protocol.
    seed: Of latents and cameras.
  """

  def __init__(self, model, mesh=None, batch_size: int = 64, truncation_psi=1.0, seed: int = 0):
    self.model, self.seed, self.psi = model, seed, truncation_psi
    self.mesh = mesh or parallel.local_mesh()
    self.batch_size = -(-batch_size // self.mesh.size) * self.mesh.size
    self.options = model.options()
    self._steps = {}

  def batches(
    self, num: int, labels: np.ndarray | None = None, fixed: bool = False
  ) -> Iterator[np.ndarray]:
    """Yields uint8 images [n, h, w, 3], num in all.

    Args:
      num: How many.
      labels: [num, 25] the cameras; None draws them from the pose prior.
      fixed: Conditions the mapping network on the frontal camera instead of that of the image.
    """
    average = None if self.psi == 1 else self.model.average_w
    fixed = fixed and self.model.is_conditioned
    if fixed not in self._steps:
      self._steps[fixed] = jax.jit(self._step(fixed))
    for start in range(0, num, self.batch_size):
      index = np.arange(start, start + self.batch_size)
      rows = None if labels is None else labels[np.minimum(index, num - 1)]
      images, bad = self._steps[fixed]((self.model.variables, average), (index, rows))
      if int(bad):
        raise UserError(
          f'{self.model.name} makes images with {int(bad)} values that are not numbers at step '
          f'{self.model.step:,}: its training diverged. Take an earlier checkpoint: '
          '--config.eval.step=STEP.'
        )
      yield np.asarray(images)[: num - start]

  def _step(self, fixed: bool):
    model, generator = self.model, self.model.generator
    front = model.front.label()[0]
    seed = jax.random.key(self.seed)

    def shard(state, batch):
      variables, average = state
      index, labels = batch
      keys = jax.vmap(lambda i: jax.random.split(jax.random.fold_in(seed, i)))(index)
      z = jax.vmap(lambda key: jax.random.normal(key, (generator.z_dim,)))(keys[:, 0])
      if labels is None:
        prior = model.prior_of(variables['params'])
        sample = functools.partial(camera_generator.sample_angles, prior)
        yaw, pitch = jax.vmap(sample)(keys[:, 1])
        radius = base.draw_radius(keys[:, 1], model.config)
        camera = base.camera_of(model.config, yaw, pitch, radius)
      else:
        camera = cameras.from_label(labels)
      label = None
      if model.is_conditioned:
        own = camera.label()
        label = jnp.broadcast_to(front, own.shape) if fixed else own
      truncation = {}
      if average is not None:
        truncation = {'truncation_psi': self.psi, 'average_w': average}
      w = generator.apply(variables, z, label, method='map', **truncation)
      image = generator.apply(
        variables, w, camera, key=None, options=self.options, method='synthesize'
      ).image
      # The same conversion as `viz.to_uint8`: the metrics are defined on files. It makes NaN black,
      # so NaN is counted here.
      bad = jax.lax.psum(jnp.sum(~jnp.isfinite(image)), parallel.AXIS)
      image = jnp.round(jnp.clip((image + 1) * 127.5, 0, 255)).astype(jnp.uint8)
      return jax.lax.all_gather(image, parallel.AXIS, tiled=True), bad

    return parallel.data_parallel(shard, self.mesh)
