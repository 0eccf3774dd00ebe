"""launch/sweep.py: which runs, with which commands, and what becomes of them."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from launch_scripts import LAUNCH

sys.path.insert(0, str(LAUNCH))
import sweep

# Trains for as long as `seed` says, fails at seed 9, and notes its arguments.
_STUB = """
echo "$*" >>"$HOME/calls"
mkdir -p "$2"
case "$*" in
  *seed=9*) echo broken; exit 3 ;;
  *seed=wait*) trap 'echo saved; exit 130' TERM; touch "$2/there"; while :; do sleep 0.05; done ;;
esac
echo '{"steps": 2, "images_per_second": 3.14159, "seconds_total": 1.5}' >"$2/summary.json"
"""
_WORDS = ('{config}', '{workdir}', '{overrides}')


@pytest.fixture
def program(scripts):
  """Calls sweep.py with the stub as the launcher."""

  def start(*args, launcher=None):
    stub = scripts.program('stub', _STUB)
    command = [sys.executable, str(LAUNCH / 'sweep.py'), '--config=c.py']
    command += [
      f'--root={scripts.home}/sweep',
      '--launcher',
      launcher or ' '.join((str(stub), *_WORDS)),
    ]
    return subprocess.Popen(
      [*command, *args],
      cwd=scripts.home,
      env=scripts.environment(),
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
    )

  def call(*args, **kwargs):
    process = start(*args, **kwargs)
    output, errors = process.communicate(timeout=120)
    return process.returncode, output, errors

  call.start, call.home = start, scripts.home
  return call


@pytest.mark.parametrize(
  'text, values',
  [
    ('1', ['1']),
    ('1,2.5', ['1', '2.5']),
    ('(0.9,),(0.9,0.99)', ['(0.9,)', '(0.9,0.99)']),
    ("'a,b',c", ["'a,b'", 'c']),
    ('', ['']),
    ('a,', ['a', '']),
  ],
)
def test_values_are_split_outside_of_brackets(text, values):
  assert sweep.split_values(text) == values


@pytest.mark.parametrize('text', ['(1,2', "'a", '1)'])
def test_a_bracket_alone_is_an_error(text):
  with pytest.raises(ValueError, match='without its partner'):
    sweep.split_values(text)


def test_all_combinations_in_order():
  points = sweep.combinations(['seed=0,1', '--config.loss.r1=1,3'])
  assert points == [[('seed', s), ('loss.r1', r)] for s in ('0', '1') for r in ('1', '3')]
  lines = ['seed=0 data.source="my data"', '# a comment', '', 'seed=5']
  assert sweep.combinations(lines=lines) == [
    [('seed', '0'), ('data.source', 'my data')],
    [('seed', '5')],
  ]
  assert len(sweep.combinations(['loss.r1=1,3,9'], lines)) == 6
  assert sweep.combinations() == [[]]
  with pytest.raises(ValueError, match='not of the form FIELD=VALUE'):
    sweep.combinations(['seed'])


def test_names_are_folders_and_tell_runs_apart():
  assert sweep.run_name([('seed', '0'), ('loss.r1', '3')]) == 'seed=0_loss.r1=3'
  assert sweep.run_name([]) == 'run'
  odd = [
    sweep.run_name([('ema.rates', v)]) for v in ('(0.9,)', '(0.9)', '[0.9]', '0.9/', 'x' * 200)
  ]
  assert len(set(odd)) == 5
  assert all(len(name) <= 100 and '/' not in name and '(' not in name for name in odd)


def test_overrides_stay_whole_words():
  run = sweep.Run('n', 'w d', [('a.b', 'x y'), ('seed', '1')])
  words = sweep.command_of('go {config} {workdir} {overrides}', 'c.py', run, [('z', '2')])
  assert words == ['go', 'c.py', 'w d', '--config.z=2', '--config.a.b=x y', '--config.seed=1']
  shell = sweep.command_of("sh -c 'go {overrides}' {name}", 'c.py', run, [])
  assert shell == ['sh', '-c', "go '--config.a.b=x y' --config.seed=1", 'n']


def test_a_sweep_trains_what_is_missing(program):
  grid = ('--grid', 'seed=1,9', '--set', 'num_steps=2', '--max_parallel', '2')
  code, output, _ = program(*grid)
  home = program.home
  assert code == 1
  assert output.splitlines()[-3:] == [
    'run     state       steps  images/s  seconds',
    'seed=1  finished    2      3.14      1.5',
    'seed=9  failed (3)',
  ]
  assert (home / 'sweep/logs/seed=9.log').read_text() == 'broken\n'
  calls = (home / 'calls').read_text().splitlines()
  assert f'c.py {home}/sweep/seed=1 --config.num_steps=2 --config.seed=1' in calls
  assert len(calls) == 2
  # The same command again takes up the one that failed, alone.
  assert program(*grid)[0] == 1
  calls = (home / 'calls').read_text().splitlines()
  assert len(calls) == 3 and calls[-1].endswith('seed=9')
  (home / 'sweep/seed=9/summary.json').write_text('{"steps": 2}')
  assert program(*grid)[0] == 0
  assert len((home / 'calls').read_text().splitlines()) == 3
  assert json.loads((home / 'sweep/seed=1/summary.json').read_text())['steps'] == 2


def test_a_dry_run_runs_nothing(program):
  (program.home / 'list').write_text('seed=1\nseed=2 loss.r1=3\n')
  (program.home / 'sweep/seed=1').mkdir(parents=True)
  (program.home / 'sweep/seed=1/summary.json').write_text('{}')
  code, output, _ = program('--list', 'list', '--dry_run')
  assert code == 0 and output.splitlines() == [
    '# finished: seed=1',
    f'{program.home}/bin/stub c.py {program.home}/sweep/seed=2_loss.r1=3 --config.seed=2 '
    '--config.loss.r1=3',
  ]
  assert not (program.home / 'calls').exists() and not (program.home / 'sweep/logs').exists()


def test_the_usual_launcher_is_local(tmp_path, capsys):
  args = ['--config=c.py', f'--root={tmp_path}', '--grid', 'seed=3', '--dry_run']
  assert sweep.main(args) == 0
  output = capsys.readouterr().out
  assert output == f'{LAUNCH}/local.sh c.py {tmp_path}/seed=3 --config.seed=3\n'


def test_a_launcher_that_only_submits(program):
  code, output, _ = program('--grid', 'seed=1', launcher='true {workdir} {overrides}')
  assert code == 0 and output.splitlines()[-1] == 'seed=1  submitted'
  code, output, errors = program(
    '--grid', 'seed=1', launcher='no_such_program {workdir} {overrides}'
  )
  assert code == 1 and output.splitlines()[-1] == 'seed=1  failed (127)'
  assert 'no_such_program' in errors


def test_a_stop_is_passed_on(program):
  process = program.start('--grid', 'seed=wait,1', '--max_parallel', '1')
  there = program.home / 'sweep/seed=wait/there'
  while not there.exists() and process.poll() is None:
    time.sleep(0.05)
  os.kill(process.pid, signal.SIGINT)
  output, _ = process.communicate(timeout=60)
  assert process.returncode == 130
  assert 'seed=wait  stopped' in output and 'seed=1     waiting' in output
  assert 'The same command goes on: ' in output
  assert (program.home / 'sweep/logs/seed=wait.log').read_text() == 'saved\n'


@pytest.mark.parametrize(
  'args, launcher, message',
  [
    (['--grid', 'seed=1,1'], None, 'two runs would be the same: seed=1'),
    (['--grid', 'seed'], None, 'not of the form FIELD=VALUE'),
    (['--list', 'none'], None, 'No such file'),
    (['--max_parallel', '0'], None, 'it must be 1 or more'),
    ([], 'go {workdir}', 'the launcher needs {workdir} and {overrides}'),
    ([], 'go {workdir} {overrides} {x}', 'it has overrides, workdir, x'),
  ],
)
def test_wrong_arguments(program, args, launcher, message):
  code, _, errors = program(*args, launcher=launcher)
  assert code == 2 and message in errors and 'Traceback' not in errors


def test_folders_begin_at_home(monkeypatch):
  monkeypatch.setenv('HOME', '/home/me')
  args, root, runs, _ = sweep._parse(['--config=~/c.py', '--root=~/sweep', '--grid', 'seed=0,1'])
  assert args.config == '/home/me/c.py' and root == '/home/me/sweep'
  assert [run.workdir for run in runs] == ['/home/me/sweep/seed=0', '/home/me/sweep/seed=1']
