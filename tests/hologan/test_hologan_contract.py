"""HoloGAN through the library: a camera and no field, one scene for all views, the apps."""

import importlib
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax3dgan import cameras, editing, export, generators, trained
from jax3dgan.errors import UserError
from jax3dgan.evaluation import evaluate
from jax3dgan.meshes import meshing
from jax3dgan.pictures import paths, sheets, turntables


@pytest.fixture(scope='module')
def model():
  config = importlib.import_module('configs.hologan_toys').get_test_config()
  generator = generators.create(config)
  variables = jax.jit(lambda: generators.init(generator, jax.random.key(0)))()
  # Weights of 0.02 make grey images.
  louder = lambda path, x: 8 * x if 'kernel' in jax.tree_util.keystr(path) else x  # noqa: E731
  variables = {'params': jax.tree.map_with_path(louder, variables['params'])}
  return trained.Trained(config, generator, variables, 3, 'holo')


def test_images_turn_with_the_camera_and_have_no_depth(model):
  assert model.has_camera and not model.has_depth
  w = model.map(model.latents([0, 1, 2]), 1.0)
  assert w.shape == (3, model.generator.num_ws, 8) and np.abs(w).max() < 1
  out = model.render(w, model.orbit([0.0, 1.0, 2.0]), batch=2)
  assert out.image.shape == (3, 16, 16, 3) and out.depth is out.opacity is None
  turned = model.render(w, model.orbit(2.0), batch=2).image
  assert np.abs(turned[:2] - out.image[:2]).max() > 1e-3
  # An example does not depend on its batch, nor a view on whether others share its voxels.
  np.testing.assert_allclose(turned[2], out.image[2], atol=1e-5)
  scene = model.prepare(w[2:])
  assert scene.voxels.shape == (1, 8, 8, 8, 4)
  again = model.render(scene, model.orbit([2.0, 0.0])).image
  np.testing.assert_allclose(again[0], turned[2], atol=1e-5)


def test_every_layer_listens_to_its_own_style(model):
  w = np.asarray(model.map(model.latents([0]), 1.0))
  expected = model.render(w, model.front).image
  for i in range(w.shape[1]):
    changed = w.copy()
    changed[:, i] *= -1
    assert np.abs(model.render(changed, model.front).image - expected).max() > 1e-4
  np.testing.assert_allclose(model.map(model.latents([0]), 0.5), 0.5 * w, atol=1e-6)
  assert not np.asarray(model.average_w).any()


def test_one_line_says_that_there_is_no_field(model, tmp_path):
  w = model.map(model.latents([0]), 1.0)
  with pytest.raises(UserError, match="'hologan' has no field") as error:
    model.generator.apply(model.variables, w, np.zeros((1, 1, 3)), method='query')
  assert '\n' not in str(error.value)
  with pytest.raises(UserError, match='holo has no field, so no surface'):
    meshing.field_kind(model)
  with pytest.raises(UserError, match='holo has no depth: its generator has no field'):
    sheets.sheet(model, range(2), psi=1.0, depth=True)
  config = model.config.copy_and_resolve_references()
  config.eval.metrics = 'objects'
  with pytest.raises(UserError, match='hologan has no objects that could be moved. Leave objects'):
    evaluate.check(config)
  config.eval.metrics = 'truth'
  with pytest.raises(UserError, match='makes pictures without a field'):
    evaluate.check(config)
  with pytest.raises(UserError, match='makes pictures without a field: there is no depth'):
    evaluate.Evaluator(config, lambda line: None).run(model)
  options = generators.render_options(model.config, resolution=32)
  with pytest.raises(UserError, match='16², not 32².*8³ voxels.*config.model.channels'):
    model.generator.apply(model.variables, w, model.front, None, options, method='synthesize')


def test_pictures(model):
  views = sheets.sheet(model, range(2), psi=1.0, yaws=(-40, 0, 40))
  assert views.ndim == 3 and views.std() > 1
  views = turntables.render_path(model, model.map(model.latents([0])), paths.make(model, 3, None))
  assert np.any(views.image[0, 0] != views.image[0, 1])


def test_its_styles_have_directions(model):
  params = {jax.tree_util.keystr(p, simple=True, separator='/')
            for p, _ in jax.tree_util.tree_leaves_with_path(model.params)}  # fmt: skip
  rows = model.generator.style_rows()
  assert rows.keys() <= params and sorted(rows.values()) == list(range(model.generator.num_ws))
  assert editing.sefa(model, count=2, num=8).vectors.shape == (2, model.generator.num_ws, 8)


def test_the_exported_file_draws_the_same(model, tmp_path):
  pytest.importorskip('flatbuffers')
  export.write(model, tmp_path / 'holo.j3d', platforms=('cpu',))
  assert export.check(model, tmp_path / 'holo.j3d') < 1e-5


def test_a_camera_can_be_found(model):
  """The image has a derivative in the camera, as the inversion of a photo needs."""
  w = model.map(model.latents([0]), 1.0)

  @jax.jit
  def brightness(azimuth):
    camera = cameras.orbit(azimuth[None], jnp.zeros(1), 1.0, 48.0)
    out = model.generator.apply(model.variables, w, camera, method='synthesize')
    return jnp.sum(out.image[:, :8])

  at, step = jnp.float32(0.4321), 1e-3  # within a cell of the voxels
  slope = jax.jit(jax.grad(brightness))(at)
  expected = (brightness(at + step) - brightness(at - step)) / (2 * step)
  assert math.isclose(slope, expected, rel_tol=0.1), (slope, expected)
