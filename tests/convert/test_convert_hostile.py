"""Files that are hostile, damaged or something else: refused in one line, and never run."""

import os
import pathlib
import re
import subprocess
import sys

import crafted
import hostile
import hypothesis
import hypothesis.strategies as st
import pytest

from jax3dgan import convert
from jax3dgan.convert import official, write
from jax3dgan.errors import UserError

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
DATA = ROOT / 'tests' / 'data' / 'convert'


@pytest.mark.parametrize('case', hostile.CASES, ids=lambda case: case.name)
def test_is_refused_in_one_line(case, tmp_path):
  line = hostile.refuse(case, tmp_path)
  assert line.startswith(case.name) and line.isprintable() and len(line) < 300
  assert re.search(r'\. [A-Z].*\.$', line), 'no remedy'
  assert [path.name for path in tmp_path.iterdir()] == [f'{case.name}.pth'], 'it left something'


def test_the_names_are_refused_for_what_they_are(tmp_path):
  """Each of these is refused at its name, and not for another fault of the file."""
  lines = {case.name: hostile.refuse(case, tmp_path) for case in hostile.CASES[:20]}
  named = {
    'os-system': 'os.system',
    'os-system-in-zip': 'posix.system',
    'os-system-in-row': 'nt.system',
    'eval': 'builtins.eval',
    'exec-2': '__builtin__.exec',
    'import': 'builtins.__import__',
    'popen': 'subprocess.Popen',
    'inst': 'os.system',
    'obj': 'os.system',
    'stack-global': 'os.system',
    'protocol-0': 'os.system',
    'getattr': 'builtins.getattr',
    'operator': 'operator.attrgetter',
    'partial': 'functools.partial',
    'numpy-load': 'numpy.load',
    'torch-load': 'torch.load',
    'torch-hub': 'torch.hub.load',
    'dotted-name': 'siren.siren.X.__init__.__globals__',
    'look-alike': 'siren.siren_evil.run',
    'inner-storage': 'os.system',
  }
  assert lines.keys() == named.keys()
  for case, full in named.items():
    assert f"the pickle wants '{full}', which is not allowed and was not run" in lines[case]


@pytest.mark.parametrize(
  'name, data',
  [
    ('command', crafted.pickled(crafted.call('os', 'system', crafted.text(hostile.TOUCH)))),
    ('inst', f"(S'{hostile.TOUCH}'\nios\nsystem\n.".encode()),
    ('eval', crafted.pickled(crafted.call('builtins', 'eval', crafted.text(hostile.WRITE)))),
  ],
)
def test_the_same_bytes_do_run_in_pickle(name, data, tmp_path):
  """Otherwise a missing canary would prove nothing."""
  (tmp_path / 'x').write_bytes(data)
  code = "import pickle; pickle.load(open('x', 'rb'))"
  subprocess.run([sys.executable, '-c', code], cwd=tmp_path, check=True)
  assert (tmp_path / hostile.CANARY).exists()


def test_the_table_under_limits_of_memory_and_time():
  """All of them in a process of 2 GiB and two minutes; what it prints is in the documentation."""
  done = subprocess.run(
    [sys.executable, '-m', 'tests.convert.hostile'],
    cwd=ROOT,
    env={**os.environ, 'OPENBLAS_NUM_THREADS': '1'},
    capture_output=True,
    text=True,
    check=True,
  )
  assert done.stdout.count('\n') == len(hostile.CASES) + 2
  assert done.stdout in (ROOT / 'docs' / 'convert.md').read_text()


VALID = sorted(path for path in DATA.iterdir() if path.suffix in ('.pth', '.pkl'))


def try_to_read(path):
  """Everything that the command does with a file of weights, short of writing."""
  try:
    tree = convert.read(path)
    weights = convert.state_dict(tree['G_ema'] if path.suffix == '.pkl' else tree)
    sum(float(value.sum()) for value in weights.values() if value.dtype.kind == 'f')
    official.read_generator(path, 'spatial')
  except UserError as error:
    assert str(error).isprintable() and len(str(error)) < 600
  except (TypeError, KeyError):  # of the look for G_ema alone
    assert path.suffix == '.pkl'


@pytest.mark.parametrize('file', VALID, ids=lambda path: path.name)
@pytest.mark.filterwarnings('ignore:overflow|invalid value:RuntimeWarning')  # sums of random bits
def test_damage_is_a_user_error(file, tmp_path, thorough):
  """Flipped, cut, repeated and inserted bytes: read or refused, nothing else."""
  whole = file.read_bytes()
  path = tmp_path / f'x{file.suffix}'

  @hypothesis.given(st.data())
  @hypothesis.settings(
    max_examples=60 if thorough else 15, deadline=None, database=None, derandomize=True
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
    try_to_read(path)

  run()


@pytest.mark.filterwarnings('ignore:overflow|invalid value:RuntimeWarning')
def test_damaged_pickles_in_sound_zips(tmp_path, thorough):
  """The checksum keeps most damage of a zip from the machine; here it is right again."""
  path = tmp_path / 'x.pth'
  program = write._pickle({'a.weight': crafted_array(3, 4), 'a.bias': crafted_array(3)})

  @hypothesis.given(st.data())
  @hypothesis.settings(
    max_examples=400 if thorough else 100, deadline=None, database=None, derandomize=True
  )
  def run(data):
    damaged = bytearray(program)
    for _ in range(data.draw(st.integers(1, 3))):
      damaged[data.draw(st.integers(2, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(crafted.torch_zip(bytes(damaged), s0=bytes(48), s1=bytes(12)))
    try_to_read(path)

  run()


def crafted_array(*shape):
  import numpy as np

  return np.zeros(shape, np.float32)


@hypothesis.given(st.binary(max_size=60))
@hypothesis.settings(max_examples=300, deadline=None, database=None, derandomize=True)
def test_any_bytes_are_a_user_error(tmp_path_factory, data):
  path = tmp_path_factory.getbasetemp() / 'any.pth'
  path.write_bytes(b'\x80\x02' + data + b'.')
  try_to_read(path)
