"""Whatever happens to the files of a checkpoint, what comes back is what was saved, or the one
before it; never anything else."""

import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax3dgan.errors import UserError
from jax3dgan.runs import checkpoint_files, checkpoints, checksums


def _state(step):
  values = np.random.default_rng(step).normal(size=(40, 7)).astype(np.float32)
  return {'step': jnp.int32(step), 'ema': {'0.99': {'w': jnp.asarray(values)}}}


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  workdir = tmp_path_factory.mktemp('run')
  saver = checkpoints.Checkpoints(workdir, every=1, keep=3)
  for step in (1, 2):
    saver.save(step, _state(step))
  saver.close()
  return workdir


def _files(run):
  folder = run / checkpoints.FOLDER / '2'
  return [path.relative_to(run) for path in sorted(folder.rglob('*')) if path.is_file()]


def _flip(path: pathlib.Path, place: float) -> None:
  data = bytearray(path.read_bytes())
  if data:
    data[int(place * (len(data) - 1))] ^= 0x10
  path.write_bytes(data)


DAMAGE = {
  'emptied': lambda path: path.write_bytes(b''),
  'cut': lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
  'removed': lambda path: path.unlink(),
  'start': lambda path: _flip(path, 0.0),
  'middle': lambda path: _flip(path, 0.5),
  'end': lambda path: _flip(path, 1.0),
  'zeros': lambda path: path.write_bytes(bytes(path.stat().st_size)),
}


def _restore(workdir, saves=False):
  messages = []
  saver = checkpoints.Checkpoints(workdir, every=1, keep=3)
  try:
    state = saver.restore(jax.eval_shape(lambda: _state(0)), messages.append)
    saved = None
    if saves and int(state['step']) == 1:
      saved = saver.save(2, _state(2), force=True)  # its place is free again
    return state, messages, saved
  finally:
    saver.close()


@pytest.mark.parametrize('damage', DAMAGE)
def test_a_damaged_file_never_gives_another_state(run, damage, tmp_path):
  fell_back = 0
  for i, file in enumerate(_files(run)):
    workdir = tmp_path / str(i)
    shutil.copytree(run, workdir)
    DAMAGE[damage](workdir / file)
    state, messages, saved = _restore(workdir, saves=not fell_back)
    step = int(state['step'])
    assert step in (1, 2), file
    jax.tree.map(np.testing.assert_array_equal, state, _state(step))
    if step == 1:
      fell_back += 1
      assert len(messages) == 1 and 'The checkpoint of step 2 is damaged' in messages[0], messages
      assert '\n' not in messages[0] and 'Going on from step 1' in messages[0]
      if fell_back == 1:
        assert saved and checkpoints.steps(workdir) == [1, 2]
        jax.tree.map(np.testing.assert_array_equal, _restore(workdir)[0], _state(2))
      else:
        assert checkpoints.steps(workdir) == [1]
      if damage != 'removed':
        assert (workdir / checkpoints.DAMAGED / '2').is_dir()
    else:
      assert not messages
  assert fell_back  # some file of a checkpoint matters


def test_turned_numbers_are_noticed_by_their_checksum():
  state = _state(3)
  sums = checksums.tree(state)
  assert set(sums) == {'step', 'ema/0.99/w'}
  assert checksums.damaged(state, sums) == []
  turned = np.array(state['ema']['0.99']['w'])
  turned[3, 2] = np.nextafter(turned[3, 2], np.float32(9))
  assert checksums.damaged({**state, 'ema': {'0.99': {'w': turned}}}, sums) == ['ema/0.99/w']
  assert checksums.damaged({'w': turned}, sums, 'ema/0.99/') == ['ema/0.99/w']
  assert checksums.damaged(state, {}) == []  # of a run from before there were any


def test_apps_name_a_damaged_checkpoint_and_another(run, tmp_path):
  workdir = tmp_path / 'run'
  shutil.copytree(run, workdir)
  for file in _files(workdir):
    if 'ocdbt.process' in str(file) or '/d/' in str(file):
      DAMAGE['zeros'](workdir / file)
  with pytest.raises(UserError, match=r'is damaged .*Take another, such as --step=1 \(of main'):
    checkpoints.read(workdir, 'ema', '0.99')
  step, part = checkpoints.read(workdir, 'ema', '0.99', step=1)
  np.testing.assert_array_equal(part['w'], _state(1)['ema']['0.99']['w'])


def test_no_whole_checkpoint_left(run, tmp_path):
  workdir = tmp_path / 'run'
  shutil.copytree(run, workdir)
  shutil.rmtree(workdir / checkpoints.FOLDER / '1')
  for file in _files(workdir):
    DAMAGE['cut'](workdir / file)
  saver = checkpoints.Checkpoints(workdir, every=1, keep=3)
  with pytest.raises(UserError, match='damaged .*has no other one. Restore one from'):
    saver.restore(jax.eval_shape(lambda: _state(0)))
  saver.close()


def test_one_that_a_run_deletes_meanwhile_is_not_called_damaged(run, tmp_path, monkeypatch):
  workdir = shutil.copytree(run, tmp_path / 'run')

  def load(path, *args):
    shutil.rmtree(path, ignore_errors=True)
    raise FileNotFoundError(path)

  monkeypatch.setattr(checkpoint_files, 'load', load)
  with pytest.raises(UserError, match='2 was deleted while it was read: .* Run the same command'):
    checkpoints.read(workdir, 'ema')
