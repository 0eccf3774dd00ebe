"""data/locks.py: one process at a time."""

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
