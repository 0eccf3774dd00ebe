"""The second stage of a small StyleSDF on toy cars, 64² of features of 32², on two CPU cores.

The renderer is that of configs/stylesdf_stage1_toys.py, from the run in its usual workdir
(--config.init_from=DIR for another), and frozen.

Cost: 5,000 steps of at least 0.95 s of processor time, more where paths or R1 are due; minutes of
compilation.
"""

import pathlib
import runpy

from jax3dgan import config as config_lib

_STAGE1 = runpy.run_path(str(pathlib.Path(__file__).with_name('stylesdf_stage1_toys.py')))


def of_renderer(stage1):
  """The experiment whose renderer is that of a config of the first stage."""
  config = config_lib.base_config('stylesdf')
  config.platform = 'any'  # small enough for a CPU beside a GPU that JAX cannot use
  for group in ('data', 'model', 'render', 'display', 'pose_prior', 'eval', 'log', 'checkpoint'):
    config[group].update(stage1[group])
  config.num_steps = 5000
  config.resolution = 64
  config.batch_size = 16
  config.model.update(
    decoder_channels=(64, 32), decoder_w_dim=64, decoder_mapping_layers=3, low_resolution=32
  )
  config.discriminator.channels = (128, 128, 64, 32, 16)
  config.loss.r1 = 0.3
  config.ema.update(rates=(0.995,), display_rate=0.995, ramp_up=0.05)
  return config


def get_config():
  """The experiment."""
  config = of_renderer(_STAGE1['get_config']())
  config.init_from = 'runs/stylesdf_stage1_toys'
  return config


def get_test_config():
  """Two steps in seconds."""
  config = config_lib.tiny(get_config())
  config.init_from, config.stylesdf.random_renderer = '', True
  return config
