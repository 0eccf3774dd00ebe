"""A small π-GAN on toy cars, 32²: minutes on two CPU cores, nothing downloaded.

The images are rendered at first use (`jax3dgan.data.builders.toys`). The cameras go all the way
round, so the pose head regresses the direction of the camera; colours do not depend on the view,
because that would let the generator explain a turn by paint; the ground is white and rays may pass.

Cost: 800 steps of .18 to .50 s on two shared cores, 12 to 20 s of compilation before them.
Result: cars with wheels, windows and roofs that turn in one piece, their paint still blotchy;
2,750 steps bring hubs, headlights and sharper paint (the model in jax3dgan/pretrained).
"""

from jax3dgan import config as config_lib
from jax3dgan import toys_experiment


def get_config():
  """The experiment."""
  config = toys_experiment.base_config()
  config.num_steps = 800
  config.resolution = 32
  config.model.update(
    z_dim=32,
    hidden_dim=64,
    num_layers=3,
    mapping_dim=128,
    mapping_layers=2,
    # Latents far apart and a field smooth in space, so that paint follows the latent and not the
    # place: otherwise one car, differently painted on each side, stands for all of them.
    mapping_scale=0.7,
    input_scale=1.6,
    density_gain=20.0,
  )
  config.render.update(
    near=0.55,
    far=1.45,
    num_coarse=4,
    num_fine=4,
    density='softplus',
    last_interval='far',
    white_back=True,
    lock_view_direction=True,
    align_corners=False,
  )
  config.display.update(num_coarse=12, num_fine=12)
  config.discriminator.update(channels=(16, 32, 64, 128, 128), latent_dim=0, pose_dim=3)
  config.loss.update(
    r1=3.0,
    pose=1.0,
    pose_encoding='direction',
    top_k_interval=0,
    density_noise=1.0,
    density_noise_steps=1000,
  )
  config.optimizer.update(lr_generator=8e-4, lr_discriminator=4e-4, beta2=0.99)
  return config


def get_test_config():
  """Two steps in seconds."""
  return config_lib.tiny(get_config())
