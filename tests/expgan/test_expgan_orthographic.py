"""The release's orthographic cameras as labels, what they see, and what has none of them."""

import dataclasses
import types

import golden_expgan
import golden_morphable
import goldens
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import x64

from jax3dgan import cameras
from jax3dgan.data.face_reader import Reader
from jax3dgan.errors import UserError
from jax3dgan.evaluation import evaluate
from jax3dgan.generators import expgan_checks, expgan_faces, expgan_rendering
from jax3dgan.meshes import meshing
from jax3dgan.morphable import photo_cameras
from jax3dgan.pictures import display, paths
from jax3dgan.recipes import expgan as recipe
from jax3dgan.rendering.draws import Draws
from jax3dgan.viewer import pictures

DISTANCE = 10.0


def labels_of(cam2world):
  return x64.jit(lambda x: photo_cameras.as_camera(x, DISTANCE).label())(cam2world)


def test_a_label_is_a_camera_of_the_release():
  c2w = goldens.load(golden_morphable.FILE)['fake/out/c2w']
  label = labels_of(c2w)
  camera = cameras.from_label(label)
  rotation = np.asarray(camera.cam2world)[:, :3, :3]
  np.testing.assert_allclose(
    np.einsum('bij,bik->bjk', rotation, rotation), np.broadcast_to(np.eye(3), rotation.shape),
    atol=1e-5,
  )  # fmt: skip
  back = x64.jit(lambda x: photo_cameras.of_camera(cameras.from_label(x), DISTANCE))(label)
  np.testing.assert_allclose(back, c2w, atol=2e-5)
  # A pinhole camera sees the square [−1, 1]² there, y down.
  corners = np.float32([[-1, 1, 0, 1], [1, -1, 0, 1], [0, 0, 0, 1]])
  world = np.einsum('bij,nj->bni', c2w, corners)
  uv, depth = cameras.project(camera, world)
  np.testing.assert_allclose(uv, np.broadcast_to([[0, 0], [1, 1], [0.5, 0.5]], uv.shape), atol=1e-5)
  np.testing.assert_allclose(depth, DISTANCE, rtol=1e-5)
  # So does the crop of its right half, twice as many pixels for its width.
  part = cameras.crop(camera, np.full(4, 0.5), np.zeros(4), np.full(4, 0.5), np.ones(4))
  half = photo_cameras.of_camera(part, DISTANCE)
  np.testing.assert_allclose(half[:, :, 0], 0.5 * c2w[:, :, 0], atol=2e-5)
  np.testing.assert_allclose(half[..., 3], c2w[..., 3] + 0.5 * c2w[..., 0], atol=2e-5)


def test_what_they_see_is_that_of_the_release():
  """Of a face model that stands in the world, by labels alone."""
  arrays, size = goldens.load(golden_morphable.FILE), golden_expgan.RAYS
  codes, whole = golden_morphable.codes('fake'), golden_morphable.model()
  model = whole.of_region().moved(
    photo_cameras.CANONICAL_SCALE, (0, 0, -photo_cameras.CANONICAL_DEPTH)
  )
  label = labels_of(arrays['fake/out/c2w'])

  @x64.jit
  def run(model, codes, label):
    c2w = photo_cameras.of_camera(cameras.from_label(label), DISTANCE)
    vertices = model.vertices(codes.shape, codes.expression, codes.pose[:, 3:])
    return expgan_rendering.see_orthographic(model, vertices, c2w, 64, size)

  seen = run(model, codes, label)
  expected = golden_expgan.seen(arrays['fake/out/uv'], arrays['fake/out/depth'])
  np.testing.assert_array_equal(seen.mask, expected['mask'])
  np.testing.assert_allclose(seen.uv, expected['uv'], atol=2e-4)
  np.testing.assert_allclose(seen.depth[seen.mask], expected['depth'][seen.mask], atol=2e-5)
  assert seen.inside is None and np.isfinite(seen.depth).all()


@pytest.mark.thorough
def test_a_picture_of_codes_and_a_label_is_that_of_the_release():
  """From codes to pixels in evaluation, as the apps render."""
  arrays, given = goldens.load('expgan/G_small_eval'), goldens.load('expgan/G_small_train')
  placed = (
    golden_morphable.model()
    .of_region()
    .moved(photo_cameras.CANONICAL_SCALE, (0, 0, -photo_cameras.CANONICAL_DEPTH))
  )
  codes = golden_morphable.codes('fake')
  generator = golden_expgan.generator().clone(
    orthographic=DISTANCE, num_vertices=len(placed.mean), num_triangles=len(placed.region)
  )
  assert (codes.shape[:2] == given['in/shape_jaw'][:, :8]).all()
  variables = golden_expgan.variables(np.float32)
  variables['buffers'] |= expgan_faces.arrays_of(placed)
  told = np.concatenate([codes.expression, codes.pose[:, 3:]], axis=1)[:2]
  label = labels_of(given['in/c2w'])

  @jax.jit
  def run(variables, z, shape, told, label):
    shape_of = (2, golden_expgan.RAYS**2, golden_expgan.SAMPLES)
    u = jnp.broadcast_to(jnp.linspace(0, 1, golden_expgan.SAMPLES), shape_of)
    draws = Draws(jitter=jnp.full_like(u, 0.5), pdf=u)
    w = generator.apply(variables, z, shape, told, method='map_codes')
    camera = cameras.from_label(label)
    options = golden_expgan.OPTIONS
    return generator.apply(variables, w, camera, draws, options, method='synthesize')

  out = run(variables, arrays['z'], codes.shape[:2], told, label)
  for name, image in (('pred', out.image), ('aux', out.low_res)):
    expected = arrays[f'psi1/{name}']
    error = np.abs(golden_expgan.channels_first(image) - expected).max() / np.abs(expected).max()
    assert error < 1e-3, name


def test_a_file_with_more_codes_gives_the_first(tmp_path):
  arrays = golden_morphable.arrays_of_model()
  np.savez(tmp_path / 'face.npz', **arrays)
  model, _, faces = Reader().read(str(tmp_path / 'face.npz'), '', 3, (5, 2))
  whole = golden_morphable.model()
  np.testing.assert_array_equal(model.shape_basis, whole.shape_basis[:5])
  np.testing.assert_array_equal(model.jaw.joint_expression, whole.jaw.joint_expression[:2])
  assert faces.shape == (3, 5 + 2 + 3)


class Parallel:
  name, has_depth, has_camera, has_field = 'heads', True, True, True
  generator = types.SimpleNamespace(parallel_rays=True, has_depth=True, field_kind='density')


@pytest.mark.parametrize(
  'call',
  [
    lambda model: meshing.check(model),
    lambda model: display.check_kinds(model, ['normals']),
    lambda model: paths.make(model, 4, trajectory='dolly'),
    lambda model: evaluate.Evaluator._one(
      types.SimpleNamespace(_reasons={}, config=types.SimpleNamespace(eval=None)), 'chamfer', model
    ),
  ],
)
def test_what_needs_a_place_is_refused(call):
  with pytest.raises(UserError, match='heads has parallel rays') as error:
    call(Parallel())
  assert '\n' not in str(error.value)


def test_other_pictures_are_shown():
  display.check_kinds(Parallel(), ['colour', 'depth', 'opacity'])
  assert pictures.kinds(Parallel()) == ('colour', 'depth', 'opacity')


def test_limits_of_a_box_are_refused():
  generator = golden_expgan.generator().clone(orthographic=DISTANCE)
  assert generator.parallel_rays and not golden_expgan.generator().parallel_rays
  expgan_checks.options(generator, golden_expgan.OPTIONS)
  with pytest.raises(UserError, match='config.render.box=0'):
    expgan_checks.options(generator, dataclasses.replace(golden_expgan.OPTIONS, box=1.0))
  with pytest.raises(UserError, match='config.model.orthographic is -1'):
    expgan_checks.fields(generator.clone(orthographic=-1.0))


def test_guesses_are_those_of_the_release():
  """Of labels, as they are."""
  arrays = goldens.load('expgan/losses')
  config = types.SimpleNamespace(
    loss=types.SimpleNamespace(pose_encoding='release'),
    expgan=types.SimpleNamespace(expressions=()),
    model=types.SimpleNamespace(orthographic=DISTANCE),
  )
  codes = dict(expression=np.zeros((4, 3)), identity=np.zeros((4, 3)))
  label = labels_of(arrays['c2w_real'])
  found = jax.jit(lambda x: recipe._to_guess(config, x, codes)['pose'])(label)
  np.testing.assert_allclose(found, arrays['pose_real'], atol=5e-5)
  assert recipe.Own().standardised
