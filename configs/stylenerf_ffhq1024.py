"""StyleNeRF on faces (FFHQ) at 1024², rendered at 32², with the values of the paper.

Score: FID 8.1, as the paper is remembered; not verified against it.
Cost: 25,000 kimg; the paper uses 8 V100. 5.48 million parameters, 27.8 of the discriminator. On
fewer devices --config.micro_batches=8, at most: a micro-batch holds the 4 images that the
discriminator compares.
Data: python -m jax3dgan.data.prepare --source=FFHQ --out=data/ffhq1024 --resolution=1024, FFHQ a
folder or zip of pictures. Of their cameras nothing is needed but the distribution.

Both networks grow from 32² to 1024²: from 500 to 5,000 kimg five sizes are faded in, one after
another.
"""

import pathlib
import runpy

_BASE = runpy.run_path(str(pathlib.Path(__file__).with_name('stylenerf_ffhq512.py')))


def get_config():
  """The experiment."""
  config = _BASE['at_size'](1024, batch_size=32, half_life=10_000)
  config.loss.r1 = 2.0
  config.optimizer.update(lr_generator=2e-3, lr_discriminator=2e-3)
  return config


def get_test_config():
  """Two steps in seconds."""
  return _BASE['tiny'](get_config())
