"""One entry to the programs: its verbs are the modules that exist."""

import importlib
import importlib.util
import pathlib
import re
import sys

import pytest

import jax3dgan
from jax3dgan import cli

APPS = pathlib.Path(jax3dgan.__file__).parent / 'apps'


def test_every_program_is_a_verb():
  programs = {
    path.stem for path in APPS.glob('*.py') if re.search(r'^def main\(', path.read_text(), re.M)
  }
  assert programs <= set(cli.VERBS)
  for verb, entry in cli.VERBS.items():
    assert callable(importlib.import_module(entry.module).main), verb
    assert len(cli.summary(verb)) < 110 and not cli.summary(verb).endswith('..')


def test_help_shows_each_verb_and_an_example(capsys):
  assert cli.main(['--help']) == 0
  text = capsys.readouterr().out
  for verb, entry in cli.VERBS.items():
    assert f'\n  {verb} ' in text and f'jax3dgan {verb} {entry.example}' in text
  assert cli.main([]) == 2
  assert cli.main(['--version']) == 0
  assert jax3dgan.__version__ in capsys.readouterr().out


@pytest.mark.parametrize('verb', sorted(cli.VERBS))
def test_help_of_a_verb(verb, capsys):
  try:
    code = cli.main([verb, '--help'])
  except SystemExit as stop:
    code = stop.code
  out = capsys.readouterr().out
  assert not code and '--' in out and len(out) > 300


def test_a_verb_that_is_not_there(capsys):
  assert cli.main(['turntabel']) == 2
  assert "no verb 'turntabel'. Did you mean turntable?" in capsys.readouterr().err
  assert cli.main(['xyz']) == 2
  assert 'There are: train, eval' in capsys.readouterr().err


def test_arguments_reach_the_program(monkeypatch):
  got = []
  module = importlib.import_module('jax3dgan.main')
  monkeypatch.setattr(module, 'main', lambda argv: got.append(argv) or 3)
  assert cli.main(['eval', '--workdir=x']) == 3
  assert got == [['jax3dgan eval', '--mode=eval', '--workdir=x']]


def test_packages_of_the_current_folder_are_found_as_with_python_m(tmp_path, monkeypatch):
  (tmp_path / 'package_of_ones_own.py').write_text('VALUE = 3')
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(sys, 'path', [path for path in sys.path if path])
  assert cli.main(['--help']) == 0
  assert importlib.util.find_spec('package_of_ones_own')
  before = list(sys.path)
  assert cli.main(['--help']) == 0 and sys.path == before
