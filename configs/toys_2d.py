"""A small StyleGAN2 on the toy cars, 32²: the 2D baseline, on one CPU core.

The images of configs/toys.py with a generator that has no camera and no field: the quality that the
same data allows without 3D consistency. The discriminator is that of
configs/toys.py without its pose head; the config's pose prior is not used.

Cost: steps of .13 s on one core without other load, 22 s of compilation before them.
Result: after 4,600 steps, cars with wheels, windows, hubs and clean paint, some of them bent (the
model in jax3dgan/pretrained).
"""

from jax3dgan import config as config_lib


def get_config():
  """The experiment."""
  config = config_lib.base_config()
  config.platform = 'any'  # small enough for a CPU beside a GPU that JAX cannot use
  config.data.update(source='toys', loader='arrays', on_device=True)
  config.num_steps = 5000
  config.resolution = 32
  config.batch_size = 16
  config_lib.set_model(
    config, 'stylegan2', z_dim=64, w_dim=64, mapping_layers=4, channels=(96, 96, 64, 32)
  )
  config.discriminator.update(channels=(16, 32, 64, 128, 128), latent_dim=0, pose_dim=0)
  config.loss.update(r1=3.0, pose=0.0, top_k_interval=0, density_noise=0.0)
  config.optimizer.update(lr_generator=2e-3, lr_discriminator=5e-4, beta1=0.0, beta2=0.99)
  config.ema.update(rates=(0.995,), display_rate=0.995)
  config.log.update(every=50, images_every=1000)
  config.checkpoint.update(every=500)
  return config


def get_test_config():
  """Two steps in seconds."""
  return config_lib.tiny(get_config())
