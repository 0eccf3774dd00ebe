"""3D Gaussians (GGHead, told nothing of the camera) on the toy cars with known cameras, 64², on two
CPU cores.

4,096 Gaussians, one for each texel of a 64² map on a sphere of radius .25, which a StyleGAN2 makes
of the latent; views of a car agree exactly. The discriminator is told the camera, which alone ties
pose to picture.
"""

import math

from jax3dgan import config as config_lib


def get_config():
  """The experiment."""
  config = config_lib.base_config('gghead')
  config.platform = 'any'  # small enough for a CPU beside a GPU that JAX cannot use
  config.data.update(source='toys', loader='arrays', on_device=True, use_labels=True)
  config.num_steps = 10_000
  config.resolution = 64
  config.batch_size = 8
  config_lib.set_model(
    config,
    'gghead',
    z_dim=64,
    w_dim=64,
    channels=(128, 128, 128, 64, 32),
    template_radius=(0.25, 0.25, 0.25),
    max_scale=0.05,
    # Else scales shrink until rows of Gaussians show as stripes.
    scale_floor=0.5,
    # Else opacities fall, and shapes fold, before there is any shape.
    opacity_bias=1.5,
    gains=(1.0, 1.0, 1.0, 0.3),
  )
  config.render.update(fov_degrees=48.0, near=0.55, far=1.45)
  config.display.truncation_psi = 0.7
  config.pose_prior.update(
    name='uniform',
    yaw_std=math.pi,
    pitch_mean=math.pi / 2 - math.radians(25.0),
    pitch_std=math.radians(15.0),
  )
  config_lib.set_discriminator(
    config, 'stylegan2', channels=(128, 128, 64, 32, 16), label_dim=25, mapping_layers=2
  )
  config.loss.update(r1=0.3)
  config.gghead.update(beta=0.3, blur=2.0, blur_images=10_000)
  config.optimizer.grad_clip = 10.0
  config.ema.update(rates=(0.995,), display_rate=0.995, ramp_up=0.05)
  config.eval.update(num_images=4000, num_latents=64)
  config.log.update(every=20, images_every=500)
  config.checkpoint.update(every=500)
  return config


def get_test_config():
  """Two steps in seconds."""
  return config_lib.tiny(get_config())
