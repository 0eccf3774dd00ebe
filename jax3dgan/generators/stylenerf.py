"""StyleNeRF: A Style-based 3D-Aware Generator for High-resolution Image Synthesis (Gu et al., ICLR
2022, arXiv 2110.08985).

A latent gives styles (StyleGAN2's mapping network). They modulate a NeRF, whose features are
aggregated along rays at low resolution, and an up-sampler of 1x1 layers, which makes the image.
Behind the foreground is NeRF++'s background, which depends on a latent code of its own.

Latents z are [b, latent_dim + background_dim]: the object's, then the background's code, all of
them N(0, 1). Styles w are [b, num_ws, w_dim]: one for each layer, then, where there is a
background, a row that begins with its code and is zero behind it. So whatever interpolates,
averages, mixes or optimises styles does the same with the background.

Parameters, of which a converter is a map of names (`convert.stylenerf_generator`):

| | |
|---|---|
| mapping/fc_{i} | kernel, bias |
| foreground/fc_{i}, /density, /feature | affine/kernel, affine/bias, kernel [c, f], bias |
| foreground/rgb, background/fc_{i}, /density, /feature, /rgb | kernel [c, f], bias |
| upsampler/b{size}/conv0, /conv1, /torgb | affine/kernel, affine/bias, kernel, bias |
| upsampler/b{size}/adapter_0, /adapter_1 | kernel, bias |

Buffers: `w_average` [w_dim] and `powers` [num_blocks, 2], see `nn.stylenerf_upsampler`; `growth`,
see `generators.base.GROWTH`.

Cameras are the library's. In the release's own axes a camera is at (sin φ cos θ, sin φ sin θ,
cos φ) with z up; its (y, z, x) are our (x, y, z). A camera at θ and φ is `cameras.orbit(θ, π/2 −
φ)`, or yaw π/2 − θ and pitch φ.
"""

import jax.numpy as jnp

from jax3dgan.cameras import Camera
from jax3dgan.errors import UserError
from jax3dgan.generators.base import (
  BUFFERS,
  GROWTH,
  NO_DIRECTIONS,
  NO_SINES,
  Rendering,
  needs_resolution,
)
from jax3dgan.generators.stylenerf_networks import StyleNeRFNetworks, StyleNeRFScene
from jax3dgan.generators.stylenerf_rendering import (
  MARCHING,
  Draws,
  Path,
  Training,
  check_options,
  draw,
  render,
  render_path,
)
from jax3dgan.nn import feature_upsampling, resample, stylenerf_upsampler
from jax3dgan.rendering import parts
from jax3dgan.rendering import rays as rays_lib
from jax3dgan.rendering.options import RenderOptions

__all__ = ['MARCHING', 'Draws', 'Path', 'StyleNeRF', 'StyleNeRFScene', 'Training']


class StyleNeRF(StyleNeRFNetworks):
  """The generator; see the module for latents, styles, parameters and cameras, and
  `StyleNeRFNetworks` for the fields."""

  # Not fields.
  has_field = True
  makes_pairs = True
  choices = {'upsampling': feature_upsampling.MODES, 'upsampling_border': resample.BORDERS}

  @property
  def pixels_alone(self) -> bool:
    """Whether a pixel depends on its own ray alone: the up-sampler looks at neighbours."""
    return not self.channels

  def default_options(self) -> RenderOptions:
    """StyleNeRF's way of marching along rays, for FFHQ's cameras."""
    return RenderOptions(
      resolution=self.resolution or self.low_resolution,
      num_coarse=14,
      num_fine=14,
      last_back=not self.background,
      **MARCHING,
    )

  def check_options(self, options: RenderOptions) -> None:
    """See `Generator.check_options`."""
    if self.channels and self.low_resolution < 1:
      raise UserError(
        f'config.model.low_resolution is {self.low_resolution}, and the up-sampler has nothing to '
        'begin with. Set --config.model.low_resolution to the pixels on a side that are rendered, '
        'such as 32.'
      )
    if options.low_resolution not in (0, self.low_resolution):
      raise UserError(
        f'render.low_resolution is {options.low_resolution}, and the up-sampler is made for '
        f'{self.low_resolution}². Set it to 0.'
      )
    check_options(options, self.background)

  def unused_options(self) -> dict[str, str]:
    """See `Generator.unused_options`."""
    return {'lock_view_direction': NO_DIRECTIONS, 'saved_activations': NO_SINES}

  def without_super_resolution(self) -> 'StyleNeRF':
    """The same with the rendering itself as the image, of any resolution; the variables fit, and
    styles too."""
    return self.clone(channels=()) if self.channels else self

  def synthesize(
    self,
    w,
    camera: Camera,
    key=None,
    options: RenderOptions | None = None,
    noise_std=0.0,
    fade=None,
  ) -> Rendering:
    """Images of styles w [b, num_ws, w_dim], or of a `Scene`, from cameras [b].

    Args:
      key: per-example keys [b] of all that is random, the numbers themselves (`Draws`), or None.
      options: static rendering options; the resolution is one of `resolutions`. `last_back` leaves
        the background out. Depth and opacity are the foreground's, resized to the image.
      noise_std: standard deviation of the density noise; StyleNeRF is trained with 1.
      fade: share of the resolution's own block in the image, see `stylenerf_upsampler.upsample`;
        None for what the buffer `growth` says of all blocks, and for 1 without it.
    """
    return self.synthesize_for_training(
      w, camera, key, options, noise_std, fade, measure=False
    ).rendering

  def synthesize_part(
    self, w, camera: Camera, index, count: int, options: RenderOptions | None = None
  ) -> Rendering:
    """See `Generator.synthesize_part`; only without an up-sampler."""
    options = options or self.default_options()
    self.num_blocks(options)
    layers = self.layers(self.prepare(w))
    rays = rays_lib.camera_rays(camera, options.resolution, options.align_corners)
    rays = parts.part_of(layers.foreground, rays, options, index, count)
    pixels = render(layers, rays, Draws(), options, self.background_samples)
    return Rendering(pixels.rgb, pixels.depth, pixels.opacity, pixels.rgb)

  def synthesize_for_training(
    self,
    w,
    camera: Camera,
    key=None,
    options: RenderOptions | None = None,
    noise_std=0.0,
    fade=None,
    path: Path | None = None,
    measure: bool = True,
  ) -> Training:
    """`synthesize`, and what a training step needs beside the images.

    Nothing is changed: a loss gives the new buffer `powers` back in `recipes.Terms.buffers`, whose
    mean over devices is what one device with the whole batch has.

    Args:
      path: see `Path`; None for none.
      measure: whether `powers` move.
      The rest: see `synthesize`.
    """
    options = options or self.default_options()
    num_blocks = self.num_blocks(options)
    fade = self._shares() if fade is None else fade
    layers = self.layers(self.prepare(w))
    layers = layers._replace(blocks=layers.blocks[:num_blocks])
    powers = self.powers.value if self.channels else jnp.ones((0, 2))
    size, count = self._rendered_size(options), self.background_samples
    rays = rays_lib.camera_rays(camera, size, options.align_corners)
    numbers = draw(key, size**2, options, count, noise_std)
    pixels = render(layers, rays, numbers, options, count, noise_std)
    square = (pixels.rgb.shape[0], size, size)
    low, features = (x.reshape(*square, -1) for x in pixels[:2])
    depth, opacity = (x.reshape(square) for x in pixels[2:])
    run = dict(measure=measure, compat_first=self.compat_powers_first)
    image, squares = stylenerf_upsampler.upsample(layers.blocks, features, low, powers, fade, **run)
    moved = stylenerf_upsampler.moved_powers(powers, squares)
    if num_blocks:
      depth, opacity = (
        resample.resize_bilinear(x[..., None], image.shape[1])[..., 0] for x in (depth, opacity)
      )
    colours = None
    if path is not None:
      rays = rays_lib.rays_through(camera, path.uv)
      numbers = draw(path.key, path.uv.shape[1], options, count, noise_std)
      own = moved if self.compat_powers_first else powers
      fade = fade if path.fade is None else path.fade
      colours, squares = render_path(
        layers, rays, numbers, options, count, noise_std, own, fade, **run
      )
      moved = stylenerf_upsampler.moved_powers(moved, squares)
    return Training(Rendering(image, depth, opacity, low), colours, moved)

  def _shares(self):
    """The shares [num_blocks] of the blocks in an image, of the buffer `growth`; 1 without it."""
    if not self.has_variable(BUFFERS, GROWTH):
      return 1.0
    growth = self.get_variable(BUFFERS, GROWTH)
    return jnp.clip(growth - jnp.arange(len(self.channels)), 0.0, 1.0)

  def _rendered_size(self, options: RenderOptions) -> int:
    return self.low_resolution if self.channels else options.resolution

  def num_blocks(self, options: RenderOptions) -> int:
    """Blocks of the up-sampler that make images of these options.

    Raises:
      UserError: options of other images, or without effect.
    """
    self.check_options(options)
    if not self.channels:
      return 0
    needs_resolution(
      self, options, 'set the resolution to one of them, or train with other config.model.channels.'
    )
    return self.resolutions.index(options.resolution)

  def query(self, w, points, directions=None):
    """Raw density [b, n] and features [b, n, 3 + feature_dim] of styles or a scene at points
    [b, n, 3].

    The first three are the colour in about [0, 1], as the up-sampler's layers make it of a single
    sample; without an up-sampler the field's own. There is no view direction.
    """
    del directions
    layers = self.layers(self.prepare(w))
    raw, hidden = layers.foreground(points[:, :, None])
    rgb, features = layers.foreground.head(hidden[:, :, 0])
    if layers.blocks:
      rgb, _ = stylenerf_upsampler.upsample(
        layers.blocks, features, rgb, self.powers.value, self._shares(), double=False
      )
    return raw[:, :, 0], jnp.concatenate([0.5 * (rgb + 1), features], axis=-1)

  def __call__(self, z, camera: Camera, key=None, options=None, noise_std=0.0, fade=None):
    """`map`, then `synthesize`."""
    return self.synthesize(self.map(z), camera, key, options, noise_std, fade)
