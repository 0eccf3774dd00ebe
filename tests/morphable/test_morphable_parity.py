"""The morphable model, the cameras of codes and the maps beside golden arrays."""

import functools

import golden_morphable
import goldens
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import x64

from jax3dgan.morphable import maps, photo_cameras
from jax3dgan.morphable.model import rotation_matrices

# What is asked of maps: where a triangle is seen from the side, a rounding of its corners' places
# moves far on it.
MAPS = 5e-5


def compare(key, actual, dtype, relative):
  goldens.compare(golden_morphable.FILE, key, actual, relative=relative, dtype=dtype)


def typed(tree, dtype):
  return jax.tree.map(lambda x: x.astype(dtype) if x.dtype == np.float32 else x, tree)


def test_the_region_is_that_of_the_release():
  model, file = golden_morphable.model(), golden_morphable.FILE
  for dtype in (np.float64, np.float32):
    goldens.compare(file, 'model/face_region_faces', model.region, atol=0, dtype=dtype)
    goldens.compare(file, 'model/face_region_uv', model.texture_places, atol=0, dtype=dtype)


@functools.partial(x64.jit, static_argnames=('align', 'with_maps'))
def cameras_of(model, codes, rotation, align, with_maps):
  camera = photo_cameras.of_codes(model, codes, rotation, align)
  if not with_maps:
    return camera, None
  seen = maps.orthographic(model, camera.vertices, 64)
  return camera, (seen.uv, seen.depth_or_nearest)


@pytest.mark.parametrize('dtype', x64.DTYPES)
def test_vertices_and_landmarks(dtype):
  model, codes = (
    typed(x, dtype) for x in (golden_morphable.model(), golden_morphable.codes('fake'))
  )

  @x64.jit
  def run(model, codes):
    ahead = model.vertices(codes.shape, codes.expression, codes.pose[:, 3:])
    return *photo_cameras.posed(model, codes), ahead, model.landmarks(ahead)

  names = ('vertices_posed', 'landmarks_posed', 'vertices_canonical', 'landmarks_canonical')
  for name, actual in zip(names, run(model, codes), strict=True):
    compare(name, actual, dtype, 1e-6)


@pytest.mark.parametrize('dtype', x64.DTYPES)
@pytest.mark.parametrize('case', ['fake', 'real', 'fake_no_realign', 'fake_pose_override'])
def test_cameras_and_maps(case, dtype):
  arrays = goldens.load(golden_morphable.FILE)
  codes = typed(golden_morphable.codes(case[:4]), dtype)
  rotation = None
  if case == 'fake_pose_override':
    vector = arrays['pose_override_rvec'].astype(dtype)
    rotation = x64.jit(rotation_matrices)(vector)
  with_maps = f'{case}/out/uv' in arrays
  model = typed(golden_morphable.model(), dtype)
  camera, seen = cameras_of(model, codes, rotation, case != 'fake_no_realign', with_maps)
  compare(f'{case}/out/c2w', camera.cam2world, dtype, 2e-6)
  compare(f'{case}/out/c2w_orig', camera.unaligned, dtype, 2e-6)
  compare(f'{case}/out/scale', camera.scale, dtype, 2e-6)
  # The release keeps landmarks as a renderer's, behind a plane at 10.
  landmarks = camera.landmarks * (1, 1, -1) + (0, 0, 10)
  compare(f'{case}/out/landmarks3d', landmarks, dtype, 2e-6)
  if seen is not None:
    compare(f'{case}/out/uv', jnp.moveaxis(seen[0], -1, 1), dtype, MAPS)
    compare(f'{case}/out/depth', seen[1][:, None], dtype, MAPS)
  np.testing.assert_allclose(
    np.linalg.inv(camera.world_to_camera)[:, :3], camera.cam2world, rtol=1e-4, atol=1e-5
  )
