"""Configs for converted StyleNeRFs: the values of the paper.

As `curricula` for π-GAN, the values are repeated here; a test compares them with configs/.
"""

import math

from jax3dgan import config as config_lib
from jax3dgan.nn.stylegan2 import channels_of

_FACES = dict(
  flip=True,
  render=dict(fov_degrees=12.0, near=0.88, far=1.12),
  prior=dict(name='gaussian', yaw_std=0.3),
  upsampling='nn_cat',
  nerf_path=1.0,
  sizes=(256,),
)
CURRICULA = {
  'ffhq': dict(
    _FACES,
    source='ffhq',
    origin='FFHQ, aligned and cropped as its authors have it.',
    sizes=(256, 512, 1024),
  ),
  'afhq': dict(_FACES, source='afhq', origin='AFHQ, its three kinds of animals together.'),
  'cars': dict(
    _FACES,
    source='compcars',
    origin='CompCars, its photos of whole cars, made square.',
    flip=False,
    render=dict(fov_degrees=16.0, near=0.8, far=1.2),
    prior=dict(name='uniform', yaw_std=math.pi),
    upsampling='pixelshuffle',
    nerf_path=0.0,
  ),
}
_LOW = 32
_CHANNELS = (512, 256, 128, 64, 32, 16, 8)  # of the up-sampler at 64², 128², ...


def create(curriculum: str, resolution: int | None = None):
  """The config of a curriculum.

  Args:
    resolution: Pixels on a side in the end; None for the first of the paper.
  """
  values = CURRICULA[curriculum]
  resolution = resolution or values['sizes'][0]
  large = resolution >= 1024
  batch = 32 if large else 64
  num = max((resolution // _LOW).bit_length() - 1, 1)
  steps = 1000 / batch  # of a thousand images
  each = 4500 / num  # thousands of images in which a size is faded in
  config = config_lib.base_config('stylenerf')
  channels = _CHANNELS[:num]
  config_lib.set_model(config, 'stylenerf', channels=channels, upsampling=values['upsampling'])
  base = 16384 if resolution <= 256 else 32768
  config_lib.set_discriminator(config, 'stylenerf', channels=channels_of(resolution, base))
  with config.unlocked():
    config.data.update(
      source=f'data/{values["source"]}{resolution}', loader='tfdata', flip=values['flip']
    )
    config.data.origin = values['origin']
    config.batch_size = batch
    config.num_steps = int(25_000 * steps)
    config.resolution = _LOW
    config.stages = tuple(
      dict(from_step=int((500 + i * each) * steps), resolution=_LOW << (i + 1)) for i in range(num)
    )
    config.render.update(radius=1.0, num_coarse=14, num_fine=14, **values['render'])
    config.display.update(
      num_coarse=14, num_fine=14, last_back=False, ray_chunk=0, truncation_psi=0.7
    )
    config.pose_prior.update(pitch_mean=math.pi / 2, pitch_std=0.155, **values['prior'])
    config.loss.update(r1=2.0 if large else 0.5, fade_steps=int(each * steps))
    config.stylenerf.nerf_path = values['nerf_path']
    if large:
      config.optimizer.update(lr_generator=2e-3, lr_discriminator=2e-3)
    rate = 0.5 ** (batch / (10_000 if large else 20_000))
    config.ema.update(rates=(rate,), display_rate=rate, ramp_up=0.05)
  return config


def file_of(curriculum: str, resolution: int) -> tuple[str, int]:
  """The name of the file in configs/ that is nearest, and its pixels on a side."""
  sizes = CURRICULA[curriculum]['sizes']
  size = resolution if resolution in sizes else sizes[0]
  return f'stylenerf_{curriculum}{size if len(sizes) > 1 else ""}', size
