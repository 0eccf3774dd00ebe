"""colab/install.py: what it installs, and what it leaves as it is."""

import importlib.metadata
import pathlib
import runpy
import sys

import pytest
import setuptools
from packaging.requirements import Requirement

ROOT = pathlib.Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / 'colab'))

import install  # noqa: E402  a program of that folder

# Of Colab's image, as of early 2026: packages that a session has loaded before its first cell, and
# the one that its TensorFlow 2.19 wants in this version.
IMAGE = {
  'matplotlib': '3.10.0',
  'numpy': '2.0.2',
  'pillow': '11.3.0',
  'protobuf': '5.29.5',
  'tensorboard': '2.19.0',
}


def test_what_a_session_has_loaded_is_not_replaced(monkeypatch):
  given = {}
  monkeypatch.setattr(setuptools, 'setup', lambda **arguments: given.update(arguments))
  runpy.run_path(str(ROOT / 'setup.py'))
  needed = {r.name: r.specifier for r in map(Requirement, given['install_requires'])}
  # To replace one of them would take a restart.
  assert all(version in needed[name] for name, version in IMAGE.items())


def test_a_loaded_package_that_is_replaced_needs_a_restart(monkeypatch):
  before = install.loaded()
  assert before['pytest'] == pytest.__version__ and before['setuptools'] == setuptools.__version__
  assert install.restart(before) == ''
  version = importlib.metadata.version
  monkeypatch.setattr(
    importlib.metadata, 'version', lambda name: '9.9' if name == 'pytest' else version(name)
  )
  line = install.restart(before)
  assert line.startswith('RESTART NOW') and f'pytest {pytest.__version__} → 9.9 had been' in line


@pytest.mark.parametrize(
  ('smi', 'extra'),
  [
    ('| NVIDIA-SMI 550.54.15   Driver Version: 550.54.15   CUDA Version: 12.4 |', 'cuda12'),
    ('| NVIDIA-SMI 580.65.06   Driver Version: 580.65.06   CUDA Version: 13.0 |', 'cuda13'),
    ('NVIDIA-SMI has failed', None),
  ],
)
def test_the_extra_of_a_runtime(smi, extra, monkeypatch):
  monkeypatch.setattr(install.glob, 'glob', lambda pattern: [])
  assert install.accelerator(smi) == (extra or '')
  monkeypatch.setattr(install.glob, 'glob', lambda pattern: ['/dev/accel0'])
  assert install.accelerator(smi) == (extra or 'tpu')


@pytest.mark.parametrize('there', [True, False])
def test_what_is_installed(monkeypatch, there):
  monkeypatch.setattr(install.importlib.util, 'find_spec', lambda name: there or None)
  every = [
    'jax>=0.10.2',
    "tensorflow-cpu>=2.21; platform_system == 'Linux'",
    'tensorflow-datasets>=4.9.10',
    'tensorboard>=2.20',
    "colorama; sys_platform == 'win32'",
    'trimesh>=4.5; extra == "apps"',
    "jax[cuda12]>=0.10.2; extra == 'cuda12'",
    'viser>=1.0; extra == "viewer"',
  ]
  tensorflow = [] if there else every[1:3]
  assert install.requirements(every, ('apps', 'cuda12')) == [
    'jax>=0.10.2',
    *tensorflow,
    'tensorboard>=2.20',
    "colorama; sys_platform == 'win32'",
    'trimesh>=4.5',
    'jax[cuda12]>=0.10.2',
  ]
