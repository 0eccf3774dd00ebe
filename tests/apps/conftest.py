"""Models that the apps open: read from their files once, so that all tests share their programs."""

import dataclasses

import jax
import pytest

from jax3dgan import config as config_lib
from jax3dgan import generators, trained


@pytest.fixture(scope='session')
def opened():
  """`trained.load` that reads a packaged model once in a session; workdirs are read each time."""
  load, models = trained.load, {}

  def once(workdir=None, pretrained=None, ema=None, step=None, directory=trained.PRETRAINED):
    if workdir or not pretrained:
      return load(workdir, pretrained, ema, step, directory)
    key = (pretrained, ema, step, str(directory))
    if key not in models:
      models[key] = load(workdir, pretrained, ema, step, directory)
    return models[key]

  return once


@pytest.fixture
def packaged(opened, monkeypatch):
  """Opens the models of the package."""
  monkeypatch.setattr(trained, 'load', opened)


@pytest.fixture(scope='session')
def pretrained_folder(tiny_model, tmp_path_factory):
  """A folder with a 3D model 'tiny', also under the name 'toys', and a 2D model 'flat'."""
  folder = tmp_path_factory.mktemp('pretrained')
  config = config_lib.base_config()
  config_lib.set_model(config, 'stylegan2')
  config = config_lib.tiny(config)
  generator = generators.create(config)
  params = generators.init_params(generator, jax.random.key(0))
  flat = trained.Trained(config, generator, {'params': params}, 3, 'flat')
  for model in (tiny_model, dataclasses.replace(tiny_model, name='toys'), flat):
    trained.save_pretrained(model, folder)
  return folder


@pytest.fixture
def pretrained(pretrained_folder, opened, monkeypatch):
  """Makes the names 'tiny', 'toys' and 'flat' known, in place of the package's."""
  monkeypatch.setattr(trained, 'load', lambda *a, **k: opened(*a, **k, directory=pretrained_folder))
