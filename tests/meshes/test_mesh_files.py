"""Colours are the field's, files come back as they were, cameras see what ours see."""

import json
import math
import re
import struct

import numpy as np
import pytest
import trimesh
from test_mesh_surface import CENTRE, RADIUS, STYLE, Balls, model_of

from jax3dgan import cameras
from jax3dgan.apps import camera_export
from jax3dgan.errors import UserError
from jax3dgan.meshes import gltf, mesh_files, mesh_preview, meshing, texturing


@pytest.fixture(scope='module')
def ball():
  """A ball with the colours of the place, at its vertices."""
  return meshing.extract(model_of(Balls('sdf')), STYLE, 17, cube=1.0)


@pytest.fixture(scope='module')
def textured():
  return meshing.extract(model_of(Balls('sdf')), STYLE, 17, cube=1.0, texture=128)


def colours_of_place(points):
  return np.clip(points + 0.5, 0, 1) * 255


def test_vertices_have_the_colours_of_the_field(ball):
  np.testing.assert_allclose(
    ball.visual.vertex_colors[:, :3], colours_of_place(ball.vertices), atol=0.51
  )


def test_a_density_has_the_colours_of_the_renderer():
  """What stands before the surface hides what lies behind: the colours are from near it."""
  mesh = meshing.extract(model_of(), STYLE, 17, 6.0, cube=1.0)
  error = mesh.visual.vertex_colors[:, :3] - colours_of_place(mesh.vertices)
  assert np.abs(error).max() < 255 * 2.5 / 16  # the band around it
  assert np.abs(error).max() > 0.6  # and not only the surface itself


@pytest.mark.parametrize('directions', ['normal', 'front', 'mean'])
def test_from_where_colours_are_looked_at(directions):
  model = model_of(Balls('sdf', view=True))
  mesh = meshing.extract(model, STYLE, 17, cube=1.0, colours=directions)
  seen = mesh.visual.vertex_colors[:, :3] / 255 - 0.5  # the view direction, clipped to ±½
  if directions == 'front':
    np.testing.assert_allclose(seen, np.broadcast_to([0, 0, -0.5], seen.shape), atol=0.01)
  elif directions == 'normal':
    expected = np.clip(-mesh.vertex_normals, -0.5, 0.5)
    np.testing.assert_allclose(seen, expected, atol=0.01)
  else:  # cameras all round: each point is seen from its own side
    outwards = (mesh.vertices - CENTRE) / RADIUS
    side = np.abs(outwards[:, 1]) < 0.5
    assert ((seen * outwards).sum(-1)[side] < -0.2).all()
  locked = model_of(Balls('sdf', view=True), lock_view_direction=True)
  mesh = meshing.extract(locked, STYLE, 9, cube=1.0, colours=directions)
  np.testing.assert_allclose(mesh.visual.vertex_colors[:, 2], 0)


class Features(Balls):
  """Has its colours not among the first three features."""

  def query(self, w, points, directions=None):
    density, colours = super().query(w, points, directions)
    return density, (colours.repeat(2, -1) - 0.5)  # x, x, y, y, z, z

  @staticmethod
  def colours_of(features):
    return features[..., ::2] + 0.5


def test_a_generator_says_which_features_are_colours():
  mesh = meshing.extract(model_of(Features('sdf')), STYLE, 17, cube=1.0)
  np.testing.assert_allclose(
    mesh.visual.vertex_colors[:, :3], colours_of_place(mesh.vertices), atol=0.51
  )


def test_texels_have_the_colours_of_their_points(textured):
  """Each point of the surface, between the vertices too, within a texel."""
  points, faces = trimesh.sample.sample_surface(textured, 2000, seed=1)
  bary = trimesh.triangles.points_to_barycentric(textured.triangles[faces], points)
  uv = (textured.visual.uv[textured.faces[faces]] * bary[..., None]).sum(1)
  seen = texturing.sample_texture(texturing.texture_of(textured), uv)
  error = np.abs(seen - colours_of_place(points))
  assert np.median(error) < 0.5 and np.percentile(error, 99) < 1
  assert error.max() < 5  # at seams too


def test_nothing_of_the_ground_shows_beyond_the_seams():
  image = np.zeros((8, 8, 3), np.uint8)
  mask = np.zeros((8, 8), bool)
  image[2, 2], image[5, 6] = [255, 0, 0], [0, 255, 0]
  mask[2, 2] = mask[5, 6] = True
  filled = texturing.dilate(image, mask)
  assert (filled[0, 0] == [255, 0, 0]).all() and (filled[7, 7] == [0, 255, 0]).all()
  assert (filled.sum(-1) == 255).all()


def test_uv_do_not_overlap(textured):
  """Texels and triangles have the same area: none lies on another."""
  mask, points, normals = texturing.texel_points(textured, 512)
  uv = textured.visual.uv[textured.faces]
  a, b = uv[:, 1] - uv[:, 0], uv[:, 2] - uv[:, 0]
  area = np.abs(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum() / 2
  assert mask.mean() == pytest.approx(area, rel=0.01)
  outwards = (points - CENTRE) / RADIUS
  assert (normals * outwards).sum(-1).min() > 0.98


def load(path):
  """What trimesh reads; made one by trimesh, meshes would lose their normals."""
  again = trimesh.load(path, process=False)
  return again if isinstance(again, trimesh.Trimesh) else next(iter(again.geometry.values()))


@pytest.mark.parametrize('ending', ['ply', 'obj', 'glb'])
def test_vertex_colours_come_back(ball, ending, tmp_path):
  path = tmp_path / f'ball.{ending}'
  assert mesh_files.save(ball, path) == [path]
  again = load(path)
  assert again.faces.shape == ball.faces.shape and again.is_watertight
  np.testing.assert_allclose(again.vertices[again.faces], ball.vertices[ball.faces], atol=1e-6)
  if ending == 'glb':  # linear, beside the material
    colours = gltf.to_srgb(again.visual.vertex_attributes['color'])
  else:
    colours = again.visual.vertex_colors[:, :3] / 255
  expected = ball.visual.vertex_colors[:, :3] / 255
  np.testing.assert_allclose(colours[again.faces], expected[ball.faces], atol=1e-5)
  normals = again.vertex_normals[again.faces]
  np.testing.assert_allclose(normals, ball.vertex_normals[ball.faces], atol=1e-5)


@pytest.mark.parametrize('ending', ['obj', 'glb'])
def test_a_texture_comes_back(textured, ending, tmp_path):
  path = tmp_path / f'ball.{ending}'
  files = mesh_files.save(textured, path)
  names = {file.name for file in files}
  expected = {'ball.obj', 'ball.mtl', 'ball_texture.png'} if ending == 'obj' else {'ball.glb'}
  assert names == expected == {file.name for file in tmp_path.iterdir()}
  again = load(path)
  corners = again.vertices[again.faces]
  np.testing.assert_allclose(corners, textured.vertices[textured.faces], atol=1e-6)
  uv = again.visual.uv[again.faces]
  np.testing.assert_allclose(uv, textured.visual.uv[textured.faces], atol=1e-6)
  np.testing.assert_array_equal(texturing.texture_of(again), texturing.texture_of(textured))


def test_names_that_readers_of_obj_files_do_not_find(textured, tmp_path):
  path = tmp_path / 'mein auto (ü).obj'
  files = mesh_files.save(textured, path)
  lines = path.read_text().splitlines() + files[1].read_text().splitlines()
  words = dict(line.split(' ', 1) for line in lines if line[:2] in ('mt', 'us', 'ne', 'ma'))
  assert set(words) == {'mtllib', 'usemtl', 'newmtl', 'map_Kd'}
  assert all(re.fullmatch(r'[A-Za-z0-9._-]+', name) for name in words.values())
  assert words['usemtl'] == words['newmtl']
  assert {words['mtllib'], words['map_Kd']} == {file.name for file in files[1:]}
  np.testing.assert_array_equal(texturing.texture_of(load(path)), texturing.texture_of(textured))
  # Another mesh, whose name looks the same without its spaces, keeps its texture.
  others = mesh_files.save(textured, tmp_path / 'mein_auto_(ü).OBJ')
  assert not set(files) & set(others) and all(file.is_file() for file in [*files, *others])


def test_the_same_mesh_is_the_same_file(tmp_path):
  for name in ('a', 'b'):
    mesh = meshing.extract(model_of(Balls('sdf')), STYLE, 9, cube=1.0, texture=64)
    mesh_files.save(mesh, tmp_path / name / 'x.glb')
    mesh_files.save(mesh, tmp_path / name / 'x.obj')
  for name in ('x.glb', 'x.obj', 'x.mtl', 'x_texture.png'):
    assert (tmp_path / 'a' / name).read_bytes() == (tmp_path / 'b' / name).read_bytes()


def test_what_a_file_cannot_hold(textured, tmp_path):
  with pytest.raises(UserError, match='a PLY file has no texture'):
    mesh_files.save(textured, tmp_path / 'x.ply')
  with pytest.raises(UserError, match='End it in one of .ply, .obj, .glb'):
    mesh_files.save(textured, tmp_path / 'x.stl')


def test_screen_colours_and_light():
  values = np.linspace(0, 1, 256)
  np.testing.assert_allclose(gltf.to_srgb(gltf.to_linear(values)), values, atol=1e-6)
  assert gltf.to_linear(0.5) == pytest.approx(0.2140, abs=1e-4)


def orbit(num=5):
  angles = np.linspace(0, 2 * math.pi, num, endpoint=False)
  return cameras.orbit(angles, np.float32(0.4), 1.3, 40.0)


def nodes_at(content: bytes):
  """(tree, times [n], matrices [n, 4, 4]) of the animated camera in a GLB file."""
  length = struct.unpack_from('<I', content, 12)[0]
  tree = json.loads(content[20 : 20 + length])
  data = content[28 + length :]

  def read(index):
    accessor = tree['accessors'][index]
    view = tree['bufferViews'][accessor['bufferView']]
    values = np.frombuffer(data[view['byteOffset'] :][: view['byteLength']], '<f4')
    return values.reshape(accessor['count'], -1)

  animation = tree['animations'][0]
  found = {}
  for channel in animation['channels']:
    sampler = animation['samplers'][channel['sampler']]
    found[channel['target']['path']] = read(sampler['output'])
    time = read(sampler['input'])[:, 0]
  from scipy.spatial.transform import Rotation

  matrices = np.tile(np.eye(4), (len(time), 1, 1))
  matrices[:, :3, :3] = Rotation.from_quat(found['rotation']).as_matrix()
  matrices[:, :3, 3] = found['translation']
  return tree, time, matrices


@pytest.mark.parametrize('align_corners', [False, True])
def test_an_exported_camera_sees_the_same_pixels(align_corners):
  """A point of the world lies in the same pixel by glTF's rules and by ours."""
  camera, size = orbit(), 16
  film = camera_export.film_of(camera, size, 12.0, align_corners)
  glb = gltf.Glb()
  film.add_to(glb)
  tree, time, matrices = nodes_at(glb.to_bytes())
  np.testing.assert_allclose(time, np.arange(5) / 12, atol=1e-6)
  lens = tree['cameras'][0]['perspective']
  points = np.random.default_rng(0).uniform(-0.3, 0.3, (6, 3))
  own = np.asarray(cameras.project(camera, np.broadcast_to(points, (5, 6, 3)))[0])
  # Our pixel i is at i/(n − 1) of the image, or at (i + ½)/n; glTF's at the latter.
  pixel = own * (size - 1) if align_corners else own * size - 0.5
  local = np.einsum('fji,fnj->fni', matrices[:, :3, :3], points - matrices[:, None, :3, 3])
  half = math.tan(lens['yfov'] / 2)
  clip = local[..., :2] / -local[..., 2:] / half  # x right, y up, −1 to 1
  image = (clip * [1, -1] + 1) / 2 * size - 0.5
  np.testing.assert_allclose(image, pixel, atol=2e-4)
  # And by the matrices for Blender, whose world has z up.
  blender = np.asarray([frame['blender'] for frame in film.to_json()['frames']])
  turned = np.stack([points[:, 0], -points[:, 2], points[:, 1]], -1)
  local = np.einsum('fji,fnj->fni', blender[:, :3, :3], turned - blender[:, None, :3, 3])
  clip = (
    local[..., :2] / -local[..., 2:] / math.tan(math.radians(film.to_json()['fov_degrees']) / 2)
  )
  np.testing.assert_allclose((clip * [1, -1] + 1) / 2 * size - 0.5, pixel, atol=2e-4)
  np.testing.assert_allclose(
    [frame['opencv'] for frame in film.to_json()['frames']], camera.cam2world, atol=1e-6
  )


def test_a_turn_takes_the_short_way():
  turns = gltf.quaternions(np.asarray(orbit(40).cam2world)[:, :3, :3])
  assert (turns[1:] * turns[:-1]).sum(-1).min() > 0.99


def test_a_camera_in_the_file_of_a_mesh(ball, tmp_path):
  path = tmp_path / 'x.glb'
  mesh_files.save(ball, path, camera_export.film_of(orbit(), 16, 12.0))
  again = load(path)
  assert len(again.faces) == len(ball.faces)
  tree = nodes_at(path.read_bytes())[0]
  assert [node.get('camera') for node in tree['nodes']].count(0) == 1
  assert 'COLOR_0' in tree['meshes'][0]['primitives'][0]['attributes']


def test_a_camera_off_the_middle():
  camera = orbit()
  shifted = camera.replace(
    intrinsics=np.asarray(camera.intrinsics) + [[0, 0, 0.1], [0] * 3, [0] * 3]
  )
  with pytest.raises(UserError, match='centred, square image'):
    camera_export.film_of(shifted, 16, 12.0)


def test_a_preview_shows_the_mesh_where_it_is(ball, textured):
  """The picture of a ball is its silhouette; its depth and colours are known."""
  camera, size = cameras.orbit(np.float32([0.3]), 0.2, 1.3, 40.0), 64
  seen = mesh_preview.view(ball, camera, size)
  v, u = np.meshgrid((np.arange(size) + 0.5) / size, (np.arange(size) + 0.5) / size, indexing='ij')
  matrix, k = np.asarray(camera.cam2world)[0], np.asarray(camera.intrinsics)[0]
  rays = np.stack([(u - 0.5) / k[0, 0], (v - 0.5) / k[1, 1], np.ones_like(u)], -1)
  rays = rays / np.linalg.norm(rays, axis=-1, keepdims=True) @ matrix[:3, :3].T
  towards = CENTRE - matrix[:3, 3]
  along = rays @ towards
  missed = np.sqrt(np.maximum(towards @ towards - along**2, 0))
  hit = np.isfinite(seen.depth)
  assert (hit == (missed < RADIUS)).mean() > 0.985
  inner = missed < 0.8 * RADIUS
  distance = along - np.sqrt(np.maximum(RADIUS**2 - missed**2, 0))
  np.testing.assert_allclose(seen.depth[inner], distance[inner], atol=0.012)
  points = matrix[:3, 3] + rays * distance[..., None]
  for mesh in (ball, textured):
    colour = mesh_preview.view(mesh, camera, size).colour
    np.testing.assert_allclose(colour[inner], colours_of_place(points[inner]), atol=5)
  assert (seen.shaded[~hit] == 255).all() and seen.shaded[inner].std() > 5
