"""Random weights of the whole FID Inception, made once."""

import pytest


@pytest.fixture(scope='session')
def random_state():
  """pytorch-fid's state dict, {name: array}."""
  import inception_golden

  return inception_golden.random_state()


@pytest.fixture(scope='session')
def torch_file(random_state, tmp_path_factory):
  """The same as a file of torch.save."""
  from jax3dgan.convert import write

  path = tmp_path_factory.mktemp('inception') / 'weights.pth'
  write.torch(path, random_state)
  return path


@pytest.fixture(scope='session')
def random_weights(torch_file):
  """The same, read."""
  from jax3dgan.feature_networks import inception_weights

  return inception_weights.load(torch_file)
