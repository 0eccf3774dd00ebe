"""Which failures to read a checkpoint are damage, and what processes agree on."""

import errno
import os
import pathlib
import shutil
import tempfile
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax3dgan.errors import UserError
from jax3dgan.runs import checkpoint_files, checkpoints, read_failures, restoring
from jax3dgan.runs.read_failures import Damaged, Kind
from jax3dgan.runs.restoring import Outcome


def _os_error(number):
  return OSError(number, os.strerror(number))


def _caused_by(cause):
  error = KeyError('of a library')
  error.__cause__ = cause
  return error


@pytest.mark.parametrize(
  'error, kind',
  [
    (_os_error(errno.EIO), Kind.FILE_SYSTEM),
    (_os_error(errno.ESTALE), Kind.FILE_SYSTEM),
    (_os_error(errno.EAGAIN), Kind.FILE_SYSTEM),
    (_os_error(errno.EMFILE), Kind.FILE_SYSTEM),
    (TimeoutError('slow'), Kind.FILE_SYSTEM),
    (ConnectionResetError(errno.ECONNRESET, 'x'), Kind.FILE_SYSTEM),
    (ValueError('UNAVAILABLE: the bucket does not answer'), Kind.FILE_SYSTEM),
    (ValueError('DEADLINE_EXCEEDED: x'), Kind.FILE_SYSTEM),
    (ValueError("UNKNOWN: Error reading local file [os='5']"), Kind.FILE_SYSTEM),
    (_caused_by(_os_error(errno.ETIMEDOUT)), Kind.FILE_SYSTEM),
    (ExceptionGroup('tasks', [ValueError('x'), _os_error(errno.EIO)]), Kind.FILE_SYSTEM),
    (_os_error(errno.EACCES), Kind.DENIED),
    (ValueError('PERMISSION_DENIED: Failed to open'), Kind.DENIED),
    (MemoryError(), Kind.MEMORY),
    (_os_error(errno.ENOMEM), Kind.MEMORY),
    (jax.errors.JaxRuntimeError('RESOURCE_EXHAUSTED: Out of memory allocating'), Kind.MEMORY),
    (ImportError('x'), Kind.PROGRAM),
    (RuntimeError('no running event loop'), Kind.PROGRAM),
    (Damaged('w is not what was saved'), Kind.DAMAGE),
    (ValueError('DATA_LOSS: Digest mismatch'), Kind.DAMAGE),
    (ValueError('OUT_OF_RANGE: Requested byte range is not valid'), Kind.DAMAGE),
    (_os_error(errno.ENOENT), Kind.DAMAGE),
    (KeyError('tree_metadata'), Kind.DAMAGE),
  ],
)
def test_kinds_of_failures(error, kind, tmp_path):
  (tmp_path / 'file').write_text('all of it can be read')
  found, cause = read_failures.classify(error, tmp_path)
  assert found is kind and cause and '\n' not in cause


def _reader(*results):
  """A function that raises or returns these, one a call."""
  left = list(results)

  def read():
    result = left.pop(0)
    if isinstance(result, Exception):
      raise result
    return result

  return read


def test_a_file_system_that_fails_for_a_while_is_waited_for(tmp_path):
  lines = []
  read = _reader(_os_error(errno.ETIMEDOUT), ValueError('UNAVAILABLE: x'), 'the state')
  assert read_failures.read(read, tmp_path, lines.append) == 'the state'
  assert len(lines) == 2 and f'{tmp_path} cannot be read: Connection timed out.' in lines[0]
  assert 'Trying again in 0 s' in lines[0] and 'UNAVAILABLE' in lines[1]


def test_one_that_fails_for_good_ends_with_cause_and_remedy(tmp_path):
  lines = []
  read = _reader(*[_os_error(errno.ESTALE)] * 4)
  with pytest.raises(UserError, match='the file system fails .Stale file handle.') as error:
    read_failures.read(read, tmp_path, lines.append)
  assert len(lines) == 3
  assert 'It is left as it is. Check the disk or the connection' in str(error.value)


def test_damage_is_read_twice(tmp_path):
  """What a cache of a network file system lacks may be there a moment later."""
  assert read_failures.read(_reader(_os_error(errno.ENOENT), 1), tmp_path) == 1
  with pytest.raises(Damaged, match='short'):
    read_failures.read(_reader(Damaged('short'), Damaged('short')), tmp_path)
  read = _reader(Damaged('short'), _os_error(errno.EIO), 1)
  assert read_failures.read(read, tmp_path, lambda line: None) == 1


@pytest.mark.parametrize('answers', [True, False])
def test_a_file_system_that_blocks(answers, tmp_path, monkeypatch):
  monkeypatch.setattr(read_failures, 'PATIENCE', 0.01)
  monkeypatch.setattr(read_failures, 'LIMIT', 60 if answers else 0.03)
  lines, release = [], threading.Event()

  def say(line):
    lines.append(line)
    if answers and len(lines) == 2:
      release.set()

  def read():
    release.wait(60)
    return 'the state'

  try:
    if answers:
      assert read_failures.read(read, tmp_path, say) == 'the state'
    else:
      with pytest.raises(UserError, match='the file system fails .* It is left as it is'):
        read_failures.read(read, tmp_path, say)
  finally:
    release.set()
  assert 'Still reading' in lines[0] and len(lines) >= 2


def test_errors_that_say_nothing_about_the_files_are_raised_at_once(tmp_path):
  for error in (UserError('another config'), NotImplementedError('a new format')):
    with pytest.raises(type(error), match=str(error)):
      read_failures.read(_reader(error), tmp_path)


def _state(step):
  values = np.random.default_rng(step).normal(size=(40, 7))  # too long for TensorStore's manifest
  return {'w': jnp.asarray(values, jnp.float32), 'step': jnp.int32(step)}


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  workdir = tmp_path_factory.mktemp('run')
  saver = checkpoints.Checkpoints(workdir, every=1, keep=3)
  for step in (1, 2):
    saver.save(step, _state(step))
  saver.close()
  return workdir


@pytest.fixture
def copied(run, tmp_path):
  return pathlib.Path(shutil.copytree(run, tmp_path / 'run'))


def _restore(workdir, say=lambda line: None):
  saver = checkpoints.Checkpoints(workdir, every=1, keep=3, say=say)
  try:
    return saver.restore(jax.eval_shape(lambda: _state(0)), say)
  finally:
    saver.close()


def _in_place(workdir):
  return checkpoints.steps(workdir) == [1, 2] and not (workdir / checkpoints.DAMAGED).exists()


def _file(workdir, kind):
  folder = workdir / checkpoints.FOLDER / '2' / 'state'
  return {
    'metadata': folder / '_METADATA',
    'manifest': folder / 'manifest.ocdbt',
    'arrays': next((folder / 'ocdbt.process_0/d').iterdir()),
  }[kind]


@pytest.mark.skipif(not os.path.exists('/proc/self/mem'), reason='no file that fails')
@pytest.mark.parametrize('kind', ['metadata', 'manifest', 'arrays'])
def test_a_disk_that_cannot_be_read_costs_no_checkpoint(copied, kind):
  """Orbax reads a metadata file that fails as an empty one: not damage, a failing disk."""
  file = _file(copied, kind)
  file.unlink()
  file.symlink_to('/proc/self/mem')  # reading its first byte gives EIO
  lines = []
  with pytest.raises(UserError, match='fails .Input/output error.*It is left as it is'):
    _restore(copied, lines.append)
  assert len(lines) == 3 and _in_place(copied)
  with pytest.raises(UserError, match='Input/output error'):
    checkpoints.read(copied, 'w')


@pytest.fixture
def of_another_user(run):
  """A copy of the run in a folder that all users may enter, and that belongs to another one."""
  if not hasattr(os, 'geteuid') or os.geteuid() != 0:
    pytest.skip('only root can become another user')
  with tempfile.TemporaryDirectory() as folder:
    os.chmod(folder, 0o755)
    workdir = pathlib.Path(shutil.copytree(run, f'{folder}/run'))
    for path in (workdir, *workdir.rglob('*')):
      os.chown(path, 65534, 65534)
    yield workdir


@pytest.mark.parametrize('kind', ['metadata', 'arrays', 'all'])
def test_what_may_not_be_read_is_not_damaged(of_another_user, kind):
  workdir = of_another_user
  path = workdir / checkpoints.FOLDER if kind == 'all' else _file(workdir, kind)
  os.chown(path, 0, 0)
  path.chmod(0)
  os.seteuid(65534)
  try:
    with pytest.raises(UserError, match='there is no permission to read it .*chmod -R a.rX'):
      _restore(workdir)
  finally:
    os.seteuid(0)
    path.chmod(0o755)
  assert _in_place(workdir)


def test_too_little_memory_is_not_damage(copied, monkeypatch):
  def fail(*args):
    raise jax.errors.JaxRuntimeError('RESOURCE_EXHAUSTED: Out of memory while trying to allocate')

  monkeypatch.setattr(restoring.state_trees, 'on_devices', fail)
  with pytest.raises(UserError, match='there is not enough memory .* left as it is. End other'):
    _restore(copied)
  assert _in_place(copied)


def test_other_shapes_are_not_damage(copied):
  saver = checkpoints.Checkpoints(copied, every=1, keep=3)
  with pytest.raises(UserError, match=r'w is \[40, 7\] there and \[3\] here. Choose'):
    saver.restore({**_state(0), 'w': jnp.zeros(3)})
  saver.close()
  assert _in_place(copied)


def test_a_run_waits_for_its_file_system(copied, monkeypatch):
  plain, failures = checkpoint_files.load, [_os_error(errno.ETIMEDOUT)] * 2
  monkeypatch.setattr(
    checkpoint_files, 'load', lambda *args: _reader(failures.pop())() if failures else plain(*args)
  )
  lines = []
  np.testing.assert_array_equal(_restore(copied, lines.append)['w'], _state(2)['w'])
  assert len(lines) == 2 and 'Trying again' in lines[1] and _in_place(copied)


@pytest.mark.parametrize(
  'outcomes, kind, text',
  [
    ([Outcome('read')] * 2, 'read', None),
    ([Outcome('read'), Outcome('damaged', 'short')], 'damaged', 'Process 1 of 2: short'),
    ([Outcome('damaged', 'short')] * 2, 'damaged', 'short'),
    ([Outcome('read'), Outcome('failed', 'EIO'), Outcome('read')], 'failed', 'Process 1 of 3: EIO'),
    # What failed says nothing about the checkpoint: it may be good.
    ([Outcome('damaged', 'short'), Outcome('failed', 'EIO')], 'failed', 'Process 1 of 2: EIO'),
    (
      [Outcome('failed', 'EIO'), Outcome('read'), Outcome('failed', 'x')],
      'failed',
      'Process 0 of 3 (and 1 more): EIO',
    ),
    ([Outcome('failed', 'another config')] * 3, 'failed', 'another config'),
  ],
)
def test_what_processes_agree_on(outcomes, kind, text):
  assert restoring.decide(outcomes) == Outcome(kind, text)


def test_processes_that_do_not_share_a_folder_are_named():
  assert not restoring.listing_difference('runs/x', [[1, 2]] * 3)
  line = restoring.listing_difference('runs/x', [[1, 2], [1, 2], []])
  assert 'process 2 has the checkpoints [] and process 0 has [1, 2]' in line and 'share' in line
