"""Morphable models of files: what is read, what is refused, where the vertices are."""

import functools

import golden_morphable
import ict_synthetic
import jax
import numpy as np
import pytest

from jax3dgan import cameras
from jax3dgan.data import face_models
from jax3dgan.data.builders.ict_faces import generate, scene
from jax3dgan.data.builders.ict_faces import model as ict_model
from jax3dgan.errors import UserError
from jax3dgan.morphable import maps
from jax3dgan.morphable.model import rotation_matrices


@jax.jit
def vertices_of(model, shape, expression, jaw=None):
  return model.vertices(shape, expression, jaw)


def of_codes(model, jaw=None, seed=0):
  """Vertices of two codes, in NumPy as in the tests' own terms."""
  rng = np.random.default_rng(seed)
  shape = rng.normal(size=(2, len(model.shape_basis))).astype(np.float32)
  expression = rng.normal(size=(2, len(model.expression_basis))).astype(np.float32)
  return shape, expression, np.asarray(vertices_of(model, shape, expression, jaw))


def test_a_file_is_read_as_its_arrays(tmp_path):
  arrays, model = golden_morphable.arrays_of_model(), golden_morphable.model()
  np.savez(tmp_path / 'head.npz', **arrays)
  read = face_models.load(tmp_path / 'head.npz', num_shape=3, num_expression=2)
  np.testing.assert_array_equal(read.shape_basis, model.shape_basis[:3])
  shape, expression, vertices = of_codes(read)
  full = np.pad(shape, ((0, 0), (0, 5))), np.pad(expression, ((0, 0), (0, 4)))
  np.testing.assert_allclose(vertices, vertices_of(model, *full), atol=1e-7)
  # A mask says the same as numbers, UV of corners as UV of vertices.
  region = np.zeros(362, bool)
  region[arrays['face_region_vertices']] = True
  order = np.random.default_rng(0).permutation(362)
  other = face_models.from_arrays(
    arrays
    | dict(face_region_vertices=region, uv=arrays['uv'][order])
    | dict(faces_uv=np.argsort(order)[arrays['faces']]),
    'head',
  )
  np.testing.assert_array_equal(other.region, model.region)
  np.testing.assert_array_equal(other.region_uv, model.region_uv)


def test_the_region_alone_has_its_vertices():
  model = golden_morphable.model()
  part, kept = model.of_region(), np.unique(model.region)
  jaw = np.float32([[0.3, 0, 0.1], [0, 0, 0]])
  _, _, vertices = of_codes(model, jaw)
  _, _, own = of_codes(part, jaw)
  np.testing.assert_allclose(own, vertices[:, kept], atol=1e-7)
  inside = np.isin(model.landmark_corners, kept).all(1)
  assert 0 < inside.sum() < 68
  # In NumPy, as all of the models are here.
  corners, weights = part.landmark_corners, part.landmark_weights
  expected = np.einsum('lk,blkc->blc', model.landmark_weights, vertices[:, model.landmark_corners])
  np.testing.assert_allclose(
    np.einsum('lk,blkc->blc', weights, own[:, corners]), expected[:, inside], atol=1e-7
  )


def test_flame_shaped_files(tmp_path):
  rng = np.random.default_rng(0)
  arrays = golden_morphable.arrays_of_model()
  basis = 0.01 * rng.normal(size=(362, 3, 400))
  weights = rng.dirichlet(np.ones(5), 362)
  regressor = rng.dirichlet(np.ones(362), 5)
  poses = 0.01 * rng.normal(size=(362, 3, 36))
  flame = dict(v_template=arrays['mean'].astype(np.float64), shapedirs=basis, f=arrays['faces'])
  flame |= dict(weights=weights, J_regressor=regressor, posedirs=poses)
  flame |= dict(vt=arrays['uv'], ft=arrays['faces'], kintree_table=np.zeros((2, 5)))
  flame |= dict(full_lmk_faces_idx=arrays['landmark_face'][None])
  flame |= dict(full_lmk_bary_coords=arrays['landmark_bary'][None])
  np.savez(tmp_path / 'flame.npz', **flame)
  model = face_models.load(tmp_path / 'flame.npz', 100, 50)
  assert len(model.landmark_corners) == 68 and len(model.region) == len(arrays['faces'])
  jaw = np.float32([[0.3, -0.1, 0.2], [0, 0, 0]])
  shape, expression, vertices = of_codes(model, jaw)
  # Linear blend skinning with the other joints at rest.
  codes = np.concatenate([shape, expression], axis=1)
  chosen = basis[:, :, np.r_[:100, 300:350]]
  rest = arrays['mean'] + np.einsum('bk,vck->bvc', codes, chosen)
  joint = np.einsum('v,bvc->bc', regressor[2], rest)[:, None]
  turn = np.asarray(jax.jit(rotation_matrices)(jaw), np.float64)
  rest = rest + np.einsum('bi,vci->bvc', (turn - np.eye(3)).reshape(2, 9), poses[..., 9:18])
  moved = np.einsum('bij,bvj->bvi', turn, rest - joint) + joint
  expected = rest + weights[:, 2, None] * (moved - rest)
  np.testing.assert_allclose(vertices, expected, atol=2e-6)
  assert np.abs(vertices[0] - vertices_of(model, shape, expression)[0]).max() > 0.01


def test_what_is_no_model_is_refused(tmp_path):
  arrays = golden_morphable.arrays_of_model()

  def refused(message, **changes):
    changed = {k: v for k, v in (arrays | changes).items() if v is not None}
    with pytest.raises(UserError, match=message) as caught:
      face_models.from_arrays(changed, 'head.npz')
    assert '\n' not in str(caught.value)

  refused('no array shape_basis', shape_basis=None)
  refused(r'faces of shape \[720, 4\], not \[720, 3\]', faces=np.zeros((720, 4), int))
  refused('faces that are no whole numbers from 0 to 361', faces=arrays['faces'] + 1)
  refused('mean that are no finite numbers', mean=arrays['mean'] * np.nan)
  refused(r'uv of shape \[300, 2\], not \[362, 2\]', uv=arrays['uv'][:300])
  refused('one of landmark_face and landmark_bary', landmark_bary=None)
  refused('no triangle with three', face_region_vertices=arrays['face_region_vertices'][:1])
  refused('not .v, 3, 400.', v_template=arrays['mean'], shapedirs=np.zeros((362, 3, 150)))
  with pytest.raises(UserError, match='is not there'):
    face_models.load(tmp_path / 'none.npz')
  np.savez(tmp_path / 'pickled.npz', mean=np.array([{}], object))
  (tmp_path / 'text.npz').write_text('no file of arrays')
  for name in ('pickled', 'text'):
    with pytest.raises(UserError, match='pickles are not opened'):
      face_models.load(tmp_path / f'{name}.npz')
  np.savez(tmp_path / 'head.npz', **arrays)
  with pytest.raises(UserError, match='8 codes of shape, not 9'):
    face_models.load(tmp_path / 'head.npz', num_shape=9)
  with pytest.raises(ValueError, match='no jaw'):
    model = golden_morphable.model().replace(jaw=None)
    model.vertices(np.zeros((1, 8)), np.zeros((1, 6)), np.zeros((1, 3)))


@functools.partial(jax.jit, static_argnums=3)
def seen(model, codes, label, resolution):
  vertices = model.vertices(codes['identity'][None], codes['expression'][None])
  camera = cameras.from_label(label[None])
  picture = maps.perspective(model, vertices, camera, resolution)
  return picture, maps.project_landmarks(model, vertices, camera)


def test_ict_faces_are_where_they_are_rendered(tmp_path):
  folder = ict_synthetic.write(tmp_path)
  faces, model = ict_model.load(folder), face_models.load(folder)
  assert model.expression_names == faces.expression_names
  example = generate.example(faces, generate.Source(folder), 'test', 1, 24)
  truth = generate.truth(example['extras'])
  picture, landmarks = jax.device_get(seen(model.of_region(), truth, example['label'], 24))
  mask, depth = picture.mask[0], picture.depth[0]
  assert mask.mean() > 0.15
  # Eyes, which stand out, are other parts; nothing else is in front of the region.
  assert (depth[mask] >= truth['depth'][mask] - 1e-5).all()
  assert (np.abs(depth[mask] - truth['depth'][mask]) < 1e-5).mean() > 0.8
  assert (np.abs(picture.uv[0]) <= 1).all() and np.ptp(picture.uv[0][mask], axis=0).min() > 0.5
  head = scene.Head.__new__(scene.Head)
  head.vertices = faces.vertices(truth['identity'], truth['expression'])
  on_face = np.isin(model.landmark_corners[:, 0], model.region)
  expected = head.project(example['label'])[0][faces.landmarks][on_face]
  np.testing.assert_allclose(landmarks[0], expected, atol=1e-5)
