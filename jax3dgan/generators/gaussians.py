"""3D Gaussian Splatting for Real-Time Radiance Field Rendering (Kerbl et al., SIGGRAPH 2023, arXiv
2308.04079): one scene.

No latent, no network: parameters are the Gaussians themselves, in `capacity` slots, of which the
buffer `alive` says which are in use. Those that are not have opacity 0, so that nothing is drawn of
them and nothing learns. The recipe 'gaussians' fills and empties slots; shapes stay.

Parameters, [n, ...] of n slots: `means` [n, 3], `log_scales` [n, 3], `quaternions` [n, 4],
`opacities` [n] logits, `colours` [n, 1, 3] the harmonic of degree 0, and of a degree above it
`harmonics` [n, k − 1, 3] the others.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from jax3dgan.errors import UserError
from jax3dgan.generators.base import BUFFERS, Scene
from jax3dgan.generators.splatted import GaussianScene, SplattedGenerator
from jax3dgan.rendering import spherical_harmonics
from jax3dgan.rendering.splatting import Gaussians

# Mean distance of a point to its three nearest neighbours among points of density 1, thrown at
# random: Γ(k + 1/3) / Γ(k) · (3 / 4π)^(1/3) for the k-th, of k = 1, 2, 3.
NEIGHBOURS = (
  sum(math.gamma(k + 1 / 3) / math.gamma(k) for k in (1, 2, 3)) / 3 * (3 / (4 * math.pi)) ** (1 / 3)
)
FRESH_OPACITY = 0.1  # Kerbl et al., Sec. 7.1


def logit(x: float) -> float:
  """The number of which the sigmoid is x."""
  return math.log(x / (1 - x))


class GaussianSplats(SplattedGenerator):
  """The scene. Styles w are empty, [b, 0].

  Attributes:
    capacity: slots for Gaussians; memory and a part of each step's time are those of all slots.
    num_points: how many there are at first, at random in the box, grey and of opacity .1; 0 for
      those of a file, `config.gaussians.points`.
    box: side of the cube around the origin where they are at first, world units.
    sh_degree: of the spherical harmonics of colours, 0 to 3; 0: the same from everywhere.
  """

  capacity: int = 300_000
  num_points: int = 100_000
  box: float = 2.6
  sh_degree: int = 3

  z_dim = 0  # not a field: there is one scene

  def setup(self):
    self._check_fields()
    n, k = self.capacity, spherical_harmonics.COUNTS[self.sh_degree]
    half = 0.5 * self.box
    scale = math.log(NEIGHBOURS * self.box / max(self.num_points, 1) ** (1 / 3))
    zeros, constant = nn.initializers.zeros, nn.initializers.constant
    self.means = self.param(
      'means', lambda key: jax.random.uniform(key, (n, 3), minval=-half, maxval=half)
    )
    self.log_scales = self.param('log_scales', constant(scale), (n, 3))
    self.quaternions = self.param('quaternions', lambda key: jnp.eye(1, 4).repeat(n, axis=0))
    self.opacities = self.param('opacities', constant(logit(FRESH_OPACITY)), (n,))
    self.colours = self.param('colours', zeros, (n, 1, 3))
    if k > 1:  # an empty array cannot be saved
      self.harmonics = self.param('harmonics', zeros, (n, k - 1, 3))
    self.alive = self.variable(BUFFERS, 'alive', lambda: jnp.arange(n) < self.num_points)

  def _check_fields(self) -> None:
    """UserError in one line for fields that make no Gaussians."""
    if self.sh_degree not in range(len(spherical_harmonics.COUNTS)):
      raise UserError(f'config.model.sh_degree is {self.sh_degree}. Choose one of 0, 1, 2, 3.')
    if not 0 <= self.num_points <= self.capacity or not self.capacity:
      raise UserError(
        f'config.model.num_points is {self.num_points}, of {self.capacity} slots. Set '
        '--config.model.num_points to 0 or more, and --config.model.capacity to more than that.'
      )
    if not self.box > 0:
      raise UserError(
        f'config.model.box is {self.box:g}. Set --config.model.box to the side of a cube around '
        'the scene, world units.'
      )

  def check_options(self, options) -> None:
    """See `Generator.check_options`."""
    self._check_fields()
    super().check_options(options)

  def map(self, z, label=None, truncation_psi=1.0, average_w=None):
    """z [b, 0] → w [b, 0]: the scene has no latent, and there is nothing to truncate."""
    del label, truncation_psi, average_w
    return z

  def prepare(self, w, key=None) -> GaussianScene:
    """Styles w [b, 0] → the Gaussians, b times the same."""
    del key
    if isinstance(w, Scene):
      return w
    harmonics = self.colours
    if self.sh_degree:
      harmonics = jnp.concatenate([harmonics, self.harmonics], axis=1)
    gaussians = Gaussians(
      means=self.means,
      scales=jnp.exp(self.log_scales),
      quaternions=self.quaternions,
      opacities=jnp.where(self.alive.value, jax.nn.sigmoid(self.opacities), 0),
      harmonics=harmonics,
    )
    b = w.shape[0]
    return GaussianScene(jax.tree.map(lambda x: jnp.broadcast_to(x, (b, *x.shape)), gaussians))

  def initialise(self, z):
    """Uses every parameter and buffer once, for `init`: z [1, 0]."""
    return jax.tree.map(jnp.sum, self.prepare(self.map(z)))

  def tiny(self, resolution: int) -> dict:
    """See `Generator.tiny`."""
    del resolution
    return dict(capacity=96, num_points=64)
