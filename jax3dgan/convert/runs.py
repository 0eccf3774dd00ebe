"""From official weights to a workdir, and from a workdir to official weights."""

import dataclasses
import pathlib
import shlex
import shutil
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from jax3dgan import config as config_lib
from jax3dgan import discriminators, generators
from jax3dgan.convert import curricula, pigan
from jax3dgan.convert.official import FIELDS, Average, Generator
from jax3dgan.convert.official_discriminator import Discriminator
from jax3dgan.errors import UserError
from jax3dgan.runs import checkpoints, workdirs
from jax3dgan.training import state as state_lib


def curriculum_of(generator: Generator, discriminator: Discriminator | None) -> str:
  """The curriculum that the files tell of; UserError where they fit several."""
  if generator.model['input_scale'] == FIELDS['tall']:
    return 'carla'
  if discriminator is not None and discriminator.fields['block'] != 'progressive':
    return 'cats' if discriminator.fields['block'] == 'strided' else 'celeba'
  raise UserError(
    'The file does not say for which images it was trained, and so from how far they are seen. '
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
    step: Of the training behind the weights.
    generator, averages, discriminator: The weights; without a discriminator a fresh one.
    overwrite: See `workdir`.

  Raises:
    UserError: A run is there already, or the disk does not take it.
  """
  by_rate = {str(average.rate): average for average in averages}
  rates = [str(rate) for rate in config.ema.rates]
  ema = {
    rate: generator.params(by_rate[rate].weights if rate in by_rate else None) for rate in rates
  }
  judge = None if discriminator is None else discriminator.params
  save(workdir, config, step, generator.params(), ema, judge, overwrite)


def save(workdir, config, step: int, generator, ema, discriminator, overwrite: bool = False):
  """Writes config.json and a checkpoint of parameters: their optimizers are fresh.

  Args:
    workdir: A folder without a run, unless `overwrite`, which deletes the checkpoints there.
    config: Of the run.
    step: Of the training behind the parameters.
    generator, ema, discriminator: Parameters; ema by rate; no discriminator (None) for a fresh one.
    overwrite: See `workdir`.

  Raises:
    UserError: A run is there already, or the disk does not take it.
  """
  workdir = pathlib.Path(workdir)
  workdirs.check_free(workdir, overwrite)
  judge = discriminators.create(config.discriminator)
  # The structure without the numbers, which for a large network take a while to draw.
  expected = jax.eval_shape(lambda: state_lib.create(config, generators.create(config), judge))
  generator = _like(expected.generator, generator)
  if discriminator is None:
    key = jax.random.split(jax.random.key(config.seed), 3)[1]
    discriminator = discriminators.init_params(judge, key)
  discriminator = _like(expected.discriminator, discriminator)
  transforms = [transform for transform, _ in state_lib.optimizers(config)]
  state = state_lib.TrainState(
    step=jnp.asarray(step, jnp.int32),
    key=jax.random.key_data(jax.random.split(jax.random.key(config.seed), 3)[2]),
    generator=generator,
    discriminator=discriminator,
    generator_optimizer=transforms[0].init(generator),
    discriminator_optimizer=transforms[1].init(discriminator),
    ema={rate: _like(expected.generator, params) for rate, params in ema.items()},
    augment=state_lib.augmentation(config),
  )
  if overwrite:
    with workdirs.disk_errors(workdir):
      shutil.rmtree(workdir / checkpoints.FOLDER, ignore_errors=True)
      (workdir / workdirs.CONFIG_FILE).unlink(missing_ok=True)
  saver = checkpoints.Checkpoints(
    workdir, config.checkpoint.every, config.checkpoint.keep, config=config
  )
  saver.save(step, state, force=True)
  saver.close()


def _like(expected, params):
  """`params` as arrays, in the structure of `expected`."""
  return jax.tree.map(lambda leaf, value: jnp.asarray(value, leaf.dtype), expected, params)


def overrides(config, curriculum: str) -> list[str]:
  """Flags that make of the curriculum's file in configs/ the config of the workdir."""
  file = workdirs.plain(curricula.create(curriculum))
  file['render'] |= curricula.OF_CONFIGS[curriculum]
  return flags_between(file, config)


def flags_between(file: dict, config) -> list[str]:
  """Flags that make of a plain config another one."""
  changed = workdirs.differences(file, workdirs.plain(config))
  return [f'--config.{name}={_flag(new)}' for name, (_, new) in changed.items()]


def commands(workdir, config, step: int, file: str, overrides: list[str]) -> Iterator[str]:
  """Lines that say how to go on from a workdir."""
  where = shlex.quote(str(workdir))
  yield f'Pictures: python -m jax3dgan.apps.samples --workdir={where} --out=samples.png --depth'
  if step >= config.num_steps:
    overrides = [*overrides, f'--config.num_steps={step + config.num_steps}']
  yield ' '.join(
    [f'Training: python -m jax3dgan.main --config={file} --workdir={where}', *overrides]
  )


def _flag(value) -> str:
  if isinstance(value, list):
    return f"'{tuple(value)}'".replace(' ', '')
  return repr(value).strip("'")


@dataclasses.dataclass
class Released:
  """Weights of a workdir in official names and layouts.

  Attributes:
    weights: by official names.
    step: of the checkpoint.
    source: which of its weights they are.
    class_name: of the official field (π-GAN) or generator (EG3D) that they are for.
  """

  weights: dict[str, np.ndarray]
  step: int
  source: str
  class_name: str


def release(workdir, weights: str = 'ema') -> Released:
  """Reads the generator of a workdir's latest checkpoint.

  Scales that the release does not have (`density_gain`, another `input_scale`) go into the weights
  that they act on.

  Args:
    workdir: Of a π-GAN or an EG3D.
    weights: 'ema' for the average that is displayed, 'raw' for the weights of training.

  Raises:
    UserError: No such run, or one of another model, or one whose grid of features spans other
      points than the release's.
  """
  config = config_lib.complete(workdirs.load_config(workdir))
  model = config.model
  if model.name == 'eg3d':
    from jax3dgan.convert import eg3d_runs

    return eg3d_runs.release(workdir, config, weights)
  if model.name != 'pigan':
    raise UserError(f'{workdir} holds a {model.name}. Give a workdir of a π-GAN or an EG3D.')
  embedding = bool(model.embedding_channels)
  spatial = model.input_scale == FIELDS['spatial']
  if embedding and not spatial:
    raise UserError(
      f'{workdir} has an embedding grid and input_scale {model.input_scale:g}; with a grid the '
      f'release has {FIELDS["spatial"]:g} alone. Give a run with that.'
    )
  rate = str(config.ema.display_rate)
  keys = ('ema', rate) if weights == 'ema' else ('generator',)
  step, params = checkpoints.read(workdir, *keys)
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
  return Released(pigan.to_official(params, named), step, source, class_name)
