"""A small StyleNeRF on photos of cat faces with unknown poses, 64² from 32² rendered, on two CPU
cores.

Data: python -m jax3dgan.data.prepare --source=CATS --out=data/cats64 --resolution=64, CATS a
folder or zip of aligned cat faces; or --config.data.source=CATS.zip directly.

Cameras come from the pose prior; the discriminator predicts the pose of fakes, so that heads turn
with the camera. Faces fill the photos, and there is no background: with softplus and an opaque last
interval light stops in the foreground. With relu and last_back it went to the last sample, a plane.

Result: not trained to its end, and no faces yet. After 400 steps at 32² there are the photos'
colours in smooth blobs that turn with the camera, opaque everywhere, with a depth. A density_gain
of 30 begins with holes that are still there after 300 steps; learning rates of .01 and .005 have a
grid and holes after 400.
"""

import math

from jax3dgan import config as config_lib


def get_config():
  """The experiment."""
  config = config_lib.base_config('stylenerf')
  config.platform = 'any'  # small enough for a CPU beside a GPU that JAX cannot use
  config.data.update(source='data/cats64', loader='arrays', on_device=True, flip=True)
  config.data.origin = 'Faces of the CATS data set (Zhang et al., 2008), aligned by its landmarks.'
  config.num_steps = 5000
  config.resolution = 32
  config.batch_size = 16
  config.stages = (dict(from_step=2500, resolution=64),)
  config_lib.set_model(
    config,
    'stylenerf',
    latent_dim=64,
    w_dim=64,
    mapping_layers=2,
    hidden_dim=64,
    num_layers=4,
    num_frequencies=5,
    feature_dim=32,
    density_gain=8.0,
    background=False,
    low_resolution=32,
    channels=(32,),
  )
  config.render.update(
    fov_degrees=12.0,
    radius=1.0,
    near=0.88,
    far=1.12,
    num_coarse=6,
    num_fine=6,
    density='softplus',
    last_interval='infinite',
  )
  config.display.update(num_coarse=12, num_fine=12, ray_chunk=0, truncation_psi=0.7)
  config.pose_prior.update(name='gaussian', yaw_std=0.3, pitch_mean=math.pi / 2, pitch_std=0.155)
  config_lib.set_discriminator(
    config, 'stylenerf', channels=(128, 128, 64, 32, 16), pose_dim=2, mapping_layers=2
  )
  config.loss.update(r1=0.3, pose=5.0, density_noise_steps=2000, fade_steps=400)
  config.stylenerf.update(nerf_path_pixels=8, path_length=0.0)
  config.ema.update(rates=(0.995,), display_rate=0.995, ramp_up=0.05)
  config.eval.update(num_images=7000, num_latents=64)
  config.log.update(every=20, images_every=250)
  config.checkpoint.update(every=250)
  return config


def get_test_config():
  """Two steps in seconds, on toys."""
  config = config_lib.tiny(get_config())
  config.data.update(source='toys')
  config.loss.fade_steps = 2
  config.stylenerf.nerf_path_pixels = 4
  return config
