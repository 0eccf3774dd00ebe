"""Mapping networks: from a latent to the styles of a generator."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jax3dgan.nn.siren_init import kaiming_normal, uniform_fan_in


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
      x = nn.Dense(
        self.hidden_dim,
        kernel_init=kaiming_normal(0.2),
        bias_init=uniform_fan_in(x.shape[-1]),
        precision='highest',
        name=f'hidden_{i}',
      )(x)
      x = jax.nn.leaky_relu(x, 0.2)
    x = nn.Dense(
      self.num_styles * self.style_dim * 2,
      kernel_init=kaiming_normal(0.2, scale=self.out_scale),
      bias_init=uniform_fan_in(x.shape[-1]),
      precision='highest',
      name='out',
    )(x)
    x = x.reshape(*x.shape[:-1], 2, self.num_styles, self.style_dim)
    return jnp.swapaxes(x, -3, -2)
