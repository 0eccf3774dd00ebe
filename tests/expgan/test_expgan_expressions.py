"""Expressions of an Exp-GAN: styles, what the mapping network hears, depth without the surface."""

import dataclasses

import coded_faces
import jax
import numpy as np
import pytest
import tiny_steps

from jax3dgan import generators, trained
from jax3dgan.data import face_models
from jax3dgan.evaluation import expression, pose
from jax3dgan.generators import expgan_faces
from jax3dgan.meshes import fusion
from jax3dgan.trained.expressions import Faces

JAW = 2


@pytest.fixture(scope='module')
def model(tmp_path_factory):
  folder = coded_faces.write(tmp_path_factory.mktemp('model'))
  config = tiny_steps.expgan(folder, **{'model.expression_inputs': (JAW,)})
  generator = generators.create(config)
  variables = jax.device_get(generators.init(generator, jax.random.key(0)))
  variables['buffers'] |= expgan_faces.buffers_of(generator, '', config.data.source)
  return trained.Trained(config, generator, variables, 0, 'faces')


def test_what_the_mapping_network_is_told_changes_the_style(model):
  faces = Faces(model)
  people = faces.of_seeds([0, 1])
  neutral, jaw, smile = (faces.styles(people, e, 1.0) for e in (0 * np.eye(5)[0], *np.eye(5)[2:4]))
  codes = model.generator.codes
  np.testing.assert_array_equal(codes(jaw)[1], np.eye(5)[[JAW, JAW]])
  for w in (neutral, jaw, smile):
    np.testing.assert_array_equal(codes(w)[0], people.identity)
  np.testing.assert_array_equal(smile[:, 0], neutral[:, 0])
  assert np.abs(jaw[:, 0] - neutral[:, 0]).max() > 1e-3
  # Of a photo's styles there are no latents: the codes alone change.
  given = faces.styles(faces.of_styles(neutral), np.eye(5)[JAW])
  np.testing.assert_array_equal(given[:, 0], neutral[:, 0])
  np.testing.assert_array_equal(given[:, 1:], jaw[:, 1:])
  # A seed's own face is that of the seed.
  np.testing.assert_allclose(
    faces.styles(people, None, 1.0), model.map(model.latents([0, 1]), 1), atol=1e-6
  )


def test_depth_with_the_mesh_and_of_the_volume_alone(model):
  faces, whole = Faces(model), face_models.load(model.config.data.source.removeprefix('ict:'))
  people = faces.of_seeds(range(4))
  camera, _ = pose.prior_cameras(model, 4, 0)
  camera = jax.tree.map(np.asarray, camera)
  told = np.repeat(np.float32([0 * np.eye(5)[0], np.eye(5)[JAW]])[:, None], 4, axis=1)
  values = expression._geometry(model, whole, faces, people, told, camera, 1.0)
  parts = {key.rpartition('depth/')[0] for key in values}
  assert parts == {'expression/', 'expression/volume/'}
  w = faces.styles(people, told[0], 1.0)
  volume = dataclasses.replace(model, generator=model.generator.without_surface())
  with_it, without = (of.render(w, camera).depth for of in (model, volume))
  (seen,) = np.isfinite(expression.regions(whole, people.identity, told[:1], camera, 16))
  change = np.abs(with_it - without)
  assert change[seen].mean() > 10 * change[~seen].mean()
  assert fusion.is_needed(model) and not model.generator.without_surface().has_surface
