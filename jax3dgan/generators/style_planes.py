"""Planes of features that a StyleGAN2 makes of a latent: what EG3D and GGHead share."""

import jax
import jax.numpy as jnp

from jax3dgan.cameras import Camera
from jax3dgan.errors import UserError
from jax3dgan.generators.base import BUFFERS, Generator, truncated
from jax3dgan.nn.stylegan2 import MappingNetwork, SynthesisNetwork, channels_of


class StylePlanes(Generator):
  """A mapping network, conditioned on the camera or not, and a synthesis network `backbone`.

  Subclasses are modules whose fields are `w_dim`, `mapping_layers`, `label_dim`, `label_scale`,
  `channels`, `use_noise`, `clamp` and `matmul_dtype`, and call `make_networks` in `setup`. Styles w
  are [b, num_ws, w_dim]. Buffers: with noise `noise_const`, that of deterministic images, flat, and
  `w_average` [w_dim], the running mean of the styles.
  """

  # Subclasses have fields of these names.
  w_dim = 512
  mapping_layers = 2
  label_scale = 1.0
  channels = channels_of(256)
  use_noise = True
  clamp = 0.0
  matmul_dtype = 'float32'

  def make_networks(self, image_channels: int) -> None:
    """Both networks, the second with so many channels, and the buffers."""
    self.mapping = MappingNetwork(self.w_dim, self.mapping_layers, self.label_dim)
    self.backbone = SynthesisNetwork(
      tuple(self.channels), image_channels, self.use_noise, self.clamp or None, self.matmul_dtype
    )
    if self.use_noise:  # an empty array cannot be saved
      sizes = self.backbone.noise_sizes
      self.noise_const = self.variable(
        BUFFERS, 'noise_const', lambda: _init_noise(self.make_rng('params'), sizes)
      )
    self.w_average = self.variable(BUFFERS, 'w_average', jnp.zeros, (self.w_dim,))

  @property
  def num_ws(self) -> int:
    """Styles of a scene."""
    return 2 * len(self.channels)

  def average_w(self):
    """The running mean of the styles, [num_ws, w_dim]."""
    return jnp.broadcast_to(self.w_average.value, (self.num_ws, self.w_dim))

  def map(self, z, label=None, truncation_psi=1.0, average_w=None, truncation_cutoff=None):
    """Latents z [b, z_dim] → styles w [b, num_ws, w_dim].

    Args:
      label: [b, 25] cameras that the mapping is conditioned on; needed where label_dim is 25.
      truncation_psi: pulls w towards `average_w` [num_ws, w_dim]; 1 does nothing.
      truncation_cutoff: how many of the styles, from the first on, are pulled; None for all.
    """
    if self.label_dim:
      if label is None:
        raise UserError(
          'The generator is conditioned on the camera. Pass its label, see Camera.label.'
        )
      label = label * self.label_scale
    w = self.mapping(z, label if self.label_dim else None)
    w = jnp.broadcast_to(w[:, None], (w.shape[0], self.num_ws, self.w_dim))
    pulled = truncated(w, truncation_psi, average_w)
    if truncation_cutoff is None:
      return pulled
    return jnp.concatenate([pulled[:, :truncation_cutoff], w[:, truncation_cutoff:]], axis=1)

  def __call__(self, z, camera: Camera, key=None, options=None, noise_std=0.0, label=None):
    """`map`, conditioned on the camera itself where no other label is given, then `synthesize`."""
    if self.label_dim and label is None:
      label = camera.label()
    return self.synthesize(self.map(z, label), camera, key, options, noise_std)

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
