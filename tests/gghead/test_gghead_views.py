"""Nothing of the camera is in GGHead's objects: the evaluation says so, and of one that is told the
camera that it is."""

import importlib

import jax
import numpy as np
import pytest

from jax3dgan import generators, trained
from jax3dgan.evaluation import view_leak
from jax3dgan.evaluation.fakes import Fakes


def model_of(**fields):
  config = importlib.import_module('configs.gaussians_toys').get_test_config()
  config.model.update(opacity_bias=6.0, start_scale=0.06, **fields)
  config.render.white_back = True
  generator = generators.create(config)
  variables = generators.init(generator, jax.random.key(0))
  return trained.Trained(config, generator, variables, 3, 'cars')


@pytest.fixture(scope='module')
def models():
  return model_of(), model_of(label_dim=25, sh_degree=1)


def test_view_leak_is_exactly_nothing(models):
  strict, told = (view_leak.measure(model, 2).values for model in models)
  assert strict == {
    'view_leak/style': 0,
    'view_leak/depth': 0,
    'view_leak/opacity_iou': 1,
    'view_leak/gaussians': 0,
    'view_leak/colour': 0,
  }
  assert told['view_leak/style'] > 0.01 and told['view_leak/gaussians'] > 0.01
  assert told['view_leak/colour'] > 0.01


def test_fid_is_fid_3d(models):
  """FID_3D is of images whose mapping network is told a fixed camera: here they are the same."""
  labels = np.asarray(models[0].orbit(np.linspace(-1, 1, 4)).label())
  for model, same in zip(models, (True, False), strict=True):
    fakes = Fakes(model, batch_size=4)
    own, fixed = (next(fakes.batches(4, labels, fixed)) for fixed in (False, True))
    assert own.std() > 5 and np.array_equal(own, fixed) == same
