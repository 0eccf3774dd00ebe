"""StyleGAN2's generator: images without a third dimension (Karras et al., *Analyzing and Improving
the Image Quality of StyleGAN*, CVPR 2020, arXiv 1912.04958).

The 2D case that 3D-aware GANs are measured against; its building blocks are in `nn.stylegan2`.
"""

import jax.numpy as jnp

from jax3dgan.generators.base import Generator, Rendering, needs_resolution, truncated
from jax3dgan.nn.stylegan2 import MappingNetwork, SynthesisNetwork, channels_of
from jax3dgan.rendering.hierarchical import RenderOptions


class StyleGAN2(Generator):
  """The generator: mapping network, then synthesis network. It has no camera and no field.

  Styles w are [b, num_ws, w_dim], the same for every layer unless they are mixed.

  Attributes:
    z_dim, w_dim: sizes of latent and style.
    mapping_layers, mapping_lr_multiplier: see `MappingNetwork`.
    channels: features at 4², 8², ...; the last entry's size is the image's.
    use_noise: whether the layers have noise inputs.
    matmul_dtype: precision policy of the convolutions, see `nn.precision`.
    separable: whether 3x3 convolutions are separable, see `nn.separable_conv`.
  """

  z_dim: int = 512
  w_dim: int = 512
  mapping_layers: int = 8
  mapping_lr_multiplier: float = 0.01
  channels: tuple[int, ...] = channels_of(256)
  use_noise: bool = True
  matmul_dtype: str = 'float32'
  separable: bool = False

  # Not a field: its images do not depend on the camera.
  uses_camera = False

  def setup(self):
    self.mapping = MappingNetwork(
      self.w_dim, self.mapping_layers, lr_multiplier=self.mapping_lr_multiplier
    )
    self.synthesis = SynthesisNetwork(
      tuple(self.channels),
      use_noise=self.use_noise,
      matmul_dtype=self.matmul_dtype,
      separable=self.separable,
    )

  @property
  def resolution(self) -> int:
    """Pixels on a side of the images, the only size there is."""
    return 4 << (len(self.channels) - 1)

  @property
  def num_ws(self) -> int:
    """Styles of an image."""
    return 2 * len(self.channels)

  def map(self, z, label=None, truncation_psi=1.0, average_w=None):
    """Latents z [b, z_dim] → styles w [b, num_ws, w_dim].

    Args:
      label: ignored.
      truncation_psi: pulls w towards `average_w` [num_ws, w_dim]; 1 does nothing.
    """
    del label
    w = self.mapping(z)
    w = jnp.broadcast_to(w[:, None], (w.shape[0], self.num_ws, self.w_dim))
    return truncated(w, truncation_psi, average_w)

  def synthesize(self, w, camera=None, key=None, options: RenderOptions | None = None, noise_std=0):
    """Images of styles w [b, num_ws, w_dim]; in [−1, 1] by training, not by a bound.

    Args:
      camera: ignored: the pose is a part of the latent.
      key: per-example keys [b] of the noise inputs; None leaves the noise out.
      options: only the resolution is used, and must be the generator's.
      noise_std: ignored: there is no density.
    """
    del camera, noise_std
    needs_resolution(
      self,
      options,
      f'it has {len(self.channels)} sizes from 4² up. Set the resolution to {self.resolution}, or '
      'train one with more or fewer entries in config.model.channels.',
    )
    noise = None if key is None or not self.use_noise else self.synthesis.draw_noise(key)
    return Rendering(image=self.synthesis(w, noise))

  def __call__(self, z, camera=None, key=None, options: RenderOptions | None = None, noise_std=0):
    """`map`, then `synthesize`."""
    return self.synthesize(self.map(z), camera, key, options, noise_std)

  def initialise(self, z):
    """Uses every parameter once, for `init`: z [1, z_dim]."""
    return self(z).image

  def tiny(self, resolution: int) -> dict:
    """See `Generator.tiny`."""
    channels = (8,) * (resolution.bit_length() - 2)  # at 4², 8², ...
    return dict(z_dim=8, w_dim=8, mapping_layers=1, channels=channels)
