"""From a workdir to official weights, whatever its model."""

from jax3dgan import old_configs
from jax3dgan.convert import (
  eg3d_runs,
  expgan_runs,
  gghead_runs,
  giraffe_runs,
  graf_runs,
  pigan_runs,
  stylenerf_runs,
  stylesdf_runs,
)
from jax3dgan.convert.workdir import Released
from jax3dgan.errors import UserError
from jax3dgan.runs import workdirs

# By config.model.name.
_RELEASES = {
  'pigan': pigan_runs.release,
  'eg3d': eg3d_runs.release,
  'stylesdf': stylesdf_runs.release,
  'stylenerf': stylenerf_runs.release,
  'graf': graf_runs.release,
  'giraffe': giraffe_runs.release,
  'gghead': gghead_runs.release,
  'expgan': expgan_runs.release,
}


def release(workdir, weights: str = 'ema', step: int | None = None) -> Released:
  """Reads the generator of a workdir's checkpoint.

  Args:
    workdir: Of a model whose release is converted.
    weights: 'ema' for the average that is displayed, 'raw' for the weights of training.
    step: Of the checkpoint; the latest by default.

  Raises:
    UserError: No such run, or one of a model that has no official form.
  """
  config = old_configs.complete(workdirs.load_config(workdir))
  name = config.model.name
  if name not in _RELEASES:
    raise UserError(
      f'{workdir} holds a {name}. Give a workdir of a π-GAN, an EG3D, a StyleSDF, a StyleNeRF, '
      'a GRAF, a GIRAFFE, a GGHead or an Exp-GAN.'
    )
  return _RELEASES[name](workdir, config, weights, step)
