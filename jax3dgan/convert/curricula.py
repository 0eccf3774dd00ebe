"""Configs for converted π-GANs: the values with which the release trains and renders.

The values are repeated here, so that a conversion runs no config file; a test compares both. The
differences from configs/celeba.py, cats.py and carla.py are those of the release's pictures:
density through relu, an infinite last interval.
"""

import math

from jax3dgan import config as config_lib

# Polar angle 0.36° to 86.8° from the top.
_CARLA_PITCH = math.pi / 4 * 85 / 90
_FACES = {
  'optimizer': dict(lr_generator=6e-5, lr_discriminator=2e-4, grad_clip=10.0),
}

# Changes to `config.base_config()`.
CURRICULA = {
  'celeba': {
    'data': dict(source='tfds:celeb_a', loader='tfdata', flip=False),
    'batch_size': 56,
    'micro_batches': 2,
    'render': dict(
      fov_degrees=12.0, near=0.88, far=1.12, num_coarse=12, num_fine=12, ray_chunk=1024
    ),
    'display': dict(num_coarse=24, num_fine=24, last_back=True),
    'pose_prior': dict(name='gaussian', yaw_std=0.3, pitch_std=0.155),
    'discriminator': dict(block='ccs', latent_dim=256, pose_dim=2),
    'loss': dict(r1=0.2, pose=15.0, top_k_interval=2000, top_k_floor=0.6),
    **_FACES,
  },
  'cats': {
    'data': dict(
      source='data/cats64',
      loader='tfdata',
      flip=False,
      origin='Faces of the CATS data set (Zhang et al., 2008), aligned by its landmarks.',
    ),
    'batch_size': 28,
    'micro_batches': 4,
    'render': dict(fov_degrees=12.0, near=0.8, far=1.2, num_coarse=24, num_fine=24, ray_chunk=1024),
    'display': dict(num_coarse=48, num_fine=48, last_back=True),
    'pose_prior': dict(name='uniform', yaw_std=0.5, pitch_std=0.4),
    'discriminator': dict(block='strided', latent_dim=0, pose_dim=0),
    'loss': dict(r1=0.2, pose=0.0, top_k_interval=2000, top_k_floor=0.6),
    **_FACES,
  },
  'carla': {
    'data': dict(
      source='data/carla128',
      loader='tfdata',
      flip=False,
      origin='Renderings of CARLA cars that come with GRAF (Schwarz et al., 2020).',
    ),
    'resolution': 32,
    'batch_size': 30,
    'micro_batches': 1,
    'stages': (
      dict(
        from_step=10_000,
        resolution=64,
        batch_size=14,
        micro_batches=2,
        lr_generator=2e-5,
        lr_discriminator=2e-4,
      ),
      dict(
        from_step=55_000,
        resolution=128,
        batch_size=10,
        micro_batches=5,
        lr_generator=1e-5,
        lr_discriminator=1e-4,
      ),
    ),
    'model': dict(input_scale=1.0),
    'render': dict(
      fov_degrees=30.0,
      near=0.7,
      far=1.3,
      num_coarse=48,
      num_fine=48,
      white_back=True,
      ray_chunk=4096,
    ),
    'display': dict(num_coarse=96, num_fine=96),
    'pose_prior': dict(
      name='spherical_uniform', yaw_std=math.pi, pitch_mean=_CARLA_PITCH, pitch_std=_CARLA_PITCH
    ),
    'discriminator': dict(
      block='progressive',
      channels=(16, 32, 64, 128, 256, 400, 400, 400, 400),
      latent_dim=256,
      pose_dim=2,
    ),
    'loss': dict(r1=10.0, pose=0.0, top_k_interval=0),
    'optimizer': dict(lr_generator=4e-5, lr_discriminator=4e-4, grad_clip=1.0),
  },
}
# As the release renders: `clamp_mode` relu, last interval 1e10, pixel grids with both ends.
RENDERING = dict(density='relu', last_interval='infinite', align_corners=True)

# The values of configs/ instead, for the flags of continued training.
OF_CONFIGS = {
  'celeba': dict(density='softplus'),
  'cats': dict(density='softplus'),
  'carla': dict(density='softplus', last_interval='far'),
}


def create(curriculum: str):
  """The config of a curriculum."""
  config = config_lib.base_config()
  with config.unlocked():
    for name, value in CURRICULA[curriculum].items():
      if isinstance(value, dict):
        config[name].update(value)
      else:
        config[name] = value
    config.render.update(RENDERING)
  return config
