"""launch/local.sh at work: with a stand-in for Python, and with real training in two processes."""

import os
import signal
import sys
import time

import pytest
from launch_scripts import ROOT

_TWO = ('--processes', '2', 'configs/toys.py')


def stand_in(scripts, **behaviour):
  """A `python` that does what is given for the process of that number, in the shell."""
  cases = '\n'.join(f'*--process_id={k[1:]}*) {v} ;;' for k, v in behaviour.items())
  return str(scripts.program('python_stand_in', f'case "$*" in\n{cases}\nesac'))


def wait_for(path, text, process=None):
  for _ in range(6000):
    if path.exists() and text in path.read_text():
      return
    if process and process.poll() is not None:
      break
    time.sleep(0.1)
  raise AssertionError(f'{path} does not say {text!r}')


# Writes its process id first, so that the test can see when it is there and whether it still is.
_HERE = 'echo $$ >"$WORK/pid_{0}"; echo "I am {0}";'
_LONG = 'while :; do sleep 0.1; done'


def gone(path):
  try:
    os.kill(int(path.read_text()), 0)
  except ProcessLookupError:
    return True
  return False


def test_all_processes_are_joined_and_logged(scripts):
  python = stand_in(scripts, p0='echo "zero $*"; echo error >&2', p1='printf "one\\ncut off"')
  work = scripts.home / 'work'
  code, output, errors = scripts.call('local.sh', *_TWO, work, '--config.x=a b', PYTHON=python)
  assert code == 0 and not errors
  assert {'[1] one', '[1] cut off', '[0] error'} <= set(output.splitlines())
  first, second = (work / 'logs/process_0.log').read_text().splitlines()
  assert second == 'error' and first.startswith('zero -m jax3dgan.main --config=configs/toys.py')
  assert ' --config.x=a b --coordinator=127.0.0.1:' in first
  assert first.endswith(' --num_processes=2 --process_id=0')
  assert (work / 'logs/process_1.log').read_text() == 'one\ncut off\n'
  # The same command goes on where there is a run, and its logs too.
  code, output, _ = scripts.call('local.sh', *_TWO, work, '--config.x=a b', PYTHON=python)
  assert code == 0 and '[1] cut off' in output
  again, text = (work / 'logs/process_0.log').read_text().splitlines()[2:]
  assert text == 'error' and again.split(' --coordinator')[0] == first.split(' --coordinator')[0]


def test_a_failing_process_ends_the_others(scripts):
  work = scripts.home
  python = stand_in(
    scripts, p0=f'{_HERE.format(0)} {_LONG}', p1='until [[ -s $WORK/pid_0 ]]; do :; done; exit 7'
  )
  code, _, errors = scripts.call('local.sh', *_TWO, work / 'w', PYTHON=python, WORK=str(work))
  assert code == 7 and 'Process 1 ended with exit code 7: see' in errors
  assert gone(work / 'pid_0')


def test_a_killed_process_ends_those_that_do_not_listen(scripts):
  work = scripts.home
  python = stand_in(
    scripts,
    p0=f'{_HERE.format(0)} {_LONG}',
    p1=f"trap '' TERM; {_HERE.format(1)} {_LONG}",  # as if caught in a collective operation
  )
  process = scripts.start(
    'local.sh', *_TWO, work / 'w', PYTHON=python, WORK=str(work), GRACE_SECONDS='1'
  )
  wait_for(work / 'pid_1', '\n')
  wait_for(work / 'pid_0', '\n')
  os.kill(int((work / 'pid_0').read_text()), signal.SIGKILL)
  _, errors = process.communicate(timeout=60)
  assert process.returncode == 128 + signal.SIGKILL and 'Process 0 ended' in errors
  assert gone(work / 'pid_1')


def test_signals_reach_all_and_are_waited_for(scripts):
  work = scripts.home
  save = "trap 'sleep 0.5; echo saved; exit 130' TERM;"
  python = stand_in(scripts, **{f'p{i}': f'{save} {_HERE.format(i)} {_LONG}' for i in range(2)})
  for number in (signal.SIGINT, signal.SIGTERM):
    process = scripts.start('local.sh', *_TWO, work / 'w', PYTHON=python, WORK=str(work))
    for i in range(2):
      wait_for(work / f'pid_{i}', '\n')
    os.kill(process.pid, number)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and not errors
    assert output.count('saved') == 2 and gone(work / 'pid_0') and gone(work / 'pid_1')
    for i in range(2):
      (work / f'pid_{i}').unlink()


def test_a_second_signal_is_not_polite(scripts):
  work = scripts.home
  deaf = "trap 'echo heard >>$WORK/heard' TERM;"
  python = stand_in(scripts, **{f'p{i}': f'{deaf} {_HERE.format(i)} {_LONG}' for i in range(2)})
  process = scripts.start('local.sh', *_TWO, work / 'w', PYTHON=python, WORK=str(work))
  for i in range(2):
    wait_for(work / f'pid_{i}', '\n')
  os.kill(process.pid, signal.SIGTERM)
  wait_for(work / 'heard', 'heard\nheard')
  os.kill(process.pid, signal.SIGTERM)
  process.communicate(timeout=60)
  assert process.returncode == 128 + signal.SIGKILL
  assert gone(work / 'pid_0') and gone(work / 'pid_1')


def test_one_process_is_python_itself(scripts):
  """No shell between: signals and exit codes are its own."""
  python = str(scripts.program('one', 'echo "$$ $*"; exit 5'))
  process = scripts.start('local.sh', 'configs/toys.py', scripts.home / 'w', PYTHON=python)
  output, _ = process.communicate(timeout=60)
  number, rest = output.split(maxsplit=1)
  assert process.returncode == 5 and int(number) == process.pid
  assert rest == f'-m jax3dgan.main --config=configs/toys.py --workdir={scripts.home}/w\n'


@pytest.mark.thorough  # tests/devices/test_hosts.py trains two processes, and others here end them
def test_two_processes_train_and_stop(scripts):
  """The real thing, over localhost: SIGTERM saves one step on both. Of how two processes go on is
  devices/test_hosts.py."""
  config = ROOT / 'tests/tiny_toys.py'
  work = scripts.home / 'run'
  fields = ['--config.checkpoint.every=1000000']
  # The caches of the suite, not of the folder that stands for the home.
  caches = {k: v for k, v in os.environ.items() if k.startswith(('JAX', 'XLA', 'XDG'))}
  home = {'HOME': os.environ['HOME'], 'PYTHONPATH': str(ROOT), 'PYTHON': sys.executable}
  two = ('--processes', '2', '--devices-per-process', '1', config, work, *fields)

  process = scripts.start('local.sh', *two, '--config.num_steps=1000000', **caches, **home)
  log = work / 'logs/process_0.log'
  try:
    wait_for(log, 'step 1/', process)
    os.kill(process.pid, signal.SIGTERM)
    output, errors = process.communicate(timeout=300)
  finally:
    if process.poll() is None:
      os.kill(process.pid, signal.SIGTERM)
      os.kill(process.pid, signal.SIGTERM)
  assert process.returncode == 0, errors + output
  (saved,) = (int(p.name) for p in (work / 'checkpoints').iterdir())
  stops = [line for line in output.splitlines() if f'saved at step {saved:,}' in line]
  assert sorted(line[:3] for line in stops) == ['[0]', '[1]']
  assert '2 device(s)' in output
