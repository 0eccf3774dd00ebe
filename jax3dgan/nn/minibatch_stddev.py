"""How much the images of a group differ, shown to the discriminator as one more channel, so that
the generator cannot make all alike (Karras et al. 2018, arXiv 1710.10196, Sec. 3).

The groups are of consecutive images. So long as every part of a batch (of a device, a micro-batch)
has whole groups, splitting it up changes nothing. (Official code takes every (b/group)-th image
into a group; on one group, which is what its batch of 4 for each GPU comes to, it is the same.)
"""

import jax.numpy as jnp

from jax3dgan.errors import UserError

_EPSILON = 1e-8


def minibatch_stddev(x, group_size: int | None = 4, num_channels: int = 1):
  """Appends channels with the standard deviation within the group, averaged over all else.

  Args:
    x: [b, h, w, c].
    group_size: images of a group; fewer in all are one group, and None makes one of them all.
      A single image differs from nothing: the channel is (almost) 0.
    num_channels: how many averages, each of an equal share of the c channels.

  Returns:
    [b, h, w, c + num_channels].

  Raises:
    UserError: b is more than group_size and no multiple of it.
  """
  b, h, w, c = x.shape
  group = b if group_size is None else min(group_size, b)
  if b % group:
    raise UserError(
      f'{b} images do not make whole groups of {group} for the standard deviation of a minibatch. '
      'Make batch_size / (devices x micro_batches) a multiple of config.discriminator.group_size.'
    )
  if c % num_channels:
    raise ValueError(f'{c} channels do not divide into {num_channels} parts')
  y = x.astype(jnp.float32).reshape(b // group, group, h, w, num_channels, c // num_channels)
  y = y - y.mean(1, keepdims=True)
  std = jnp.sqrt(jnp.square(y).mean(1) + _EPSILON)  # [b/group, h, w, num_channels, c/num_channels]
  std = std.mean((1, 2, 4))  # [b/group, num_channels]
  std = jnp.repeat(std, group, axis=0)[:, None, None].astype(x.dtype)
  return jnp.concatenate([x, jnp.broadcast_to(std, (b, h, w, num_channels))], axis=-1)
