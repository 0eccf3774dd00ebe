"""Arrays of a model that are no floats, through both kinds of files."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest

from jax3dgan import trained
from jax3dgan.generators import Generator
from jax3dgan.runs import model_folders, packaged, stored

safetensors = pytest.importorskip('safetensors.numpy')

_CORNERS = [[0, 2049, 70_001]]  # float16 has neither of the latter


class _Meshed(Generator):
  """Stands in for a generator with a mesh among its buffers."""

  z_dim = 2

  @nn.compact
  def initialise(self, z):
    self.param('w', nn.initializers.zeros, (2,))
    self.variable('buffers', 'region', jnp.zeros, (1, 3), jnp.int32)
    self.variable('buffers', 'alive', jnp.ones, (2,), bool)


@pytest.fixture
def meshed(tiny_model):
  buffers = {'region': jnp.array(_CORNERS), 'alive': jnp.array([True, False])}
  variables = {'params': {'w': jnp.array([0.5, -1.0])}, 'buffers': buffers}
  return trained.Trained(tiny_model.config, _Meshed(), variables, 12, 'meshed')


def _check(variables):
  assert variables['params']['w'].dtype == np.float32
  assert variables['buffers']['region'].dtype == np.int32
  assert variables['buffers']['alive'].dtype == bool
  np.testing.assert_array_equal(variables['buffers']['region'], _CORNERS)
  np.testing.assert_array_equal(variables['buffers']['alive'], [True, False])


def test_a_folder_in_half_precision(meshed, tmp_path):
  folder = model_folders.write(meshed, tmp_path / 'a', dtype=np.float16)
  arrays = safetensors.load_file(folder / 'model.safetensors')
  assert {name: x.dtype.name for name, x in arrays.items()} == {
    'w': 'float16',
    'buffers/region': 'int32',
    'buffers/alive': 'bool',
  }
  _check(stored.find(str(folder)).variables(meshed.generator))
  # Of an earlier version, which wrote floats alone.
  floats = {name: x.astype(np.float32) for name, x in arrays.items()}
  (folder / 'model.safetensors').write_bytes(safetensors.save(floats))
  _check(stored.find(str(folder)).variables(meshed.generator))


def test_a_model_of_the_package(meshed, tmp_path):
  packaged.save_pretrained(meshed, tmp_path)
  arrays, step = packaged.read('meshed', tmp_path)
  assert step == 12
  _check(packaged.variables_of(meshed.generator, arrays))
