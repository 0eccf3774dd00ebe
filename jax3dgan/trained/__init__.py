"""A trained generator as one object: from latents to pictures, whatever the paper.

  from jax3dgan import trained

  model = trained.load(workdir='runs/toys')  # or trained.load(pretrained='toys')
  w = model.map(model.latents([0, 1, 2]))  # [3, ...]
  image = model.render(w, model.orbit(azimuth=[0.0, 0.5, 1.0])).image  # [3, h, w, 3] in [−1, 1]

The models that come with the package lie in `jax3dgan/pretrained`, see `packaged`.
"""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from jax3dgan import generators, old_configs
from jax3dgan.errors import UserError
from jax3dgan.runs import packaged, workdirs
from jax3dgan.runs.packaged import MAX_BYTES, PRETRAINED, pretrained_names, save_pretrained
from jax3dgan.trained.model import Trained

__all__ = [
  'MAX_BYTES',
  'PRETRAINED',
  'Trained',
  'config_of',
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
  """Loads a generator from a run's workdir or from the models that come with the package.

  Args:
    workdir: The folder of a run; its latest checkpoint is taken.
    pretrained: A name in `jax3dgan/pretrained`, instead of a workdir.
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
  config = config_of(workdir, pretrained, directory)
  if pretrained is not None:
    generator = generators.create(config)
    asked, (arrays, step) = step, packaged.read(pretrained, directory)
    rate = config.ema.display_rate
    for flag, value, only, more in (
      ('--step', asked, step, ' (of main: --config.eval.step)'),
      ('--ema', ema, rate, ''),
    ):
      if value is not None and str(value) != str(only):
        raise UserError(
          f'{flag}={value}: {pretrained} is a model of the package, which has one step of it '
          f'({step}) and one average ({rate}). Leave out {flag}{more}.'
        )
    variables = packaged.variables_of(generator, arrays)
    return Trained(config, generator, variables, step, pretrained)
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


def config_of(workdir=None, pretrained: str | None = None, directory=PRETRAINED):
  """Returns the config of a pretrained model, or else of a run; see `load`."""
  if pretrained is None:
    return old_configs.complete(workdirs.load_config(workdir))
  return old_configs.complete(
    workdirs.config_from(packaged.metadata(pretrained, directory)['config'])
  )
