"""A surface in a camera's frustum: where it is in the world; the release's way, as its arrays."""

import goldens
import numpy as np
import pytest
from scipy import spatial
from test_mesh_surface import CENTRE, RADIUS, STYLE, Balls, distances, model_of

from jax3dgan.errors import UserError
from jax3dgan.meshes import frustum, meshing, surfaces


def test_the_release_aligns_a_frustum_to_a_box():
  """`mesh_volume` is along y, x and the depth; its surface is where the release finds it."""
  arrays = goldens.load('stylesdf_camera_mesh')
  volume = arrays['mesh_volume'][0, ..., 0].transpose(1, 0, 2)
  found = frustum.aligned(volume, 0.88, 1.12)
  goldens.compare(
    'stylesdf_camera_mesh', 'mesh_aligned', found.transpose(1, 0, 2)[None, ..., None], atol=1e-6
  )
  # Ours moves crossings away from grid points, and looks outwards where values fall: minus.
  vertices, faces = surfaces.marching_cubes([-found], close=False)
  world = (vertices / volume.shape[0] - 0.5) * [0.24, -0.24, -0.24]
  assert faces.shape == arrays['mesh_faces'].shape and len(world) == len(arrays['mesh_verts'])
  for one, other in ((world, arrays['mesh_verts']), (arrays['mesh_verts'], world)):
    assert spatial.cKDTree(other).query(one)[0].max() < 3e-5


@pytest.mark.parametrize('kind', ['sdf', 'density'])
def test_a_ball_in_a_frustum_is_where_it_is_in_the_world(kind):
  model = model_of(Balls(kind))
  model.config.render.fov_degrees = 80.0  # all of it is seen
  seen = frustum.Frustum(model.orbit(0.7, 0.2), 0.5, 1.6)
  level = None if kind == 'sdf' else 0.0  # a distance's is 0
  mesh = meshing.extract(model, STYLE, 40, level, frustum=seen)
  assert mesh.metadata['level'] == 0 and mesh.metadata['cube'] is None
  assert np.abs(distances(mesh)).max() < 0.002
  assert mesh.is_watertight and mesh.is_winding_consistent and mesh.volume > 0
  outwards = (mesh.vertices - CENTRE) / np.linalg.norm(mesh.vertices - CENTRE, axis=-1)[:, None]
  assert (mesh.vertex_normals * outwards).sum(-1).min() > 0.999
  colours = mesh.visual.vertex_colors[:, :3] / 255  # of the place
  if kind == 'sdf':
    np.testing.assert_allclose(colours, np.clip(mesh.vertices + 0.5, 0, 1), atol=0.01)


def test_slabs_are_the_whole_and_what_is_beyond_is_not_there(monkeypatch):
  model = model_of(Balls('sdf', second=0.2))
  seen = frustum.Frustum(model.orbit(0.0), 0.5, 1.1)  # the farther part of both balls is cut off
  whole = np.concatenate(list(seen.slabs(model, STYLE, 9)))
  monkeypatch.setattr(frustum, '_SLAB_POINTS', 4 * 81)
  np.testing.assert_array_equal(np.concatenate(list(seen.slabs(model, STYLE, 9))), whole)
  mesh = meshing.extract(model, STYLE, 24, frustum=seen, keep='all')
  # The camera is at z = 1: planes of depth are planes of z.
  assert mesh.bounds[0, 2] == pytest.approx(-0.1, abs=1e-3) and mesh.metadata['at_border'] > 0.02
  assert mesh.bounds[1, 2] == pytest.approx(CENTRE[2] + RADIUS, abs=0.01)


def test_no_surface_and_no_volume_are_one_line():
  model = model_of(Balls('sdf'))
  with pytest.raises(UserError, match=r'in the frustum\)\. Take a checkpoint'):
    meshing.extract(model, STYLE, 32, frustum=frustum.Frustum(model.front, 0.01, 0.02))
  with pytest.raises(UserError, match='from near -1 to far 2 is no volume'):
    frustum.Frustum(model.front, -1.0, 2.0)
