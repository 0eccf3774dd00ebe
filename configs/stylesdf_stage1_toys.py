"""The first stage of a small StyleSDF on toy cars, 32²: signed distances, on two CPU cores.

The cameras go all the way round, so the view head regresses the direction of the camera; the ground
is white and rays may pass.

Cost: 7,000 steps of 0.5 s of processor time, an hour on one core without other load; a minute or
two of compilation and spheres before them.
Result: after 3,250 steps cars of one colour each, round from every side, with windows, headlights,
wheels and red rear lights; after 7,209, an hour of processor time (`toys_stylesdf` of the package),
side windows, number plates, a grille, meshes with edges, and FID-768 of .34 at 64²; all cars have
nearly one shape.
"""

from jax3dgan import config as config_lib
from jax3dgan import toys_experiment


def get_config():
  """The experiment."""
  config = toys_experiment.base_config('stylesdf_stage1')
  config.num_steps = 7000
  config.resolution = 32
  config.model.update(
    z_dim=32,
    w_dim=64,
    hidden_dim=64,
    num_layers=4,
    # Smooth in space, so that paint follows the latent and not the place.
    input_scale=1.3,
    # A fifth of the distance of two samples: with less, β falls below what they resolve within 400
    # steps, and shapes stop to learn.
    beta_floor=0.015,
    # Latents farther apart than the paper's .25: otherwise one car stands for all of them.
    style_scale=0.5,
    # Solid from the start.
    beta=0.02,
  )
  config.render.update(
    near=0.55,
    far=1.45,
    num_coarse=12,
    last_interval='far',
    white_back=True,
    lock_view_direction=True,
  )
  config.display.update(num_coarse=32)
  config.discriminator.update(channels=(16, 32, 64, 128, 128), pose_dim=3)
  config.loss.update(r1=3.0, pose=1.0, pose_encoding='direction', eikonal=0.1, minimal_surface=0.05)
  config.stylesdf.update(
    # The distance is regularised at a quarter of the rays: a gradient costs as much as the rest.
    penalise_every=4,
    sharpness=30.0,
    # The balls that fields begin as are smooth: (‖∇d‖ − 1)² is .09 on average, 0 of a distance.
    # With a rate of 1e-3 the last steps leave ripples, 1.0 even at a style_scale of .35.
    sphere_steps=3000,
    sphere_rays=32,
    sphere_lr=5e-4,
  )
  config.optimizer.update(lr_generator=3e-4, lr_discriminator=4e-4, beta2=0.99)
  return config


def get_test_config():
  """Two steps in seconds."""
  config = config_lib.tiny(get_config())
  config.stylesdf.update(sphere_steps=2, sphere_rays=8)
  return config
