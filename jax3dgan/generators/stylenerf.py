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

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from jax3dgan.cameras import Camera
from jax3dgan.errors import UserError
from jax3dgan.fields import stylenerf as fields
from jax3dgan.generators.base import (
  BUFFERS,
  GROWTH,
  Generator,
  Rendering,
  Scene,
  needs_resolution,
  truncated,
)
from jax3dgan.generators.stylenerf_rendering import (
  MARCHING,
  Draws,
  Layers,
  Path,
  Training,
  check_options,
  draw,
  render,
  render_path,
)
from jax3dgan.nn import feature_upsampling, resample, stylenerf_upsampler
from jax3dgan.nn.stylegan2 import MappingNetwork
from jax3dgan.nn.stylenerf_upsampler import Upsampler
from jax3dgan.rendering import parts
from jax3dgan.rendering import rays as rays_lib
from jax3dgan.rendering.options import RenderOptions

__all__ = ['MARCHING', 'Draws', 'Path', 'StyleNeRF', 'StyleNeRFScene', 'Training']


@flax.struct.dataclass
class StyleNeRFScene(Scene):
  """An object and its background, before any camera.

  Attributes:
    styles: [b, n, w_dim] of the foreground, then of the up-sampler.
    code: [b, background_dim] of the background; None without one.
  """

  styles: jax.Array
  code: jax.Array | None = None


class StyleNeRF(Generator):
  """The generator; see the module for latents, styles, parameters and cameras.

  Attributes:
    latent_dim, w_dim, mapping_layers: sizes of an object's latent, of a style, of the mapping.
    hidden_dim, num_layers, num_frequencies: of the foreground, see `fields.stylenerf.Foreground`.
    feature_dim: features of a pixel before the up-sampler.
    density_gain: factor on the foreground's raw density; 1 is the release's.
    background: whether there is one; without it, `render.last_back` gives the light that passes all
      samples to the last one (the release), `render.white_back` makes it white.
    background_dim, background_hidden, background_layers, background_frequencies: length of its
      code, and its network, see `fields.stylenerf.Background`.
    background_samples: along a ray.
    low_resolution: pixels on a side that are rendered.
    channels: of the up-sampler's blocks, each of twice the size of the one before; none for none:
      the rendering is the image.
    upsampling, upsampling_blur: see `nn.feature_upsampling`.
    upsampling_border: what its filters see beyond the image: 'zeros' (the release) or 'repeat'.
    clamp: bound of activations in the up-sampler; 0 for none.
    compat_powers_first: training divides by running means that this batch is in already, as the
      release does: an image then depends on its batch, and training on the number of devices. For
      comparison with it alone.
    matmul_dtype: precision policy of products, see `nn.precision`.
  """

  latent_dim: int = 512
  w_dim: int = 512
  mapping_layers: int = 8
  hidden_dim: int = 128
  num_layers: int = 8
  num_frequencies: int = 10
  feature_dim: int = 256
  density_gain: float = 1.0
  background: bool = True
  background_dim: int = 32
  background_hidden: int = 64
  background_layers: int = 4
  background_frequencies: int = 10
  background_samples: int = 4
  low_resolution: int = 32
  channels: tuple[int, ...] = (512, 256, 128)
  upsampling: str = 'nn_cat'
  upsampling_blur: bool = True
  upsampling_border: str = 'zeros'
  clamp: float = 256.0
  compat_powers_first: bool = False
  matmul_dtype: str = 'float32'

  # Not fields.
  has_field = True
  makes_pairs = True

  def setup(self):
    if self.background and self.background_dim > self.w_dim:
      raise UserError(
        f'config.model.background_dim is {self.background_dim}, and a row of styles has '
        f'{self.w_dim} numbers. Set --config.model.background_dim to at most that.'
      )
    if self.channels and self.low_resolution < 1:
      raise UserError(
        f'config.model.low_resolution is {self.low_resolution}, and an up-sampler needs something '
        'to begin with. Set it to the pixels that are rendered, such as 32.'
      )
    self.mapping = MappingNetwork(self.w_dim, self.mapping_layers)
    self.foreground = fields.Foreground(
      self.hidden_dim,
      self.num_layers,
      self.num_frequencies,
      self.feature_dim,
      self.density_gain,
      self.matmul_dtype,
    )
    if self.background:
      self.background_field = fields.Background(
        self.background_hidden,
        self.background_layers,
        self.background_frequencies,
        self.feature_dim,
        self.matmul_dtype,
        name='background',
      )
    if self.channels:
      self.upsampler = Upsampler(
        tuple(self.channels),
        self.low_resolution,
        self.upsampling,
        self.upsampling_blur,
        self.clamp,
        self.matmul_dtype,
        self.upsampling_border,
      )
      self.powers = self.variable(BUFFERS, 'powers', jnp.ones, (len(self.channels), 2))
    self.w_average = self.variable(BUFFERS, 'w_average', jnp.zeros, (self.w_dim,))

  @property
  def z_dim(self) -> int:
    """Length of a latent: the object's and the background's code."""
    return self.latent_dim + (self.background_dim if self.background else 0)

  @property
  def num_styles(self) -> int:
    """Styles of layers."""
    return self.num_layers + 2 + (2 * len(self.channels) + 1 if self.channels else 0)

  @property
  def num_ws(self) -> int:
    """Rows of w: the styles of layers, and one with the background's code."""
    return self.num_styles + self.background

  @property
  def resolution(self) -> int | None:
    """Pixels on a side of the images, where an up-sampler makes them; else None."""
    return self.low_resolution << len(self.channels) if self.channels else None

  @property
  def pixels_alone(self) -> bool:
    """Whether a pixel depends on its own ray alone: the up-sampler looks at neighbours."""
    return not self.channels

  @property
  def resolutions(self) -> tuple[int, ...]:
    """All sizes of images that it makes: the rendering's and those of its blocks; () where the
    rendering is the image, which may have any size."""
    count = len(self.channels) + 1 if self.channels else 0
    return tuple(self.low_resolution << i for i in range(count))

  def style_rows(self) -> dict[str, int]:
    """See `Generator.style_rows`; to-RGB shares the row of the next block's first layer."""
    layers = [f'foreground/fc_{i}' for i in range(self.num_layers)]
    layers += ['foreground/density', 'foreground/feature']
    rows = {layer: row for row, layer in enumerate(layers)}
    for i in range(len(self.channels)):
      block = f'upsampler/b{self.low_resolution << (i + 1)}'
      for j, layer in enumerate(('conv0', 'conv1', 'torgb')):
        rows[f'{block}/{layer}'] = len(layers) + 2 * i + j
    return {f'{layer}/affine/kernel': row for layer, row in rows.items()}

  def default_options(self) -> RenderOptions:
    """StyleNeRF's way of marching along rays, for FFHQ's cameras."""
    return RenderOptions(
      resolution=self.resolution or self.low_resolution,
      num_coarse=14,
      num_fine=14,
      last_back=not self.background,
      **MARCHING,
    )

  def average_w(self):
    """The running mean of the styles, [num_ws, w_dim]; that of the background's code is 0."""
    average = jnp.broadcast_to(self.w_average.value, (self.num_styles, self.w_dim))
    return jnp.pad(average, ((0, int(self.background)), (0, 0)))

  def without_super_resolution(self) -> 'StyleNeRF':
    """The same with the rendering itself as the image, of any resolution; the variables fit, and
    styles too."""
    return self.clone(channels=()) if self.channels else self

  def unused_fields(self) -> dict[str, str]:
    """See `Generator.unused_fields`."""
    unused = {}
    if not self.background:
      own = ('dim', 'hidden', 'layers', 'frequencies', 'samples')
      unused |= {f'background_{name}': 'background is off' for name in own}
    if not self.channels:
      own = ('upsampling', 'upsampling_blur', 'upsampling_border', 'clamp', 'compat_powers_first')
      unused |= {name: 'there are no channels for an up-sampler' for name in own}
    elif self.upsampling not in feature_upsampling.WITH_BLUR:
      unused['upsampling_blur'] = f"the upsampling '{self.upsampling}' has no blur"
    return unused

  def map(self, z, label=None, truncation_psi=1.0, average_w=None, truncation_cutoff=None):
    """Latents z [b, z_dim] → styles w [b, num_ws, w_dim].

    Args:
      label: ignored: the mapping is not conditioned on the camera.
      truncation_psi: pulls w towards `average_w` [num_ws, w_dim]; 1 does nothing.
      truncation_cutoff: how many of the rows, from the first on, are pulled; None for all.
    """
    del label
    w = self.mapping(z[:, : self.latent_dim])
    w = jnp.broadcast_to(w[:, None], (w.shape[0], self.num_styles, self.w_dim))
    if self.background:
      code = z[:, self.latent_dim :]
      code = jnp.pad(code, ((0, 0), (0, self.w_dim - self.background_dim)))
      w = jnp.concatenate([w, code[:, None]], axis=1)
    pulled = truncated(w, truncation_psi, average_w)
    if truncation_cutoff is None:
      return pulled
    return jnp.concatenate([pulled[:, :truncation_cutoff], w[:, truncation_cutoff:]], axis=1)

  def prepare(self, w, key=None) -> StyleNeRFScene:
    """Styles w [b, num_ws, w_dim] → the scene; nothing in it is random."""
    del key
    if isinstance(w, Scene):
      return w
    if not self.background:
      return StyleNeRFScene(w)
    return StyleNeRFScene(w[:, :-1], w[:, -1, : self.background_dim])

  def layers(self, scene: StyleNeRFScene) -> Layers:
    """The layers of scenes [b]."""
    first = self.foreground.num_ws
    return Layers(
      self.foreground(scene.styles[:, :first]),
      self.background_field(scene.code) if self.background else None,
      self.upsampler(self.feature_dim, scene.styles[:, first:]) if self.channels else (),
    )

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
    if options.low_resolution not in (0, self.low_resolution):
      raise UserError(
        f'render.low_resolution is {options.low_resolution}, and the up-sampler is made for '
        f'{self.low_resolution}². Set it to 0.'
      )
    check_options(options, self.background)
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

  def fitted_buffers(self, buffers, fresh, model):
    """See `Generator.fitted_buffers`: the `powers` of the blocks that both have."""
    if 'powers' not in buffers or 'powers' not in fresh:
      return buffers
    if model.low_resolution != self.low_resolution:
      return {name: x for name, x in buffers.items() if name != 'powers'}
    powers = np.array(fresh['powers'])
    num = min(len(powers), len(buffers['powers']))
    powers[:num] = buffers['powers'][:num]
    return {**buffers, 'powers': powers}

  def initialise(self, z):
    """Uses every parameter and buffer once, for `init`: z [1, z_dim]."""
    return jax.tree.map(jnp.sum, self.layers(self.prepare(self.map(z))))

  def tiny(self, resolution: int) -> dict:
    """See `Generator.tiny`."""
    fields = dict(latent_dim=8, w_dim=8, mapping_layers=1, hidden_dim=8, num_layers=2)
    fields |= dict(num_frequencies=3, feature_dim=8, low_resolution=resolution)
    if self.channels:
      fields |= dict(low_resolution=resolution // 4, channels=(8, 4))
    if self.background:
      fields |= dict(background_dim=4, background_hidden=8, background_layers=2)
      fields |= dict(background_frequencies=2, background_samples=3)
    return fields
