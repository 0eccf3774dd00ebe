"""From π-GAN's official weights to workdirs, and back to official names."""

import numpy as np

from jax3dgan import config_json
from jax3dgan.convert import curricula, pigan
from jax3dgan.convert import workdir as workdir_lib
from jax3dgan.convert.official import FIELDS, Average, Generator
from jax3dgan.convert.official_discriminator import Discriminator
from jax3dgan.errors import UserError
from jax3dgan.runs import checkpoints


def curriculum_of(generator: Generator, discriminator: Discriminator | None) -> str:
  """The curriculum that the files belong to; UserError if they fit several."""
  if generator.model['input_scale'] == FIELDS['tall']:
    return 'carla'
  if discriminator is not None and discriminator.fields['block'] != 'progressive':
    return 'cats' if discriminator.fields['block'] == 'strided' else 'celeba'
  raise UserError(
    'The file does not say for which images it was trained, and so at which distance. '
    'Give --curriculum=celeba (near .88, far 1.12) or --curriculum=cats (.8, 1.2).'
  )


def config_for(
  curriculum: str,
  generator: Generator,
  averages: list[Average],
  discriminator: Discriminator | None,
):
  """The config of the workdir."""
  config = curricula.create(curriculum)
  with config.unlocked():
    config.model.update(generator.model)
    if discriminator is not None:
      config.discriminator.update(discriminator.fields)
    if discriminator is not None and not config.discriminator.pose_dim:
      config.loss.pose = 0.0
    rates = dict.fromkeys((*(average.rate for average in averages), *config.ema.rates))
    config.ema.rates = tuple(sorted(rates))
    if averages:
      config.ema.display_rate = averages[0].rate
  return config


def create(
  workdir,
  config,
  step: int,
  generator: Generator,
  averages: list[Average],
  discriminator: Discriminator | None,
  overwrite: bool = False,
) -> None:
  """Writes config.json and a checkpoint, as `train` does.

  Args:
    workdir: A folder without a run, unless `overwrite`, which deletes the checkpoints there.
    config: See `config_for`.
    step: Training step of the weights.
    generator, averages, discriminator: The weights; without a discriminator a fresh one.
    overwrite: See `workdir`.

  Raises:
    UserError: There is a run already, or the disk cannot be written.
  """
  by_rate = {str(average.rate): average for average in averages}
  rates = [str(rate) for rate in config.ema.rates]
  ema = {
    rate: generator.params(by_rate[rate].weights if rate in by_rate else None) for rate in rates
  }
  d_params = None if discriminator is None else discriminator.params
  workdir_lib.save(workdir, config, step, generator.params(), ema, d_params, overwrite)


def overrides(config, curriculum: str) -> list[str]:
  """Flags that change the config of the curriculum's file in configs/ to that of the workdir."""
  file = config_json.plain(curricula.create(curriculum))
  file['render'] |= curricula.OF_CONFIGS[curriculum]
  return workdir_lib.flags_between(file, config)


def release(workdir, config, weights: str, step: int | None = None) -> workdir_lib.Released:
  """The generator of a workdir in official names, see `runs.release`.

  Scales that the release does not have (`density_gain`, another `input_scale`) are multiplied into
  the weights that they act on.

  Raises:
    UserError: The run's grid of features spans other points than the release's.
  """
  model = config.model
  embedding = bool(model.embedding_channels)
  spatial = model.input_scale == FIELDS['spatial']
  if embedding and not spatial:
    raise UserError(
      f'{workdir} has an embedding grid and input_scale {model.input_scale:g}; with a grid the '
      f'release has {FIELDS["spatial"]:g} alone. Give a run with that.'
    )
  rate = str(config.ema.display_rate)
  keys = ('ema', 'generator', rate) if weights == 'ema' else ('networks', 'generator')
  step, params = checkpoints.read(workdir, *keys, step=step)
  field = params['field']
  for name in ('density_kernel', 'density_bias'):
    field[name] = field[name] * np.float32(model.density_gain)
  if not spatial:
    field['film_0_kernel'] = field['film_0_kernel'] * np.float32(model.input_scale)
  named = pigan.names(model.num_layers, model.mapping_layers, embedding)
  source = f'EMA {rate}' if weights == 'ema' else 'raw weights'
  class_name = 'SPATIALSIRENBASELINE' if spatial else 'TALLSIREN'
  if embedding:
    class_name = 'EmbeddingPiGAN128' if model.hidden_dim == 128 else 'EmbeddingPiGAN256'
  return workdir_lib.Released(pigan.to_official(params, named), step, source, class_name)
