"""data/locks.py: one process at a time."""

import subprocess
import sys

import pytest

from jax3dgan.data import locks


def test_who_comes_second_gives_up_or_waits(tmp_path):
  pytest.importorskip('fcntl')
  calls = []

  def give_up():
    calls.append('gave up')
    raise RuntimeError('busy')

  def never():
    raise AssertionError('nobody has it')

  first = locks.locked(tmp_path / 'lock', never)
  assert first.__enter__()
  with pytest.raises(RuntimeError, match='busy'), locks.locked(tmp_path / 'lock', give_up):
    calls.append('both')
  # The other one may wait: here the first one ends meanwhile.
  with locks.locked(tmp_path / 'lock', lambda: first.__exit__(None, None, None)) as alone:
    assert alone
    with pytest.raises(RuntimeError), locks.locked(tmp_path / 'lock', give_up):
      calls.append('both')
  assert calls == ['gave up'] * 2
  with locks.locked(tmp_path / 'lock', never) as alone:
    assert alone
  assert (tmp_path / 'lock').read_bytes() == b''


def test_a_system_without_locks(tmp_path, monkeypatch):
  fcntl = pytest.importorskip('fcntl')

  def refuse(handle, how):
    raise OSError(95, 'not supported')

  monkeypatch.setattr(fcntl, 'flock', refuse)
  with locks.locked(tmp_path / 'lock', None) as alone:
    assert not alone


SCRIPT = """
from jax3dgan.data import locks, workers

with locks.locked({path!r}, lambda: print('waits', flush=True)):
  print(sum(workers.in_order(abs, [-1, -2], 2, alone_without='sums')), flush=True)
"""


@pytest.mark.parametrize('guard', [False, True])
def test_a_script_that_its_own_processes_run_again(tmp_path, guard):
  """Without a guard they would wait for its lock, and it for them."""
  pytest.importorskip('fcntl')
  script = SCRIPT.format(path=str(tmp_path / 'lock'))
  if guard:
    body = script[script.index('with locks') :].replace('\n', '\n  ')
    script = script[: script.index('with locks')] + f"if __name__ == '__main__':\n  {body}"
  (tmp_path / 'script.py').write_text(script)
  command = [sys.executable, str(tmp_path / 'script.py')]
  done = subprocess.run(command, capture_output=True, text=True, timeout=300)
  assert done.stdout == '3\n', done.stderr
  assert ("`if __name__ == '__main__':`" in done.stderr) == (not guard)
  assert ('this one continues alone' in done.stderr) == (not guard)
