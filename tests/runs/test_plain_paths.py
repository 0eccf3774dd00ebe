"""A path is no pattern: what is saved in a folder of any name is read again, or it is refused."""

import os

import jax.numpy as jnp
import numpy as np
import pytest

from jax3dgan.errors import UserError
from jax3dgan.runs import checkpoints, plain_paths, workdirs


@pytest.mark.parametrize('name', ['[exp1] faces', 'a*?[!b]/run', 'ünï #%20 {a,b} ~', 'q\'"\n$HOME'])
def test_checkpoints_come_back_from_any_folder(name, tmp_path):
  state = {'w': jnp.arange(12.0).reshape(3, 4)}
  saver = checkpoints.Checkpoints(tmp_path / name, every=1, keep=1)
  for step in (1, 2):
    saver.save(step, state)
  saver.close()
  saver = checkpoints.Checkpoints(tmp_path / name, every=1, keep=1)
  np.testing.assert_array_equal(saver.restore(state)['w'], state['w'])
  saver.close()
  step, part = checkpoints.read(tmp_path / name, 'w')
  assert step == 2 and checkpoints.steps(tmp_path / name) == [2]
  np.testing.assert_array_equal(part, state['w'])


def test_a_save_is_read_back_before_it_replaces_an_earlier_one(tmp_path, monkeypatch):
  state = {'w': jnp.arange(12.0)}
  lines = []
  saver = checkpoints.Checkpoints(tmp_path, 1, keep=1, on_error='warn', say=lines.append)
  saver.save(1, state)
  saver.wait()
  with monkeypatch.context() as patch:
    patch.setattr(plain_paths.PlainPath, 'glob', lambda *args: iter(()))  # finds no arrays
    saver.save(2, state)
    with pytest.raises(UserError, match='2 was written and cannot be read back: its metadata are'):
      saver.wait()
  assert saver.latest_step == 1
  np.testing.assert_array_equal(saver.restore(state, lines.append)['w'], state['w'])
  assert len(lines) == 1 and 'Going on from step 1.' in lines[0]
  saver.save(3, state)
  saver.close()
  assert checkpoints.steps(tmp_path) == [3]


@pytest.mark.parametrize(
  'name, words',
  [
    ('a\\b/run', 'has a backslash, which the checkpoint library reads as a slash'),
    (os.fsdecode(b'f\xe4ces'), r'f\udce4ces: its path has bytes that are not UTF-8'),
  ],
)
def test_folders_of_which_another_would_be_taken_are_refused(name, words, tmp_path):
  for refuse in (
    lambda workdir: checkpoints.Checkpoints(workdir, 1, 1),
    lambda workdir: workdirs.check_free(workdir, overwrite=True),
  ):
    with pytest.raises(UserError) as error:
      refuse(tmp_path / name)
    assert words in str(error.value) and 'Rename the folder' in str(error.value)
    assert not list(tmp_path.iterdir())


def test_a_folder_called_as_a_bucket_is_not_one():
  with pytest.raises(UserError, match='reads its path as gs://bucket/run'):
    plain_paths.checked('/gs/bucket/run')
