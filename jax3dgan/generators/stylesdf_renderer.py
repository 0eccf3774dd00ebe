"""StyleSDF's renderer (Or-El et al., CVPR 2022, arXiv 2112.11427, Sec. 3.1 and 3.2): a style to
signed distances to a small image and features. `generators.stylesdf` puts a decoder behind it.
"""

import jax.numpy as jnp

from jax3dgan.cameras import Camera
from jax3dgan.errors import UserError
from jax3dgan.fields.sdf_siren import Penalties, SDFField, SDFSiren
from jax3dgan.generators.base import Rendering
from jax3dgan.generators.field_generator import FieldGenerator
from jax3dgan.nn.mapping import StyleMapping
from jax3dgan.rendering import hierarchical
from jax3dgan.rendering import rays as rays_lib
from jax3dgan.rendering.compositing import Composite
from jax3dgan.rendering.options import RenderOptions

# How StyleSDF samples and composites, in RenderOptions' fields.
MARCHING = dict(
  density='field',
  last_interval='infinite',
  align_corners=False,
  limits_along='axis',
  strata='cells',
  jitter='ray',
)


class SDFRenderer(FieldGenerator):
  """Fields of signed distances, and their volume rendering.

  Attributes:
    z_dim, w_dim, mapping_layers: sizes of latent, renderer's style and mapping network.
    hidden_dim, num_layers, input_scale: see `SDFSiren`; input_scale is 2/(far − near).
    beta, beta_floor: the density's β at first, and what is always added to it, world units: about a
      fifth of the distance of two samples where those are few; 0 is the paper's.
    style_scale: see `SDFSiren`: how far apart the fields of fresh latents are.
    low_resolution: pixels on a side that are rendered, where nothing else says it.
    matmul_dtype: precision policy of products and convolutions, see `nn.precision`.
    occupancy: cells on a side of a grid that says where rays are sampled less, see `Occupied`; 0
      for none.
  """

  z_dim: int = 256
  w_dim: int = 256
  mapping_layers: int = 3
  hidden_dim: int = 256
  num_layers: int = 8
  input_scale: float = 2 / 0.24
  beta: float = 0.1
  beta_floor: float = 0.0
  style_scale: float = 0.25
  low_resolution: int = 64
  matmul_dtype: str = 'float32'
  occupancy: int = 0

  # Not fields.
  field_kind = 'sdf'
  initial_fields = ('beta', 'style_scale')

  def setup(self):
    if self.beta <= 0:
      raise UserError(
        f'config.model.beta is {self.beta}, and a surface is not as wide. Set --config.model.beta '
        'to a number above 0, such as 0.1.'
      )
    self.mapping = StyleMapping(self.w_dim, self.mapping_layers)
    self.field = SDFSiren(
      self.hidden_dim,
      self.num_layers,
      self.input_scale,
      self.beta,
      self.beta_floor,
      self.style_scale,
      self.matmul_dtype,
    )
    self.make_grid()

  @property
  def grid_box(self) -> float:
    """See `Occupied`: the cube that input_scale takes to ±1."""
    return 2 / self.input_scale

  def radiance_field(self, scene, options: RenderOptions | None = None) -> SDFField:
    """The field of styles w, its colour without features."""
    field = self.field(scene[:, 0, : self.w_dim] if scene.ndim == 3 else scene)
    return field if options is None else field.replace(saved_activations=options.saved_activations)

  def render(
    self,
    w,
    camera: Camera,
    key=None,
    options: RenderOptions | None = None,
    has_features: bool = False,
    penalties: Penalties | None = None,
    noise_std=0.0,
  ):
    """The volume rendering before a decoder: Composite of r rays of a square, colour [b, r, c].

    Args:
      key: per-example keys [b], the numbers themselves (`hierarchical.Draws`), or None.
      has_features: whether the map of features comes behind the colour.
      penalties: what of the distance is regularised: the Composite's `means` are of each ray.
      noise_std: must be 0: a density that is the distance's has no noise.
    """
    options = options or self.default_options()
    rays = rays_lib.camera_rays(camera, self._low_resolution(options), options.align_corners)
    field = self.radiance_field(w, options).replace(has_features=has_features, penalties=penalties)
    noise = not (isinstance(noise_std, int | float) and noise_std == 0)
    return hierarchical.render_images(field, rays, options, key, noise_std, noise, grid=self.grid())

  def default_options(self) -> RenderOptions:
    """StyleSDF's way of marching along rays, for its cameras."""
    size = self.resolution or self.low_resolution
    return RenderOptions(resolution=size, num_coarse=24, num_fine=0, **MARCHING)

  def _low_resolution(self, options: RenderOptions) -> int:
    """Pixels on a side that are rendered for images of these options."""
    return options.resolution

  def query(self, w, points, directions=None):
    """Signed distances [b, n], negative inside, and colours [b, n, 3] at points [b, n, 3]."""
    if directions is None:
      directions = jnp.broadcast_to(jnp.array([0.0, 0.0, -1.0], points.dtype), points.shape)
    return self.radiance_field(w).surface_colour(points, directions)

  def distance(self, w, points):
    """Signed distances [b, n] at points [b, n, 3], negative inside, world units."""
    return self.radiance_field(w).distance(points)

  def distance_and_gradient(self, w, points):
    """Signed distances [b, n] and their gradients [b, n, 3]: normals outwards, of about unit
    length."""
    return self.radiance_field(w).distance_and_gradient(points)


def as_rendering(out: Composite, size: int) -> Rendering:
  """The Rendering, without a decoder, of a Composite of the rays of images of size²."""
  b = out.depth.shape[0]
  image = 2 * out.colour[..., :3].reshape(b, size, size, 3) - 1
  depth, opacity = (x.reshape(b, size, size) for x in (out.depth, out.opacity))
  return Rendering(image, depth, opacity, image)
