"""A generator that draws what it is told: a face model's region, with a texture, exactly."""

import functools

import ict_synthetic
import jax.numpy as jnp
import numpy as np

from configs import eg3d_ict_faces
from jax3dgan import config as config_lib
from jax3dgan import generators, trained
from jax3dgan.data import face_models
from jax3dgan.generators import Rendering
from jax3dgan.morphable import maps

RESOLUTION = 16
NAMES = ('browDown_L', 'browDown_R', 'jawOpen', 'mouthSmile_L', 'mouthSmile_R')


def write(folder) -> str:
  """Writes a face model whose jaw, brows and corners of the mouth move; returns its folder."""
  neutral = ict_synthetic.build()['neutral']
  x, y = neutral[:, 0], neutral[:, 1]
  expression = np.zeros((len(NAMES), *neutral.shape), np.float16)
  expression[2, :, 1] = -np.clip(-2.0 - y, 0, 3)
  for side, sign in ((0, 1), (1, -1)):
    expression[side, :, 1] = -1.5 * np.exp(-((x - 3.3 * sign) ** 2) / 8 - (y - 6) ** 2 / 4)
    near = np.exp(-((x - 2.6 * sign) ** 2) / 4 - (y + 3.6) ** 2 / 4)
    expression[3 + side, :, 0], expression[3 + side, :, 1] = sign * 1.5 * near, near
  return ict_synthetic.write(folder, expression=expression, expression_names=np.array(NAMES))


@functools.lru_cache(2)
def region(folder):
  """The face model's region."""
  return face_models.load(folder).of_region()


class TrueFaces(generators.Generator):
  """Faces of a face model: a latent is a colour (3) and an identity (100), both as they are.

  Attributes:
    folder: of the face model.
    obeys: the share of the expression that it draws.
    flat: by how much nearer its surface is than it says, world units.
  """

  folder: str = ''
  obeys: float = 1.0
  flat: float = 0.0

  has_depth = True
  z_dim = 103

  @property
  def code_sizes(self):
    return {'identity': 100, 'expression': len(NAMES)}

  def latents(self, z):
    return z[:, :3], z[:, 3:], jnp.zeros((z.shape[0], len(NAMES)))

  def map(self, z, label=None, truncation_psi=1.0, average_w=None):
    return self.map_codes(*self.latents(z), truncation_psi, average_w)

  def map_codes(self, latent, identity, expression, truncation_psi=1.0, average_w=None):
    return jnp.concatenate([latent, identity, expression], axis=-1)[:, None]

  def codes(self, w):
    return w[:, 0, 3:103], w[:, 0, 103:]

  def with_codes(self, w, identity=None, expression=None):
    own = self.codes(w)
    codes = [a if b is None else b for a, b in zip(own, (identity, expression), strict=True)]
    return jnp.concatenate([w[:, 0, :3], *codes], axis=-1)[:, None]

  def synthesize(self, w, camera, key=None, options=None, noise_std=0.0):
    model, (identity, expression) = region(self.folder), self.codes(w)
    vertices = model.vertices(identity, self.obeys * expression)
    seen = maps.perspective(model, vertices, camera, options.resolution)
    colour = 0.3 * jnp.tanh(w[:, 0, :3])[:, None, None]
    # A texture whose places can be told apart.
    waves = [jnp.sin(k * seen.uv[..., i]) for k, i in ((5, 0), (6, 1), (9, 1))]
    image = jnp.where(seen.mask[..., None], colour + 0.6 * jnp.stack(waves, -1), 1.0)
    depth = jnp.where(seen.mask, seen.depth - self.flat, 0.0)
    return Rendering(image, depth, seen.mask.astype(jnp.float32))

  def initialise(self, z):
    return self.map(z)


def model(folder, **fields) -> trained.Trained:
  """A `trained.Trained` of `TrueFaces`, at 16²."""
  config = config_lib.tiny(eg3d_ict_faces.get_config())
  config.data.source = f'ict:{folder}'
  config.resolution = RESOLUTION
  return trained.Trained(config, TrueFaces(folder, **fields), {'params': {}}, 0, 'truth')
