"""EG3D: Efficient Geometry-aware 3D Generative Adversarial Networks (Chan et al., CVPR 2022, arXiv
2112.07945).

z and the camera's label give a style (mapping), the style three planes of features (a StyleGAN2
backbone), the planes a radiance field that is rendered at low resolution, and two StyleGAN2 blocks
the picture. All that does not depend on the camera is a `Scene`: from another side only rendering
and super-resolution are new work.
"""

import flax.struct
import jax
import jax.numpy as jnp

from jax3dgan.cameras import Camera
from jax3dgan.errors import UserError
from jax3dgan.fields import triplane
from jax3dgan.generators.base import NO_DIRECTIONS, NO_SINES, Rendering, Scene
from jax3dgan.generators.occupied import Occupied
from jax3dgan.generators.style_planes import StylePlanes
from jax3dgan.nn import resample
from jax3dgan.nn.stylegan2 import channels_of
from jax3dgan.nn.superresolution import SuperResolution
from jax3dgan.rendering import hierarchical, parts
from jax3dgan.rendering import rays as rays_lib
from jax3dgan.rendering.hierarchical import RenderOptions

# How EG3D samples and composites, in RenderOptions' fields.
MARCHING = dict(align_corners=False, marcher='midpoints', strata='forward', importance='smoothed')


@flax.struct.dataclass
class EG3DScene(Scene):
  """An identity in 3D, before any camera.

  Attributes:
    planes: [b, 3, h + 2, w + 2, c], see `triplane.pad_planes`.
    w: [b, w_dim] the last style, which modulates the super-resolution.
  """

  planes: jax.Array
  w: jax.Array


class EG3D(Occupied, StylePlanes):
  """The generator. Styles w are [b, num_ws, w_dim].

  Attributes:
    z_dim, w_dim, mapping_layers: sizes of latent, style and mapping network.
    label_dim: 25 for a mapping that is conditioned on the camera, 0 for one that is not.
    label_scale: factor on the label; 0 is the release's way of not conditioning on it.
    channels: the backbone's features at 4², 8², ...; the last entry's size is that of the planes.
    plane_features: features of a plane.
    decoder_hidden: width of the decoder.
    box: side of the cube that the planes span, world units (the release's box_warp).
    plane_axes: 'official' or 'fixed', see `triplane.PLANE_AXES`.
    super_channels, super_ups, super_input: see `SuperResolution`; no channels for none: the
      rendering is the picture.
    upsampling_border: what the super-resolution's filters see beyond the image: 'zeros' (the
      release) or 'repeat'.
    low_resolution: pixels on a side that are rendered where the options do not say it.
    clamp, super_clamp: bounds of activations in backbone and super-resolution; 0 for none.
    use_noise: whether the backbone's layers have noise inputs.
    raw_alias: adds the first super-resolution block's image to the returned low-resolution one, as
      the release does by an oversight where it is of the same size. For comparison with it alone.
    matmul_dtype: precision policy of products and convolutions, see `nn.precision`.
    separable: whether the 3x3 convolutions of backbone and super-resolution are separable, see
      `nn.separable_conv`.
    occupancy: cells on a side of a grid that says where rays are sampled less, see `Occupied`; 0
      for none.
  """

  z_dim: int = 512
  w_dim: int = 512
  mapping_layers: int = 2
  label_dim: int = 25
  label_scale: float = 1.0
  channels: tuple[int, ...] = channels_of(256)
  plane_features: int = 32
  decoder_hidden: int = 64
  box: float = 1.0
  plane_axes: str = 'fixed'
  super_channels: tuple[int, ...] = (256, 128)
  super_ups: tuple[int, ...] = (2, 2)
  super_input: int = 128
  upsampling_border: str = 'zeros'
  low_resolution: int = 128
  clamp: float = 0.0
  super_clamp: float = 256.0
  use_noise: bool = True
  raw_alias: bool = False
  matmul_dtype: str = 'float32'
  separable: bool = False
  occupancy: int = 0

  def setup(self):
    if self.plane_axes not in triplane.PLANE_AXES:
      raise UserError(
        f"No plane_axes are called '{self.plane_axes}'. Choose one of "
        f'{", ".join(triplane.PLANE_AXES)}.'
      )
    if self.box <= 0:
      raise UserError(
        f'config.model.box is {self.box}, and tri-planes span a cube. Set --config.model.box to '
        'its side, such as 1.'
      )
    if len(self.super_channels) != len(self.super_ups):
      raise UserError(
        f'super_channels {self.super_channels} and super_ups {self.super_ups} differ in length. '
        'Give both for each block of the super-resolution.'
      )
    resample.check_border(self.upsampling_border)
    self.make_networks(3 * self.plane_features)
    self.decoder = triplane.TriplaneDecoder(self.plane_features, self.decoder_hidden)
    if self.super_channels:
      self.superresolution = SuperResolution(
        tuple(self.super_channels),
        tuple(self.super_ups),
        self.super_input,
        self.super_clamp or None,
        self.matmul_dtype,
        border=self.upsampling_border,
        separable=self.separable,
      )
    self.make_grid()

  @property
  def grid_box(self) -> float:
    """See `Occupied`: the cube that the planes span."""
    return self.box

  # Not fields.
  has_field = True
  prepares_scene = True
  makes_pairs = True
  choices = {'plane_axes': triplane.PLANE_AXES, 'upsampling_border': resample.BORDERS}

  @property
  def pixels_alone(self) -> bool:
    """Whether a pixel depends on its own ray alone: super-resolution filters neighbours."""
    return not self.super_channels

  @property
  def resolution(self) -> int | None:
    """Pixels on a side of the pictures, where super-resolution fixes them; else None."""
    factor = 1
    for up in self.super_ups:
      factor *= up
    return factor * self.super_input if self.super_channels else None

  def default_options(self) -> RenderOptions:
    """EG3D's way of marching along rays, for FFHQ's cameras."""
    return RenderOptions(
      resolution=self.resolution or self.low_resolution,
      near=2.25,
      far=3.3,
      num_coarse=48,
      num_fine=48,
      **MARCHING,
    )

  def unused_fields(self) -> dict[str, str]:
    """See `Generator.unused_fields`."""
    if self.super_channels:
      return {}
    return {'upsampling_border': 'there is no super-resolution (config.model.super_channels)'}

  def unused_options(self) -> dict[str, str]:
    """See `Generator.unused_options`."""
    return {'lock_view_direction': NO_DIRECTIONS, 'saved_activations': NO_SINES}

  def without_super_resolution(self) -> 'EG3D':
    """The same with the rendering itself as the picture, of any resolution; the parameters fit."""
    return self.clone(super_channels=(), super_ups=())

  def prepare(self, w, key=None) -> EG3DScene:
    """Styles w [b, num_ws, w_dim] → the scene, without any camera.

    Args:
      key: per-example keys [b] of the backbone's noise; None takes the constant noise.
    """
    if isinstance(w, Scene):
      return w
    planes = self.planes(w, key)  # [b, h, w, 3·c]
    b, h, width, _ = planes.shape
    planes = planes.reshape(b, h, width, 3, self.plane_features)
    return EG3DScene(triplane.pad_planes(jnp.moveaxis(planes, 3, 1)), w[:, -1])

  def radiance_field(self, scene: EG3DScene) -> triplane.TriplaneField:
    """The radiance field of a scene."""
    kernels, biases = self.decoder(self.plane_features)
    return triplane.TriplaneField(
      scene.planes, kernels, biases, self.box, self.plane_axes, self.matmul_dtype
    )

  def render_features(self, scene, camera: Camera, key, options: RenderOptions, noise_std=0):
    """The low-resolution rendering: Composite with colour features [b, r, c], r rays of a square.

    Args:
      key: per-example keys [b], the numbers themselves (`hierarchical.Draws`), or None.
    """
    size = self._low_resolution(options)
    rays = rays_lib.camera_rays(camera, size, options.align_corners)
    noise = not (isinstance(noise_std, int | float) and noise_std == 0)
    return hierarchical.render_images(
      self.radiance_field(scene), rays, options, key, noise_std, noise, grid=self.grid()
    )

  def _low_resolution(self, options: RenderOptions) -> int:
    if not self.super_channels:
      return options.resolution
    if options.resolution != self.resolution:
      raise UserError(
        f'The generator makes pictures of {self.resolution}², not {options.resolution}²: its '
        f'super-resolution is made for that. Set the resolution to {self.resolution}; '
        'low_resolution says how many pixels are rendered.'
      )
    return options.low_resolution or self.low_resolution

  def synthesize(
    self, w, camera: Camera, key=None, options: RenderOptions | None = None, noise_std=0.0
  ):
    """Pictures of styles w [b, num_ws, w_dim], or of a `Scene`, from cameras [b].

    Args:
      key: per-example keys [b] of all that is random, `hierarchical.Draws` for the rendering alone,
        or None for a deterministic picture.
      options: static rendering options. Depth and opacity, rendered as small as `low_res`, are
        resized to the picture.
      noise_std: standard deviation of the density noise.
    """
    options = options or self.default_options()
    noise_key = render_key = key
    if key is not None and not isinstance(key, hierarchical.Draws):
      noise_key, render_key = jnp.moveaxis(jax.vmap(jax.random.split)(key), 1, 0)
    elif key is not None:
      noise_key = None
    scene = self.prepare(w, noise_key)
    size = self._low_resolution(options)
    out = self.render_features(scene, camera, render_key, options, noise_std)
    b = out.colour.shape[0]
    features = 2 * out.colour.reshape(b, size, size, -1) - 1
    depth, opacity = (x.reshape(b, size, size) for x in (out.depth, out.opacity))
    low = features[..., :3]
    if not self.super_channels:
      return Rendering(low, depth, opacity, low)
    w_last = jnp.broadcast_to(scene.w, (b, scene.w.shape[-1]))
    image, images = self.superresolution(features, w_last)
    if self.raw_alias and images[0].shape == low.shape:
      low = images[0]
    depth, opacity = (
      resample.resize_bilinear(x[..., None], image.shape[1])[..., 0] for x in (depth, opacity)
    )
    return Rendering(image, depth, opacity, low)

  def synthesize_part(
    self, w, camera: Camera, index, count: int, options: RenderOptions | None = None
  ):
    """One of `count` equal parts of every picture, see `PiGAN.synthesize_part`. Only without
    super-resolution, whose pixels need their neighbours."""
    options = options or self.default_options()
    scene = self.prepare(w)
    rays = rays_lib.camera_rays(camera, options.resolution, options.align_corners)
    out = parts.render_part(
      self.radiance_field(scene), rays, options, index, count, grid=self.grid()
    )
    low = 2 * out.colour[..., :3] - 1
    return Rendering(low, out.depth, out.opacity, low)

  def query(self, w, points, directions=None):
    """Raw density [b, n] and colour features [b, n, c] of styles or a scene at points [b, n, 3].

    The features' first three are the colour, in about [0, 1]. There is no view direction.
    """
    density, features = self.radiance_field(self.prepare(w))(points[:, :, None], directions)
    return density[:, :, 0], features[:, :, 0]

  def initialise(self, z):
    """Uses every parameter and buffer once, for `init`: z [1, z_dim]."""
    label = jnp.zeros((z.shape[0], self.label_dim)) if self.label_dim else None
    scene = self.prepare(self.map(z, label))
    total = jax.tree.map(jnp.sum, self.query(scene, jnp.zeros((z.shape[0], 1, 3))))
    if self.super_channels:
      size = self.super_input
      total += (self.superresolution(jnp.zeros((1, size, size, self.plane_features)), scene.w)[0],)
    return total

  def tiny(self, resolution: int) -> dict:
    """See `Generator.tiny`."""
    fields = dict(z_dim=8, w_dim=8, mapping_layers=1, channels=(8, 8), plane_features=4)
    fields |= dict(decoder_hidden=8, low_resolution=resolution)
    if self.super_channels:
      low = resolution // 2
      fields |= dict(super_channels=(8, 8), super_ups=(1, 2), super_input=low, low_resolution=low)
    return fields
