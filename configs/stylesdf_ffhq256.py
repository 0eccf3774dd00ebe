"""The second stage of StyleSDF on faces (FFHQ) at 256², with the paper's values.

The renderer of configs/stylesdf_stage1_ffhq.py, from the run in its usual workdir
(--config.init_from=DIR for another), is frozen; a StyleGAN2 decoder is trained.
Score: FID 11.5, KID 2.65, depth consistency .40 (paper; without truncation).
Cost: 300,000 steps of 32 images.
Data: python -m jax3dgan.data.prepare --source=FFHQ --out=data/ffhq256 --resolution=256, FFHQ a
folder or zip of pictures.
"""

from jax3dgan import config as config_lib
from jax3dgan.nn.stylegan2 import channels_of


def get_config():
  """The experiment."""
  config = config_lib.base_config('stylesdf')
  config.data.update(source='data/ffhq256', loader='tfdata', flip=True)
  config.data.origin = 'FFHQ, cropped and aligned.'
  config.init_from = 'runs/stylesdf_stage1_ffhq'
  config.num_steps = 300_000
  config.resolution = 256
  config.batch_size = 32
  config.model.decoder_channels = (512, 256, 128)
  config.discriminator.channels = channels_of(256)
  config.eval.truncation_psi = 1.0
  return config


def get_test_config():
  """Two steps in seconds."""
  config = config_lib.tiny(get_config())
  config.init_from, config.stylesdf.random_renderer = '', True
  config.data.update(source='toys', loader='arrays', on_device=True, flip=False)
  return config
