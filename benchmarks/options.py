"""A training step of a config with other fields against the config's own, in one run.

  python -m benchmarks.options --config=configs/toys.py \\
    --fields="loss.adversarial=relativistic, loss.r2=3.0"
  python -m benchmarks.options --config=configs/eg3d_toys.py --batch=4 --cycles=2 \\
    --fields="eg3d.views=2"

The compiled steps take turns at 16 steps on one device, so that each lazy term counts as often as
in training. Seconds are those of the processor, all cores together: what else a machine does counts
little. The images are random; the first stage's step is measured.
"""

import argparse
import ast
import time

import jax

from benchmarks import cores, turns
from benchmarks.train_step import load
from jax3dgan.devices import compilation


def parse(fields: str) -> dict:
  """{field: value} of 'group.field=value, …'; what is no Python literal is a string."""
  values = {}
  for field in filter(None, (part.strip() for part in fields.split(','))):
    name, value = field.split('=', 1)
    try:
      values[name] = ast.literal_eval(value)
    except (ValueError, SyntaxError):
      values[name] = value
  return values


def main(argv=None):
  """The program."""
  flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  flags.add_argument('--config', required=True)
  flags.add_argument('--fields', required=True, help='group.field=value, …')
  flags.add_argument('--batch', type=int)
  flags.add_argument('--cycles', type=int, default=3)
  args = flags.parse_args(argv)
  compilation.use_cache()
  config = load(args.config)
  if args.batch:
    config.batch_size = args.batch
  other = config.copy_and_resolve_references()
  other.update_from_flattened_dict(parse(args.fields))
  steps = [cores.build(each, 1) for each in (config, other)]
  own, changed = turns.medians(steps, args.cycles, time.process_time)
  print(f'{args.config}, batch {config.batch_size}, {config.resolution}², jax {jax.__version__}')
  print(
    f'own {own:.4f} s, with {args.fields}: {changed:.4f} s of the processor, ratio '
    f'{changed / own:.3f}'
  )


if __name__ == '__main__':
  main()
