"""Pickles of EG3D's kind that are hostile or damaged: refused in one line, and never run."""

import functools
import os
import pathlib
import re
import subprocess
import sys

import hostile
import hostile_eg3d
import hypothesis
import hypothesis.strategies as st
import persistent_pickles as pickles
import pytest

from jax3dgan.convert import eg3d
from jax3dgan.errors import UserError

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


@pytest.mark.parametrize('case', hostile_eg3d.CASES, ids=lambda case: case.name)
def test_is_refused_in_one_line(case, tmp_path):
  line = hostile_eg3d.refuse(case, tmp_path)
  assert line.startswith(case.name) and line.isprintable() and len(line) < 300
  assert re.search(r'\. [A-Z].*\.$', line), 'no remedy'
  assert [path.name for path in tmp_path.iterdir()] == [f'{case.name}.pkl'], 'it left something'


def test_the_names_are_refused_for_what_they_are(tmp_path):
  named = {
    'os-system': 'os.system',
    'eval': 'builtins.eval',
    'popen': 'subprocess.Popen',
    'nested': 'os.system',
    'exec-as-hook': 'builtins.exec',
    'inst': 'os.system',
    'obj': 'os.system',
    'stack-global': 'torch_utils.persistence.sys.modules',
    'imported-module': '_imported_module_0123.os.system',
    'look-alike': 'trainings.x.X',
    'persistence': 'persistence._reconstruct_persistent_obj',
    'numpy-load': 'numpy.load',
    'inner-system': 'os.system',
  }
  cases = {case.name: case for case in hostile_eg3d.CASES}
  for case, full in named.items():
    line = hostile_eg3d.refuse(cases[case], tmp_path)
    assert f"the pickle wants '{full}', which is not allowed and was not run" in line


@pytest.mark.parametrize('name', ['inst', 'obj', 'nested', 'inner-system'])
def test_the_same_bytes_do_run_in_pickle(name, tmp_path):
  """Otherwise a missing canary would prove nothing. Here the hook and PyTorch are what they are."""
  case = next(case for case in hostile_eg3d.CASES if case.name == name)
  (tmp_path / 'x').write_bytes(case.make())
  code = """
import io, os, pickle
class Anything:
  def __new__(cls, *args):
    return object.__new__(cls)
  def __init__(self, *args):
    pass
  def __setitem__(self, key, value):
    pass
class Loader(pickle.Unpickler):
  def find_class(self, module, name):
    if module == 'os':
      return getattr(os, name)
    if name == '_load_from_bytes':
      return lambda data: Loader(io.BytesIO(data)).load()
    return Anything
Loader(open('x', 'rb')).load()
"""
  subprocess.run([sys.executable, '-c', code], cwd=tmp_path, check=True)
  assert (tmp_path / hostile.CANARY).exists()


def test_the_source_does_run_in_a_hook_that_runs_it(tmp_path):
  """What `persistent.CONSTRUCTORS` leaves a text."""
  (tmp_path / 'x.py').write_text(pickles.SOURCE)
  subprocess.run([sys.executable, 'x.py'], cwd=tmp_path, check=True)
  assert (tmp_path / pickles.CANARY).exists()


def test_the_table_under_limits_of_memory_and_time():
  """All of them in a process of 2 GiB and two minutes; what it prints is in the documentation."""
  done = subprocess.run(
    [sys.executable, '-m', 'tests.convert.hostile', 'eg3d'],
    cwd=ROOT,
    env={**os.environ, 'OPENBLAS_NUM_THREADS': '1'},
    capture_output=True,
    text=True,
    check=True,
  )
  assert done.stdout.count('\n') == len(hostile_eg3d.CASES) + 2 >= 22
  assert done.stdout in (ROOT / 'docs' / 'convert.md').read_text()


@functools.cache
def tiny() -> bytes:
  """A small checkpoint with everything in it, some kB, in protocol 4."""
  state = {k: v for k, v in pickles.synthetic(channels=(1,), supers=(), w_dim=1, z_dim=1).items()}
  return pickles.dumps(pickles.checkpoint(pickles.generator(state)))


def test_cut_at_every_seventh_byte(tmp_path):
  path, whole = tmp_path / 'x.pkl', tiny()
  path.write_bytes(whole)
  eg3d.read_checkpoint(path)
  for end in range(0, len(whole), 7):
    path.write_bytes(whole[:end])
    with pytest.raises(UserError) as error:
      eg3d.read_checkpoint(path)
    assert str(error.value).isprintable() and len(str(error.value)) < 300
  assert [file.name for file in tmp_path.iterdir()] == ['x.pkl']


@pytest.mark.filterwarnings('ignore:overflow|invalid value:RuntimeWarning')
def test_damage_is_a_user_error(tmp_path, monkeypatch, thorough):
  """Flipped, cut, repeated and inserted bytes: read or refused, nothing else, nothing run."""
  monkeypatch.chdir(tmp_path)
  path, whole = tmp_path / 'x.pkl', tiny()

  @hypothesis.given(st.data())
  @hypothesis.settings(
    max_examples=300 if thorough else 75, deadline=None, database=None, derandomize=True
  )
  def run(data):
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
      at = data.draw(st.integers(0, len(damaged) - 1))
      match data.draw(st.sampled_from(['flip', 'set', 'cut', 'insert', 'repeat', 'zero'])):
        case 'flip':
          damaged[at] ^= 1 << data.draw(st.integers(0, 7))
        case 'set':
          damaged[at] = data.draw(st.integers(0, 255))
        case 'cut':
          del damaged[max(at, 1) :]
        case 'insert':
          damaged[at:at] = data.draw(st.binary(max_size=9))
        case 'repeat':
          damaged[at:at] = damaged[at : at + 40]
        case 'zero':
          damaged[at : at + 8] = bytes(len(damaged[at : at + 8]))
    path.write_bytes(bytes(damaged))
    try:
      eg3d.read_checkpoint(path)
    except UserError as error:
      assert str(error).isprintable() and len(str(error)) < 600

  run()
  assert [file.name for file in tmp_path.iterdir()] == ['x.pkl']
