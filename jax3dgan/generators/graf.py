"""GRAF: Generative Radiance Fields for 3D-Aware Image Synthesis (Schwarz et al., NeurIPS 2020,
arXiv 2007.02442).

NeRF's MLP, whose first layer and skip layer also take a shape code, and whose view branch takes an
appearance code: density depends on the shape alone. There is no mapping network.

Latents z are [b, shape_dim + appearance_dim], the shape's code first, both N(0, 1). Styles w are
[b, 2, d] with d the longer code: a row for each, zero behind the shorter one. So what mixes rows of
styles gives one object the appearance of another.

Cameras are the library's. In the release's own axes z is up: its (y, z, x) are our (x, y, z), and
its camera at u and v is the yaw π/2 − 2πu and the polar measure v of 'spherical_uniform'
(`release_prior`).
"""

import math

import flax.struct
import jax.numpy as jnp

from jax3dgan.errors import UserError
from jax3dgan.fields.nerf_mlp import Encoding, NerfField, NerfMlp
from jax3dgan.generators.base import NO_DIRECTIONS, NO_SINES, truncated
from jax3dgan.generators.field_generator import FieldGenerator
from jax3dgan.nn.conv import torch_uniform
from jax3dgan.rendering.options import RenderOptions

# Fields of `config.render`: how the release marches along rays.
MARCHING = dict(
  num_coarse=64,
  num_fine=0,
  density='relu',
  last_interval='infinite',
  strata='between',
  limits_along='axis',
  align_corners=False,
)


def release_prior(u: tuple[float, float], v: tuple[float, float], radius_std: float = 0.0) -> dict:
  """Fields of `config.pose_prior` for the release's ranges, uniform on a part of the sphere.

  Args:
    u: of the azimuth, in turns; its middle is turned to the front, which training does not see.
    v: of the polar angle from above, arccos(1 − 2v).
    radius_std: half the range of the distance.
  """
  return dict(
    name='spherical_uniform',
    yaw_mean=math.pi / 2,
    yaw_std=math.pi * (u[1] - u[0]),
    pitch_mean=math.pi / 2 * (v[0] + v[1]),
    pitch_std=math.pi / 2 * (v[1] - v[0]),
    radius_std=radius_std,
  )


@flax.struct.dataclass
class TurnedField:
  """A field in a world that is turned around the vertical axis.

  Attributes:
    field: as it was.
    azimuth: of its cameras that are now in front, radians; static.
  """

  field: NerfField
  azimuth: float = flax.struct.field(pytree_node=False, default=0.0)

  @property
  def width(self) -> int:
    """Features of a point in each layer."""
    return self.field.width

  def _turned(self, x):
    sin, cos = math.sin(self.azimuth), math.cos(self.azimuth)
    side, front = x[..., 0], x[..., 2]
    return jnp.stack([side * cos + front * sin, x[..., 1], front * cos - side * sin], axis=-1)

  def __call__(self, points, directions):
    """See `NerfField`."""
    return self.field(self._turned(points), self._turned(directions))


class GRAF(FieldGenerator):
  """The generator; see the module for latents, styles and cameras.

  Attributes:
    shape_dim, appearance_dim: lengths of the codes.
    hidden_dim, num_layers, skip_layer, colour_dim, point_frequencies, direction_frequencies: see
      `nerf_mlp.NerfMlp` and `nerf_mlp.Encoding`; points are encoded in world units.
    view_dependent: whether colours depend on the view direction (the release: but for birds).
    azimuth: of the cameras in the field's own world that are in front here, radians: of converted
      weights, whose cameras are elsewhere.
    density_gain: factor on the raw density; 1 is the release's, whose scenes are 5 units deep.
    matmul_dtype: precision policy, see `nn.precision`.
  """

  shape_dim: int = 128
  appearance_dim: int = 128
  hidden_dim: int = 256
  num_layers: int = 8
  skip_layer: int = 5
  colour_dim: int = 128
  point_frequencies: int = 10
  direction_frequencies: int = 4
  view_dependent: bool = True
  azimuth: float = 0.0
  density_gain: float = 1.0
  matmul_dtype: str = 'float32'

  num_ws = 2  # not a field

  def setup(self):
    if not (self.shape_dim and self.appearance_dim):
      raise UserError(
        'GRAF has a code of the shape and one of the appearance. Set --config.model.shape_dim and '
        '--config.model.appearance_dim to 1 or more.'
      )
    if self.skip_layer >= self.num_layers:
      raise UserError(
        f'config.model.skip_layer is {self.skip_layer}, and layers are from 0 to '
        f'{self.num_layers - 1}. Set --config.model.skip_layer={self.num_layers - 1} or less, 0 '
        'for none.'
      )
    self.field = NerfMlp(
      self.hidden_dim,
      self.num_layers,
      self.skip_layer,
      self.colour_dim,
      Encoding(self.point_frequencies, self.direction_frequencies),
      use_directions=self.view_dependent,
      init_of=torch_uniform,
      matmul_dtype=self.matmul_dtype,
    )

  @property
  def z_dim(self) -> int:
    """Length of a latent: both codes."""
    return self.shape_dim + self.appearance_dim

  def unused_fields(self) -> dict[str, str]:
    """See `Generator.unused_fields`."""
    if self.view_dependent:
      return {}
    return {'direction_frequencies': 'view_dependent is off'}

  def unused_options(self) -> dict[str, str]:
    """See `Generator.unused_options`."""
    unused = {'saved_activations': NO_SINES}
    return unused if self.view_dependent else {**unused, 'lock_view_direction': NO_DIRECTIONS}

  def style_rows(self) -> dict[str, int]:
    """See `Generator.style_rows`."""
    rows = {'field/layer_0_code_kernel': 0, 'field/colour_code_kernel': 1}
    return rows | ({f'field/layer_{self.skip_layer}_code_kernel': 0} if self.skip_layer else {})

  def map(self, z, label=None, truncation_psi=1.0, average_w=None):
    """Latents z [b, z_dim] → styles w [b, 2, d], the codes themselves.

    Args:
      label: ignored; GRAF is not conditioned on the camera.
      truncation_psi: factor on the codes, whose mean is 0; 1 does nothing.
      average_w: see `average_w`.
    """
    del label
    width = max(self.shape_dim, self.appearance_dim)
    codes = (z[:, : self.shape_dim], z[:, self.shape_dim :])
    w = jnp.stack([jnp.pad(x, ((0, 0), (0, width - x.shape[1]))) for x in codes], axis=1)
    return truncated(w, truncation_psi, average_w)

  def average_w(self):
    """The mean of the codes: 0, [2, d]."""
    return jnp.zeros((2, max(self.shape_dim, self.appearance_dim)))

  def radiance_field(self, scene, options: RenderOptions | None = None) -> NerfField | TurnedField:
    """The field of styles w [b, 2, d]."""
    field = self.field(scene[:, 0, : self.shape_dim], scene[:, 1, : self.appearance_dim])
    gain = self.density_gain
    if gain != 1:
      field = field.replace(density=tuple(gain * x for x in field.density))
    return TurnedField(field, self.azimuth) if self.azimuth else field

  def tiny(self, resolution: int) -> dict:
    """See `Generator.tiny`."""
    del resolution
    fields = dict(shape_dim=4, appearance_dim=4, hidden_dim=16, num_layers=2, colour_dim=8)
    fields |= dict(skip_layer=min(self.skip_layer, 1), point_frequencies=4)
    return fields | (dict(direction_frequencies=2) if self.view_dependent else {})
