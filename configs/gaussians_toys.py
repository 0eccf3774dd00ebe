"""3D Gaussians (GGHead, told nothing of the camera) on the toy cars with known cameras, 64², on two
CPU cores.

4,096 Gaussians, one for each texel of a 64² map on an ellipsoid, which a StyleGAN2 makes of the
latent; views of a car agree exactly. The discriminator is told the camera, which alone ties
pose to picture.

Cost: .39 s of processor time a step of 8 images and two views, so 1.1 h of it in all; a minute of
compilation on top.
Result: after 1,000 steps bodies, cabins and wheels, after 9,092 (an hour, `toys_gaussians` of the
package) cars with windows and lamps from all sides, FID-768 .50; corners of bodies have spikes.
"""

from jax3dgan import config as config_lib
from jax3dgan import toys_experiment


def get_config():
  """The experiment."""
  config = toys_experiment.base_config('gghead')
  config.data.use_labels = True
  config.num_steps = 10_000
  config.batch_size = 8
  config_lib.set_model(
    config,
    'gghead',
    z_dim=64,
    w_dim=64,
    channels=(128, 128, 128, 64, 32),
    # About a car's extents, and a reach that ends where its corners are: what is far from its
    # template folds.
    template_radius=(0.16, 0.14, 0.33),
    reach=0.08,
    max_scale=0.05,
    # Else scales shrink until rows of Gaussians show as stripes.
    scale_floor=0.5,
    # Else opacities fall, and shapes fold, before there is any shape.
    opacity_bias=1.5,
    gains=(0.3, 0.3, 1.0, 0.3),
  )
  config.render.update(near=0.55, far=1.45)
  config_lib.set_discriminator(
    config, 'stylegan2', channels=(128, 128, 64, 32, 16), label_dim=25, mapping_layers=2
  )
  config.loss.update(r1=1.0)
  config.gghead.update(beta=0.3, stretch=1.0, views=2, blur=2.0, blur_images=10_000)
  config.optimizer.grad_clip = 10.0
  config.ema.ramp_up = 0.05
  config.log.images_every = 500
  config.checkpoint.every = 500
  return config


def get_test_config():
  """Two steps in seconds."""
  return config_lib.tiny(get_config())
