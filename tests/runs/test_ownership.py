"""One run at a time in a workdir; one that was killed is in nobody's way."""

import subprocess
import sys

import pytest

from jax3dgan.errors import UserError
from jax3dgan.runs import ownership

pytest.importorskip('fcntl')

_OTHER = """
import pathlib, sys, time
from jax3dgan.runs import ownership
ownership.BEAT = float(sys.argv[2])
with ownership.owned(pathlib.Path(sys.argv[1])):
  print('owned', flush=True)
  time.sleep(60)
"""


@pytest.fixture
def other(tmp_path):
  """Starts another run in `tmp_path / 'run'`, which touches its file after so many seconds."""
  processes = []

  def start(beat):
    command = [sys.executable, '-c', _OTHER, str(tmp_path / 'run'), str(beat)]
    processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
    assert processes[0].stdout.readline() == 'owned\n'
    return processes[0]

  yield start
  for process in processes:
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_second_run_names_the_first_until_that_is_killed(other, tmp_path, monkeypatch):
  monkeypatch.setattr(ownership, 'BEAT', 5.0)
  monkeypatch.setattr(ownership, '_processes', lambda: 'of another machine')
  first, lines = other(0.05), []
  with pytest.raises(UserError) as error, ownership.owned(tmp_path / 'run', lines.append):
    pass
  assert f'({_name(first)}' in str(error.value) and 'Another run is at work in' in str(error.value)
  assert 'choose another --workdir' in str(error.value) and len(lines) == 1
  first.kill()
  first.wait()
  with ownership.owned(tmp_path / 'run', lines.append):
    assert len(lines) == 1  # without a wait


def _name(process):
  return f'process {process.pid} of '


def test_a_lock_without_a_run_counts_for_nothing(other, tmp_path, monkeypatch):
  """As an NFS server keeps the lock of a machine that went down."""
  monkeypatch.setattr(ownership, 'BEAT', 0.05)
  other(1000)
  lines = []
  with pytest.raises(UserError), ownership.owned(tmp_path / 'run', lines.append):
    pass  # on this machine it is there, though it is silent, as one that is suspended
  assert not lines
  monkeypatch.setattr(ownership, '_processes', lambda: 'of another machine')
  with ownership.owned(tmp_path / 'run', lines.append):
    assert 'may be at work' in lines[0]


def test_runs_follow_one_another(tmp_path, monkeypatch):
  monkeypatch.setattr(ownership, 'BEAT', 0.01)
  for _ in range(2):
    with ownership.owned(tmp_path / 'run', pytest.fail):
      assert (tmp_path / 'run' / ownership.FILE).read_text()
    assert not (tmp_path / 'run' / ownership.FILE).read_text()


def test_a_file_system_without_locks(tmp_path, monkeypatch):
  import fcntl

  def refuse(handle, how):
    raise OSError(95, 'not supported')

  monkeypatch.setattr(fcntl, 'flock', refuse)
  with ownership.owned(tmp_path / 'run', pytest.fail):
    pass
