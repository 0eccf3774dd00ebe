#!/usr/bin/env python
"""Trains a config once for each combination of overrides, each run in a workdir of its own.

  python launch/sweep.py --config=configs/toys.py --root=runs/sweep \\
    --grid seed=0,1 loss.r1=1,3,10 --set num_steps=400

makes six runs, runs/sweep/seed=0_loss.r1=1 and so on. `--list FILE` instead takes one run from each
line, such as `seed=0 loss.r1=3`. Values with commas stand in brackets: `ema.rates=(0.9,),(0.99,)`.

Runs that have a summary.json are left out, so the same command takes up what is missing and goes on
where runs were stopped. The launcher is any command with {config}, {workdir}, {overrides} and
{name} in it, such as 'sbatch launch/slurm.sbatch {config} {workdir} {overrides}': one that only
submits leaves its runs as `submitted`. The output of each goes to ROOT/logs/NAME.log. Ctrl-C or
SIGTERM is passed on and waited for. The exit code is 1 where a run failed, 130 after a stop.
"""

import argparse
import dataclasses
import hashlib
import itertools
import json
import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys
import time

_LOCAL = shlex.quote(str(pathlib.Path(__file__).resolve().parent / 'local.sh'))
_LAUNCHER = f'{_LOCAL} {{config}} {{workdir}} {{overrides}}'
_PLACES = {'config', 'workdir', 'overrides', 'name'}
_LONGEST_NAME = 100  # file systems take 255 bytes, file browsers and tables less
_POLL_SECONDS = 0.1


@dataclasses.dataclass
class Run:
  """One combination of overrides: [('seed', '0'), …]; where it trains, and how it stands."""

  name: str
  workdir: str
  overrides: list[tuple[str, str]]
  state: str = 'waiting'
  summary: dict = dataclasses.field(default_factory=dict)


def split_values(text: str) -> list[str]:
  """Splits at the commas outside of brackets and quotes: 'a,(b,c)' → ['a', '(b,c)']."""
  values, depth, quote = [''], 0, ''
  for character in text:
    if quote:
      quote = '' if character == quote else quote
    elif character in '\'"':
      quote = character
    depth += not quote and (character in '([{') - (character in ')]}')
    if character == ',' and not depth and not quote:
      values.append('')
    else:
      values[-1] += character
  if depth or quote:
    raise ValueError(f'{text} has a bracket or quote without its partner.')
  return values


def _field(text: str) -> tuple[str, str]:
  name, equals, value = text.removeprefix('--').removeprefix('config.').partition('=')
  if not equals or not re.fullmatch(r'\w+(\.\w+)*', name):
    raise ValueError(f'{text} is not of the form FIELD=VALUE, such as loss.r1=3.')
  return name, value


def combinations(grid=(), lines=()) -> list[list[tuple[str, str]]]:
  """The overrides of each run: all combinations of `grid` (FIELD=VALUE,VALUE,…), the last field
  fastest, for each of `lines` (FIELD=VALUE FIELD=VALUE …)."""
  axes = []
  for text in grid:
    name, values = _field(text)
    axes.append([(name, value) for value in split_values(values)])
  listed = [[_field(word) for word in shlex.split(line, comments=True)] for line in lines]
  listed = [fields for fields in listed if fields] if lines else [[]]
  return [fields + list(point) for fields in listed for point in itertools.product(*axes)]


def run_name(overrides) -> str:
  """A folder's name that shows the overrides; a hash keeps shortened names apart."""
  text = '_'.join(f'{name}={value}' for name, value in overrides) or 'run'
  clean = re.sub(r'[^\w.=+-]+', '-', text)
  if clean != text or len(clean) > _LONGEST_NAME:
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    clean = f'{clean[: _LONGEST_NAME - 9]}-{digest}'
  return clean


def read_summary(workdir: str) -> dict | None:
  """The summary.json of a finished run, or None; of a bucket (gs://…) by `gcloud storage`."""
  if workdir.startswith('gs://'):
    command = ['gcloud', 'storage', 'cat', f'{workdir}/summary.json']
    done = subprocess.run(command, capture_output=True, text=True)
    text = done.stdout if done.returncode == 0 else None
  else:
    path = pathlib.Path(workdir) / 'summary.json'
    text = path.read_text() if path.is_file() else None
  try:
    return None if text is None else json.loads(text)
  except json.JSONDecodeError:  # cut off while it was written: the run's last step is repeated
    return None


def command_of(launcher: str, config: str, run: Run, common) -> list[str]:
  """The words of the launcher for a run; {overrides} becomes as many as there are overrides."""
  flags = [f'--config.{name}={value}' for name, value in [*common, *run.overrides]]
  words = []
  for word in shlex.split(launcher):
    if word == '{overrides}':
      words += flags
      continue
    overrides = shlex.join(flags)  # within a longer word, for a shell
    words.append(
      word.format(config=config, workdir=run.workdir, overrides=overrides, name=run.name)
    )
  return words


def table(runs) -> str:
  """The runs, their states and what their summaries say, in columns."""
  rows = [('run', 'state', 'steps', 'images/s', 'seconds')]
  for run in runs:
    rate = run.summary.get('images_per_second')
    rows.append(
      (
        run.name,
        run.state,
        str(run.summary.get('steps', '')),
        '' if rate is None else f'{rate:.3g}',
        str(run.summary.get('seconds_total', '')),
      )
    )
  widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
  lines = ['  '.join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in rows]
  return '\n'.join(line.rstrip() for line in lines)


class Sweep:
  """Keeps up to `max_parallel` of the runs going, until all have ended or a signal comes."""

  def __init__(self, runs, launch, max_parallel: int):
    self._waiting = [run for run in runs if run.state == 'waiting']
    self._launch, self._max_parallel = launch, max_parallel
    self._going: list[tuple[Run, subprocess.Popen]] = []
    self.stopped = False

  def stop(self, number, frame) -> None:
    """Passes SIGTERM on; for signal.signal."""
    del number, frame
    self.stopped = True
    for _, process in self._going:
      process.terminate()

  def work(self) -> None:
    """Returns when nothing is left to do; the runs say how they ended."""
    before = {n: signal.signal(n, self.stop) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
      while self._going or (self._waiting and not self.stopped):
        while self._waiting and not self.stopped and len(self._going) < self._max_parallel:
          run = self._waiting.pop(0)
          try:
            self._going.append((run, self._launch(run)))
          except OSError as error:
            run.state = 'failed (127)'  # as a shell says it
            print(f'{run.name}: {error}', file=sys.stderr)
            continue
          run.state = 'running'
          print(f'{run.name}: started', flush=True)
          if self.stopped:  # the signal came before the process was in the list
            self._going[-1][1].terminate()
        for run, process in list(self._going):
          if process.poll() is not None:
            self._going.remove((run, process))
            self._end(run, process.returncode)
        time.sleep(_POLL_SECONDS)
    finally:
      for number, handler in before.items():
        signal.signal(number, handler)

  def _end(self, run: Run, code: int) -> None:
    summary = read_summary(run.workdir)
    if code == 0:
      run.state = 'submitted' if summary is None else 'finished'
    else:
      run.state = 'stopped' if self.stopped else f'failed ({code})'
    run.summary = summary or {}
    print(f'{run.name}: {run.state}', flush=True)


def _parse(argv):
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--config', required=True, help='file of the config')
  parser.add_argument('--root', required=True, help='folder of the workdirs')
  parser.add_argument(
    '--grid', nargs='+', default=[], metavar='FIELD=VALUE,VALUE', help='all combinations'
  )
  parser.add_argument('--list', metavar='FILE', help='a run for each line: FIELD=VALUE …')
  parser.add_argument(
    '--set', nargs='+', default=[], metavar='FIELD=VALUE', help='for all runs; not in their names'
  )
  parser.add_argument('--launcher', default=_LAUNCHER, help='default: launch/local.sh …')
  parser.add_argument('--max_parallel', type=int, default=1, help='runs at the same time')
  parser.add_argument('--dry_run', action='store_true', help='print the commands')
  args = parser.parse_args(argv)
  # A shell leaves the ~ of --root=~/runs alone.
  for name in ('config', 'root', 'list'):
    value = getattr(args, name)
    setattr(args, name, value and os.path.expanduser(value))
  places = set(re.findall(r'\{(\w*)\}', args.launcher))
  if not {'workdir', 'overrides'} <= places or not places <= _PLACES:
    parser.error(
      'the launcher needs {workdir} and {overrides}, and may have {config} and {name}; it has '
      f'{", ".join(sorted(places)) or "none"}'
    )
  if args.max_parallel < 1:
    parser.error(f'--max_parallel is {args.max_parallel}; it must be 1 or more')
  try:
    lines = pathlib.Path(args.list).read_text('utf-8-sig').splitlines() if args.list else []
    points = combinations(args.grid, lines)
    common = [_field(text) for text in args.set]
  except (ValueError, OSError) as error:
    parser.error(str(error))
  if args.list and not points:
    parser.error(f'{args.list} lists no run')
  names = [run_name(point) for point in points]
  twice = sorted({name for name in names if names.count(name) > 1})
  if twice:
    parser.error(f'two runs would be the same: {", ".join(twice)}')
  root = args.root.rstrip('/') or '/'
  runs = [Run(name, f'{root}/{name}', p) for name, p in zip(names, points, strict=True)]
  return args, root, runs, common


def main(argv=None) -> int:
  """The program; returns its exit code."""
  args, root, runs, common = _parse(argv)
  for run in runs:
    summary = read_summary(run.workdir)
    if summary is not None:
      run.state, run.summary = 'finished', summary
  if args.dry_run:
    for run in runs:
      words = command_of(args.launcher, args.config, run, common)
      print(f'# finished: {run.name}' if run.state == 'finished' else shlex.join(words))
    return 0
  logs = pathlib.Path('sweep_logs' if root.startswith('gs://') else root) / 'logs'
  logs.mkdir(parents=True, exist_ok=True)

  def launch(run):
    with (logs / f'{run.name}.log').open('ab') as log:
      return subprocess.Popen(
        command_of(args.launcher, args.config, run, common),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # the terminal's Ctrl-C comes by way of us, once, as SIGTERM
      )

  sweep = Sweep(runs, launch, args.max_parallel)
  sweep.work()
  print(table(runs))
  if sweep.stopped:
    print(f'Stopped. The same command goes on: {shlex.join([sys.executable, *sys.argv])}')
    return 130
  return int(any(run.state.startswith('failed') for run in runs))


if __name__ == '__main__':
  sys.exit(main())
