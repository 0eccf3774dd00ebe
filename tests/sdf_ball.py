"""A generator of signed distances in closed form: balls, rendered as StyleSDF renders its field."""

import math

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from jax3dgan import config as config_lib
from jax3dgan import generators, trained
from jax3dgan.fields import signed_distance
from jax3dgan.generators import FieldGenerator

FOV, NEAR, FAR = 40.0, 0.5, 1.5


@flax.struct.dataclass
class Field:
  """Densities and colours of balls at centres [b, 3] with radii [b]; painted by place."""

  balls: jax.Array  # [b, 4]
  beta: float = flax.struct.field(pytree_node=False, default=2e-3)
  width = 4

  def distance(self, points):
    shape = (len(self.balls), *[1] * (points.ndim - 2))
    apart = points - self.balls[:, :3].reshape(*shape, 3)
    length = jnp.sqrt(jnp.sum(apart**2, axis=-1) + 1e-12)
    return length - self.balls[:, 3].reshape(shape)

  def __call__(self, points, directions):
    density = signed_distance.density(self.distance(points), self.beta)
    return density, jnp.clip(points + 0.5, 0, 1)


class Balls(FieldGenerator):
  """z [b, 4] → a ball: its centre 0.1·z[:3], its radius 0.25 + 0.02·tanh(z[3]).

  Attributes:
    scale: Factor on the ball, a parameter of the field that training could move.
  """

  field_kind = 'sdf'
  z_dim: int = 4

  def setup(self):
    self.scale = self.param('scale', lambda key: jnp.ones(()))

  def map(self, z, label=None, truncation_psi=1.0, average_w=None):
    centre, radius = 0.1 * jnp.tanh(z[:, :3]), 0.25 + 0.02 * jnp.tanh(z[:, 3:])
    w = jnp.concatenate([centre, radius], axis=-1)
    return generators.base.truncated(w, truncation_psi, average_w)

  def radiance_field(self, scene, options=None):
    return Field(scene * self.scale)

  def query(self, w, points, directions=None):
    return self.radiance_field(w).distance(points), jnp.clip(points + 0.5, 0, 1)

  def tiny(self, resolution):
    return {}


def config(**render):
  """Of a model of balls that is seen from all around, on white."""
  chosen = config_lib.base_config()
  config_lib.set_model(chosen, 'sdf_ball:Balls')
  chosen = config_lib.tiny(chosen)
  chosen.render.update(fov_degrees=FOV, near=NEAR, far=FAR, density='field', white_back=True)
  chosen.render.update(last_interval='far', num_coarse=48, align_corners=False, **render)
  chosen.display.update(num_coarse=96, num_fine=0)
  chosen.pose_prior.update(name='uniform', yaw_std=math.pi)
  return chosen


def model(**render) -> trained.Trained:
  """Balls, of which nothing is trained."""
  chosen = config(**render)
  generator = generators.create(chosen)
  return trained.Trained(chosen, generator, {'params': {'scale': np.float32(1)}}, 3, 'balls')
