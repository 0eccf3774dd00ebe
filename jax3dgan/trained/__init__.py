"""A trained generator as one object: from latents to pictures, whatever the paper.

  from jax3dgan import trained

  model = trained.load(workdir='runs/toys')  # or trained.load(pretrained='toys')
  w = model.map(model.latents([0, 1, 2]))  # [3, ...]
  image = model.render(w, model.orbit(azimuth=[0.0, 0.5, 1.0])).image  # [3, h, w, 3] in [−1, 1]

The models that come with the package lie in `jax3dgan/pretrained`, see `packaged`; others are
folders, or on the Hugging Face Hub:

  model = trained.from_pretrained('user/model')  # see `jax3dgan.hub` for how they get there
"""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from jax3dgan import generators, old_configs
from jax3dgan.errors import UserError
from jax3dgan.runs import stored, workdirs
from jax3dgan.runs.packaged import MAX_BYTES, PRETRAINED, pretrained_names, save_pretrained
from jax3dgan.trained.model import Trained

__all__ = [
  'MAX_BYTES',
  'PRETRAINED',
  'Trained',
  'config_of',
  'from_pretrained',
  'load',
  'pretrained_names',
  'save_pretrained',
]


def load(
  workdir=None,
  pretrained: str | None = None,
  ema: str | float | None = None,
  step: int | None = None,
  directory=PRETRAINED,
) -> Trained:
  """Loads a generator from a run's workdir, or a model that is stored outside of one.

  Args:
    workdir: The folder of a run; its latest checkpoint is taken.
    pretrained: A name in `jax3dgan/pretrained`, a folder, or a name on the hub, see `stored.find`;
      instead of a workdir.
    ema: The rate of the parameters' moving average; None for the config's display rate, the only
      one of a pretrained model.
    step: Another checkpoint than the latest, of a workdir.
    directory: Where the pretrained models lie.

  Raises:
    UserError: No such folder, checkpoint, step, average or pretrained model; weights that are no
      numbers.
  """
  if (workdir is None) == (pretrained is None):
    raise UserError('Give either a workdir or the name of a pretrained model.')
  if pretrained is not None:
    model = stored.find(pretrained, directory)
    config = _config(model.facts['config'])
    generator = generators.create(config)
    asked, step = step, int(model.facts['step'])
    rate = config.ema.display_rate
    for flag, value, only, more in (
      ('--step', asked, step, ' (of main: --config.eval.step)'),
      ('--ema', ema, rate, ''),
    ):
      if value is not None and str(value) != str(only):
        raise UserError(
          f'{flag}={value}: {pretrained} is no run but a stored model, with one step of it '
          f'({step}) and one average ({rate}). Leave out {flag}{more}.'
        )
    return Trained(config, generator, model.variables(generator), step, model.name)
  config = config_of(workdir)
  from jax3dgan.runs import (
    checkpoints,  # Orbax costs a second that the pretrained models need not pay
  )

  rate = str(config.ema.display_rate if ema is None else ema)
  generator = generators.create(config)
  step, variables = checkpoints.read_variables(workdir, generator, rate, step=step)
  name = pathlib.Path(workdir).resolve().name
  if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(variables)):
    raise UserError(
      f'The weights of {workdir} at step {step:,} are not finite: its training diverged. Take an '
      'earlier checkpoint with --step (of main: --config.eval.step).'
    )
  return Trained(config, generator, jax.tree.map(jnp.asarray, variables), step, name)


def from_pretrained(source, **fields) -> Trained:
  """`load` of a stored model: of a name in `jax3dgan/pretrained`, a folder with config.json and
  model.safetensors, or 'user/model' on the Hugging Face Hub ('user/model@revision')."""
  return load(pretrained=str(source), **fields)


def config_of(workdir=None, pretrained: str | None = None, directory=PRETRAINED):
  """Returns the config of a stored model, or else of a run; see `load`."""
  if pretrained is None:
    return old_configs.complete(workdirs.load_config(workdir))
  return _config(stored.find(pretrained, directory).facts['config'])


def _config(plain):
  return old_configs.complete(workdirs.config_from(plain))
