"""Arrays of a model that are no floats, through both kinds of files."""

import dataclasses

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest

from jax3dgan import hub, trained
from jax3dgan.errors import UserError
from jax3dgan.generators import Generator
from jax3dgan.generators.expgan import ExpGAN
from jax3dgan.generators.gghead import GGHead
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


class _WithFace(_Meshed):
  user_buffers = ('region',)


def test_a_face_model_goes_out_with_its_licence_alone(meshed, tmp_path):
  face = dataclasses.replace(meshed, generator=_WithFace())
  folder = tmp_path / 'a'
  with pytest.raises(UserError, match=r"\(region\) and would be published.*face_model_license='"):
    hub.save_pretrained(face, folder, license='mit', pictures=False)
  assert not folder.exists()
  with pytest.raises(UserError, match='has no face model in it. Leave out face_model_license'):
    hub.save_pretrained(meshed, folder, face_model_license='CC BY', pictures=False)
  hub.save_pretrained(face, folder, face_model_license='CC BY 4.0', pictures=False)
  card = (folder / 'README.md').read_text(encoding='utf-8')
  assert '- Face model, whose arrays are in the file too (`buffers/region`): CC BY 4.0.' in card


def test_generators_that_have_face_models():
  assert {'mean', 'shape_basis', 'region', 'faces', 'jaw_weight'} <= set(ExpGAN().user_buffers)
  assert GGHead().user_buffers == ()
  for template in ('ict', 'given', 'package.module:Head'):
    assert GGHead(template=template).user_buffers == ('template_points', 'template_places')
