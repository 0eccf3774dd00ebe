"""Configs for converted GIRAFFEs: the values of the paper.

As `curricula` for π-GAN, the values are repeated here; a test compares them with configs/.
"""

import math

from jax3dgan import config as config_lib

_FIXED = ((0.0,) * 3, (0.0,) * 3)
_LOW = (math.pi * 11 / 24, math.pi / 24)  # mean pitch and half range: up to 10° above the horizon
_FACES = dict(fov=10.0, pitch=_LOW, size=(0.21, 0.21), position=_FIXED, turns=(145.0, 215.0))
# (x, y, z) of ours are the release's (y, z, x).
CURRICULA = {
  'cars': dict(
    source='compcars256',
    origin='CompCars, its photos of whole cars, made square.',
    fov=10.0,
    pitch=_LOW,
    size=((0.16, 0.16, 0.2), (0.2, 0.2, 0.25)),
    position=((-0.12, 0.0, -0.22), (0.12, 0.0, 0.22)),
    turns=(0.0, 360.0),
  ),
  'celeba': dict(
    _FACES, source='celeba64', origin='CelebA, aligned, cropped to the middle 108 pixels.'
  ),
  'celebahq': dict(
    _FACES,
    source='celebahq256',
    origin='CelebA-HQ, the middle 650 pixels of each photo.',
    turns=(135.0, 225.0),
  ),
  'ffhq': dict(_FACES, source='ffhq256', origin='FFHQ, aligned.'),
  'cats': dict(_FACES, source='cats64', origin='Faces of cats, cropped.'),
  'chairs': dict(
    source='chairs64',
    origin='Photoshapes, rendered chairs.',
    fov=49.13,
    pitch=(math.pi * 0.275, math.pi * 0.225),
    size=(0.5, 0.5),
    position=_FIXED,
    turns=(0.0, 360.0),
  ),
  'churches': dict(
    source='churches256',
    origin="LSUN's churches, made square.",
    fov=30.0,
    pitch=(math.pi / 2, 0.0),
    size=(0.45, 0.55),
    position=((-0.15, 0.0, -0.15), (0.15, 0.0, 0.15)),
    turns=(0.0, 360.0),
    background_turns=(-90.0, 0.0),
  ),
  'clevr': dict(
    source='clevr2345_256',
    origin='CLEVR, rendered with two to five objects, made square.',
    fov=49.13,
    pitch=(math.pi / 3, 0.0),
    size=(0.17, 0.17),
    position=((-0.71, 0.1665, -0.71), (0.71, 0.1665, 0.71)),
    turns=(0.0, 0.0),
    counts=(0.0, 0.1946, 0.2435, 0.2527, 0.3092),
  ),
}
_OF_CLEVR = dict(
  latent_dim=64,
  hidden_dim=64,
  feature_dim=128,
  channels=(64, 32, 32, 32),
  background_dim=32,
  background_hidden=32,
)


def create(curriculum: str, size: int | None = None):
  """The config of a curriculum at 64² or 256²; None for the size of its data's name."""
  values = CURRICULA[curriculum]
  size = size or (256 if values['source'].endswith('256') else 64)
  config = config_lib.base_config('giraffe')
  with config.unlocked():
    config.data.update(source=f'data/{values["source"]}', loader='tfdata', flip=True)
    config.data.origin = values['origin']
    config.num_steps = 500_000
    config.resolution = size
    config.render.fov_degrees = values['fov']
    config.pose_prior.update(pitch_mean=values['pitch'][0], pitch_std=values['pitch'][1])
    low, high = (x if isinstance(x, tuple) else (x,) * 3 for x in values['size'])
    config.model.update(
      size_min=low,
      size_max=high,
      position_min=values['position'][0],
      position_max=values['position'][1],
      turns=values['turns'],
      background_turns=values.get('background_turns', (0.0, 0.0)),
    )
    if size == 256:
      config.model.update(feature_dim=256, channels=(128, 64, 32, 32))
      config.discriminator.channels = (16, 32, 64, 128, 256, 512)
      config.optimizer.lr_generator = 2.5e-4
    if counts := values.get('counts'):
      config.model.update(num_objects=len(counts), counts=counts, placements=16, **_OF_CLEVR)
      config.optimizer.lr_generator = 5e-4
  return config


def file_of(curriculum: str) -> str:
  """The name of the file in configs/ that is nearest."""
  nearest = {'celebahq': 'celeba', 'ffhq': 'celeba', 'cats': 'celeba'}
  nearest |= {'chairs': 'cars', 'churches': 'cars'}
  return 'giraffe_' + nearest.get(curriculum, curriculum)
