"""GGHead: Fast and Generalizable 3D Gaussian Heads (Kirschstein et al., SIGGRAPH Asia 2024, arXiv
2406.09377).

A StyleGAN2 makes a map of attributes from a latent, each point of a template surface takes the
attributes of its place on the map, and so becomes a 3D Gaussian: an offset from the template, a
scale, a rotation, a colour and an opacity. Gaussians are splatted (`rendering.splatting`): nothing
is marched through, and nothing comes after it, so that views of an object agree exactly.

By default nothing of the camera reaches the generator (CGS-GAN, Barthel et al. 2025, arXiv
2505.17590): no label in the mapping network, colours that are the same from everywhere. The paper's
own conditioning and view-dependent colours are `label_dim=25`, `sh_degree=1`.

Parameters: `mapping` and `backbone` (`StylePlanes`), `position` (the 1x1 convolution of the
offsets, zero at first). Buffers: those of `StylePlanes`; of a template that is given or a mesh also
`template_points` [n, 3] and `template_places` [n, 2], zeros until weights or `templates.buffers_of`
give them.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from jax3dgan.errors import UserError
from jax3dgan.generators import gghead_attributes, templates
from jax3dgan.generators.base import BUFFERS
from jax3dgan.generators.splatted import SplattedGenerator
from jax3dgan.generators.style_planes import StylePlanes
from jax3dgan.nn import precision, resample
from jax3dgan.nn.cpu.planes import sum_on_planes
from jax3dgan.nn.stylegan2 import channels_of
from jax3dgan.rendering.options import RenderOptions
from jax3dgan.rendering.splatting import Gaussians, Splatting

GIVEN = 'given'  # the template whose points come with weights


class PositionLayer(nn.Module):
  """The offsets' 1x1 convolution, zero at first: parameters `kernel` [3, 3] and `bias` [3]."""

  @nn.compact
  def __call__(self, x):
    """[..., 3] → [..., 3]."""
    kernel = self.param('kernel', nn.initializers.zeros, (3, 3))
    bias = self.param('bias', nn.initializers.zeros, (3,))
    return precision.rows_product(x, kernel) + bias


class GGHead(SplattedGenerator, StylePlanes):
  """The generator. Styles w are [b, num_ws, w_dim].

  Attributes:
    z_dim, w_dim, mapping_layers: sizes of latent, style and mapping network.
    label_dim: 25 for a mapping that is conditioned on the camera, as the paper's; 0 for one that is
      not.
    label_scale: factor on the label; 0 is the release's way of not conditioning on it.
    channels: the backbone's features at 4², 8², ...; the last entry's size is that of the map.
    use_noise, clamp, matmul_dtype: see `EG3D`.
    separable: whether the backbone's 3x3 convolutions are separable, see `nn.separable_conv`.
    template: 'sphere', 'half_ellipsoid' (`templates`); 'ict', the head of the user's ICT face
      model, or another mesh (`templates.MeshTemplate`); or 'given': points that come with weights.
    points: points of the template on a side, more than the map has for bilinear interpolation; 0
      for as many. Of a mesh those that are on it.
    num_given: points of the template 'given', or on a mesh.
    template_radius, template_centre: (x, y, z) of the computed templates, world units.
    sh_degree: of the spherical harmonics of colours, 0 to 3; 0: the same from everywhere.
    rotation: 'quaternion' or, as in the paper, 'axis_angle'.
    reach: how far a Gaussian goes from its point along each axis, world units.
    start_scale, max_scale: see `gghead_attributes.scales`; a start of 0 is .8 of the distance of
      neighbours on the template, if that is computed.
    scale_floor: the least scale, in distances of neighbours on the template, or of 1.25
      `start_scale` where these are not known; 0 for none.
    opacity_bias: added to raw opacities.
    gains: factors on the raw scales, rotations, colours and opacities.
    compat: rotations and colours as the release computes them, for its weights, see
      `gghead_attributes.quaternions` and `harmonics`.
    compat_stop: pixels end at a transmittance of 1e-4, and gradients pass the bound of α, as in the
      release's rasteriser, see `Splatting`.
  """

  z_dim: int = 512
  w_dim: int = 512
  mapping_layers: int = 2
  label_dim: int = 0
  label_scale: float = 1.0
  channels: tuple[int, ...] = channels_of(256)
  use_noise: bool = False
  clamp: float = 0.0
  template: str = 'sphere'
  points: int = 0
  num_given: int = 0
  template_radius: tuple[float, float, float] = (0.25, 0.25, 0.25)
  template_centre: tuple[float, float, float] = (0.0, 0.0, 0.0)
  sh_degree: int = 0
  rotation: str = 'quaternion'
  reach: float = 0.25
  start_scale: float = 0.0
  max_scale: float = math.exp(-3)
  scale_floor: float = 0.0
  opacity_bias: float = 0.0
  gains: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
  compat: bool = False
  compat_stop: bool = False
  matmul_dtype: str = 'float32'
  separable: bool = False

  # Not a field.
  choices = {'rotation': tuple(gghead_attributes.ROTATIONS)}

  def setup(self):
    self._check_fields()
    self.make_networks(sum(gghead_attributes.sizes(self.rotation, self.sh_degree)))
    self.position = PositionLayer()
    if self.has_given_points:
      n = self.num_given
      self.template_points = self.variable(BUFFERS, 'template_points', jnp.zeros, (n, 3))
      self.template_places = self.variable(BUFFERS, 'template_places', jnp.zeros, (n, 2))

  def _check_fields(self) -> None:
    """UserError in one line for fields that make no Gaussians."""
    choices = {
      'template': (*templates.SURFACES, *templates.MESHES, GIVEN),
      'rotation': tuple(gghead_attributes.ROTATIONS),
      'sh_degree': (0, 1, 2, 3),
    }
    for field, allowed in choices.items():
      value = getattr(self, field)
      if value not in allowed and not (field == 'template' and self.has_mesh):
        raise UserError(
          f"config.model.{field} is '{value}'. Choose one of {', '.join(map(str, allowed))}."
        )
    if self.has_given_points and not (self.num_given > 0 and self.start_scale):
      raise UserError(
        f"The template '{self.template}' needs config.model.num_given, the number of its points, "
        'and config.model.start_scale, about .8 of their distance.'
      )
    if not (min(self.template_radius) > 0 and self.points >= 0):
      raise UserError(
        f'config.model.template_radius is {self.template_radius} and config.model.points '
        f'{self.points}. Set radii above 0, and points 0 or more.'
      )
    if not self.least_scale < self.fresh_scale < self.max_scale:
      raise UserError(
        f'A fresh Gaussian has the scale {self.fresh_scale:.4g}, which must be above its floor '
        f'{self.least_scale:.4g} and below config.model.max_scale {self.max_scale:.4g}. Set '
        '--config.model.start_scale, --config.model.scale_floor or --config.model.max_scale.'
      )
    if len(self.gains) != 4:
      raise UserError('config.model.gains are of scales, rotations, colours, opacities: give four.')

  @property
  def splatting(self) -> Splatting:
    """How Gaussians are drawn."""
    return Splatting(stop=self.compat_stop, straight_through=self.compat_stop)

  @property
  def has_given_points(self) -> bool:
    """Whether the template's points are in the buffers."""
    return self.template not in templates.SURFACES

  @property
  def user_buffers(self) -> tuple[str, ...]:
    """The template's points, where they are those of a mesh."""
    return ('template_points', 'template_places') if self.has_given_points else ()

  @property
  def has_mesh(self) -> bool:
    """Whether the template is a mesh, of which its points are read."""
    return self.template in templates.MESHES or ':' in self.template

  @property
  def points_on_side(self) -> int:
    """Points, or texels, on a side of a template that is not 'given'."""
    return self.points or 4 << (len(self.channels) - 1)

  @property
  def num_gaussians(self) -> int:
    """Gaussians of an object."""
    return self.num_given if self.has_given_points else self.points_on_side**2

  @property
  def spacing(self) -> float:
    """About how far apart neighbours on the template are, world units."""
    if self.has_given_points:
      return self.start_scale / templates.SPACINGS
    return templates.spacing(self.template, self.points_on_side, self.template_radius)

  @property
  def fresh_scale(self) -> float:
    """The scale of raw 0."""
    return self.start_scale or templates.SPACINGS * self.spacing

  @property
  def least_scale(self) -> float:
    """The floor under scales, world units."""
    return self.scale_floor * self.spacing

  def unused_fields(self) -> dict[str, str]:
    """See `Generator.unused_fields`."""
    unused = {}
    if self.has_given_points:
      reason = f"the points are those of the template '{self.template}'"
      unused |= dict.fromkeys(('template_radius', 'template_centre'), reason)
      if self.template == GIVEN:
        unused['points'] = reason
    else:
      unused['num_given'] = f"the points are those of the template '{self.template}'"
    if not self.label_dim:
      unused['label_scale'] = 'the mapping network is conditioned on no label'
    return unused

  def check_options(self, options: RenderOptions) -> None:
    """See `Generator.check_options`."""
    self._check_fields()
    super().check_options(options)

  def raw_attributes(self, w, key=None) -> gghead_attributes.Raw:
    """Attributes [b, n, ...] of styles w [b, num_ws, w_dim] before activations.

    Args:
      key: per-example keys [b] of the backbone's noise; None takes the constant noise.
    """
    planes = self.planes(w, key)
    planes = jnp.concatenate([self.position(planes[..., :3]), planes[..., 3:]], axis=-1)
    raw = gghead_attributes.split(self._at_points(planes), self.rotation, self.sh_degree)
    factors = zip(raw[1:], self.gains, strict=True)
    return gghead_attributes.Raw(raw[0], *(x if gain == 1 else gain * x for x, gain in factors))

  def _at_points(self, planes):
    """The map's values [b, n, c] at the template's points."""
    b, size, _, c = planes.shape
    if not self.has_given_points:
      n = self.points_on_side
      planes = planes if n == size else resample.resize_bilinear(planes, n)
      return planes.reshape(b, n * n, c)
    # In pixels of the map with a border of zeros, what is outside of it in the release.
    border = 'constant' if self.template == GIVEN else 'edge'
    padded = jnp.pad(planes, ((0, 0), (1, 1), (1, 1), (0, 0)), mode=border)[:, None]
    places = jnp.clip(((self.template_places.value + 1) * size + 1) / 2, 0, size + 1)
    places = jnp.broadcast_to(places, (b, *places.shape))
    return sum_on_planes(padded, places[..., :1], places[..., 1:])

  def places(self):
    """Where the template's points are on the map, [n, 2] (x, y) in [−1, 1]."""
    if self.has_given_points:
      return self.template_places.value
    return templates.places(self.points_on_side)

  def gaussians_of(self, raw: gghead_attributes.Raw) -> Gaussians:
    """The Gaussians [b, n] of raw attributes."""
    if self.has_given_points:
      points = self.template_points.value
    else:
      points = templates.points(
        self.template, self.points_on_side, self.template_radius, self.template_centre
      )
    return gghead_attributes.gaussians(
      raw,
      points,
      reach=self.reach,
      start_scale=self.fresh_scale,
      max_scale=self.max_scale,
      min_scale=self.least_scale,
      opacity_bias=self.opacity_bias,
      compat=self.compat,
    )

  def initialise(self, z):
    """Uses every parameter and buffer once, for `init`: z [1, z_dim]."""
    label = jnp.zeros((z.shape[0], self.label_dim)) if self.label_dim else None
    return jax.tree.map(jnp.sum, self.prepare(self.map(z, label)))

  def tiny(self, resolution: int) -> dict:
    """See `Generator.tiny`."""
    del resolution
    fields = dict(z_dim=8, w_dim=8, mapping_layers=1, channels=(8, 8), start_scale=0.04)
    return fields | dict(max_scale=0.1, scale_floor=0.0)
