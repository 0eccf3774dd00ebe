"""The config for converted Exp-GANs: the values of the paper.

As `curricula` for π-GAN, the values are repeated here; a test compares them with configs/.
"""

import math

from jax3dgan import config as config_lib
from jax3dgan.morphable.photo_cameras import CANONICAL_DEPTH, CANONICAL_SCALE
from jax3dgan.nn.stylegan2 import channels_of

CURRICULA = {'ffhq256': dict(size=256, vertices=3268, triangles=6400)}
DISTANCE, _HALF_WIDTH = 10.0, 2.67


def create(curriculum: str):
  """The config of a curriculum."""
  values = CURRICULA[curriculum]
  config = config_lib.base_config('expgan')
  config_lib.set_model(
    config,
    'expgan',
    orthographic=DISTANCE,
    num_vertices=values['vertices'],
    num_triangles=values['triangles'],
  )
  config_lib.set_discriminator(config, 'expgan', channels=channels_of(values['size']), pose_dim=6)
  with config.unlocked():
    config.data.update(source='data/ffhq256', loader='tfdata', flip=False, use_labels=True)
    config.data.origin = (
      'FFHQ, cropped and aligned; each record with a label, and `identity` [100] and `expression` '
      "[53] of FLAME's codes (configs/expgan_ffhq256.py)."
    )
    config.num_steps = 400_000
    config.resolution = values['size']
    config.batch_size = 12
    config.render.update(
      near=0.0,
      far=3.0,
      num_coarse=24,
      num_fine=24,
      radius=DISTANCE,
      pivot=(0.0, 0.0, -CANONICAL_DEPTH),
      fov_degrees=2 * math.degrees(math.atan(_HALF_WIDTH / DISTANCE)),
    )
    config.display.update(num_coarse=48, num_fine=48, truncation_psi=0.7)
    config.pose_prior.update(name='gaussian', yaw_std=0.3, pitch_std=0.155)
    config.loss.update(pose_encoding='release', pose_bound=1.0)
    config.expgan.update(face_model='data/flame.npz', standardised=False)
    config.expgan.update(face_scale=CANONICAL_SCALE, face_offset=(0.0, 0.0, -CANONICAL_DEPTH))
    config.eval.update(cameras='dataset')
  return config


def file_of(curriculum: str) -> str:
  """The name of the file in configs/."""
  return f'expgan_{curriculum}'
