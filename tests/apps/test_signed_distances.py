"""What is made of a model is made of StyleSDF's too: pictures, meshes, measures, exported files."""

import jax
import numpy as np
import pytest
import sdf_ball

from jax3dgan import config as config_lib
from jax3dgan import export, generators, trained
from jax3dgan.errors import UserError
from jax3dgan.evaluation import depth_consistency, flatness, view_leak
from jax3dgan.meshes import meshing
from jax3dgan.pictures import maps, normals, traced


@pytest.fixture(scope='module')
def stylesdf():
  """Untrained, the smallest, with a decoder: pictures of 16² of 8² rays."""
  config = config_lib.base_config('stylesdf')
  config.model.update(decoder_channels=(8, 8), low_resolution=8)
  config = config_lib.tiny(config)
  generator = generators.create(config)
  variables = generators.init(generator, jax.random.key(0))
  return trained.Trained(config, generator, variables, 1, 'stylesdf')


def test_normals_behind_a_decoder_are_those_of_its_rays(stylesdf):
  w = np.asarray(stylesdf.map(stylesdf.latents([0]), 1.0))
  camera = stylesdf.orbit(0.2)
  views = maps.render(stylesdf, w, camera, None, ('normals',))
  assert views.normals.shape == (1, 1, 16, 16, 3)
  np.testing.assert_allclose(np.linalg.norm(views.normals, axis=-1), 1, atol=1e-4)
  # Of 8²: what the renderer alone shows, at the pixels between.
  small = trained.Trained(
    stylesdf.config, stylesdf.generator.without_super_resolution(), stylesdf.variables, 1
  )
  out = small.render(w, camera, 8)
  own = normals.of_rendering(small, w, camera, out.depth, out.opacity)[0]
  coarse = views.normals[0, 0].reshape(8, 2, 8, 2, 3).mean(axis=(1, 3))
  # Its layers are random, and so is the surface: neighbours differ.
  assert np.median(np.sum(coarse * own, axis=-1)) > 0.8


def test_the_surface_and_the_traced_picture_are_at_zero(stylesdf):
  w = stylesdf.map(stylesdf.latents([1]), 1.0)
  assert meshing.default_level(stylesdf, w) == 0.0
  mesh = meshing.extract(stylesdf, w, 16, keep='all', colours=None, normals='mesh')
  inner = np.abs(mesh.vertices).max(1) < 0.9 * mesh.metadata['cube'] / 2
  distance, _ = stylesdf.query(w, mesh.vertices[None][:, inner])
  around = np.abs(stylesdf.query(w, np.random.default_rng(0).uniform(-0.1, 0.1, (1, 500, 3)))[0])
  assert np.abs(distance).mean() < 0.2 * around.mean()
  out = traced.Tracer(stylesdf).render(w, stylesdf.orbit(0.0), 16, traced.SHADED)
  assert out.image.shape == (1, 16, 16, 3) and (out.opacity == 1).all()  # its last sample is opaque


def test_an_exported_file_draws_the_same(stylesdf, tmp_path):
  pytest.importorskip('flatbuffers')
  export.write(stylesdf, tmp_path / 'x.zip', platforms=('cpu',))
  assert export.check(stylesdf, tmp_path / 'x.zip', batch=2) < 1e-4


def test_measures_of_geometry_on_a_distance_in_closed_form():
  model = sdf_ball.model()
  flat = flatness.measure(model, num_latents=2, psi=1.0, resolution=16).values
  assert flat['nfs_solid/measured'] == 1 and 2 < flat['nfs_solid'] < 20  # a ball is not flat
  leak = view_leak.measure(model, num_latents=2, psi=1.0, resolution=16).values
  assert all(value == 0 for name, value in leak.items() if 'field' in name or 'depth' in name)
  same = depth_consistency.measure(model, num_latents=2, psi=1.0, resolution=16).values
  assert all(np.isfinite(value) for value in same.values())


def test_a_density_cannot_be_traced(tiny_model):
  with pytest.raises(UserError, match='tiny has no signed distance to trace'):
    traced.Tracer(tiny_model)


def test_a_distance_without_a_surface_is_no_mesh_of_the_cube():
  model = sdf_ball.model()
  w = model.map(model.latents([0]), 1.0)
  with pytest.raises(UserError, match='All of the cube is inside.* Take a checkpoint .* --cube'):
    meshing.extract(model, w, 8, 0.0, cube=0.05)
