"""The official training step's inputs, made again, its results in reduced form, and its names.

Its inputs are too large to lie in tests/data, but for the field and the discriminator, which do
(generator_tiny, ProgressiveEncoderDiscriminator_small). All else came out of PyTorch's generator,
seeded, and comes out of NumPy's Mersenne twister here: uniforms to the bit, normals to the rounding
of logarithm and cosine, 1e-6.
"""

import functools

import goldens
import jax
import numpy as np

from jax3dgan.convert import pigan
from jax3dgan.recipes import Inputs
from jax3dgan.rendering.hierarchical import Draws

SEED_OF_THE_GENERATOR, SEED_OF_THE_STEP = 7, 41
BATCH, SPLITS, RESOLUTION, Z_DIM, SAMPLES = 6, 2, 16, 16, 6
MAPPING = {0: (256, 16), 2: (256, 256), 4: (256, 256), 6: (9 * 2 * 32, 256)}
# Words of the generator's stream that its field, made before its mapping network, took.
_FIELD_WORDS = 8804
# train_step_tiny keeps every so many entries of a large array.
_LARGE, _STRIDE = 600, 7
# What it keeps whole, since a test puts them in.
_WHOLE = ('g0/fake', 'g1/fake')


class TorchStream:
  """Numbers of PyTorch's CPU generator after `torch.manual_seed(seed)`."""

  def __init__(self, seed: int):
    self._words = np.random.RandomState(seed)

  def skip(self, num: int):
    self._words.randint(0, 2**32, num, dtype=np.uint32)

  def uniform(self, *shape):
    """`torch.rand`: 24 bits of a word."""
    words = self._words.randint(0, 2**32, shape, dtype=np.uint32)
    return (words & 0xFFFFFF).astype(np.float64) * 2.0**-24

  def normal(self, *shape):
    """`torch.randn` of a multiple of 16 numbers: Box-Muller on the halves of every 16 uniforms."""
    u = self.uniform(int(np.prod(shape)) // 16, 2, 8)
    radius, angle = np.sqrt(-2 * np.log1p(-u[:, 0])), 2 * np.pi * u[:, 1]
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1).reshape(shape)


@functools.cache
def mapping() -> dict:
  """The golden generator's mapping network by official keys, float64."""
  stream = TorchStream(SEED_OF_THE_GENERATOR)
  stream.skip(_FIELD_WORDS)
  params = {}
  for i, (num_out, num_in) in MAPPING.items():
    stream.skip(num_out * num_in)  # weights that are drawn again below
    params[f'{i}.bias'] = (2 * stream.uniform(num_out) - 1) / np.sqrt(num_in)
  for i, (num_out, num_in) in MAPPING.items():
    std = np.sqrt(2 / (1 + 0.2**2) / num_in) * (0.25 if i == 6 else 1)
    params[f'{i}.weight'] = std * stream.normal(num_out, num_in)
  return {f'siren.mapping_network.network.{key}': value for key, value in params.items()}


@functools.cache
def draws() -> dict:
  """Photos, latents and rendering draws by the names of train_step_small, float64."""
  stream = TorchStream(SEED_OF_THE_STEP)
  arrays = {'real': 2 * stream.uniform(BATCH, 3, RESOLUTION, RESOLUTION) - 1}
  arrays['z_d'] = stream.normal(BATCH, Z_DIM)
  arrays['z_g'] = stream.normal(BATCH, Z_DIM)
  for part, size in (('d', BATCH), ('g0', BATCH // SPLITS), ('g1', BATCH // SPLITS)):
    rays = RESOLUTION**2
    arrays[f'{part}/draw_jitter_u'] = stream.uniform(size, rays, SAMPLES, 1)
    stream.skip(4 * size)  # the few normals of yaw and pitch, made in float64 one by one
    arrays[f'{part}/draw_noise_coarse_n'] = stream.normal(size, rays, SAMPLES, 1)
    arrays[f'{part}/draw_pdf_u'] = stream.uniform(size * rays, SAMPLES)
    arrays[f'{part}/draw_noise_final_n'] = stream.normal(size, rays, 2 * SAMPLES, 1)
  return arrays


def reduced(value):
  """What of an array train_step_tiny keeps, mostly."""
  return value if value.size < _LARGE else value.ravel()[::_STRIDE]


def tiny(whole) -> dict:
  """What of train_step_small makes train_step_tiny."""
  made = draws().keys()
  return {
    key: value if key in _WHOLE else reduced(value)
    for key, value in whole.items()
    if key not in made and not key.startswith('d/param_before/') and key != 'config_json'
  }


def inputs() -> dict:
  """Everything that the official step was given, by its names in the golden files."""
  field = goldens.load('generator_tiny')
  critic = goldens.load('ProgressiveEncoderDiscriminator_small')
  angles = goldens.load('train_step_tiny')
  return (
    {key: value for key, value in field.items() if key.startswith('param/')}
    | {f'param/{key}': value for key, value in mapping().items()}
    | {f'd/{key}': value for key, value in critic.items() if key.startswith('param/')}
    | {key: value for key, value in angles.items() if 'draw_' in key}
    | draws()
  )


# Names and layouts of ours.


@functools.cache
def critic_names() -> list:
  """Pairs of `pigan.discriminator_names`."""
  arrays = goldens.load('ProgressiveEncoderDiscriminator_small')
  return list(pigan.discriminator_names(of('param', arrays)))


def of(prefix, arrays) -> dict:
  """Those of the arrays whose name begins with `prefix/`, without it."""
  return {k.removeprefix(f'{prefix}/'): v for k, v in arrays.items() if k.startswith(f'{prefix}/')}


def params(arrays, dtype) -> tuple[dict, dict]:
  """The parameter trees of generator and discriminator, of `inputs`."""
  return (
    pigan.from_official(of('param', arrays), dtype=dtype),
    pigan.from_official(of('d/param', arrays), critic_names(), dtype),
  )


def by_official_name(tree, prefix, critic=False) -> dict:
  """{prefix/key: array in the official layout} of a tree in the shape of the parameters."""
  named = pigan.to_official(tree, critic_names() if critic else None)
  return {f'{prefix}/{key}': value for key, value in named.items()}


def make_inputs(arrays, parts, z, dtype) -> Inputs:
  """The `Inputs` of the official draws of parts (d, or g0 and g1), still without a camera."""

  def draw(name, samples=None):
    values = np.concatenate([arrays[f'{part}/draw_{name}'].astype(np.float64) for part in parts])
    shape = (BATCH,) if samples is None else (BATCH, RESOLUTION**2, samples)
    return values.reshape(shape)

  rendering = Draws(
    draw('jitter_u', SAMPLES),
    draw('noise_coarse_n', SAMPLES),
    draw('pdf_u', SAMPLES),
    draw('noise_final_n', 2 * SAMPLES),
  )
  yaw, pitch = np.pi / 2 + 0.3 * draw('yaw_n'), np.pi / 2 + 0.155 * draw('pitch_n')
  inputs = Inputs(arrays[z], keys=rendering, extras={'yaw': yaw, 'pitch': pitch})
  return jax.tree.map(lambda x: np.asarray(x, dtype), inputs)
