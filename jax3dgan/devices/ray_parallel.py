"""Rendering on several devices: split along the batch or, if the devices do not divide it, along
the rays of each picture, so that a single picture uses all devices.

Each device computes its own pixels from replicated parameters and styles, without communication.
`shard_map` says so: with `jit` alone every device would render everything.
"""

import functools
from collections.abc import Sequence

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jax3dgan.devices.parallel import AXIS, REPLICATED, SPLIT
from jax3dgan.generators.base import Rendering


def local_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
  """The devices in one axis, 'data'; None for all of this process, or for the one that is set as
  `jax.default_device`.

  Never another process's: a picture is often rendered by one process alone.
  """
  if devices is None:
    default = jax.config.jax_default_device
    if isinstance(default, str):
      default = jax.local_devices(backend=default)[0]
    devices = jax.local_devices() if default is None else [default]
  return Mesh(np.array(devices), (AXIS,))


def cuts_pictures(generator) -> bool:
  """Whether a pixel depends on its own ray alone, so that the rays of a picture can be divided.

  Not where an up-sampler needs a pixel's neighbours.
  """
  return generator.pixels_alone


def splits_rays(generator, batch: int, num_devices: int) -> bool:
  """Whether pictures are divided along their rays, as the devices do not divide the batch.

  Only where that is possible, see `cuts_pictures`.
  """
  return batch % num_devices != 0 and cuts_pictures(generator)


def even_batch(generator, batch: int, num_devices: int) -> int:
  """The batch that `synthesize` takes: a multiple of the devices if it cannot divide pictures."""
  if splits_rays(generator, batch, num_devices):
    return batch
  return -(-batch // num_devices) * num_devices


def synthesize(generator, mesh: Mesh, variables, w, camera, options) -> Rendering:
  """`generator.synthesize` without a key on all devices of a mesh; inside a jit.

  Args:
    generator: A Flax module.
    mesh: Its devices, in one axis 'data'; all of this process.
    variables: Its parameters and buffers.
    w: [b, ...] styles or scenes; camera: b cameras; b as `even_batch` has it.
    options: Static rendering options.

  Returns:
    Rendering, split over the devices. If pictures are divided along their rays, its leaves are
    [b, r', ...], with padding rays at the end: `whole_pictures` makes pictures of them.
  """

  def pictures(variables, w, camera):
    return generator.apply(variables, w, camera, key=None, options=options, method='synthesize')

  def share_of_rays(variables, w, camera):
    index = jax.lax.axis_index(AXIS)
    return generator.apply(
      variables, w, camera, index, mesh.size, options, method='synthesize_part'
    )

  shard_map = functools.partial(jax.shard_map, mesh=mesh, check_vma=False)
  if splits_rays(generator, jax.tree.leaves(w)[0].shape[0], mesh.size):
    along_rays = PartitionSpec(None, AXIS)
    run = shard_map(share_of_rays, in_specs=(REPLICATED,) * 3, out_specs=along_rays)
  else:
    run = shard_map(pictures, in_specs=(REPLICATED, SPLIT, SPLIT), out_specs=SPLIT)
  return run(variables, w, camera)


def whole_pictures(rendering: Rendering, resolution: int) -> Rendering:
  """Leaves [b, h, w, ...] of a rendering on the host, without the padding rays at the end."""
  if rendering.image.ndim == 4:
    return rendering
  shape = (rendering.image.shape[0], resolution, resolution)
  return jax.tree.map(
    lambda x: x[:, : resolution**2].reshape(*shape, *x.shape[2:]),
    rendering,
  )


def place(params, mesh: Mesh):
  """Copies parameters to every device of a mesh of this process, unless they are there already."""
  return jax.device_put(params, NamedSharding(mesh, REPLICATED))
