"""A small GRAF on the toy cars at 64², by patches of 16², on two CPU cores.

All the way round, without the cars' cameras: only their distribution is known. Colours do not
depend on the view, the ground is white, rays may pass. Patches are at first spread over nearly the
whole image, and of a quarter of it after 56,000 images.

Cost: 25,000 steps of 16 images, .15 s of processor time each, about an hour of it.
Result: after 24,652 steps, an hour (`toys_graf` of the package), cars with cabin, dark windows,
lamps and wheels turn in one piece on white, of many paints and few shapes; FID-768 .50. Above the
roofs stands matter as white as the ground, which only depth shows.
"""

from jax3dgan import config as config_lib
from jax3dgan import toys_experiment


def get_config():
  """The experiment."""
  config = toys_experiment.base_config('graf')
  config.num_steps = 25_000
  config_lib.set_model(
    config,
    'graf',
    shape_dim=32,
    appearance_dim=32,
    hidden_dim=64,
    num_layers=4,
    skip_layer=2,
    colour_dim=32,
    point_frequencies=6,
    view_dependent=False,
    density_gain=20.0,
  )
  config.render.update(
    near=0.55,
    far=1.45,
    num_coarse=12,
    density='softplus',
    last_interval='far',
    white_back=True,
    limits_along='ray',
  )
  config.display.update(num_coarse=24, truncation_psi=1.0)
  config_lib.set_discriminator(config, 'patch', channels=(64, 128))
  config.loss.update(r1=0.1, density_noise=1.0, density_noise_steps=2000)
  config.graf.update(min_scale=0.25, scale_decay=0.05, scale_images=2000)
  config.optimizer.milestones = ()
  return config


def get_test_config():
  """Two steps in seconds."""
  return config_lib.tiny(get_config())
