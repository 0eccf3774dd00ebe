"""Configs for converted GRAFs: the values of the paper.

As `curricula` for π-GAN, the values are repeated here; a test compares them with configs/.
"""

import math

from jax3dgan import config as config_lib
from jax3dgan.generators import graf

_CATS = 'Faces of the CATS data set (Zhang et al., 2008), aligned by its landmarks.'
_CELEBA = dict(
  source='celeba',
  origin='CelebA, its aligned photos, the middle 108 pixels of each.',
  size=128,
  u=(0.0, 0.25),
  v=(0.32899, 0.45642),
  radius_std=0.5,
)
CURRICULA = {
  'carla': dict(
    source='carla',
    origin='Renderings of CARLA cars that come with GRAF (Schwarz et al., 2020).',
    size=128,
    u=(0.0, 1.0),
    v=(0.0, 0.45642),
    fov=30.0,
    white=True,
    flip=False,
  ),
  'celeba': _CELEBA,
  'celebahq': dict(
    _CELEBA, source='celebahq', origin='CelebA-HQ, the middle 650 pixels of each photo.', size=256
  ),
  'cats': dict(source='cats', origin=_CATS, size=64, u=(0.0, 0.19444), v=(0.32899, 0.45642)),
  'birds': dict(
    source='birds',
    origin='CUB-200-2011, the birds alone on white, by their masks.',
    size=64,
    u=(0.0, 1.0),
    v=(0.25, 0.54358),
    radius_std=1.0,
    fov=30.0,
    white=True,
    flip=False,
  ),
}


def create(curriculum: str):
  """The config of a curriculum."""
  values = CURRICULA[curriculum]
  config = config_lib.base_config('graf')
  radius_std = values.get('radius_std', 0.0)
  with config.unlocked():
    source = f'data/{values["source"]}{values["size"]}'
    config.data.update(source=source, loader='tfdata', flip=values.get('flip', True))
    config.data.origin = values['origin']
    config.num_steps = 400_000
    config.resolution = values['size']
    config.render.update(
      radius=10.0,
      near=7.5,
      far=12.5,
      fov_degrees=values.get('fov', 10.0),
      white_back=values.get('white', False),
      limits_radius=10 + radius_std if radius_std else 0.0,
    )
    config.pose_prior.update(graf.release_prior(values['u'], values['v'], radius_std))
    if curriculum == 'celebahq':
      config.graf.update(min_scale=0.125, scale_decay=0.0057)
    if curriculum == 'birds':
      config.graf.mirror = True
      config.model.view_dependent = False
  return config


def azimuth_of(curriculum: str) -> float:
  """The middle of the release's azimuths, radians; 0 where cameras go all the way round."""
  low, high = CURRICULA[curriculum]['u']
  return 0.0 if high - low >= 1 else math.pi * (low + high)


def file_of(curriculum: str) -> str:
  """The name of the file in configs/ that is nearest."""
  return 'graf_' + {'celebahq': 'celeba', 'birds': 'carla'}.get(curriculum, curriculum)
