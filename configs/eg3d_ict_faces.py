"""A small EG3D on rendered faces with known cameras, 64² from 32² rendered, on two CPU cores.

Data: faces of the user's own copy of the ICT face model, rendered at first use (docs/faces.md):
--config.data.source=ict:FOLDER, or ICT_FACE_MODEL=FOLDER in the environment. Cameras as of EG3D's
FFHQ: 2.7 from the head's middle, focal length 4.2647, yaw 0.3 and pitch 0.15 radians around the
front.

Cost: 5,000 steps of 16 images. Four steps, one of them with density regularisation, took 2.1 s of
processor time each on a busy machine (1.0 s without it), so 3 h of it, half as long on two idle
cores; R1, every 16th step, comes on top. Compilation takes minutes. The faces' own cost is in
docs/faces.md.
"""

import math

from jax3dgan import config as config_lib


def get_config():
  """The experiment."""
  config = config_lib.base_config('eg3d')
  config.platform = 'any'  # small enough for a CPU beside a GPU that JAX cannot use
  config.data.update(source='ict:', loader='arrays', on_device=True, use_labels=True)
  config.num_steps = 5000
  config.resolution = 64
  config.batch_size = 16
  config_lib.set_model(
    config,
    'eg3d',
    z_dim=64,
    w_dim=64,
    channels=(128, 128, 128, 64, 32),
    plane_features=16,
    decoder_hidden=32,
    box=0.8,
    super_channels=(32, 16),
    super_ups=(1, 2),
    super_input=32,
    low_resolution=32,
    super_clamp=0.0,
  )
  config.render.update(
    radius=2.7,
    fov_degrees=2 * math.degrees(math.atan(0.5 / 4.2647)),
    # All heads lie between.
    near=2.35,
    far=3.15,
    num_coarse=8,
    num_fine=8,
    white_back=True,
  )
  config.display.update(num_coarse=16, num_fine=16, ray_chunk=0, truncation_psi=0.7)
  config.pose_prior.update(name='truncated_gaussian', yaw_std=0.3, pitch_std=0.15)
  config_lib.set_discriminator(
    config, 'dual', channels=(128, 128, 64, 32, 16), label_dim=25, mapping_layers=2
  )
  config.loss.update(r1=0.3)
  config.eg3d.update(
    pose_swap=0.5, pose_swap_images=20_000, blur=2.0, blur_images=10_000, density=0.25
  )
  config.ema.update(rates=(0.995,), display_rate=0.995, ramp_up=0.05)
  config.eval.update(num_images=4000, num_latents=64)
  config.log.update(every=20, images_every=250)
  config.checkpoint.update(every=250)
  return config


def get_test_config():
  """Two steps in seconds, on toys: the face model need not be there."""
  config = config_lib.tiny(get_config())
  config.data.update(source='toys')
  config.render.update(radius=1.0, fov_degrees=48.0, near=0.55, far=1.45)
  return config
