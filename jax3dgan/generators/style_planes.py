"""Planes of features that a StyleGAN2 makes of a latent: what EG3D and GGHead share."""

import jax

from jax3dgan.generators.base import BUFFERS
from jax3dgan.generators.mapped_styles import MappedStyles
from jax3dgan.nn.stylegan2 import SynthesisNetwork, channels_of


class StylePlanes(MappedStyles):
  """A mapping network, and a synthesis network `backbone`.

  Subclasses are modules whose fields are those of `MappedStyles`, `channels`, `use_noise`, `clamp`,
  `matmul_dtype` and `separable`, and call `make_networks` in `setup`. Buffers: those of
  `MappedStyles`, and with noise `noise_const`, that of deterministic images, flat.
  """

  # Subclasses have fields of these names.
  channels = channels_of(256)
  use_noise = True
  clamp = 0.0
  matmul_dtype = 'float32'
  separable = False

  def make_networks(self, image_channels: int) -> None:
    """Both networks, the second with so many channels, and the buffers."""
    self.make_mapping()
    self.backbone = SynthesisNetwork(
      tuple(self.channels),
      image_channels,
      self.use_noise,
      self.clamp or None,
      self.matmul_dtype,
      self.separable,
    )
    if self.use_noise:  # an empty array cannot be saved
      sizes = self.backbone.noise_sizes
      self.noise_const = self.variable(
        BUFFERS, 'noise_const', lambda: _init_noise(self.make_rng('params'), sizes)
      )

  @property
  def num_ws(self) -> int:
    """Styles of a scene."""
    return 2 * len(self.channels)

  def planes(self, w, key=None):
    """Styles w [b, num_ws, w_dim] → planes [b, h, h, image_channels].

    Args:
      key: per-example keys [b] of the noise; None takes the constant noise.
    """
    noise = None
    if self.use_noise:
      noise = self._constant_noise() if key is None else self.backbone.draw_noise(key)
    return self.backbone(w, noise)

  def _constant_noise(self):
    flat, noise = self.noise_const.value, []
    for size in self.backbone.noise_sizes:
      noise.append(flat[: size**2].reshape(1, size, size, 1))
      flat = flat[size**2 :]
    return noise


def _init_noise(key, sizes):
  return jax.random.normal(key, (sum(size**2 for size in sizes),))
