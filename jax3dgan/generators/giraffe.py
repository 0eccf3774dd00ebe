"""GIRAFFE: Representing Scenes as Compositional Generative Neural Feature Fields (Niemeyer and
Geiger, CVPR 2021, arXiv 2011.12100).

Several objects, each a feature field in a box of its own with a pose of its own, and a background
are composed by their densities; features are integrated along a few rays, and a neural renderer
makes the image.

Latents z are normals [b, z_dim]: a shape and an appearance code of each object, those of the
background, then numbers whose cumulative probabilities are the fractions of poses
(`giraffe_scene.Fractions`). Styles w are [b, n + 1, width] (`giraffe_scene.Layout`): a row of each
object with its codes and its pose as it is, and the background's. So whatever draws, interpolates,
mixes, edits or optimises styles does the same with objects and where they are; `mix`ing rows is
exchanging objects. Truncation pulls codes and leaves poses.

Parameters, of which a converter is a map of names (`convert.giraffe`):

| | |
|---|---|
| objects/…, background/… | see `fields.giraffe.FeatureField` |
| renderer/… | see `nn.neural_renderer.NeuralRenderer` |

Axes and poses are the library's, see `generators.giraffe_scene`.
"""

import jax
import jax.numpy as jnp

from jax3dgan.cameras import Camera
from jax3dgan.errors import UserError
from jax3dgan.fields.giraffe import FeatureField
from jax3dgan.generators import giraffe_checks
from jax3dgan.generators.base import Generator, Rendering, needs_resolution
from jax3dgan.generators.giraffe_rendering import (
  MARCHING,
  Draws,
  Fields,
  GIRAFFEScene,
  draw,
  query,
  render,
)
from jax3dgan.generators.giraffe_scene import Fractions, Layout, PoseRanges
from jax3dgan.generators.giraffe_styles import scene_of, styles_of
from jax3dgan.nn import resample
from jax3dgan.nn.neural_renderer import UPSAMPLING, NeuralRenderer
from jax3dgan.rendering import rays as rays_lib
from jax3dgan.rendering.options import RenderOptions

__all__ = ['GIRAFFE', 'MARCHING', 'Draws', 'Fractions', 'GIRAFFEScene']


class GIRAFFE(Generator):
  """The generator; see the module for latents, styles and parameters.

  Attributes:
    num_objects: in a scene, at most.
    latent_dim: length of each of an object's two codes.
    hidden_dim, num_layers, skip: of the objects' network, see `fields.giraffe.FeatureField`.
    use_directions: whether features depend on the direction of view.
    point_frequencies, direction_frequencies: of the encodings.
    background: whether there is one.
    background_dim, background_hidden, background_layers, background_scale: length of each of its
      codes, and its network.
    feature_dim: features of a pixel.
    feature_sigmoid: whether features of samples go through a sigmoid.
    composition: see `rendering.composition.compose`.
    low_resolution: pixels on a side that are rendered.
    channels: features of each size of the neural renderer, the first one twice `low_resolution`.
    renderer_width, renderer_skips, renderer_features, renderer_colours, renderer_norm: see
      `nn.neural_renderer.NeuralRenderer`.
    size_min, size_max: (x, y, z) half sizes of an object's box, world units; between them one
      random number for all three, or with `free_ratio` one for each. Larger ones are cut.
    position_min, position_max: (x, y, z) of its centre.
    turns, background_turns: (from, to) degrees about the vertical axis, counter-clockwise from
      above.
    counts: probabilities that there are one, two, ... objects; () for always all.
    placements: positions are drawn so many times, and the first ones count with which no boxes
      overlap; 1 for any.
    compat_linear_view: see `fields.giraffe.FeatureField`.
    matmul_dtype: precision policy of products, see `nn.precision`.
  """

  num_objects: int = 1
  latent_dim: int = 256
  hidden_dim: int = 128
  num_layers: int = 8
  skip: int = 4
  use_directions: bool = True
  point_frequencies: int = 10
  direction_frequencies: int = 4
  background: bool = True
  background_dim: int = 128
  background_hidden: int = 64
  background_layers: int = 4
  background_scale: float = 12.0
  feature_dim: int = 128
  feature_sigmoid: bool = False
  composition: str = 'sum'
  low_resolution: int = 16
  channels: tuple[int, ...] = (64, 32)
  renderer_width: int = 0
  renderer_skips: bool = True
  renderer_features: str = 'nearest'
  renderer_colours: str = 'bilinear'
  renderer_norm: bool = False
  size_min: tuple[float, ...] = (0.16, 0.16, 0.2)
  size_max: tuple[float, ...] = (0.2, 0.2, 0.25)
  free_ratio: bool = False
  position_min: tuple[float, ...] = (-0.12, 0.0, -0.22)
  position_max: tuple[float, ...] = (0.12, 0.0, 0.22)
  turns: tuple[float, float] = (0.0, 360.0)
  background_turns: tuple[float, float] = (0.0, 0.0)
  counts: tuple[float, ...] = ()
  placements: int = 1
  compat_linear_view: bool = False
  matmul_dtype: str = 'float32'

  # Not fields.
  has_field = True
  choices = dict.fromkeys(('renderer_features', 'renderer_colours'), UPSAMPLING)

  def setup(self):
    common = dict(
      num_features=self.feature_dim,
      use_directions=self.use_directions,
      point_frequencies=self.point_frequencies,
      direction_frequencies=self.direction_frequencies,
      squashes=self.feature_sigmoid,
      compat_linear_view=self.compat_linear_view,
      matmul_dtype=self.matmul_dtype,
    )
    self.object_field = FeatureField(
      self.hidden_dim, self.num_layers, self.skip, name='objects', **common
    )
    if self.background:
      self.background_field = FeatureField(
        self.background_hidden,
        self.background_layers,
        skip=0,
        scale=self.background_scale,
        name='background',
        **common,
      )
    self.renderer = NeuralRenderer(
      tuple(self.channels),
      self.renderer_width,
      self.renderer_skips,
      self.renderer_features,
      self.renderer_colours,
      self.renderer_norm,
      self.matmul_dtype,
    )

  @property
  def ranges(self) -> PoseRanges:
    """The distribution of the poses."""
    return PoseRanges(
      self.num_objects,
      tuple(self.size_min),
      tuple(self.size_max),
      self.free_ratio,
      tuple(self.position_min),
      tuple(self.position_max),
      tuple(self.turns),
      tuple(self.background_turns),
      tuple(self.counts),
      self.placements,
    )

  @property
  def object_layout(self) -> Layout:
    """What the numbers of styles are."""
    return Layout(self.num_objects, self.latent_dim, self.background_dim if self.background else 0)

  @property
  def z_dim(self) -> int:
    """Length of a latent: codes, then poses."""
    return self.object_layout.num_codes + self.ranges.num_latents

  @property
  def num_ws(self) -> int:
    """Rows of w: the objects and the background."""
    return self.num_objects + 1

  @property
  def resolution(self) -> int:
    """Pixels on a side of the images."""
    return self.low_resolution << len(self.channels)

  def default_options(self) -> RenderOptions:
    """The paper's way of marching along rays."""
    return RenderOptions(resolution=self.resolution, near=0.5, far=6.0, num_coarse=64, **MARCHING)

  def average_w(self):
    """The styles [n + 1, width] of the codes' means, 0, in the middle of the poses' ranges."""
    layout = self.object_layout
    return styles_of(layout, jnp.zeros((1, layout.num_codes)), self.ranges.middle())[0]

  def unused_fields(self) -> dict[str, str]:
    """See `Generator.unused_fields`."""
    return giraffe_checks.unused_fields(self)

  def map(self, z, label=None, truncation_psi=1.0, average_w=None, fractions=None):
    """Latents z [b, z_dim] → styles w [b, n + 1, width].

    Args:
      label: ignored: nothing is conditioned on the camera.
      truncation_psi: pulls the codes towards those of `average_w` [n + 1, width]; 1 does nothing.
      fractions: of the poses, `Fractions`; None for those that the latents say.
    """
    del label
    layout, ranges = self.object_layout, self.ranges
    if fractions is None:
      fractions = ranges.of_latents(z[:, layout.num_codes :])
    codes, poses = z[:, : layout.num_codes], ranges.poses(fractions)
    return styles_of(layout, codes, poses, truncation_psi, average_w)

  def prepare(self, w, key=None) -> GIRAFFEScene:
    """Styles w [b, n + 1, width] → the scene; nothing in it is random."""
    del key
    if isinstance(w, GIRAFFEScene):
      return w
    return scene_of(self.object_layout, w, self.size_max)

  def fields(self) -> Fields:
    """The layers of all fields."""
    return Fields(
      self.object_field(self.latent_dim),
      self.background_field(self.background_dim) if self.background else None,
      tuple(self.size_max),
      self.composition,
    )

  def render(self, w, camera: Camera, key=None, options=None, noise_std=0.0):
    """`Pixels` [b, low_resolution², ...] of styles or a scene, before the neural renderer."""
    options = options or self.default_options()
    self.check_options(options)
    needs_resolution(self, options, 'set it to that, or train with other config.model.channels.')
    rays = rays_lib.camera_rays(camera, self.low_resolution, options.align_corners)
    fields = self.fields()
    num_fields = self.num_objects + self.background
    draws = draw(key, self.low_resolution**2, options.num_coarse, num_fields, noise_std)
    return render(fields, self.prepare(w), rays, draws, options, noise_std)

  def synthesize(
    self, w, camera: Camera, key=None, options: RenderOptions | None = None, noise_std=0.0
  ) -> Rendering:
    """Images of styles w [b, n + 1, width], or of a `Scene`, from cameras [b].

    Args:
      key: per-example keys [b] of all that is random, the numbers themselves (`Draws`), or None.
      options: static rendering options. Depth and opacity are resized to the image.
      noise_std: standard deviation of the density noise; the paper trains with 1.
    """
    out = self.render(w, camera, key, options, noise_std)
    size = (out.depth.shape[0], self.low_resolution, self.low_resolution)
    image = jax.nn.sigmoid(self.renderer(out.features.reshape(*size, -1)))
    depth, opacity = (
      resample.resize_bilinear(x.reshape(*size, 1), image.shape[1])[..., 0]
      for x in (out.depth, out.opacity)
    )
    return Rendering(2 * image - 1, depth, opacity)

  def object_maps(self, w, camera: Camera, options: RenderOptions | None = None):
    """What of each pixel is which object's, and at last the background's: [b, r, r, n + 1] at the
    size that is rendered, with what covers what; they sum to the opacity."""
    shares = self.render(w, camera, None, options).shares
    return shares.reshape(shares.shape[0], self.low_resolution, self.low_resolution, -1)

  def check_options(self, options: RenderOptions) -> None:
    """See `Generator.check_options`."""
    giraffe_checks.check_fields(self)
    giraffe_checks.check_options(options, self.background)
    if options.low_resolution not in (0, self.low_resolution):
      raise UserError(
        f'render.low_resolution is {options.low_resolution}, and the neural renderer is made for '
        f'{self.low_resolution}². Set it to 0.'
      )

  def query(self, w, points, directions=None):
    """Density [b, n] and features [b, n, 3 + feature_dim] of the objects of styles or a scene at
    points [b, n, 3]; the background has no surface.

    The first three features are the colour in [0, 1], as the neural renderer makes it of a wall
    with the point's features.
    """
    scene, fields = self.prepare(w), self.fields()
    if directions is None:
      directions = jnp.broadcast_to(jnp.array([0.0, 0.0, -1.0], points.dtype), points.shape)
    total, features = query(fields, scene, points, directions)
    colours = jax.nn.sigmoid(self.renderer(features, wall=True))
    return total, jnp.concatenate([colours, features], axis=-1)

  def initialise(self, z):
    """Uses every parameter once, for `init`: z [1, z_dim]."""
    fields = self.fields()
    self.prepare(self.map(z))
    return jax.tree.map(jnp.sum, (fields, self.renderer(jnp.zeros((1, 4, 4, self.feature_dim)))))

  def tiny(self, resolution: int) -> dict:
    """See `Generator.tiny`."""
    fields = dict(latent_dim=4, hidden_dim=8, num_layers=3, feature_dim=8)
    fields |= dict(point_frequencies=3, low_resolution=resolution // 2, channels=(6,))
    fields |= dict(skip=min(self.skip, 2))
    if self.use_directions:
      fields |= dict(direction_frequencies=2)
    if self.background:
      fields |= dict(background_dim=3, background_hidden=6, background_layers=2)
    return fields
