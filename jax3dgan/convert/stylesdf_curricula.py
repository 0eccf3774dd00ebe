"""Configs for converted StyleSDFs: the values of the paper.

As `curricula` for π-GAN, the values are repeated here; a test compares them with configs/.
"""

from jax3dgan import config as config_lib
from jax3dgan.nn.stylegan2 import channels_of

# Changes to `create`'s config, by data set; of the second stage, 'loss'.
CURRICULA = {
  'ffhq': dict(origin='FFHQ, cropped and aligned.', yaw_std=0.3, r1=10.0, sizes=(256, 1024)),
  'afhq': dict(origin='AFHQ, its training images.', yaw_std=0.15, r1=50.0, sizes=(512,)),
}
_LOW = 64
_CHANNELS = (512, 256, 128, 64, 32)  # of the decoder at 64², 128², ...


def create(curriculum: str, stage1: bool, resolution: int | None = None):
  """The config of a curriculum.

  Args:
    stage1: Whether it is the first stage's.
    resolution: Pixels on a side; None for that of the file of `file_of`.
  """
  values = CURRICULA[curriculum]
  resolution = resolution or (_LOW if stage1 else values['sizes'][0])
  config = config_lib.base_config('stylesdf_stage1' if stage1 else 'stylesdf')
  with config.unlocked():
    config.data.update(source=f'data/{curriculum}{resolution}', loader='tfdata', flip=True)
    config.data.origin = values['origin']
    config.num_steps = 200_000 if stage1 else 300_000
    config.resolution = resolution
    config.batch_size = 24 if stage1 else 32
    config.pose_prior.yaw_std = values['yaw_std']
    if stage1:
      if resolution != _LOW:
        num = max(resolution.bit_length() - 1, 2)
        config.discriminator.channels = (*config.discriminator.channels, 400, 400, 400)[:num]
    else:
      config.init_from = f'runs/stylesdf_stage1_{curriculum}'
      levels = max((resolution // _LOW).bit_length(), 1)
      config.model.decoder_channels = _CHANNELS[:levels]
      config.discriminator.channels = channels_of(resolution)
      config.loss.r1 = values['r1']
      config.eval.truncation_psi = 1.0
  return config


def file_of(curriculum: str, config) -> str:
  """The name of the file in configs/ that is nearest to a config."""
  if not config.model.decoder_channels:
    return f'stylesdf_stage1_{curriculum}'
  sizes = CURRICULA[curriculum]['sizes']
  return f'stylesdf_{curriculum}{config.resolution if config.resolution in sizes else sizes[0]}'
