"""Instance normalisation (Ulyanov et al. 2016, arXiv 1607.08022): each channel of each example has
mean 0 and variance 1 over its pixels or voxels. Of one example alone: no running statistics."""

import flax.linen as nn
import jax
import jax.numpy as jnp


def moments(x):
  """Mean and biased variance [b, 1, ..., c] of each channel of x [b, ..., c] over its positions."""
  axes = tuple(range(1, x.ndim - 1))
  mean = x.mean(axes, keepdims=True)
  return mean, jnp.square(x - mean).mean(axes, keepdims=True)


def instance_norm(x, scale=None, offset=None, epsilon: float = 1e-5):
  """(x − mean)/√(variance + epsilon)·scale + offset, of x [b, ..., c].

  Args:
    scale, offset: broadcast against x; None for 1 and 0. Of a style [b, 1, ..., c] this is AdaIN
      (Huang & Belongie 2017, arXiv 1703.06868).
  """
  mean, variance = moments(x)
  x = (x - mean) * jax.lax.rsqrt(variance + epsilon)
  x = x if scale is None else x * scale
  return x if offset is None else x + offset


class InstanceNorm(nn.Module):
  """`instance_norm` with learned parameters `scale` and `offset` [c].

  Attributes:
    epsilon: see `instance_norm`.
    scale_init: of the scale, ones by default.
  """

  epsilon: float = 1e-5
  scale_init: nn.initializers.Initializer = nn.initializers.ones

  @nn.compact
  def __call__(self, x):
    """[b, ..., c] → the same shape."""
    shape = x.shape[-1:]
    scale = self.param('scale', self.scale_init, shape)
    return instance_norm(x, scale, self.param('offset', nn.initializers.zeros, shape), self.epsilon)
