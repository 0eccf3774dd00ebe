"""The measurements of an accelerator: the most important ones in a quarter of an hour.

  python -m benchmarks.device --out=device.jsonl --minutes=14   # on the device; again to go on
  python -m benchmarks.device --out=device.jsonl --report       # the tables alone, on any machine
  JAX_PLATFORMS=cpu python -m benchmarks.device --tiny --out=tiny.jsonl

Cases, in this order of importance (`--cases=step/,agree` takes those that begin so):

1. step/POLICY/PARTS: CelebA's step, batch 56 in 1 and 2 micro-batches, both networks in float32,
   TensorFloat-32, bfloat16 and float16; torch/POLICY: plain PyTorch beside it, at a batch of 14;
2. siren/VARIANT: forward and gradient of the SIREN: forms of the sine and of the first product,
   saved phases, chunks of rays;
3. eg3d/BATCH: EG3D's step of configs/eg3d_ffhq.py at 64² rays; eg3d_parts/PART: the gather of the
   planes and its scatter, merging, filters alone; eg3d_trace: three steps for a profiler;
4. agree: the same parameters and cameras on the CPU and on the device: rays, depth, image,
   gradients; repeat: 20 steps twice, bit for bit;
5. loop/LOADER: 300 steps of training with each loader against the bare step; milliseconds of a save
   and of a log line.

Each finished case is a line of JSON in --out, so that nothing is measured twice: the same command
goes on after an end of any kind. A case that failed, or ended the process twice, is left out. A
case is begun only if the time that it is expected to take is left of --minutes; all together are
expected to take 25 minutes on a data-centre GPU. At the end come the tables for
benchmarks/RESULTS.md, and what to change in jax3dgan/tools/devices.py.
"""

import argparse
import contextlib
import dataclasses
import gc
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

# PyTorch shares the device; and a process that is ended gives back what it has.
os.environ.setdefault('XLA_PYTHON_CLIENT_PREALLOCATE', 'false')

import jax

from benchmarks import device_report
from jax3dgan.devices import platforms
from jax3dgan.errors import UserError

ATTEMPTS = 2


@dataclasses.dataclass(frozen=True)
class Case:
  """A measurement.

  Attributes:
    name: see the module.
    run: () → figures by name, plain values.
    seconds: that it is expected to take on a data-centre GPU; not measured yet.
  """

  name: str
  run: Callable[[], dict]
  seconds: float


def about() -> dict:
  """What all figures of a run have in common."""
  device = jax.devices()[0]
  done = subprocess.run(
    ['git', 'rev-parse', '--short', 'HEAD'],
    capture_output=True,
    text=True,
    cwd=pathlib.Path(__file__).parent,
  )
  return {
    'device': device.device_kind,
    'platform': device.platform,
    'num_devices': jax.device_count(),
    'jax': jax.__version__,
    'commit': done.stdout.strip() or 'unknown',
  }


class Records:
  """The lines of a file: {'case', 'state': 'begun', 'done' or 'failed', ...}.

  Only those of this commit, device and size count; the file may hold others.

  Raises:
    UserError: the file cannot be read.
  """

  def __init__(self, path, run: dict):
    self._path, self._run = pathlib.Path(path), run
    try:
      text = self._path.read_text() if self._path.exists() else ''
    except (OSError, UnicodeDecodeError) as error:
      raise UserError(f'--out={path} cannot be read: {error}. Name another file.') from error
    self._is_cut = bool(text) and not text.endswith('\n')  # the process ended while it wrote
    self.lines = []
    for line in text.splitlines():
      try:
        found = json.loads(line)
      except json.JSONDecodeError:
        continue
      if isinstance(found, dict) and {'case', 'state', 'run'} <= found.keys():
        self.lines.append(found)

  def check_writable(self) -> None:
    """UserError where no line could be added."""
    try:
      self._path.open('a').close()
    except OSError as error:
      raise UserError(
        f'--out={self._path} cannot be written: {error.strerror}. Name a file of a folder '
        'that exists.'
      ) from error

  def own(self) -> list[dict]:
    """The lines of this run."""
    return [line for line in self.lines if line['run'] == self._run]

  def add(self, case: str, state: str, **values) -> None:
    """Appends a line, which is on the disk when this returns."""
    line = {'case': case, 'state': state, 'time': time.strftime('%F %T'), **values}
    line['run'] = self._run
    self.lines.append(line)
    with self._path.open('a') as file:
      file.write('\n' * self._is_cut + json.dumps(line) + '\n')
      self._is_cut = False
      file.flush()
      os.fsync(file.fileno())

  def is_left(self, case: str) -> bool:
    """Whether a case is still to be measured."""
    states = [line['state'] for line in self.own() if line['case'] == case]
    finished = 'done' in states or 'failed' in states
    return not finished and states.count('begun') < ATTEMPTS


def run(
  cases: list[Case], records: Records, minutes: float, say=print, collect=gc.collect
) -> list[str]:
  """Measures what is left; returns the names of the cases for which there was no time."""
  began, left_out = time.perf_counter(), []
  for case in cases:
    if not records.is_left(case.name):
      continue
    passed = time.perf_counter() - began
    if passed + case.seconds > 60 * minutes:
      left_out.append(case.name)
      continue
    say(f'{passed:5.0f} s  {case.name} ...')
    records.add(case.name, 'begun')
    start = time.perf_counter()
    try:
      figures = case.run()
    except Exception as error:  # the next case has its own chance
      text = f'{type(error).__name__}: {error}'.splitlines()[0][:300]
      records.add(case.name, 'failed', error=text)
      say(f'         failed: {text}')
    else:
      seconds = time.perf_counter() - start
      records.add(case.name, 'done', figures=figures, seconds=seconds)
      say(f'         {seconds:.0f} s: {device_report.line(figures)}')
    collect()  # the case's arrays
  return left_out


@contextlib.contextmanager
def compilation_cache(folder: str):
  """Compilation is measured: only what this process has compiled before is not compiled again."""
  before = jax.config.jax_compilation_cache_dir
  jax.config.update('jax_compilation_cache_dir', folder)
  try:
    yield
  finally:
    jax.config.update('jax_compilation_cache_dir', before)


def main(argv=None) -> int:
  """The program; returns its exit code."""
  flags = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  flags.add_argument('--out', required=True, help='file of JSON lines, appended to')
  flags.add_argument('--minutes', type=float, default=14.0, help='default: 14')
  flags.add_argument('--cases', default='', help='beginnings of names, separated by commas')
  flags.add_argument('--tiny', action='store_true', help='sizes that a CPU tries in minutes')
  flags.add_argument('--report', action='store_true', help='print the tables alone')
  args = flags.parse_args(argv)
  try:
    return _report(args.out) if args.report else _measure(args)
  except UserError as error:
    print(f'Error: {error}', file=sys.stderr)
    return 1


def _report(path) -> int:
  lines = Records(path, {}).lines
  if not lines:
    raise UserError(f'--out={path} has no measurement. Leave --report out to measure.')
  print(device_report.report(lines))
  return 0


def _measure(args) -> int:
  # The CPU stays available beside an accelerator; one that JAX does not use is an error.
  platforms.choose()
  platforms.check()
  if jax.default_backend() == 'cpu' and not args.tiny:
    raise UserError('JAX uses the CPU, for which the sizes are far too large. Add --tiny.')
  records = Records(args.out, {**about(), 'tiny': args.tiny})
  records.check_writable()
  with tempfile.TemporaryDirectory() as cache, compilation_cache(cache):
    cases = chosen(args.cases, _all_cases(args))
    left_out = run(cases, records, args.minutes)
  print(device_report.report(records.own()))
  if left_out:
    print(f'No time was left for {", ".join(left_out)}: run the command again.')
  failed = [line['case'] for line in records.own() if line['state'] == 'failed']
  if failed:
    print(f'Failed: {", ".join(failed)}. Remove their lines from {args.out} to try them again.')
  return 1 if failed else 0


def _all_cases(args) -> list[Case]:
  try:
    from benchmarks import device_cases
  except ModuleNotFoundError as error:
    raise UserError(
      f'The package {error.name} is not installed. Install this one with all that it needs: '
      "pip install -e '.[cuda12]' (or cuda13, tpu; for a CPU none of them)."
    ) from error
  sizes = device_cases.TINY if args.tiny else device_cases.FULL
  return device_cases.cases(sizes, pathlib.Path(args.out).absolute().parent)


def chosen(beginnings: str, cases: list[Case]) -> list[Case]:
  """The cases whose names begin with one of some beginnings, separated by commas; '' for all.

  Raises:
    UserError: no name begins so.
  """
  every = [beginning.strip() for beginning in beginnings.split(',') if beginning.strip()]
  for beginning in every:
    if not any(case.name.startswith(beginning) for case in cases):
      names = ', '.join(case.name for case in cases)
      raise UserError(f'No name of a case begins with {beginning!r}. There are {names}.')
  return [case for case in cases if case.name.startswith(tuple(every) or '')]


if __name__ == '__main__':
  sys.exit(main())
