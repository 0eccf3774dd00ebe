"""A small EG3D on the toy cars with known cameras, 64² from 32² rendered, on two CPU cores.

The whole of EG3D at a small width: a mapping network conditioned on the camera (with pose swap),
tri-planes, super-resolution, a dual discriminator conditioned on the camera too, density
regularisation, lazy R1.
"""

from jax3dgan import config as config_lib
from jax3dgan import toys_experiment


def get_config():
  """The experiment."""
  config = toys_experiment.base_config('eg3d')
  config.data.use_labels = True
  config.num_steps = 5000
  config_lib.set_model(
    config,
    'eg3d',
    z_dim=64,
    w_dim=64,
    channels=(128, 128, 128, 64, 32),
    plane_features=16,
    decoder_hidden=32,
    box=1.0,
    super_channels=(32, 16),
    super_ups=(1, 2),
    super_input=32,
    low_resolution=32,
    super_clamp=0.0,
  )
  config.render.update(
    near=0.55,
    far=1.45,
    num_coarse=8,
    num_fine=8,
    white_back=True,
  )
  config.display.update(num_coarse=16, num_fine=16, ray_chunk=0)
  config_lib.set_discriminator(
    config, 'dual', channels=(128, 128, 64, 32, 16), label_dim=25, mapping_layers=2
  )
  config.loss.update(r1=0.3)
  config.eg3d.update(
    pose_swap=0.5, pose_swap_images=20_000, blur=2.0, blur_images=10_000, density=0.25
  )
  config.ema.ramp_up = 0.05
  return config


def get_test_config():
  """Two steps in seconds."""
  return config_lib.tiny(get_config())
