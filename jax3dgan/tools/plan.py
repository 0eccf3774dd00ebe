"""The cost of a run: FLOPs, memory, the largest batch, time; without the device that it is for.

  python -m jax3dgan.tools.plan --config=configs/celeba.py --device=h100
  python -m jax3dgan.tools.plan --config=configs/celeba.py --device=v5e --devices=8 \\
    --config.model.matmul_dtype=bfloat16 --config.batch_size=64
  python -m jax3dgan.tools.plan --config=configs/celeba.py --fast --json

Any field of the config is overridden as in training. Each stage's step is compiled about three
times, 20 to 60 s each for the large configs; --fast only traces it, and gives only the memory of
the state. Without the device, the device's variant of the program is compiled for this machine's
CPU. Its temporaries are those of XLA's CPU fusions: a GPU's fusions, kernels and schedule give
another figure, which has not been measured yet. FLOPs do not depend on it.
"""

import argparse
import re
import sys
from collections.abc import Callable

import jax

from jax3dgan import generators, json_text, programs
from jax3dgan import main as main_lib
from jax3dgan.devices import platforms
from jax3dgan.errors import UserError
from jax3dgan.nn import auto_precision, backend
from jax3dgan.tools import devices as devices_lib
from jax3dgan.tools import fit, flops
from jax3dgan.training import schedule

GIB = 2**30
_UNITS = {'B': 1, 'KB': 1e3, 'MB': 1e6, 'GB': 1e9, 'KIB': 2**10, 'MIB': 2**20, 'GIB': GIB}


def parse_memory(text: str) -> int:
  """Bytes of '80GiB', '16 GB', '900MiB'.

  Raises:
    UserError: It is not an amount of memory.
  """
  match = re.fullmatch(r'\s*(\d+(?:\.\d*)?)\s*([kmg]?i?b)\s*', text, re.IGNORECASE)
  if not match or match[2].upper() not in _UNITS or not float(match[1]):
    raise UserError(f'{text!r} is not an amount of memory. Write it as --memory=80GiB.')
  return int(float(match[1]) * _UNITS[match[2].upper()])


def count_flops(step: fit.Step, batch: int) -> dict[str, float]:
  """FLOPs an image, as `batch` images of a device share a step.

  'model': products of one batch, with neither micro-batches nor chunks: what MFU is a share of.
  'configured': products as configured, each loop by its length.
  'xla': XLA's analysis of the step in one batch, which has no loop that it could miscount; with
    every addition and activation.
  What a generator says is not counted is not (`Generator.not_counted`).
  """
  open_ended = 0 if step.generator.not_counted else None
  whole = step.trace(batch, 'gpu', micro_batches=1, ray_chunk=0)
  with backend.lowering_for('gpu'):
    model = flops.products(whole.jaxpr, open_ended=open_ended)
    analysis = whole.lower().cost_analysis()
  with backend.lowering_for(step.platform):
    configured = flops.products(step.trace(batch).jaxpr, open_ended=open_ended)
  counts = {'model': model, 'configured': configured, 'xla': analysis['flops']}
  return {name: count / batch for name, count in counts.items()}


def plan(
  config,
  device: devices_lib.Device,
  memory: int | None = None,
  num_devices: int = 1,
  fast: bool = False,
  mfu: float | None = None,
  say: Callable[[str], None] = lambda line: None,
) -> dict:
  """The plan of a config on devices of a kind.

  Args:
    config: the run's.
    device: one of the devices.
    memory: bytes that a device has for the program; None for what JAX takes of the device's.
    num_devices: how many.
    fast: trace only; of memory only that of the state.
    mfu: share of the peak, instead of the table's.
    say: Called with what takes long.

  Returns:
    A dict of plain values, which `table` shows; 'stages' has one dict for each.

  Raises:
    UserError: a batch that the devices cannot share, a precision that the device does not support.
  """
  with backend.lowering_for(device.platform):
    config = auto_precision.resolve(config)
  limit = int(memory or device.memory * device.usable * GIB)
  policy = config.model.get('matmul_dtype', 'float32')
  peak = devices_lib.peak(device, policy)
  share, measured = devices_lib.utilisation(device, policy, config.model.get('hidden_dim', 64))
  share, source = (mfu, 'given') if mfu else (share, 'measured' if measured else 'assumed')
  stages, state = [], None
  for stage in schedule.stages(config, num_devices):
    step, batch = fit.Step(config, stage, device.platform), stage.split.images_per_device
    state = state or step.state
    counts = count_flops(step, batch)
    # A CPU's devices share its cores, and the table's peak is that of all of them.
    num_sharing = num_devices if device.platform == 'cpu' else 1
    seconds = counts['model'] * batch * num_sharing / (peak * share)
    num_steps = stage.to_step - stage.from_step
    exchanged = 4 * fit.num_parameters(state.networks)
    record = {
      'from_step': stage.from_step,
      'to_step': stage.to_step,
      'resolution': stage.resolution,
      'batch': stage.batch_size,
      'batch_per_device': batch,
      'micro_batches': stage.micro_batches,
      'split': str(stage.split),
      'flops_per_image': counts,
      'seconds_per_step': seconds,
      'seconds': seconds * num_steps,
      'images_per_second': stage.batch_size / seconds,
      'gradient_bytes': exchanged,
    }
    if num_devices > 1 and device.link:
      sent = 2 * (num_devices - 1) / num_devices * exchanged
      record['all_reduce_seconds'] = sent / (device.link * 1e9)
    if not fast:
      record['memory'] = fit.plan_memory(step, batch, limit, say)
      compiled = record['memory'].pop('compiled_flops_per_image')
      # A GPU's program calls libraries for its products, which are not counted.
      counts['compiled'] = compiled if jax.default_backend() == 'cpu' else None
    stages.append(record)
  return {
    'device': device.name,
    'device_source': device.source,
    'num_devices': num_devices,
    'memory_bytes': limit,
    'policy': policy,
    'peak_tflops': peak / 1e12,
    'mfu': share,
    'mfu_source': source,
    'compiled_for': jax.default_backend(),
    'forms_of': device.platform,
    'parameters': {name: fit.num_parameters(x) for name, x in state.networks.items()},
    'state_bytes': fit.num_bytes(state),
    'data_on_device': bool(config.data.on_device),
    'not_counted': generators.create(config).not_counted,
    'stages': stages,
    'seconds': sum(stage['seconds'] for stage in stages),
  }


def parse(argv) -> tuple[argparse.Namespace, object]:
  """The flags, and the config with its overrides; UserError if they are wrong."""
  own = argparse.ArgumentParser(
    prog='python -m jax3dgan.tools.plan',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
    allow_abbrev=False,
  )
  own.add_argument('--device', help=f'{", ".join(devices_lib.DEVICES)}; default: this machine')
  own.add_argument('--memory', help='of a device, such as 80GiB; default: what JAX takes of it')
  own.add_argument('--devices', type=int, default=1, help='how many; default: 1')
  own.add_argument('--mfu', type=float, help='share of the peak that a step reaches, 0 to 1')
  own.add_argument('--fast', action='store_true', help='trace only, compile nothing')
  own.add_argument('--json', action='store_true', help='print JSON')
  args, rest = own.parse_known_args(argv[1:])
  values = main_lib.parse([argv[0], *rest, '--workdir=.'])
  if args.devices < 1:
    raise UserError(f'--devices={args.devices} is not possible. Give 1 or more.')
  if args.mfu is not None and not 0 < args.mfu <= 1:
    raise UserError(f'--mfu={args.mfu} is not a share of a peak. Give a number from 0 to 1.')
  return args, values.config


def run(argv=None) -> int:
  """The program; returns its exit code."""
  from jax3dgan.tools import plan_table

  argv = programs.arguments(sys.argv if argv is None else argv)
  try:
    args, config = parse(argv)
    platforms.start()
    name = args.device or devices_lib.name_of(jax.devices()[0].device_kind)
    memory = parse_memory(args.memory) if args.memory else None
    say = print if sys.stderr.isatty() else (lambda *line, **options: None)
    result = plan(
      config,
      devices_lib.find(name),
      memory,
      args.devices,
      args.fast,
      args.mfu,
      lambda line: say(line, file=sys.stderr),
    )
  except UserError as error:
    print(f'Error: {error}', file=sys.stderr)
    return 1
  print(json_text.dumps(result).rstrip() if args.json else plan_table.table(result))
  return 0


def main(argv=None) -> int:
  """The program of the arguments without its name, as of the console script."""
  return run(None if argv is None else ['jax3dgan plan', *argv])


if __name__ == '__main__':
  sys.exit(run())
