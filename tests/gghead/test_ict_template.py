"""The head of the ICT face model as GGHead's template: of a model of ellipsoids and, where it is
beside the repository, of the model itself."""

import importlib
import pathlib

import ict_synthetic
import jax
import numpy as np
import pytest
import tiny_steps

from jax3dgan import discriminators, generators, recipes
from jax3dgan.data.builders.ict_faces import model, uv_layout
from jax3dgan.errors import UserError
from jax3dgan.generators import templates
from jax3dgan.training import schedule
from jax3dgan.training import state as state_lib

_REAL = pathlib.Path(__file__).resolve().parents[3] / 'shared' / 'data' / 'ict_face_3dmm'


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  return ict_synthetic.write(tmp_path_factory.mktemp('model'))


def test_texels_in_triangles_have_points_by_barycentric_coordinates():
  """A quad and, beside it on the map, a triangle of the other orientation."""
  vertices = np.float32([[0, 0, 1], [4, 0, 1], [4, 2, 3], [0, 2, 3], [9, 9, 9], [9, 8, 9]])
  uv = np.float32([[0, 0], [0.5, 0], [0.5, 1], [0, 1], [1, 0], [0.75, 1]])
  mesh = uv_layout.Mesh(
    vertices, np.array([[0, 1, 2], [0, 2, 3], [4, 5, 4]]), uv,
    np.array([[0, 1, 2], [0, 2, 3], [2, 5, 4]]),
  )  # fmt: skip
  points, places = uv_layout.texels(mesh, 4)
  left = places[:, 0] < 0
  assert left.sum() == 8  # all texels of the half that the quad fills, row by row from the top
  u, v = (places[left, 0] + 1) / 2, (1 - places[left, 1]) / 2
  expected = np.stack([8 * u, 2 * v, 1 + 2 * v], axis=-1)
  np.testing.assert_allclose(points[left], expected, atol=1e-6)
  np.testing.assert_allclose(places[:2], [[-0.75, -0.75], [-0.25, -0.75]])
  assert 0 < (~left).sum() < 8 and np.all(points[~left][:, 0] == 9)
  # The quad's area, 4 · 2√2, and none of the empty triangle.
  assert uv_layout.spacing(mesh, 8) == pytest.approx((4 * 2 * 2**0.5 / 8) ** 0.5)


def test_points_are_on_the_head(folder):
  mesh = uv_layout.head(folder)
  points, places = uv_layout.texels(mesh, 32)
  on_ellipsoid = (points * model.UNIT_CM + model.ORIGIN_CM - ict_synthetic.CENTRE) / (
    ict_synthetic.RADII
  )
  np.testing.assert_allclose(np.linalg.norm(on_ellipsoid, axis=1), 1, atol=0.01)
  rows, columns = templates.texels_of(places, 32)
  assert len(np.unique(32 * rows + columns)) == len(points)
  np.testing.assert_allclose((2 * columns + 1) / 32 - 1, places[:, 0], atol=1e-6)
  # The face is on the left half of the map; up is up.
  np.testing.assert_array_equal(places[:, 0] < 0, on_ellipsoid[:, 2] > 0)
  left = places[:, 0] < 0
  assert np.corrcoef(points[left, 1], places[left, 1])[0, 1] < -0.99
  assert 0.5 * 32**2 < len(points) < 32**2 and len(np.unique(places, axis=0)) == len(points)


def test_training_begins_on_the_head(folder):
  config = tiny_steps.gghead(**{
    'data.source': f'ict:{folder}', 'gghead.variation': 0.0, 'gghead.late_images': 0,
    'model.template': 'ict', 'model.num_given': 0,
  })  # fmt: skip

  def networks():
    return generators.create(config), discriminators.create(config.discriminator)

  with pytest.raises(UserError, match="of 8² texels are on the template 'ict'") as error:
    recipes.check(config, *networks(), schedule.stages(config))
  words = str(error.value)
  assert '\n' not in words
  for flag in words.removesuffix('.').split('--config.')[1:]:
    name, value = flag.split()[0].split('=')
    config.update_from_flattened_dict({name: float(value) if '.' in value else int(value)})
  recipes.check(config, *networks(), schedule.stages(config))
  generator, discriminator = networks()
  fresh = jax.jit(lambda: state_lib.create(config, generator, discriminator))()
  assert not np.any(fresh.buffers['generator']['template_points'])
  state = state_lib.warm_up(fresh, config, generator, frozenset(), lambda *args: None)
  expected = templates.buffers_of(generator, config.data.source)['template_points']
  variables = state_lib.averaged_variables(state, str(config.ema.display_rate))
  w = generator.apply(variables, np.zeros((1, 8), np.float32), method='map')
  found = generator.apply(variables, w, method='gaussians')
  assert len(expected) == generator.num_gaussians
  np.testing.assert_allclose(found.means[0], expected, atol=1e-6)
  np.testing.assert_array_equal(state.networks['generator']['position']['kernel'], 0)
  # Each Gaussian has its own texel's attributes.
  channels = 14
  planes = np.random.default_rng(0).normal(size=(1, 8, 8, channels)).astype(np.float32)
  places = np.asarray(variables['buffers']['template_places'])
  column, row = np.round(((places + 1) * 8 - 1) / 2).astype(int).T
  at_points = generator.bind(variables)._at_points(planes)
  np.testing.assert_allclose(at_points[0], planes[0, row, column], atol=1e-5)
  assert 'generator/stretch' in tiny_steps.shapes(config)[1]  # of neighbours on the map
  config.gghead.variation = 1.0
  with pytest.raises(UserError, match="template 'ict' is cut"):
    recipes.check(config, *networks(), schedule.stages(config))


def test_a_model_without_coordinates_says_so(tmp_path):
  old = ict_synthetic.write(tmp_path, uv=None)
  with pytest.raises(UserError, match='no array uv. Convert the model again'):
    uv_layout.head(old)


def test_the_config_is_that_of_the_model_itself():
  if not (_REAL / model.FILE).exists():
    pytest.skip('the ICT face model is not in ../shared/data/ict_face_3dmm')
  config = importlib.import_module('configs.gaussians_ict_faces').get_config()
  generator = generators.create(config)
  points = templates.buffers_of(generator, f'ict:{_REAL}')['template_points']
  assert points.shape == (generator.num_gaussians, 3)
  assert generator.start_scale == pytest.approx(
    0.8 * uv_layout.spacing(uv_layout.head(_REAL), len(points)), rel=1e-3
  )
  assert np.abs(points).max() < 0.6 and points[:, 2].max() > 0.2
