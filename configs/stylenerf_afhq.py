"""StyleNeRF on animal faces (AFHQ) at 256², rendered at 32², with the values of the paper.

Score: FID 14, as the paper is remembered; not verified against it.
Cost: 25,000 kimg; the paper uses 8 V100. 5.26 million parameters, 23.1 of the discriminator. On
fewer devices --config.micro_batches=16, at most: a micro-batch holds the 4 images that the
discriminator compares.
Data: python -m jax3dgan.data.prepare --source=AFHQ --out=data/afhq256 --resolution=256, AFHQ a
folder or zip of pictures. Of their cameras nothing is needed but the distribution.

Both networks grow from 32² to 256²: from 500 to 5,000 kimg three sizes are faded in, one after
another.
"""

import pathlib
import runpy

_BASE = runpy.run_path(str(pathlib.Path(__file__).with_name('stylenerf_ffhq512.py')))


def get_config():
  """The experiment."""
  config = _BASE['at_size'](256)
  config.data.update(source='data/afhq256', origin='AFHQ, its three kinds of animals together.')
  return config


def get_test_config():
  """Two steps in seconds."""
  return _BASE['tiny'](get_config())
