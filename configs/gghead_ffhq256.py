"""GGHead's first stage on faces (FFHQ) at 256²: 65,536 Gaussians, with the values of the paper and
its release.

Cost: the paper's 6,400 kimg; its second stage is configs/gghead_ffhq512.py. 28.8 million
parameters.
Data: python -m jax3dgan.data.prepare --source=FFHQ --out=data/ffhq256 --resolution=256 --mirror,
FFHQ a folder or zip of pictures with a dataset.json of cameras, each with a white ground behind the
head (the paper masks the photos by MODNet).

Different from the release: its template, a FLAME head, is not free; here it is half an ellipsoid of
about the same size, whose map has no cuts. The blur is gone after as many images, not steps.
"""

import math

from jax3dgan import config as config_lib
from jax3dgan.nn.stylegan2 import channels_of

KIMG = 1000 / 32  # steps


def get_config():
  """The experiment."""
  config = config_lib.base_config('gghead')
  config.data.update(source='data/ffhq256', loader='tfdata', flip=False, use_labels=True)
  config.data.origin = (
    "FFHQ, cropped and with cameras in dataset.json as EG3D's repository prepares it, masked: a "
    'white ground behind the heads; add --mirror unless mirrored images are in it.'
  )
  config.num_steps = int(6_400 * KIMG)
  config.resolution = 256
  config.batch_size = 32
  config_lib.set_model(
    config,
    'gghead',
    label_dim=25,
    use_noise=True,
    template='half_ellipsoid',
    template_radius=(0.29, 0.43, 0.29),
    template_centre=(0.0, -0.03, -0.09),
    sh_degree=1,
    rotation='axis_angle',
    # log s = −3 − softplus(2 − raw).
    start_scale=math.exp(-3 - math.log1p(math.exp(2))),
  )
  config.render.update(
    fov_degrees=2 * math.degrees(math.atan(0.5 / 4.2647)),
    radius=2.7,
    pivot=(0.0, 0.0, 0.2),
    near=2.25,
    far=3.3,
  )
  config.display.truncation_psi = 0.7
  # For displays; training has the photos' cameras.
  config.pose_prior.update(name='gaussian', yaw_std=0.3, pitch_std=0.155)
  config_lib.set_discriminator(
    config, 'stylegan2', channels=channels_of(256), label_dim=25, cmap_dim=512
  )
  config.gghead.beta = 0.0
  rate = 0.5 ** (32 / 10_000)  # a half-life of 10,000 images
  config.ema.update(rates=(rate,), display_rate=rate, ramp_up=0.05)
  config.eval.update(cameras='dataset')
  return config


def tiny(config):
  """Two steps in seconds of a config of this one's kind."""
  config.init_from = ''
  config = config_lib.tiny(config)
  config.data.update(source='toys', loader='arrays', on_device=True)
  return config


def get_test_config():
  """Two steps in seconds."""
  return tiny(get_config())
