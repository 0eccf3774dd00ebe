"""π-GAN: Periodic Implicit Generative Adversarial Networks (Chan et al., CVPR 2021, arXiv
2012.00926)."""

from jax3dgan.errors import UserError
from jax3dgan.fields.siren import FilmSiren
from jax3dgan.generators.base import truncated
from jax3dgan.generators.field_generator import FieldGenerator
from jax3dgan.nn.mapping import MappingNetwork
from jax3dgan.rendering.options import RenderOptions


class PiGAN(FieldGenerator):
  """The generator: mapping network, FiLM-SIREN, hierarchical volume rendering.

  Styles w are the raw frequencies and phases, [b, num_layers + 1, 2, hidden_dim].

  Attributes:
    z_dim, hidden_dim, num_layers: sizes of latent and field.
    mapping_dim, mapping_layers: width and number of the mapping network's hidden layers.
    mapping_scale: see `MappingNetwork.out_scale`; 0.25 is π-GAN's.
    input_scale: see `FilmSiren`: 2/0.24 is π-GAN's spatial field, 1 its tall one.
    density_gain: see `FilmSiren`; 1 is π-GAN's.
    matmul_dtype: precision policy of the hidden products, see `nn.precision`.
    embedding_channels, embedding_resolution, embedding_scale: see `FilmSiren`; 0 channels for none.
    occupancy: cells on a side of a grid that says where rays are sampled less, see `Occupied`; 0
      for none.
  """

  z_dim: int = 256
  hidden_dim: int = 256
  num_layers: int = 8
  mapping_dim: int = 256
  mapping_layers: int = 3
  mapping_scale: float = 0.25
  input_scale: float = 2 / 0.24
  density_gain: float = 1.0
  matmul_dtype: str = 'float32'
  embedding_channels: int = 0
  embedding_resolution: int = 64
  embedding_scale: float = 0.1
  occupancy: int = 0

  def setup(self):
    if self.embedding_channels and self.embedding_resolution < 2:
      raise UserError(
        f'An embedding_resolution of {self.embedding_resolution} is no grid. Set at least 2.'
      )
    self.field = FilmSiren(
      self.hidden_dim,
      self.num_layers,
      self.input_scale,
      self.density_gain,
      self.matmul_dtype,
      self.embedding_channels,
      self.embedding_resolution,
      self.embedding_scale,
    )
    self.mapping = MappingNetwork(
      self.num_layers + 1,
      self.hidden_dim,
      self.mapping_dim,
      self.mapping_layers,
      self.mapping_scale,
    )
    self.make_grid()

  @property
  def grid_box(self) -> float:
    """See `Occupied`: the cube that input_scale takes to ±1."""
    return 2 / self.input_scale

  def map(self, z, label=None, truncation_psi=1.0, average_w=None):
    """Latents z [b, z_dim] → styles [b, n, 2, h].

    Args:
      label: ignored; π-GAN is not conditioned on the camera.
      truncation_psi: pulls raw frequencies and phases towards `average_w` [n, 2, h] (Sec. 4.4); 1
        does nothing.
    """
    del label
    return truncated(self.mapping(z), truncation_psi, average_w)

  def radiance_field(self, scene, options: RenderOptions | None = None):
    """The field of styles w [b, n, 2, h], see `FilmSiren.fold`."""
    field = self.field.fold(scene)
    return field if options is None else field.replace(saved_activations=options.saved_activations)

  def tiny(self, resolution: int) -> dict:
    """See `Generator.tiny`."""
    del resolution
    fields = dict(z_dim=8, hidden_dim=16, num_layers=2, mapping_dim=16, mapping_layers=1)
    return fields | (dict(embedding_resolution=4) if self.embedding_channels else {})
