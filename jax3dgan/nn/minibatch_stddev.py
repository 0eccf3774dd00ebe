"""How much the images of a group differ, shown to the discriminator as one more channel, so that
the generator cannot make all alike (Karras et al. 2018, arXiv 1710.10196, Sec. 3).

The groups are of consecutive images of the whole batch. A device that has fewer images than a group
gets the other images of its group from its neighbours (`nn.batch_axis`), so that the number of
devices changes nothing. (Official code takes every (b/group)-th image of a device into a group; on
one group, which is what its batch of 4 for each GPU comes to, it is the same.)
"""

import jax
import jax.numpy as jnp

from jax3dgan.errors import UserError
from jax3dgan.nn import batch_axis

_EPSILON = 1e-8


def minibatch_stddev(x, group_size: int | None = 4, num_channels: int = 1):
  """Appends channels with the standard deviation within the group, averaged over all else.

  Args:
    x: [b, h, w, c]; of the images of one device where the batch is divided among several.
    group_size: images of a group; fewer in all are one group, and None makes one of those of the
      device. A single image differs from nothing: the channel is (almost) 0.
    num_channels: how many averages, each of an equal share of the c channels.

  Returns:
    [b, h, w, c + num_channels].

  Raises:
    UserError: b is more than group_size and no multiple of it, or less and no divisor of it.
  """
  b, h, w, c = x.shape
  if c % num_channels:
    raise ValueError(f'{c} channels do not divide into {num_channels} parts')
  axis = batch_axis.current()
  num_images = b * axis.num_devices if axis else b
  group = b if group_size is None else min(group_size, num_images)
  if max(b, group) % min(b, group):
    raise UserError(
      f'{b} images do not make whole groups of {group} for the standard deviation '
      'of a minibatch. Set --config.batch_size to a multiple of config.discriminator.group_size.'
    )
  images = x.astype(jnp.float32)
  if group > b:
    # The group is that of the devices g·k to g·k + k − 1, with k = group / b.
    images = jax.lax.all_gather(images, axis.name, tiled=True)  # [devices * b, h, w, c]
    # The last group may lack devices: its images do not count, and it takes none of another group.
    images = jnp.pad(images, ((0, -num_images % group), (0, 0), (0, 0), (0, 0)))
    first = jax.lax.axis_index(axis.name) * b // group * group
    images = jax.lax.dynamic_slice_in_dim(images, first, group)
  y = images.reshape(-1, group, h, w, num_channels, c // num_channels)
  y = y - y.mean(1, keepdims=True)
  std = jnp.sqrt(jnp.square(y).mean(1) + _EPSILON)  # [groups, h, w, num_channels, c/num_channels]
  std = std.mean((1, 2, 4))  # [groups, num_channels]
  std = jnp.repeat(std, min(b, group), axis=0)[:, None, None].astype(x.dtype)
  return jnp.concatenate([x, jnp.broadcast_to(std, (b, h, w, num_channels))], axis=-1)
