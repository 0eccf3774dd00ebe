"""setup.py: what a wheel holds beside the modules."""

import filecmp
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]


def test_a_wheel_brings_the_configs_along(tmp_path):
  pytest.importorskip('setuptools')
  command = [sys.executable, 'setup.py', '--quiet', 'egg_info', f'--egg-base={tmp_path}']
  command += ['build_py', f'--build-lib={tmp_path / "lib"}']
  subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
  built = tmp_path / 'lib' / 'jax3dgan' / 'configs'
  names = sorted(path.name for path in (ROOT / 'configs').glob('*.py'))
  assert sorted(path.name for path in built.iterdir()) == names
  assert filecmp.cmpfiles(ROOT / 'configs', built, names, shallow=False)[0] == names
  assert (built.parent / 'pretrained').is_dir()
