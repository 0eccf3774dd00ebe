"""EG3D on ShapeNet's cars at 128², rendered at 64², with the values of the paper and its release.

Score: FID 5.66 with the released weights, measured again.
Cost: the paper's 25,000 kimg. 100 GFLOP for a picture, 29.6 million parameters. On fewer devices
--config.micro_batches, see configs/eg3d_ffhq.py.
Data: python -m jax3dgan.data.prepare --source=CARS --out=data/shapenet_cars128 --resolution=128,
CARS a folder or zip of renderings from the upper hemisphere with a dataset.json of cameras.

The mapping network is not conditioned on the camera, the discriminator is. Different from the
release: the third plane, see configs/eg3d_ffhq.py.
"""

import math

from jax3dgan import config as config_lib

KIMG = 1000 / 32  # steps


def get_config():
  """The experiment."""
  config = config_lib.base_config('eg3d')
  config.data.update(source='data/shapenet_cars128', loader='tfdata', flip=False, use_labels=True)
  config.data.origin = (
    "ShapeNet's cars, rendered and with cameras in dataset.json as EG3D's repository has them."
  )
  config.resolution = 128
  config.batch_size = 32
  config.num_steps = int(25_000 * KIMG)
  config_lib.set_model(
    config,
    'eg3d',
    label_scale=0.0,
    box=1.6,
    super_channels=(128, 64),
    super_ups=(1, 2),
    super_input=64,
    low_resolution=64,
  )
  config.render.update(
    fov_degrees=2 * math.degrees(math.atan(0.5 / 1.7074)),
    radius=1.7,
    near=0.1,
    far=2.6,
    num_coarse=64,
    num_fine=64,
    white_back=True,
    low_resolution=64,
  )
  config.display.update(
    num_coarse=128, num_fine=128, last_back=False, ray_chunk=4096, truncation_psi=0.7
  )
  # The upper hemisphere, for displays; training has the photos' cameras.
  config.pose_prior.update(
    name='spherical_uniform', yaw_std=math.pi, pitch_mean=math.pi / 4, pitch_std=math.pi / 4
  )
  config_lib.set_discriminator(
    config,
    'dual',
    channels=(512, 512, 512, 512, 512, 256),
    label_dim=25,
    cmap_dim=512,
    clamp=256.0,
  )
  config.loss.update(r1=0.3)
  config.eg3d.update(blur=10.0, blur_images=200_000, density=0.25, density_every=4)
  rate = 0.5 ** (32 / 10_000)  # a half-life of 10,000 images
  config.ema.update(rates=(rate,), display_rate=rate, ramp_up=0.05)
  config.eval.update(cameras='dataset')
  return config


def get_test_config():
  """Two steps in seconds."""
  config = config_lib.tiny(get_config())
  config.data.update(source='toys', loader='arrays', on_device=True)
  return config
