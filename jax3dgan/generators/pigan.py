"""π-GAN: Periodic Implicit Generative Adversarial Networks (Chan et al., CVPR 2021, arXiv
2012.00926)."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jax3dgan.cameras import Camera
from jax3dgan.errors import UserError
from jax3dgan.fields.siren import FilmSiren
from jax3dgan.generators.base import Rendering, truncated
from jax3dgan.nn.mapping import MappingNetwork
from jax3dgan.rendering import hierarchical, parts
from jax3dgan.rendering import rays as rays_lib
from jax3dgan.rendering.hierarchical import RenderOptions

_DEFAULT = RenderOptions()


class PiGAN(nn.Module):
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

  def map(self, z, label=None, truncation_psi=1.0, average_w=None):
    """Latents z [b, z_dim] → styles [b, n, 2, h].

    Args:
      label: unused; π-GAN is not conditioned on the camera.
      truncation_psi: pulls raw frequencies and phases towards `average_w` [n, 2, h] (Sec. 4.4); 1
        does nothing.
    """
    del label
    return truncated(self.mapping(z), truncation_psi, average_w)

  def synthesize(
    self, w, camera: Camera, key=None, options: RenderOptions = _DEFAULT, noise_std=0.0
  ):
    """Renders styles w [b, n, 2, h] from cameras [b].

    Args:
      key: per-example keys [b], the random numbers themselves (`hierarchical.Draws` with leaves [b,
        r, ...]), or None for a deterministic image.
      options: static rendering options.
      noise_std: standard deviation of the density noise, a scalar; 0 (as a Python number) draws
        none.
    """
    rays = rays_lib.camera_rays(camera, options.resolution, options.align_corners)
    noise = not (isinstance(noise_std, int | float) and noise_std == 0)
    field = self.field.fold(w).replace(saved_activations=options.saved_activations)
    out = hierarchical.render_images(field, rays, options, key, noise_std, noise)
    size = (w.shape[0], options.resolution, options.resolution)
    return Rendering(
      image=2 * out.colour.reshape(*size, 3) - 1,
      depth=out.depth.reshape(size),
      opacity=out.opacity.reshape(size),
    )

  def synthesize_part(
    self, w, camera: Camera, index, count: int, options: RenderOptions = _DEFAULT
  ):
    """One of `count` equal parts of every picture that `synthesize` renders without a key.

    Args:
      index: which part, an integer that may be traced.

    Returns:
      Rendering of pixels in a row: leaves [b, p, ...], see `parts.render_part`.
    """
    rays = rays_lib.camera_rays(camera, options.resolution, options.align_corners)
    out = parts.render_part(self.field.fold(w), rays, options, index, count)
    return Rendering(image=2 * out.colour - 1, depth=out.depth, opacity=out.opacity)

  def query(self, w, points, directions=None):
    """Raw density [b, n] and colour [b, n, 3] in [0, 1] at points [b, n, 3].

    Args:
      directions: [b, n, 3] unit view directions; None looks from the front, (0, 0, −1).
    """
    if directions is None:
      directions = jnp.broadcast_to(jnp.array([0.0, 0.0, -1.0], points.dtype), points.shape)
    density, colour = self.field.fold(w)(points[:, :, None], directions)
    return density[:, :, 0], colour[:, :, 0]

  def __call__(self, z, camera: Camera, key=None, options: RenderOptions = _DEFAULT, noise_std=0.0):
    """`map`, then `synthesize`."""
    return self.synthesize(self.map(z), camera, key, options, noise_std)

  def initialise(self, z):
    """Touches every parameter, for `init`: z [1, z_dim]."""
    points = jnp.zeros((z.shape[0], 1, 3), z.dtype)
    return jax.tree.map(jnp.sum, self.query(self.map(z), points))
