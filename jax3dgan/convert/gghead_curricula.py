"""Configs for converted GGHeads: the values of the paper.

As `curricula` for π-GAN, the values are repeated here; a test compares them with configs/.
"""

import math

from jax3dgan import config as config_lib
from jax3dgan.convert.gghead_names import START_SCALE
from jax3dgan.nn.stylegan2 import channels_of

_KIMG = 1000 / 32  # steps
CURRICULA = {
  'ffhq256': dict(size=256, kimg=6_400, late=False),
  'ffhq512': dict(size=512, kimg=25_000 - 6_400, late=True),
}


def create(curriculum: str):
  """The config of a curriculum."""
  values = CURRICULA[curriculum]
  size = values['size']
  config = config_lib.base_config('gghead')
  config_lib.set_model(
    config,
    'gghead',
    label_dim=25,
    use_noise=True,
    template='half_ellipsoid',
    template_radius=(0.29, 0.43, 0.29),
    template_centre=(0.0, -0.03, -0.09),
    points=512 if values['late'] else 0,
    sh_degree=1,
    rotation='axis_angle',
    start_scale=START_SCALE,
  )
  config_lib.set_discriminator(
    config, 'stylegan2', channels=channels_of(size), label_dim=25, cmap_dim=512
  )
  with config.unlocked():
    config.data.update(source=f'data/ffhq{size}', loader='tfdata', flip=False, use_labels=True)
    config.data.origin = (
      "FFHQ, cropped and with cameras in dataset.json as EG3D's repository prepares it, masked: a "
      'white ground behind the heads; add --mirror unless mirrored images are in it.'
    )
    config.num_steps = int(values['kimg'] * _KIMG)
    config.resolution = size
    config.batch_size = 32
    config.render.update(
      fov_degrees=2 * math.degrees(math.atan(0.5 / 4.2647)),
      radius=2.7,
      pivot=(0.0, 0.0, 0.2),
      near=2.25,
      far=3.3,
    )
    config.display.truncation_psi = 0.7
    config.pose_prior.update(name='gaussian', yaw_std=0.3, pitch_std=0.155)
    late = values['late']
    config.gghead.update(beta=float(late), variation=100.0 * late)
    if late:
      config.init_from = 'runs/gghead_ffhq256'
    rate = 0.5 ** (32 / 10_000)
    config.ema.update(rates=(rate,), display_rate=rate, ramp_up=0.05)
    config.eval.update(cameras='dataset')
  return config


def file_of(curriculum: str) -> str:
  """The name of the file in configs/."""
  return f'gghead_{curriculum}'
