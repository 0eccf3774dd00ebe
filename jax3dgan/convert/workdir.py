"""Functions that the conversions to and from workdirs share."""

import dataclasses
import functools
import pathlib
import shlex
import shutil
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from jax3dgan import config_json, discriminators, generators
from jax3dgan.augment import AdaState
from jax3dgan.convert import networks as networks_lib
from jax3dgan.convert import official
from jax3dgan.errors import UserError
from jax3dgan.runs import checkpoints, ownership, packaged, workdirs
from jax3dgan.training import state as state_lib


def save(
  workdir,
  config,
  step: int,
  generator,
  ema,
  discriminator,
  overwrite: bool = False,
  buffers=None,
  discriminator_buffers=None,
):
  """Writes config.json and a checkpoint of parameters: their optimizers are fresh.

  Args:
    workdir: A folder without a run, unless `overwrite`, which deletes the checkpoints there.
    config: Of the run.
    step: Training step of the parameters.
    generator, ema, discriminator: Parameters; ema by rate; no discriminator (None) for a fresh one.
    overwrite: See `workdir`.
    buffers, discriminator_buffers: Of the networks, where they have any; a fresh discriminator's
      are fresh.

  Raises:
    UserError: There is a run already, or one is at work there, or the disk cannot be written.
  """
  workdir = pathlib.Path(workdir)
  workdirs.check_free(workdir, overwrite)
  networks = generators.create(config), discriminators.create(config.discriminator)
  phases = state_lib.phases_of(config, *networks)
  # The structure without values, whose initialisation takes a while for a large network.
  expected = jax.eval_shape(lambda: state_lib.create(config, *networks, phases))
  params = {'generator': _like(expected.networks['generator'], generator)}
  if networks[1] is not None:
    if discriminator is None:
      key = jax.random.split(jax.random.key(config.seed), 3)[1]
      fresh = discriminators.init(networks[1], key)
      discriminator, discriminator_buffers = fresh['params'], fresh.get('buffers')
    params['discriminator'] = _like(expected.networks['discriminator'], discriminator)
  own = {'generator': _like(expected.buffers['generator'], buffers)} if buffers else {}
  if discriminator_buffers:
    own['discriminator'] = _like(expected.buffers['discriminator'], discriminator_buffers)
  if 'augment' in expected.buffers:
    own['augment'] = AdaState.create(config.augment.p)
  # Running means, which begin at 0.
  for name in expected.buffers.keys() - own.keys() - {'generator'}:
    own[name] = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), expected.buffers[name])
  transforms = state_lib.optimizers(config, phases)
  averaged = expected.networks['generator']
  state = state_lib.TrainState(
    step=jnp.asarray(step, jnp.int32),
    key=jax.random.key_data(jax.random.split(jax.random.key(config.seed), 3)[2]),
    networks=params,
    optimizers={
      name: transform.init(state_lib.trained_params(config, name, params[name]))
      for name, (transform, _) in transforms.items()
    },
    ema={'generator': {rate: _like(averaged, average) for rate, average in ema.items()}},
    buffers=own,
  )
  with ownership.owned(workdir):
    if overwrite:
      with workdirs.disk_errors(workdir):
        shutil.rmtree(workdir / checkpoints.FOLDER, ignore_errors=True)
        (workdir / workdirs.CONFIG_FILE).unlink(missing_ok=True)
    saver = checkpoints.Checkpoints(
      workdir, config.checkpoint.every, config.checkpoint.keep, config=config
    )
    saver.save(step, state, force=True)
    saver.close()


def save_networks(workdir, config, step: int, checkpoint, overwrite: bool = False) -> None:
  """`save` of a file's networks.

  Args:
    checkpoint: With the `networks.Network`s `average`, `generator` and `discriminator`; the last
      two may be None. The average's buffers serve both generators.
  """
  network = generators.create(config)
  average = packaged.variables_of(network, checkpoint.average.params)
  generator = average
  if checkpoint.generator is not None:
    generator = packaged.variables_of(network, checkpoint.generator.params)
  judge = checkpoint.discriminator
  discriminator, moving = (judge.params, judge.buffers) if judge else (None, None)
  ema = {str(rate): average['params'] for rate in config.ema.rates}
  params = (generator['params'], ema, discriminator)
  save(workdir, config, step, *params, overwrite, average.get('buffers'), moving)


def check_networks(path, config, checkpoint, where: str) -> None:
  """Whether a file's parameters and buffers are those of the config's networks.

  Args:
    path: The file, for messages.
    checkpoint: See `save_networks`.
    where: What has other shapes, "GRAF's network of these sizes".

  Raises:
    UserError: For the first one that is missing, too many, or of another shape.
  """
  wanted = initial_shapes(generators.init, generators.create(config))
  wanted = {**wanted['params'], **wanted.get('buffers', {})}
  found = networks_lib.shapes(checkpoint.average.params)
  official.compare_shapes(path, found, networks_lib.shapes(wanted), where)
  if (judge := checkpoint.discriminator) is None:
    return
  wanted = initial_shapes(discriminators.init, discriminators.create(config.discriminator))
  for kind, own in (('params', judge.params), ('buffers', judge.buffers)):
    found = networks_lib.shapes(own or {})
    official.compare_shapes(path, found, networks_lib.shapes(wanted.get(kind) or {}), where)


def step_of(curriculum: str, checkpoint, config) -> tuple[int, str]:
  """(training step of a file that may say it, how it is known)."""
  del curriculum
  if checkpoint.step is not None:
    return checkpoint.step, 'by its own'
  return config.num_steps, f"the paper's {config.num_steps:,}: the file says none"


def about_average(config, checkpoint, of_average: str = 'generator_test') -> str:
  """The line that says which weights are shown."""
  alone = checkpoint.generator is None
  source = 'the only generator of the file' if alone else of_average
  return f'EMA {config.ema.display_rate:.6g}: {source}, shown.'


def read_generator(workdir, config, weights: str, step: int | None = None):
  """(step, variables, which weights they are in words) of a workdir, see `runs.release`."""
  rate = str(config.ema.display_rate)
  step, variables = checkpoints.read_variables(
    workdir, generators.create(config), rate if weights == 'ema' else None, step
  )
  return step, variables, f'EMA {rate}' if weights == 'ema' else 'raw weights'


def check_released(workdir, model, values: dict, release: str) -> None:
  """UserError for a generator of which no file of a release can be made.

  Args:
    model: `config.model`.
    values: {field: the only value that the release's names say}.
    release: Whose it is, such as 'GRAF'.
  """
  for name, value in values.items():
    if model[name] != value:
      raise UserError(
        f'{workdir} holds a {release} with config.model.{name} {model[name]}, which has no '
        f'official form. Give one with {value}.'
      )


def initial_shapes(init, network):
  """What `init(network, key)` returns, as shapes; nothing is computed."""
  return jax.eval_shape(functools.partial(init, network), jax.random.key(0))


def _like(expected, params):
  """`params` as arrays, in the structure of `expected`."""
  return jax.tree.map(lambda leaf, value: jnp.asarray(value, leaf.dtype), expected, params)


def flags_between(file: dict, config) -> list[str]:
  """Flags that change a plain config to another one."""
  changed = config_json.differences(file, config_json.plain(config))
  return [f'--config.{name}={_flag(new)}' for name, (_, new) in changed.items()]


def commands(workdir, config, step: int, file: str, overrides: list[str]) -> Iterator[str]:
  """Lines with commands to use a workdir."""
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
