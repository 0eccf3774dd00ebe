"""Saves that fail: said in one line, and what was saved before stays."""

import errno
import os
import shutil
import subprocess

import jax.numpy as jnp
import numpy as np
import pytest

from jax3dgan.errors import UserError
from jax3dgan.runs import checkpoints, workdirs


def test_a_failed_save_is_one_line_and_leaves_the_earlier_one(tmp_path, monkeypatch, caplog):
  saver = checkpoints.Checkpoints(tmp_path, every=1, keep=1)
  state = {'w': jnp.ones(3)}
  saver.save(1, state)
  saver.wait()

  def full(*args, **kwargs):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

  with monkeypatch.context() as patch:
    patch.setattr(os, 'mkdir', full)
    with pytest.raises(UserError, match='disk is full. Remedy: free some space') as error:
      saver.save(2, state)
      saver.close()
  assert '\n' not in str(error.value)
  assert not caplog.records
  saver = checkpoints.Checkpoints(tmp_path, every=1, keep=1)
  assert saver.latest_step == 1
  restored = saver.restore(state)
  np.testing.assert_array_equal(restored['w'], np.ones(3))
  saver.close()


def test_a_workdir_that_cannot_be_made(tmp_path):
  (tmp_path / 'file').write_text('')
  with pytest.raises(UserError, match='part of its path is a file'):
    checkpoints.Checkpoints(tmp_path / 'file' / 'run', every=1, keep=1)


@pytest.mark.parametrize(
  'error, cause',
  [
    (OSError(errno.EROFS, 'x'), 'read-only'),
    (ValueError("RESOURCE_EXHAUSTED: Failed: No space left on device [os='28']"), 'full'),
    (PermissionError(errno.EACCES, 'x'), 'no permission'),
  ],
)
def test_errors_of_the_disk(error, cause):
  assert cause in str(workdirs.disk_error(error, 'runs/x'))
  assert workdirs.disk_error(ValueError('something else'), 'runs/x') is None


@pytest.mark.parametrize(
  'error, cause',
  [
    (OSError(errno.EIO, os.strerror(errno.EIO)), 'fails (Input/output error)'),
    (ValueError('UNAVAILABLE: the bucket does not answer'), 'fails (UNAVAILABLE: the bucket'),
    (RuntimeError('UNAVAILABLE: another process'), None),
    (KeyError('x'), None),
  ],
)
def test_an_outage_costs_one_checkpoint(error, cause, tmp_path, monkeypatch):
  lines = []
  saver = checkpoints.Checkpoints(tmp_path, 1, 3, on_error='warn', say=lines.append)
  state = {'w': jnp.ones(3)}
  saver.save(1, state)
  saver.wait()

  def fail(*args, **kwargs):
    raise error

  with monkeypatch.context() as patch:
    patch.setattr(saver._checkpointer, 'save_async', fail)
    if cause is None:
      with pytest.raises(type(error)):
        saver.save(2, state)
    else:
      assert not saver.save(2, state)
      assert cause in lines[0] and 'The one of step 1 is kept; training goes on' in lines[0]
      assert lines[0].endswith('Remedy: check the disk or the connection to it.')
  assert saver.save(3, state)
  saver.close()
  assert checkpoints.steps(tmp_path) == [1, 3]


@pytest.fixture
def small_disk(tmp_path):
  """A file system of 3 MiB."""
  folder = tmp_path / 'disk'
  folder.mkdir()
  command = ['mount', '-t', 'tmpfs', '-o', 'size=3m', 'tmpfs', str(folder)]
  if not shutil.which('mount') or subprocess.run(command, capture_output=True).returncode:
    pytest.skip('mounting a small file system is not permitted')
  yield folder
  subprocess.run(['umount', '-l', str(folder)], check=True)


def test_a_full_disk_costs_one_checkpoint_and_leaves_nothing_half_written(small_disk):
  state = {'w': jnp.asarray(np.random.default_rng(0).normal(size=250_000), jnp.float32)}  # 1 MB
  messages = []
  saver = checkpoints.Checkpoints(
    small_disk / 'run', every=1, keep=1, on_error='warn', say=messages.append
  )
  saver.save(1, state)
  saver.wait()
  filler = small_disk / 'filler'
  filler.write_bytes(b'0' * 1_300_000)
  saver.save(2, state)
  saver.wait()
  assert len(messages) == 1 and 'checkpoint of step 2 is not saved' in messages[0]
  assert 'the disk is full' in messages[0] and 'of step 1 is kept' in messages[0]
  assert [path.name for path in (small_disk / 'run' / checkpoints.FOLDER).iterdir()] == ['1']
  filler.unlink()
  assert saver.save(3, state)
  saver.close()
  assert checkpoints.steps(small_disk / 'run')[-1] == 3
  filler.write_bytes(b'0' * 1_300_000)
  saver = checkpoints.Checkpoints(small_disk / 'run', every=1, keep=1, on_error='stop')
  with pytest.raises(UserError, match='the disk is full'):
    saver.save(4, state)
    saver.close()
  np.testing.assert_array_equal(saver.restore(state)['w'], state['w'])
