"""Mapping networks: from a latent to the styles of a generator."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jax3dgan.nn.siren_init import kaiming_normal, uniform_fan_in


def _hidden(x, width: int, i: int):
  """The layer `hidden_{i}` with LeakyReLU 0.2 after it, [b, d] → [b, width]."""
  x = nn.Dense(
    width,
    kernel_init=kaiming_normal(0.2),
    bias_init=uniform_fan_in(x.shape[-1]),
    precision='highest',
    name=f'hidden_{i}',
  )(x)
  return jax.nn.leaky_relu(x, 0.2)


class StyleMapping(nn.Module):
  """StyleSDF's (Or-El et al., arXiv 2112.11427, Sec. 3.1): z to the renderer's style, by layers
  `hidden_{i}`.

  Attributes:
    w_dim, num_layers: width and number of the layers.
  """

  w_dim: int = 256
  num_layers: int = 3

  @nn.compact
  def __call__(self, z):
    """z [b, z_dim] → w [b, w_dim]."""
    for i in range(self.num_layers):
      z = _hidden(z, self.w_dim, i)
    return z


class MappingNetwork(nn.Module):
  """π-GAN's mapping network (Sec. 3.1): z to raw frequencies and phases of every FiLM layer.

  Attributes:
    num_styles: FiLM layers n.
    style_dim: width h of each.
    hidden_dim, num_hidden: width and number of the hidden layers, LeakyReLU 0.2.
    out_scale: factor on the last layer's initial weights: how far apart fresh latents are.
  """

  num_styles: int
  style_dim: int
  hidden_dim: int = 256
  num_hidden: int = 3
  out_scale: float = 0.25

  @nn.compact
  def __call__(self, z):
    """z [b, d] → styles [b, n, 2, h]: raw frequencies at 0, phases at 1."""
    x = z
    for i in range(self.num_hidden):
      x = _hidden(x, self.hidden_dim, i)
    x = nn.Dense(
      self.num_styles * self.style_dim * 2,
      kernel_init=kaiming_normal(0.2, scale=self.out_scale),
      bias_init=uniform_fan_in(x.shape[-1]),
      precision='highest',
      name='out',
    )(x)
    x = x.reshape(*x.shape[:-1], 2, self.num_styles, self.style_dim)
    return jnp.swapaxes(x, -3, -2)
