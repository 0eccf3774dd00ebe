"""A small π-GAN on cat faces, 32² then 64²: about an hour on one CPU core.

Data: python -m jax3dgan.data.prepare --source=CATS --out=data/cats64 --resolution=64, CATS a
folder or zip of aligned cat faces; or --config.data.source=CATS.zip directly.

Softplus leaves no pixel without density, and colours do not depend on the view: with relu and a
view direction this size gives black holes, and faces whose colours change as they turn.
"""

from jax3dgan import config as config_lib


def get_config():
  """The experiment."""
  config = config_lib.base_config()
  config.platform = 'any'  # small enough for a CPU beside a GPU that JAX cannot use
  config.data.update(source='data/cats64', loader='arrays', on_device=True, flip=True)
  config.data.origin = 'Faces of the CATS data set (Zhang et al., 2008), aligned by its landmarks.'
  config.num_steps = 3400
  config.resolution = 32
  config.batch_size = 16
  config.stages = (
    dict(from_step=2500, resolution=64, batch_size=8, lr_generator=2e-4, lr_discriminator=1e-4),
  )
  config.model.update(
    z_dim=64, hidden_dim=64, num_layers=3, mapping_dim=128, mapping_layers=2, density_gain=30.0
  )
  config.render.update(
    num_coarse=4, num_fine=4, lock_view_direction=True, align_corners=False, ray_chunk=256
  )
  config.display.update(num_coarse=12, num_fine=12, truncation_psi=0.7)
  config.discriminator.update(channels=(16, 16, 32, 64, 128, 128), latent_dim=0)
  config.loss.update(r1=2.0, pose=5.0, top_k_interval=0, density_noise_steps=1000, fade_steps=400)
  config.optimizer.update(lr_generator=5e-4, lr_discriminator=2e-4, beta2=0.99)
  config.ema.update(rates=(0.995,), display_rate=0.995)
  config.eval.update(num_images=7000, num_latents=64)
  config.log.update(every=50, images_every=500)
  config.checkpoint.update(every=500)
  return config


def get_test_config():
  """Two steps in seconds, one at each of two resolutions."""
  config = config_lib.tiny(get_config())
  config.data.update(source='toys')
  return config
