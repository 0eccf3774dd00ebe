"""Exp-GAN on faces (FFHQ) at 256² from 64² orthographic rays, with the values of the paper and its
release, and of its fields' defaults.

Data: of each photo the camera (label), the identity (100 numbers) and the expression (50, and the
jaw's rotation vector) of FLAME's codes that were fitted to it, written by
`jax3dgan.data.records.write_dataset` to data/ffhq256; `morphable.photo_cameras` makes the cameras
of such codes. And the face model itself, an npz of FLAME's arrays (docs/morphable.md) at
data/flame.npz, or where --config.expgan.face_model says. Neither comes with the project.

Cost: not trained here. 54.8 million parameters, 55.5 of the discriminators. The length is ours.

Different from the release: the jaw goes with the expression, not with the pose; a fake's camera is
a photo's, and not fitted to its codes anew; one pair of Adam's betas (docs/parity.md).
"""

import math

from jax3dgan import config as config_lib
from jax3dgan.morphable.photo_cameras import CANONICAL_DEPTH, CANONICAL_SCALE
from jax3dgan.nn.stylegan2 import channels_of

DISTANCE = 10.0  # from the cameras of labels and displays to where rays begin
HALF_WIDTH = 2.67  # of what a photo shows, about


def get_config():
  """The experiment."""
  config = config_lib.base_config('expgan')
  config.data.update(source='data/ffhq256', loader='tfdata', flip=False, use_labels=True)
  config.data.origin = (
    'FFHQ, cropped and aligned; each record with a label, and `identity` [100] and `expression` '
    "[53] of FLAME's codes (configs/expgan_ffhq256.py)."
  )
  config.num_steps = 400_000
  config.resolution = 256
  config.batch_size = 12
  # About FLAME's face with the ears and without the eyes. A file with other numbers is refused at
  # the start, with its own.
  config_lib.set_model(
    config, 'expgan', orthographic=DISTANCE, num_vertices=3268, num_triangles=6400
  )
  # Depths are in halves of the picture's width.
  config.render.update(
    near=0.0,
    far=3.0,
    num_coarse=24,
    num_fine=24,
    radius=DISTANCE,
    pivot=(0.0, 0.0, -CANONICAL_DEPTH),
    fov_degrees=2 * math.degrees(math.atan(HALF_WIDTH / DISTANCE)),
  )
  config.display.update(num_coarse=48, num_fine=48, truncation_psi=0.7)
  # For displays; training has the photos' cameras.
  config.pose_prior.update(name='gaussian', yaw_std=0.3, pitch_std=0.155)
  config_lib.set_discriminator(config, 'expgan', channels=channels_of(256), pose_dim=6)
  config.loss.update(pose_encoding='release', pose_bound=1.0)
  config.expgan.update(face_model='data/flame.npz', standardised=False)
  config.expgan.update(face_scale=CANONICAL_SCALE, face_offset=(0.0, 0.0, -CANONICAL_DEPTH))
  config.eval.update(cameras='dataset')
  return config


def get_test_config():
  """Two steps in seconds; the face model and photos with codes must be there."""
  return config_lib.tiny(get_config())
