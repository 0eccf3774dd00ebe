"""Where compiled programs are kept."""

import pathlib

import jax
import pytest

from jax3dgan import config as config_lib
from jax3dgan import recipes
from jax3dgan.devices import compilation
from jax3dgan.nn import backend
from jax3dgan.training import step


@pytest.fixture
def settings(monkeypatch):
  """Restores JAX's settings."""
  names = ('jax_compilation_cache_dir', 'jax_persistent_cache_min_compile_time_secs')
  before = {name: getattr(jax.config, name) for name in names}
  yield
  for name, value in before.items():
    jax.config.update(name, value)


def test_the_place_of_caches(monkeypatch):
  monkeypatch.setenv('XDG_CACHE_HOME', '/x')
  monkeypatch.delenv('JAX3DGAN_CACHE', raising=False)
  assert compilation.cache_root() == pathlib.Path('/x/jax3dgan')
  monkeypatch.setenv('JAX3DGAN_CACHE', '~/y')
  assert compilation.cache_root() == pathlib.Path.home() / 'y'
  monkeypatch.delenv('JAX3DGAN_CACHE')
  monkeypatch.delenv('XDG_CACHE_HOME')
  assert compilation.cache_root() == pathlib.Path.home() / '.cache' / 'jax3dgan'


def test_a_place_that_was_chosen_stays(settings, monkeypatch):
  monkeypatch.setenv('JAX3DGAN_CACHE', '/z')
  jax.config.update('jax_compilation_cache_dir', '/chosen')
  compilation.use_cache()
  assert jax.config.jax_compilation_cache_dir == '/chosen'
  jax.config.update('jax_compilation_cache_dir', None)
  compilation.use_cache()
  assert jax.config.jax_compilation_cache_dir == '/z/xla'


def test_options_are_given_where_they_are_supported(monkeypatch):
  options = compilation.options_for_convolutions()
  assert jax.jit(lambda x: x + 1).lower(1).compile(options)(1) == 2
  unknown = {'no_such_option': 'x'}
  monkeypatch.setattr(compilation, '_CONVOLUTION_OPTIONS', unknown)
  assert compilation.options_for_convolutions() == {}
  with backend.lowering_for('tpu'):
    monkeypatch.setattr(compilation, '_CONVOLUTION_OPTIONS', options)
    assert compilation.options_for_convolutions() == {}


_CONVOLUTIONAL = ('cgsgan', 'eg3d', 'expgan', 'gghead', 'giraffe', 'hologan', 'stylenerf')
_CONVOLUTIONAL += ('stylesdf',)


@pytest.mark.parametrize('recipe', recipes.RECIPES)
def test_a_recipes_options(recipe):
  config = config_lib.base_config(recipe)
  convolutions = recipe in _CONVOLUTIONAL
  expected = compilation.options_for_convolutions() if convolutions else {}
  assert step.compiler_options(config) == expected
