"""Exp-GAN: 3D-Aware Facial Image Generation with Expression Control (Lee et al., ACCV 2022).

A face model (`morphable`) says where the skin of a face is, for a code of identity and one of
expression. It is drawn with a texture of features that a StyleGAN2 makes, and each ray has it as
one more sample among those of a tri-plane, which another StyleGAN2 makes of the same style. A
few convolutions turn the rays' features into the picture. Expressions reach a picture through the
mesh, and those that move what is beside it, as the jaw, through the style too.

For latents and styles see `expgan_styles.CodedStyles`. Truncation pulls the style alone.

Parameters: `mapping`, `planes` and `texture` (`SynthesisNetwork`), `texture_head`, `decoder`,
`upsampler`, see `expgan_networks`. Buffers: `w_average` [w_dim] and those of `expgan_faces`, zeros
until weights or a training give them: nothing is drawn then but the tri-plane.
"""

import jax
import jax.numpy as jnp

from jax3dgan.cameras import Camera
from jax3dgan.generators import (
  expgan_checks,
  expgan_faces,
  expgan_networks,
  expgan_rendering,
)
from jax3dgan.generators.base import (
  BUFFERS,
  NO_DIRECTIONS,
  NO_SINES,
  Rendering,
  Scene,
)
from jax3dgan.generators.expgan_rendering import MARCHING, NUM_RGB, ExpGANScene, Seen, Training
from jax3dgan.generators.expgan_styles import CodedStyles
from jax3dgan.morphable import photo_cameras
from jax3dgan.nn import resample
from jax3dgan.nn.stylegan2 import SynthesisNetwork
from jax3dgan.rendering import hierarchical
from jax3dgan.rendering.options import RenderOptions
from jax3dgan.rendering.rays import Rays, Surface


class ExpGAN(CodedStyles):
  """The generator; see the module for latents, styles and buffers.

  Attributes:
    latent_dim, w_dim, mapping_layers: sizes of latent, style and mapping network.
    num_identity, num_expression: numbers of the codes; with a jaw its rotation vector, radians, is
      the last three of an expression.
    jaw: whether the face model has a jaw.
    identity_inputs: how many numbers of identity the mapping network is told, the first.
    expression_inputs: which numbers of expression it is told: what moves beside the surface, too.
    num_vertices, num_triangles: of the face model's region.
    num_faces: codes of people that seeds choose from.
    channels: features of both backbones at 4², 8², ...; there is one more size, that of the planes,
      where they have as many as the planes.
    plane_features: of each plane, of a sample and of the surface.
    texture_channels: of the texture before it meets the camera.
    texture_hidden, decoder_hidden: widths of the camera's network and of the planes' decoder.
    up_channels: features of the up-sampler at `low_resolution`, twice it, ...; () for none: the
      auxiliary image is the picture.
    low_resolution: rays on a side.
    box_half, box_centre: the box that the planes span reaches from centre − half to centre + half,
      (x, y, z), world units.
    orthographic: 0 for rays through a camera's place. Otherwise they are parallel, as those of the
      release, and begin at this distance from the place, world units, on a square as large as what
      the camera sees there. Depth, near and far are in halves of that square's width then.
    clamp: bound of the backbones' activations; 0 for none.
    surface: whether rays have the face model's surface; without it the volume is seen alone.
    matmul_dtype: precision policy of products and convolutions, see `nn.precision`.
  """

  latent_dim: int = 512
  w_dim: int = 256
  mapping_layers: int = 8
  num_identity: int = 100
  num_expression: int = 53
  jaw: bool = True
  identity_inputs: int = 100
  expression_inputs: tuple[int, ...] = (50, 51, 52)
  num_vertices: int = 0
  num_triangles: int = 0
  num_faces: int = 1024
  channels: tuple[int, ...] = (512, 512, 512, 512, 512, 256)
  plane_features: int = 32
  texture_channels: int = 64
  texture_hidden: int = 32
  decoder_hidden: int = 64
  up_channels: tuple[int, ...] = (512, 256, 128)
  low_resolution: int = 64
  box_half: tuple[float, float, float] = (2.5, 2.0, 2.5)
  box_centre: tuple[float, float, float] = (0.0, 0.0, -2.0)
  orthographic: float = 0.0
  clamp: float = 256.0
  surface: bool = True
  matmul_dtype: str = 'float32'

  # Not fields.
  has_field = True
  prepares_scene = True
  makes_pairs = True
  own_recipe = 'expgan'

  def setup(self):
    expgan_checks.fields(self)
    self.make_mapping()

    def backbone(features):
      channels = (*self.channels, features)
      clamp = self.clamp or None
      return SynthesisNetwork(channels, features, False, clamp, self.matmul_dtype)

    self.planes = backbone(3 * self.plane_features)
    self.texture = backbone(self.texture_channels)
    self.texture_head = expgan_networks.TextureHead(
      self.plane_features, self.texture_hidden, self.matmul_dtype
    )
    self.decoder = expgan_networks.PlanesDecoder(self.plane_features, self.decoder_hidden)
    if self.up_channels:
      self.upsampler = expgan_networks.Upsampler(tuple(self.up_channels), self.matmul_dtype)
    self.face = {
      name: self.variable(BUFFERS, name, jnp.zeros, shape, dtype)
      for name, (shape, dtype) in expgan_faces.shapes(self).items()
    }

  @property
  def user_buffers(self) -> tuple[str, ...]:
    """The face model's arrays."""
    return tuple(expgan_faces.shapes(self))

  @property
  def pixels_alone(self) -> bool:
    """Never: a surface's texture is averaged over neighbouring pixels."""
    return False

  @property
  def resolution(self) -> int | None:
    """Pixels on a side of the pictures, where the up-sampler fixes them; else None."""
    return self.low_resolution << (len(self.up_channels) - 1) if self.up_channels else None

  @property
  def parallel_rays(self) -> bool:
    """See `Generator.parallel_rays`."""
    return self.orthographic > 0

  @property
  def box(self) -> float:
    """Side of the cube around the origin that holds the planes' box."""
    return 2 * max(h + abs(c) for h, c in zip(self.box_half, self.box_centre, strict=True))

  def default_options(self) -> RenderOptions:
    """Exp-GAN's way of marching along rays, in the camera units of its release."""
    resolution = self.resolution or self.low_resolution
    return RenderOptions(
      resolution=resolution, near=0.0, far=3.0, num_coarse=24, num_fine=24, **MARCHING
    )

  def unused_options(self) -> dict[str, str]:
    """See `Generator.unused_options`."""
    return {'lock_view_direction': NO_DIRECTIONS, 'saved_activations': NO_SINES}

  def check_options(self, options: RenderOptions) -> None:
    """See `Generator.check_options`."""
    expgan_checks.fields(self)
    expgan_checks.options(self, options)

  def style_rows(self) -> dict[str, int]:
    """See `Generator.style_rows`: the first row is the style of all layers."""
    rows, sizes = {}, range(len(self.channels) + 1)
    blocks = [(name, f'b{4 << i}', i > 0) for name in ('planes', 'texture') for i in sizes]
    if self.up_channels:
      rows['upsampler/conv1/conv/affine/kernel'] = 0
      sizes = range(1, len(self.up_channels))
      blocks += [('upsampler', f'b{self.low_resolution << i}', True) for i in sizes]
    for network, block, has_first in blocks:
      for layer in ('conv0', 'conv1', 'torgb') if has_first else ('conv1', 'torgb'):
        rows[f'{network}/{block}/{layer}/conv/affine/kernel'] = 0
    return rows

  def prepare(self, w, key=None) -> ExpGANScene:
    """See `Generator.prepare`; nothing is random."""
    del key
    if isinstance(w, Scene):
      return w
    style = w[:, 0]
    styles = jnp.broadcast_to(style[:, None], (style.shape[0], self.planes.num_ws, self.w_dim))
    return ExpGANScene(
      planes=expgan_rendering.planes_of(self.planes(styles)),
      texture=self.texture(styles),
      vertices=jax.lax.stop_gradient(expgan_faces.vertices(self._face(), *self.codes(w))),
      w=style,
    )

  def _face(self):
    """The face model of the buffers."""
    return expgan_faces.model_of({name: x.value for name, x in self.face.items()})

  def radiance_field(self, scene: ExpGANScene) -> expgan_rendering.Field:
    """The field of a scene, without the face model's surface."""
    kernels, biases = self.decoder(self.plane_features)
    return expgan_rendering.Field(
      scene.planes, kernels, biases, tuple(self.box_half), tuple(self.box_centre), self.matmul_dtype
    )

  def see(self, scene: ExpGANScene, camera: Camera, options: RenderOptions) -> Seen:
    """What cameras [b] see of the face model: depth at rays, texture at the picture's pixels."""
    face, size = self._face(), expgan_checks.low_resolution(self, options)
    resolution = options.resolution
    if not (self.num_triangles and self.surface):
      b = camera.cam2world.shape[0]
      uv = jnp.zeros((b, resolution, resolution, 2))
      nothing = jnp.zeros((b, size, size), bool)
      return Seen(uv, None, jnp.full(nothing.shape, options.near), nothing)
    if self.orthographic:
      cam2world = photo_cameras.of_camera(camera, self.orthographic)
      return expgan_rendering.see_orthographic(face, scene.vertices, cam2world, resolution, size)
    return expgan_rendering.see(face, scene.vertices, camera, resolution, size, options)

  def synthesize_for_training(
    self, w, camera: Camera, key=None, options: RenderOptions | None = None, noise_std=0.0
  ) -> Training:
    """`synthesize`, with what the loss has of the face model's surface."""
    options = options or self.default_options()
    scene, b = self.prepare(w), camera.cam2world.shape[0]
    size = expgan_checks.low_resolution(self, options)
    rays, cam2world = expgan_rendering.rays_of(camera, size, options, self.orthographic)
    # A scene of one face may be seen by many cameras; the field's planes serve them all.
    own = {
      name: jnp.broadcast_to(x, (b, *x.shape[1:]))
      for name, x in (('texture', scene.texture), ('vertices', scene.vertices), ('w', scene.w))
    }
    scene = scene.replace(**own)
    seen = self.see(scene, camera, options)
    return self.render(scene, rays, cam2world, seen, key, options, noise_std)

  def render(
    self, scene, rays: Rays, cam2world, seen: Seen, key, options: RenderOptions, noise_std=0.0
  ) -> Training:
    """Pictures of scenes [b] by any rays, as the orthographic ones of the release
    (`expgan_rendering.orthographic_rays`).

    Args:
      rays: [b, v²], row by row.
      cam2world: [b, 3, 4] that the texture is told.
      seen: of the face model.
      key, options, noise_std: see `synthesize`.
    """
    b, size = seen.depth.shape[:2]
    texture = self.texture_head(scene.texture, cam2world)
    colour, alpha = expgan_networks.sample_texture(texture, seen.uv, seen.mask, size, seen.inside)
    surface = Surface(
      expgan_rendering.shown(colour).reshape(b, size**2, -1),
      alpha.reshape(b, size**2, 1),
      seen.depth.reshape(b, size**2, 1),
    )
    noise = not (isinstance(noise_std, int | float) and noise_std == 0)
    out = hierarchical.render_images(
      self.radiance_field(scene), rays.replace(surface=surface), options, key, noise_std, noise
    )
    features = out.colour.reshape(b, size, size, -1)
    depth, opacity, weight = (
      x.reshape(b, size, size) for x in (out.depth, out.opacity, out.means['surface'])
    )
    low = image = features[..., :NUM_RGB]
    if self.up_channels:
      image = self.upsampler(features, scene.w)
      depth, opacity = (
        resample.resize_bilinear(x[..., None], image.shape[1])[..., 0] for x in (depth, opacity)
      )
    inside = jnp.all(seen.uv != 0, axis=-1) if seen.inside is None else seen.inside
    factor = inside.shape[1] // size
    cover = inside.reshape(b, size, factor, size, factor).mean((2, 4), dtype=alpha.dtype)
    return Training(Rendering(image, depth, opacity, low), alpha, cover, weight)

  def synthesize(
    self, w, camera: Camera, key=None, options: RenderOptions | None = None, noise_std=0.0
  ) -> Rendering:
    """See `Generator.synthesize`; `key` may be the random numbers themselves, `Draws`. Depth and
    opacity are of field and surface, resized to the picture."""
    return self.synthesize_for_training(w, camera, key, options, noise_std).rendering

  def query(self, w, points, directions=None):
    """Raw density [b, n] and features [b, n, c] of styles or a scene at points [b, n, 3]: of the
    field, in which the face model's surface is not. The first three are colours in [0, 1]."""
    density, features = self.radiance_field(self.prepare(w))(points[:, :, None], directions)
    density, features = density[:, :, 0], features[:, :, 0]
    colours = 0.5 * (features[..., :NUM_RGB] + 1)
    return density, jnp.concatenate([colours, features[..., NUM_RGB:]], axis=-1)

  def without_super_resolution(self) -> 'ExpGAN':
    """The same with the auxiliary image as the picture, of any resolution; the variables fit."""
    return self.clone(up_channels=())

  @property
  def has_surface(self) -> bool:
    """Whether there is a face model's surface, of which `query` says nothing."""
    return self.surface and self.num_triangles > 0

  def without_surface(self) -> 'ExpGAN':
    """See `Generator.without_surface`."""
    return self.clone(surface=False)

  def initialise(self, z):
    """Uses every parameter and buffer once, for `init`: z [1, z_dim]."""
    scene = self.prepare(self.map(z))
    total = jax.tree.map(jnp.sum, self.query(scene, jnp.zeros((z.shape[0], 1, 3))))
    total += (jnp.sum(self.texture_head(scene.texture, jnp.zeros((z.shape[0], 3, 4)))),)
    if self.up_channels:
      size = self.low_resolution
      total += (self.upsampler(jnp.zeros((1, size, size, self.plane_features)), scene.w),)
    return total

  def tiny(self, resolution: int) -> dict:
    """See `Generator.tiny`."""
    fields = dict(latent_dim=8, w_dim=8, mapping_layers=1, num_faces=8, channels=(8, 8))
    fields |= dict(plane_features=4, texture_channels=4, texture_hidden=4, decoder_hidden=8)
    low = resolution // 2 if self.up_channels else resolution
    return fields | dict(up_channels=(8, 8) if self.up_channels else (), low_resolution=low)
