"""What all programs share: paths with `~`, negative numbers after a flag, terminals, JSON."""

import importlib
import io
import json
import math
import pathlib
import sys

import ml_collections
import pytest

import jax3dgan
from jax3dgan import json_text, programs

PACKAGE = pathlib.Path(jax3dgan.__file__).parent
MODULES = sorted(
  '.'.join(path.relative_to(PACKAGE.parent).with_suffix('').parts)
  for path in PACKAGE.rglob('*.py')
  if "\nif __name__ == '__main__':" in path.read_text(encoding='utf-8')
)


def test_paths_begin_at_home(monkeypatch):
  monkeypatch.setenv('HOME', '/home/me')
  given = ['train', '--out=~/x.png', '--workdir', '~/a b/c', '--config.data.source=~', '-w=~/y']
  assert programs.arguments(given) == [
    'train', '--out=/home/me/x.png', '--workdir', '/home/me/a b/c',
    '--config.data.source=/home/me', '-w=/home/me/y',
  ]  # fmt: skip
  as_they_are = ['--out=x~/y', '--out=./~', '--from=pigan', '--x=a=~/b', 'a~']
  assert programs.arguments(as_they_are) == as_they_are


def test_paths_of_a_config_begin_at_home(monkeypatch):
  monkeypatch.setenv('HOME', '/home/me')
  config = ml_collections.ConfigDict({'data': {'cache_dir': '~/c', 'source': 'toys', 'n': 1}})
  programs.expand_home(config.lock())
  assert config.data.to_dict() == {'cache_dir': '/home/me/c', 'source': 'toys', 'n': 1}


def test_negative_numbers_follow_a_flag():
  given = ['--yaws', '-30,0,30', '--psi', '-.5', '--depth', '--seeds', '3', '-5']
  joined = ['--yaws=-30,0,30', '--psi=-.5', '--depth', '--seeds', '3', '-5']
  assert programs.arguments(given) == joined


def test_all_programs_are_found():
  assert {'jax3dgan.main', 'jax3dgan.cli', 'jax3dgan.data.prepare'} < set(MODULES)


@pytest.mark.parametrize('name', MODULES)
def test_a_terminal_without_some_characters_ends_no_program(name, monkeypatch):
  monkeypatch.setattr(sys, 'stdout', io.TextIOWrapper(io.BytesIO(), encoding='cp1252'))
  monkeypatch.setattr(sys, 'stderr', io.TextIOWrapper(io.BytesIO(), encoding='cp1252'))
  module = importlib.import_module(name)
  program = getattr(module, 'main', None) or module.run
  argv = ['--help']
  if name in ('jax3dgan.main', 'jax3dgan.tools.split') or not hasattr(module, 'main'):
    argv.insert(0, name)
  try:
    assert not program(argv)
  except SystemExit as stop:
    assert not stop.code
  print('64 → 16, \udcfc.png', flush=True)
  assert sys.stdout.buffer.getvalue().endswith(rb'64 \u2192 16, \udcfc.png' + b'\n')


def test_json_has_no_nan_and_any_name():
  value = {'a': [math.nan, 1.5, -math.inf], 'größe \udcfc': (2, 'x')}
  text = json_text.dumps(value)
  assert json.loads(text, parse_constant=pytest.fail) == {
    'a': [None, 1.5, None],
    'größe \udcfc': [2, 'x'],
  }
  assert 'größe' in text and text.encode().endswith(b'\n')
