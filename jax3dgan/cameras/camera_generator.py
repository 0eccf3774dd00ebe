"""A pose prior that is learned with the images: the camera generator of CAMPARI (Niemeyer & Geiger,
3DV 2021, arXiv 2103.17269, Sec. 3.2).

A small network predicts an offset for a camera that is drawn from the given prior. It is zero at
first, so training begins from `config.pose_prior`. The network is part of the generator's
parameters, so that it is averaged and saved with them and used wherever cameras are drawn. Its
gradient comes from the adversarial loss, through the rendering.

A turn of all cameras that is compensated by a turn of all objects cannot be learned. If cameras go
all the way round, the mean elevation can be learned; from photos of the front alone only the spread
of the angles can. A weak penalty keeps the other moments at those of the given prior, and prevents
that all cameras get one pose.
"""

import dataclasses
import math

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from jax3dgan import cameras
from jax3dgan.cameras import PosePrior
from jax3dgan.cameras.camera import POLE
from jax3dgan.errors import UserError

PARAMS = 'camera_generator'  # where the parameters are in the generator's
ANGLES = ('none', 'yaw', 'pitch', 'both')
_NUM_DRAWS = 512  # for the moments: always the same draws, so that the moments have no noise


@dataclasses.dataclass(frozen=True)
class Config:
  """`config.camera_generator`, of recipes that can learn a pose prior (without labels).

  Attributes:
    angles: Of the cameras that `pose_prior` draws, which angles are learned: one of `ANGLES`. A
      mean yaw cannot be where the cameras go all the way round.
    hidden_dim: See `CameraGenerator`.
    from_images: After how many images it begins: before there are objects, where they are viewed
      from means nothing, and cameras drift away.
    learning_rate: As a share of the generator's.
    mean_penalty, std_penalty: Weights of how far means and deviations are from those of
      `pose_prior`.
  """

  angles: str = 'none'
  hidden_dim: int = 32
  from_images: int = 20_000
  learning_rate: float = 0.5
  mean_penalty: float = 0.05
  std_penalty: float = 0.5


class CameraGenerator(nn.Module):
  """The offset of a camera, in deviations of the given prior; zeros at first.

  Attributes:
    hidden_dim: width of the two hidden layers.
  """

  hidden_dim: int = 32

  @nn.compact
  def __call__(self, x):
    """Features of a camera's angles [..., 3] → (yaw, pitch) [..., 2]."""
    for i in range(2):
      x = nn.Dense(self.hidden_dim, precision='highest', name=f'fc_{i}')(x)
      x = jax.nn.leaky_relu(x, 0.2)
    zeros = nn.initializers.zeros
    x = x / math.sqrt(self.hidden_dim)  # otherwise a step of Adam changes the sum too much
    return nn.Dense(2, kernel_init=zeros, precision='highest', name='out')(x)


@flax.struct.dataclass
class LearnedPrior:
  """The given prior with learned offsets.

  Attributes:
    params: of a `CameraGenerator`.
    given: the prior that it starts from.
    angles: which ones it moves, see `ANGLES`.
    hidden_dim: see `CameraGenerator`.
  """

  params: dict
  given: PosePrior = flax.struct.field(pytree_node=False)
  angles: str = flax.struct.field(pytree_node=False, default='both')
  hidden_dim: int = flax.struct.field(pytree_node=False, default=32)

  def move(self, yaw, pitch):
    """(yaw, pitch) [...] of the given prior → the learned one's, radians."""
    (yaw_mean, yaw_std), (pitch_mean, pitch_std) = scales(self.given)
    if cameras.goes_round(cameras.yaw_half_range(self.given)):  # a full circle is periodic
      around = [jnp.sin(yaw - yaw_mean), jnp.cos(yaw - yaw_mean)]
    else:
      around = [(yaw - yaw_mean) / yaw_std, jnp.zeros_like(yaw)]
    x = jnp.stack([*around, (pitch - pitch_mean) / pitch_std], axis=-1)
    moved = CameraGenerator(self.hidden_dim).apply({'params': self.params}, x)
    if self.angles in ('yaw', 'both'):
      yaw = yaw + yaw_std * moved[..., 0]
    if self.angles in ('pitch', 'both'):
      pitch = jnp.clip(pitch + pitch_std * moved[..., 1], POLE, math.pi - POLE)
    return yaw, pitch

  def moments(self):
    """(given, learned), each [2, 2]: mean and standard deviation (rows) of yaw and pitch, radians.

    From the same draws of the given prior, so that both are equal for zero offsets.
    """
    keys = jax.random.split(jax.random.key(0), _NUM_DRAWS)
    given = jax.vmap(lambda key: cameras.sample_angles(self.given, key))(keys)
    return tuple(
      jnp.stack([x.mean(axis=1), x.std(axis=1)])
      for x in (jnp.stack(given), jnp.stack(self.move(*given)))
    )

  def divergence(self):
    """How far the learned prior is from the given one: (of the means, of the deviations), each 0
    for not at all.

    Their sum is KL(learned ‖ given) of normal distributions with their moments, summed over the
    learned angles: (m − m₀)²/(2 s₀²) and log(s₀/s) + s²/(2 s₀²) − ½. The second is unbounded if
    all cameras get one pose.
    """
    (mean_0, std_0), (mean, std) = self.moments()
    ratio, shift = std / std_0, (mean - mean_0) / std_0
    of_means = 0.5 * jnp.square(shift)
    of_stds = 0.5 * jnp.square(ratio) - jnp.log(ratio) - 0.5
    learned = jnp.array([self.angles in (name, 'both') for name in ('yaw', 'pitch')])
    return tuple(jnp.where(learned, each, 0.0).sum() for each in (of_means, of_stds))

  def metrics(self) -> dict:
    """Mean and standard deviation of both angles (π-GAN's), in degrees, for a log."""
    _, (mean, std) = self.moments()
    return {
      f'pose_prior/{angle}_{what}_degrees': jnp.degrees(value[i])
      for i, angle in enumerate(('yaw', 'pitch'))
      for what, value in (('mean', mean), ('std', std))
    }


def scales(prior: PosePrior) -> tuple[tuple[float, float], tuple[float, float]]:
  """(mean, standard deviation) of yaw and of pitch in radians, of about the right size: units."""
  if prior.name == 'mixture':
    per_component = [scales(component) for component in prior.components]
    together = []
    for angle in zip(*per_component, strict=True):
      mean = sum(w * m for w, (m, _) in zip(prior.weights, angle, strict=True))
      square = sum(
        w * (s**2 + (m - mean) ** 2) for w, (m, s) in zip(prior.weights, angle, strict=True)
      )
      together.append((mean, math.sqrt(square)))
    return tuple(together)
  factor = 1.0 if 'gaussian' in prior.name else 1 / math.sqrt(3)  # half ranges
  # An angle that is constant in the given prior needs a unit, too.
  yaw_std, pitch_std = (max(factor * s, 1e-2) for s in (prior.yaw_std, prior.pitch_std))
  return (prior.yaw_mean, yaw_std), (cameras.mean_pitch(prior), pitch_std)


def is_learned(config) -> bool:
  """Whether a config's pose prior is learned.

  Raises:
    UserError: `config.camera_generator` is not possible with the rest of the config.
  """
  if 'camera_generator' not in config:  # the recipe cannot learn one
    return False
  angles = config.camera_generator.angles
  if angles not in ANGLES:
    raise UserError(
      f"config.camera_generator.angles is '{angles}'. Choose one of {', '.join(ANGLES)}."
    )
  if angles == 'none':
    return False
  if config.data.use_labels:
    raise UserError(
      "config.camera_generator learns a pose prior, but the cameras are the photos' labels. Set "
      '--config.camera_generator.angles=none, or --config.data.use_labels=False.'
    )
  return True


def init_params(config, key) -> dict:
  """Initial parameters, which give zero offsets."""
  module = CameraGenerator(config.camera_generator.hidden_dim)
  return module.init(key, jnp.zeros((1, 3)))['params']


def pose_prior(config, params) -> PosePrior | LearnedPrior:
  """The pose prior of a config and a generator's parameters, given or learned."""
  given = cameras.pose_prior(**config.pose_prior)
  if not is_learned(config):
    return given
  own = config.camera_generator
  return LearnedPrior(params[PARAMS], given, own.angles, own.hidden_dim)


def sample_angles(prior: PosePrior | LearnedPrior, key):
  """One (yaw, pitch) from the prior for one key; vmap over keys for a batch."""
  if not isinstance(prior, LearnedPrior):
    return cameras.sample_angles(prior, key)
  return prior.move(*cameras.sample_angles(prior.given, key))


_moments = jax.jit(LearnedPrior.moments)


def summarise(prior: PosePrior | LearnedPrior) -> PosePrior:
  """A prior of the given kind with the learned means and deviations.

  For the range of cameras, not for drawing them. If the parameters are shapes only, the given one.
  """
  if not isinstance(prior, LearnedPrior):
    return prior
  if any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(prior.params)):
    return prior.given
  (mean_0, std_0), (mean, std) = np.asarray(_moments(prior), np.float64)
  given = prior.given
  if given.name in ('mixture', 'spherical_uniform'):  # of other parameters
    name, factor = ('gaussian', 1.0) if given.name == 'mixture' else ('uniform', math.sqrt(3))
    means, stds = mean, factor * std
  else:
    means = np.array([given.yaw_mean, given.pitch_mean]) + mean - mean_0
    stds = np.array([given.yaw_std, given.pitch_std]) * std / np.maximum(std_0, 1e-9)
    name = given.name
  return PosePrior(
    name,
    yaw_mean=float(means[0]),
    yaw_std=float(stds[0]),
    pitch_mean=float(means[1]),
    pitch_std=float(stds[1]),
  )
