"""Trains a model: `python -m jax3dgan.main --config=configs/toys.py`.

`--config=toys` is short for that, also where the package is installed without its repository.
`--workdir=DIR` is where checkpoints, metrics and pictures go, runs/CONFIG by default. Any field of
the config is overridden on the command line: `--config.batch_size=32`. With `--config.platform=gpu`
(or tpu, cpu; or JAX_PLATFORMS) a run without that device is an error. Running the same command
again continues where the run stopped. `--mode=eval` measures the model of the workdir, or, with
`--pretrained=NAME`, one of the package, a folder or the Hugging Face Hub, whose figures then go to
`--workdir`, which may not be a run's; there `--config` may be left out, and is then that of the
model. Other flags: `--debug` shows
the whole stack of an error; `--coordinator=HOST:PORT --num_processes=N --process_id=I` join
processes where no cluster manager does it, within `--coordinator_timeout` seconds; one that is
silent for `--heartbeat_timeout` seconds counts as lost, and the others end. The exit code is 1
after an error, 130 after Ctrl-C and 0 after SIGTERM, or what JAX3DGAN_SIGTERM_EXIT_CODE says.
"""

import pathlib
import shlex
import signal
import sys
import traceback
from collections.abc import Sequence

import ml_collections
from absl import flags

from jax3dgan import command_line, config_files, programs
from jax3dgan.errors import UserError
from jax3dgan.training import checks

_OUT_OF_MEMORY = ('out of memory', 'Out of memory', 'Failed to allocate')


def parse(argv: Sequence[str]) -> flags.FlagValues:
  """Returns the parsed flags of a command line, with the values that were left to the program.

  Args:
    argv: The program's name and its arguments.

  Raises:
    UserError: What is wrong with them, and the nearest right thing.
  """
  path, of_model, chosen = _argument(argv, 'config'), None, []
  if path is not None:
    path, line = config_files.find(path)
    argv, chosen = _with_config(argv, path), [line] if line else []
  elif _argument(argv, 'mode') == 'eval':
    of_model = _config_of_model(_argument(argv, 'workdir'), _argument(argv, 'pretrained'))
  try:
    values = command_line.define_flags(argv, of_model)
    rest = values(list(argv))[1:]
  except Exception as error:
    raise command_line.explain(error, argv, path, of_model) from error
  if rest:
    raise UserError(f'{rest[0]!r} is not a flag. Flags begin with --, as --config=configs/toys.py.')
  if values.config is None:
    raise UserError(f'--config is missing. Choose one of {config_files.listing()}.')
  programs.expand_home(values.config)
  chosen += _choose_workdir(values, path)
  _, separator, rest = values.workdir.partition('://')
  if separator:
    raise UserError(
      f'--workdir={values.workdir} is no folder of this machine. Mount the bucket (for gs:// with '
      f'gcsfuse, see launch/README.md) and give the path below the mount, such as /mnt/{rest}.'
    )
  checks.check(values.config, '' if values.mode == 'train' else 'eval.')
  for line in chosen:
    print(line, file=sys.stderr)
  return values


def _choose_workdir(values: flags.FlagValues, path: str | None) -> list[str]:
  """Sets the workdir where it is left out; returns lines that say so."""
  if values.pretrained and values.mode == 'train':
    raise UserError('--pretrained goes with --mode=eval. Leave it out to train.')
  if values.workdir:
    return []
  if values.pretrained:
    values.workdir = f'runs/{pathlib.PurePath(values.pretrained).name}_pretrained'
    return []
  if values.mode == 'eval':
    raise UserError('--workdir is missing. Name a folder for the run, such as --workdir=runs/toys.')
  values.workdir = config_files.default_workdir(path)
  return [f'Workdir: {values.workdir} (--workdir=DIR chooses another).']


def _with_config(argv: Sequence[str], path: str) -> list[str]:
  """The arguments with the path of the config in place of what names it."""
  kept, place, skips = [], None, False
  for arg in argv:
    name, equals, _ = arg.partition('=')
    if skips:
      skips = False
    elif name in ('--config', '-config'):
      skips, place = not equals, len(kept) if place is None else place
    else:
      kept.append(arg)
  return [*kept[:place], f'--config={path}', *kept[place:]]


def _argument(argv: Sequence[str], flag: str) -> str | None:
  """The value of a flag; the last one counts where it is repeated, as for all flags."""
  found = None
  for arg, after in zip(argv, [*argv[1:], ''], strict=True):
    name, equals, value = arg.partition('=')
    if name in (f'--{flag}', f'-{flag}'):
      found = value if equals else after
  return found


def _config_of_model(workdir: str | None, pretrained: str | None) -> ml_collections.ConfigDict:
  """The config of the model that is to be evaluated."""
  from jax3dgan import trained

  if not workdir and not pretrained:
    raise UserError('Say what to evaluate: --workdir=DIR of a run, or --pretrained=NAME.')
  config = trained.config_of(workdir, pretrained)
  config.platform = 'auto'  # where it was trained says nothing about this machine
  return config


def explain(error: Exception, workdir: str) -> UserError | None:
  """Returns the one-line form of an error that the user can mend, or None for a fault of ours."""
  if isinstance(error, UserError):
    return error
  from jax3dgan.devices import hosts
  from jax3dgan.runs.workdirs import disk_error

  if lost := hosts.lost(error):
    return lost
  if isinstance(error, FileExistsError) and '.orbax-checkpoint-tmp' in str(error):
    return UserError(
      f'Another process writes the same checkpoints. Wait for it, or end it, or choose another '
      f'folder than --workdir={workdir}.'
    )
  if isinstance(error, OSError):
    return disk_error(error, error.filename or workdir)
  text = str(error)
  if 'RESOURCE_EXHAUSTED' in text and any(words in text for words in _OUT_OF_MEMORY):
    return UserError(
      'The device has not enough memory for a step. Split the batch: --config.micro_batches=2, on '
      'n devices 2·n, or more; or render fewer rays at a time: --config.render.ray_chunk=1024.'
    )
  return None


def run(values: flags.FlagValues) -> None:
  """Joins the other processes, if any, and does what the mode says."""
  from jax3dgan.devices import agreement, compilation, cpu_devices, parallel, platforms
  from jax3dgan.training import device_count

  compilation.use_cache()
  platform = values.config.get('platform', 'auto')
  platforms.choose(platform)
  parallel.initialize(
    values.coordinator,
    values.num_processes,
    values.process_id,
    values.coordinator_timeout,
    values.heartbeat_timeout,
  )
  if values.mode == 'train':
    cpu_devices.enable(device_count.largest(values.config, cpu_devices.cores()))
  platforms.check(platform)
  if line := platforms.few_cores():
    print(line, file=sys.stderr)
  agreement.check_same(
    values.config, mode=values.mode, workdir=values.workdir, pretrained=values.pretrained
  )
  if values.mode == 'eval':
    from jax3dgan.evaluation import evaluate

    evaluate.run(values.config, values.workdir, values.pretrained)
    return
  from jax3dgan import train

  train.run(values.config, values.workdir)


def _stopped(workdir: str, argv: Sequence[str]) -> str:
  from jax3dgan.runs import checkpoints

  steps = checkpoints.steps(workdir)
  state = f'saved at step {steps[-1]:,}' if steps else 'nothing was saved yet'
  command = f'python -m jax3dgan.main {shlex.join(argv[1:])}'
  return f'Stopped; {state}. The same command goes on from there: {command}'


def main(argv: Sequence[str] | None = None) -> int:
  """The program; returns its exit code."""
  argv = programs.arguments(sys.argv if argv is None else argv)
  if any(a in ('-h', '--help', '-help') for a in argv[1:]):
    print(f'{__doc__}\n{command_line.define_flags(argv[:1]).get_help()}')
    return 0
  debug = any(a.lstrip('-') in ('debug', 'debug=true') for a in argv[1:])
  values, before = None, signal.getsignal(signal.SIGTERM)
  try:
    values = parse(argv)
    from jax3dgan.runs import interruption

    # A polite kill is as good as Ctrl-C, also before and after the steps.
    signal.signal(signal.SIGTERM, interruption.on_sigterm)
    run(values)
    return 0
  except KeyboardInterrupt as stop:
    training = values is not None and values.mode == 'train'
    print('\n' + _stopped(values.workdir, argv) if training else '\nStopped.', file=sys.stderr)
    from jax3dgan.runs import interruption

    return interruption.exit_code(stop)
  except Exception as error:
    explained = explain(error, values.workdir if values else '')
    shows_stack = explained is None or debug
    if not shows_stack:
      print(f'Error: {explained}', file=sys.stderr)
    from jax3dgan.devices import hosts

    if hosts.several():
      if shows_stack:
        traceback.print_exc()
      hosts.leave(1)
    if shows_stack:
      raise
    return 1
  finally:
    signal.signal(signal.SIGTERM, before)


if __name__ == '__main__':
  sys.exit(main())
