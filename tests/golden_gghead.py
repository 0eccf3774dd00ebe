"""GGHead's golden generators and discriminators, as our variables."""

import functools

import goldens
import numpy as np

from jax3dgan import config as config_lib
from jax3dgan import discriminators, generators
from jax3dgan.convert import eg3d_names, gghead_names
from jax3dgan.recipes import Networks
from jax3dgan.runs import packaged

FORMS = ('consistent', 'released')
START, HALF = 0, 100_000  # images behind the two steps


def file(form: str) -> str:
  return f'gaussians/gghead_{form}'


@functools.cache
def model(form: str):
  """(config, generator, discriminator, `Networks`)."""
  state = goldens.state_dict(file(form), 'g')
  config = config_lib.base_config('gghead')
  fields = gghead_names.model_fields(state) | dict(compat_stop=True)
  if form == 'consistent':
    fields |= dict(label_scale=0.0)
    config.gghead.variation = 100.0
  else:
    config.gghead.beta = 0.0
  config.resolution = 32
  config.gghead.update(blur=1.5, blur_images=2 * HALF)
  config_lib.set_model(config, 'gghead', **fields)
  judge = goldens.state_dict(file(form), 'd')
  config_lib.set_discriminator(config, **eg3d_names.discriminator_fields(judge))
  generator = generators.create(config)
  variables = packaged.variables_of(generator, gghead_names.generator_params(state))
  networks = Networks(
    {'generator': variables['params'], 'discriminator': eg3d_names.discriminator_params(judge)},
    {'generator': variables['buffers']},
  )
  return config, generator, discriminators.create(config.discriminator), networks


def error(ours, theirs) -> float:
  """max|Δ| / max|theirs|."""
  ours, theirs = np.asarray(ours), np.asarray(theirs)
  assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
  return float(np.abs(ours - theirs).max() / np.abs(theirs).max())
