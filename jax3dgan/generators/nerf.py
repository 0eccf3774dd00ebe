"""NeRF: Representing Scenes as Neural Radiance Fields for View Synthesis (Mildenhall et al., ECCV
2020, arXiv 2003.08934).

A single scene: no latent, no discriminator. The field is NeRF's MLP, a SIREN (Sitzmann et al.,
NeurIPS 2020, arXiv 2006.09661; π-GAN's, without styles) or learned tri-planes (EG3D's, without a
backbone).
"""

from typing import Any

import flax.linen as nn
import flax.struct
import jax.numpy as jnp

from jax3dgan.errors import UserError
from jax3dgan.fields import triplane
from jax3dgan.fields.nerf_mlp import Encoding, NerfMlp
from jax3dgan.fields.siren import FilmSiren
from jax3dgan.generators.base import NO_DIRECTIONS, NO_SINES
from jax3dgan.generators.field_generator import FieldGenerator
from jax3dgan.rendering.options import RenderOptions

# Which fields of the config's model each kind of radiance field uses; what is in none of them is
# used by all.
FIELD_OPTIONS = {
  'mlp': (
    'hidden_dim',
    'num_layers',
    'skip_layer',
    'colour_dim',
    'point_frequencies',
    'direction_frequencies',
    'include_input',
    'use_pi',
    'first_activation',
    'feature_activation',
  ),
  'siren': ('hidden_dim', 'num_layers', 'input_scale'),
  'triplane': ('hidden_dim', 'plane_resolution', 'plane_features', 'plane_std'),
}


@flax.struct.dataclass
class SharedField:
  """A radiance field with one set of weights for all examples of a batch.

  Attributes:
    field: a pytree of arrays [1, ...], see `hierarchical.Field`.
    density_gain: factor on the raw density; static.
  """

  field: Any
  density_gain: float = flax.struct.field(pytree_node=False, default=1.0)

  @property
  def width(self) -> int:
    """Features of a point in each layer."""
    return self.field.width

  def __call__(self, points, directions):
    """Raw density [b, r, s] and colour [b, r, s, 3] at [b, r, s, 3], directions [b, r, 3]."""
    b, r, s, _ = points.shape
    density, colour = self.field(points.reshape(1, b * r, s, 3), directions.reshape(1, b * r, 3))
    return self.density_gain * density.reshape(b, r, s), colour.reshape(b, r, s, -1)


class Planes(nn.Module):
  """Three learned planes of features and a decoder.

  Attributes:
    resolution, features: pixels on a side, and features of a plane.
    std: standard deviation of the features at first.
    hidden_dim: width of the decoder.
    box: side of the cube that the planes span, world units.
    matmul_dtype: precision policy, see `nn.precision`.
  """

  resolution: int
  features: int
  std: float
  hidden_dim: int
  box: float
  matmul_dtype: str

  @nn.compact
  def __call__(self) -> triplane.TriplaneField:
    """The field of the parameters, [1, ...]."""
    shape = (1, 3, self.resolution, self.resolution, self.features)
    planes = self.param('planes', nn.initializers.normal(self.std), shape)
    decoder = triplane.TriplaneDecoder(3, self.hidden_dim, name='decoder')
    kernels, biases = decoder(self.features)
    return triplane.TriplaneField(
      triplane.pad_planes(planes), kernels, biases, self.box, 'fixed', self.matmul_dtype
    )


class NeRF(FieldGenerator):
  """The scene. Styles w are empty, [b, 0].

  Attributes:
    field: 'mlp', 'siren' or 'triplane'; see `FIELD_OPTIONS` for which of the rest each uses.
    two_networks: whether the fine pass has a network of its own (NeRF, Sec. 5.2), or both passes
      share one (π-GAN).
    hidden_dim, num_layers: sizes of the MLP or the SIREN; hidden_dim that of the decoder too.
    skip_layer, colour_dim, first_activation, feature_activation: see `NerfMlp`.
    point_frequencies, direction_frequencies, include_input, use_pi: see `nerf_mlp.Encoding`.
    input_scale: of the SIREN, see `FilmSiren`: takes the scene to about ±1.
    plane_resolution, plane_features, plane_std: see `Planes`.
    density_gain: factor on the raw density, see `FilmSiren`; 1 is NeRF's.
    box: side of the cube around the origin with the scene, world units; 0 for no bound, which the
      planes need.
    matmul_dtype: precision policy, see `nn.precision`.
  """

  field: str = 'mlp'
  two_networks: bool = True
  hidden_dim: int = 256
  num_layers: int = 8
  skip_layer: int = 5
  colour_dim: int = 128
  point_frequencies: int = 10
  direction_frequencies: int = 4
  include_input: bool = True
  use_pi: bool = False
  first_activation: bool = True
  feature_activation: bool = False
  input_scale: float = 0.5
  plane_resolution: int = 128
  plane_features: int = 16
  plane_std: float = 0.1
  density_gain: float = 1.0
  box: float = 0.0
  matmul_dtype: str = 'float32'

  z_dim = 0  # not a field: there is one scene

  def setup(self):
    self._field_options()
    if self.field == 'triplane' and not self.box:
      raise UserError(
        'Tri-planes span a cube. Set --config.model.box to the side of one around the scene.'
      )
    self.network = self._make()
    if self.two_networks:
      self.coarse_network = self._make()

  def unused_fields(self) -> dict[str, str]:
    """See `Generator.unused_fields`."""
    own = self._field_options()
    others = {name for names in FIELD_OPTIONS.values() for name in names} - set(own)
    return dict.fromkeys(sorted(others), f"the field is '{self.field}'")

  def unused_options(self) -> dict[str, str]:
    """See `Generator.unused_options`."""
    unused = {} if self.field == 'siren' else {'saved_activations': NO_SINES}
    if self.field == 'triplane':
      unused['lock_view_direction'] = NO_DIRECTIONS
    return unused

  def _field_options(self) -> tuple[str, ...]:
    if self.field not in FIELD_OPTIONS:
      raise UserError(
        f"config.model.field is '{self.field}'. Choose one of {', '.join(FIELD_OPTIONS)}."
      )
    return FIELD_OPTIONS[self.field]

  def _make(self) -> nn.Module:
    if self.field == 'siren':
      return FilmSiren(
        self.hidden_dim, self.num_layers, self.input_scale, matmul_dtype=self.matmul_dtype
      )
    if self.field == 'triplane':
      return Planes(
        self.plane_resolution,
        self.plane_features,
        self.plane_std,
        self.hidden_dim,
        self.box,
        self.matmul_dtype,
      )
    encoding = Encoding(
      self.point_frequencies, self.direction_frequencies, self.include_input, self.use_pi
    )
    return NerfMlp(
      self.hidden_dim,
      self.num_layers,
      self.skip_layer,
      self.colour_dim,
      encoding,
      self.first_activation,
      self.feature_activation,
      self.matmul_dtype,
    )

  def _field_of(self, network, options: RenderOptions | None) -> SharedField:
    if self.field == 'siren':
      # Without styles the frequencies are their offset, 30, as in Sitzmann et al., Sec. 3.2.
      field = network.fold(jnp.zeros((1, network.num_styles, 2, self.hidden_dim)))
      if options is not None:
        field = field.replace(saved_activations=options.saved_activations)
    else:
      field = network()
    return SharedField(field, self.density_gain)

  def map(self, z, label=None, truncation_psi=1.0, average_w=None):
    """z [b, 0] → w [b, 0]: the scene has no latent, and there is nothing to truncate."""
    del label, truncation_psi, average_w
    return z

  def radiance_field(self, scene, options: RenderOptions | None = None) -> SharedField:
    """The (fine) radiance field; `scene` is ignored."""
    del scene
    return self._field_of(self.network, options)

  def coarse_field(self, scene, options: RenderOptions | None = None) -> SharedField | None:
    """See `FieldGenerator.coarse_field`."""
    del scene
    return self._field_of(self.coarse_network, options) if self.two_networks else None

  def tiny(self, resolution: int) -> dict:
    """See `Generator.tiny`."""
    del resolution
    fields = dict(hidden_dim=16)
    if self.field != 'triplane':
      fields |= dict(num_layers=2)
    if self.field == 'mlp':
      skip = min(self.skip_layer, 1)
      fields |= dict(skip_layer=skip, colour_dim=8, point_frequencies=4, direction_frequencies=2)
    if self.field == 'triplane':
      fields |= dict(plane_resolution=8, plane_features=4)
    return fields
