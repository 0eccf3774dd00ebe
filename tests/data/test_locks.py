"""data/locks.py: one process at a time."""

import pytest

from jax3dgan.data import locks


def test_who_comes_second_gives_up_or_waits(tmp_path):
  pytest.importorskip('fcntl')
  calls = []

  def give_up():
    calls.append('gave up')
    raise RuntimeError('held')

  def never():
    raise AssertionError('nobody holds it')

  first = locks.held(tmp_path, never)
  assert first.__enter__()
  with pytest.raises(RuntimeError, match='held'), locks.held(tmp_path, give_up):
    calls.append('both')
  # Who is told to wait: here the first one ends meanwhile.
  with locks.held(tmp_path, lambda: first.__exit__(None, None, None)) as alone:
    assert alone
    with pytest.raises(RuntimeError), locks.held(tmp_path, give_up):
      calls.append('both')
  assert calls == ['gave up'] * 2
  with locks.held(tmp_path, never) as alone:
    assert alone
  assert not list(tmp_path.iterdir())


def test_a_system_without_locks(tmp_path, monkeypatch):
  fcntl = pytest.importorskip('fcntl')

  def refuse(handle, how):
    raise OSError(95, 'not supported')

  monkeypatch.setattr(fcntl, 'flock', refuse)
  with locks.held(tmp_path, None) as alone:
    assert not alone
