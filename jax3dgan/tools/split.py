"""How the batch of a config is divided on numbers of devices.

  python -m jax3dgan.tools.split --config=configs/celeba.py --devices=1,2,4,8,16,32

Any field of the config is overridden as in training. Compiles nothing and needs no device: the exit
code is 1, with the line that training would end with, where a batch cannot be divided.
"""

import argparse
import sys

from jax3dgan import main as main_lib
from jax3dgan import programs
from jax3dgan.errors import UserError
from jax3dgan.training import schedule


def rows(config, numbers: list[int]) -> list[str]:
  """A line for each stage and number of devices; UserError where that is not possible."""
  lines = ['stage  resolution  devices  images/device  micro-batches  padding']
  divided = [schedule.stages(config, number) for number in numbers]
  for i, stages in enumerate(zip(*divided, strict=True)):
    for stage in stages:
      split = stage.split
      lines.append(
        f'{i:5d}  {stage.resolution:10d}  {split.num_devices:7d}  {split.images_per_device:13d}'
        f'  {split.micro_batches:13d}  {split.padding:7d}'
      )
  return lines


def _numbers(text: str) -> list[int]:
  numbers = [int(word) for word in text.split(',') if word.isdecimal()]
  if not numbers or min(numbers) < 1 or len(numbers) < len(text.split(',')):
    raise UserError(f'--devices={text} are no numbers of devices. Write them as --devices=1,8.')
  return numbers


def main(argv=None) -> int:
  """The program; returns its exit code."""
  argv = programs.arguments(sys.argv if argv is None else argv)
  own = argparse.ArgumentParser(
    prog='python -m jax3dgan.tools.split',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
    allow_abbrev=False,
  )
  own.add_argument('--devices', default='1,2,4,8,16,32', help='default: 1,2,4,8,16,32')
  args, rest = own.parse_known_args(argv[1:])
  try:
    numbers = _numbers(args.devices)
    values = main_lib.parse([argv[0], *rest, '--workdir=.'])
    print('\n'.join(rows(values.config, numbers)))
  except UserError as error:
    print(f'Error: {error}', file=sys.stderr)
    return 1
  return 0


if __name__ == '__main__':
  sys.exit(main())
