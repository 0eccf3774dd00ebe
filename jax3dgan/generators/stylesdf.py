"""StyleSDF: High-Resolution 3D-Consistent Image and Geometry Generation (Or-El et al., CVPR 2022,
arXiv 2112.11427).

z gives a style, the style a field of signed distances (`fields.sdf_siren`), whose volume rendering
is a small image and a map of features; a StyleGAN2 decoder makes the picture of the features. The
first stage of training is the renderer alone: the generator without a decoder.
"""

import jax
import jax.numpy as jnp

from jax3dgan.cameras import Camera
from jax3dgan.errors import UserError
from jax3dgan.generators.base import BUFFERS, Rendering, needs_resolution, truncated
from jax3dgan.generators.stylesdf_renderer import MARCHING, SDFRenderer, as_rendering
from jax3dgan.nn import resample
from jax3dgan.nn.style_decoder import StyleDecoder
from jax3dgan.nn.stylegan2 import MappingNetwork
from jax3dgan.rendering import hierarchical
from jax3dgan.rendering.options import RenderOptions

__all__ = ['MARCHING', 'RENDERER', 'StyleSDF', 'as_rendering']

RENDERER = ('mapping', 'field')  # the parameters' groups that the first stage trains


class StyleSDF(SDFRenderer):
  """The generator of both stages.

  Styles w are [b, w_dim] without a decoder. With one they are [b, num_ws, width], the width of the
  wider of both kinds: first the renderer's style, with zeros behind it if it is shorter, then that
  of each of the decoder's layers. So layers are mixed, truncated and edited as in StyleGAN2.

  Attributes:
    decoder_channels: features of the decoder at `low_resolution`, twice it, ...; () for no decoder:
      the rendering is the picture.
    decoder_w_dim, decoder_mapping_layers: width of the decoder's styles and number of the layers
      that make them from the renderer's.
    use_noise: whether the decoder's layers have noise inputs.
    upsampling_border: what the decoder's filters see beyond the image: 'zeros' (the release) or
      'repeat'.
    The rest: see `SDFRenderer`.
  """

  decoder_channels: tuple[int, ...] = ()
  decoder_w_dim: int = 512
  decoder_mapping_layers: int = 5
  use_noise: bool = True
  upsampling_border: str = 'zeros'

  # Not fields.
  makes_pairs = True
  choices = {'upsampling_border': resample.BORDERS}

  def setup(self):
    self._check_low_resolution()
    super().setup()
    resample.check_border(self.upsampling_border)
    if self.decoder_channels:
      self.decoder_mapping = MappingNetwork(self.decoder_w_dim, self.decoder_mapping_layers)
      self.decoder = StyleDecoder(
        tuple(self.decoder_channels),
        self.low_resolution,
        self.use_noise,
        self.matmul_dtype,
        self.upsampling_border,
      )
      sizes = self.decoder.noise_sizes if self.use_noise else ()
      num = sum(size**2 for size in sizes)
      self.noise_const = self.variable(
        BUFFERS, 'noise_const', lambda: jax.random.normal(self.make_rng('params'), (num,))
      )

  def _check_low_resolution(self) -> None:
    if self.decoder_channels and self.low_resolution < 1:
      raise UserError(
        'config.model.low_resolution is 0, and the decoder has nothing to begin with. Set '
        '--config.model.low_resolution to the pixels on a side that are rendered, such as 64.'
      )

  def check_options(self, options: RenderOptions) -> None:
    """See `Generator.check_options`."""
    super().check_options(options)
    self._check_low_resolution()

  @property
  def pixels_alone(self) -> bool:
    """Whether a pixel depends on its own ray alone: the decoder filters neighbours."""
    return not self.decoder_channels

  @property
  def num_ws(self) -> int | None:
    """Styles of an image with a decoder: the renderer's and its layers'."""
    return 1 + 2 * len(self.decoder_channels) if self.decoder_channels else None

  @property
  def resolution(self) -> int | None:
    """Pixels on a side of the pictures, where a decoder fixes them; else None."""
    num = len(self.decoder_channels)
    return self.low_resolution << (num - 1) if num else None

  def unused_fields(self) -> dict[str, str]:
    """See `Generator.unused_fields`."""
    if self.decoder_channels:
      return {}
    names = ('decoder_w_dim', 'decoder_mapping_layers', 'low_resolution', 'use_noise')
    names += ('upsampling_border',)
    return dict.fromkeys(names, 'there is no decoder (config.model.decoder_channels)')

  def style_rows(self) -> dict[str, int]:
    """See `Generator.style_rows`; with a decoder its own alone, which follow from the renderer's
    style and are of another space."""
    if not self.decoder_channels:
      layers = [*(f'film_{i}' for i in range(self.num_layers)), 'view']
      return {f'field/{x}_{part}_kernel': 0 for x in layers for part in ('gamma', 'beta')}
    rows, row = {}, 1
    for i in range(len(self.decoder_channels)):
      for layer in ('conv1', 'torgb') if i == 0 else ('conv0', 'conv1', 'torgb'):
        block = f'decoder/b{self.low_resolution << i}'
        rows[f'{block}/{layer}/conv/affine/kernel'] = row
        row += layer != 'torgb'  # to-RGB shares the next block's first
    return rows

  def without_super_resolution(self) -> 'StyleSDF':
    """See `Generator.without_super_resolution`; it takes the styles of both."""
    return self.clone(decoder_channels=())

  def map(self, z, label=None, truncation_psi=1.0, average_w=None):
    """Latents z [b, z_dim] → styles w, see the class.

    Args:
      label: ignored; StyleSDF is not conditioned on the camera.
      truncation_psi: pulls the renderer's style towards its mean, then the decoder's styles that
        follow from it towards theirs; 1 does nothing.
      average_w: means of both, w without the batch axis.
    """
    del label
    style = self.mapping(z)
    if not self.decoder_channels:
      return truncated(style, truncation_psi, average_w)
    means = (None, None) if average_w is None else (average_w[0, : self.w_dim], average_w[1:])
    style = truncated(style, truncation_psi, means[0])
    latent = self.decoder_mapping(style)
    b, width = latent.shape
    latents = jnp.broadcast_to(latent[:, None], (b, self.num_ws - 1, width))
    width = max(self.w_dim, self.decoder_w_dim)
    if means[1] is not None:
      means = (means[0], means[1][:, : self.decoder_w_dim])
    latents = truncated(latents, truncation_psi, means[1])
    rows = (style[:, None], latents)
    return jnp.concatenate([_widened(row, width) for row in rows], axis=1)

  def _low_resolution(self, options: RenderOptions) -> int:
    if not self.decoder_channels:
      return options.resolution
    needs_resolution(self, options, f'set the resolution to {self.resolution}.')
    if options.low_resolution not in (0, self.low_resolution):
      raise UserError(
        f'The decoder takes {self.low_resolution}², not {options.low_resolution}². Set '
        'low_resolution=0.'
      )
    return self.low_resolution

  def decode(self, features, w, noise=None):
    """Images [b, r, r, 3] of features [b, h, h, c] and the decoder's styles [b, num_ws − 1, width].

    Args:
      noise: one [b or 1, h, w, 1] for each of the decoder's layers; None for the constant one.
    """
    if noise is None and self.use_noise:
      noise = self.decoder.split_noise(self.noise_const.value[None])
    return self.decoder(features, w[..., : self.decoder_w_dim], noise)

  def draw_noise(self, keys):
    """Noise of the decoder's layers from per-example keys [b]; None for one without noise."""
    return self.decoder.draw_noise(keys) if self.use_noise else None

  def synthesize(
    self, w, camera: Camera, key=None, options: RenderOptions | None = None, noise_std=0.0
  ) -> Rendering:
    """See `Generator.synthesize`; depth and opacity, as small as `low_res`, are resized.

    Args:
      key: per-example keys [b] of all that is random, `hierarchical.Draws` for the rendering alone,
        or None for a deterministic picture.
    """
    options = options or self.default_options()
    size = self._low_resolution(options)
    noise, render_key = None, key
    if self.decoder_channels and key is not None and not isinstance(key, hierarchical.Draws):
      noise_key, render_key = jnp.moveaxis(jax.vmap(jax.random.split)(key), 1, 0)
      noise = self.draw_noise(noise_key)
    has_features = bool(self.decoder_channels)
    out = self.render(w, camera, render_key, options, has_features, noise_std=noise_std)
    rendering = as_rendering(out, size)
    if not has_features:
      return rendering
    b = rendering.image.shape[0]
    image = self.decode(out.colour[..., 3:].reshape(b, size, size, -1), w[:, 1:], noise)
    depth, opacity = (
      resample.resize_bilinear(x[..., None], image.shape[1])[..., 0]
      for x in (rendering.depth, rendering.opacity)
    )
    return Rendering(image, depth, opacity, rendering.image)

  def synthesize_part(
    self, w, camera: Camera, index, count: int, options: RenderOptions | None = None
  ) -> Rendering:
    """See `Generator.synthesize_part`; only without a decoder."""
    part = super().synthesize_part(w, camera, index, count, options or self.default_options())
    return part.replace(low_res=part.image)

  def initialise(self, z):
    """Uses every parameter and buffer once, for `init`: z [1, z_dim]."""
    w = self.map(z)
    total = jax.tree.map(jnp.sum, self.query(w, jnp.zeros((z.shape[0], 1, 3), z.dtype)))
    if self.decoder_channels:
      size = self.low_resolution
      total += (self.decode(jnp.zeros((1, size, size, self.hidden_dim)), w[:, 1:]),)
    return total

  def tiny(self, resolution: int) -> dict:
    """See `Generator.tiny`."""
    fields = dict(z_dim=8, w_dim=8, mapping_layers=1, hidden_dim=8, num_layers=2)
    if self.decoder_channels:
      fields |= dict(decoder_channels=(8, 8), decoder_w_dim=8, decoder_mapping_layers=1)
      fields |= dict(low_resolution=resolution // 2)
    return fields


def _widened(x, width: int):
  """[b, n, c] with zeros behind up to [b, n, width]."""
  return jnp.pad(x, ((0, 0), (0, 0), (0, width - x.shape[-1])))
