"""Surfaces of fields in closed form: where they lie, which way they look, that they are closed."""

import dataclasses
import math
import re

import jax.numpy as jnp
import numpy as np
import pytest
import trimesh

from jax3dgan import config as config_lib
from jax3dgan import trained
from jax3dgan.errors import UserError
from jax3dgan.generators import Generator
from jax3dgan.meshes import meshing, rasterizer, surfaces
from jax3dgan.rendering import grid

CENTRE, RADIUS = np.float32([0.05, -0.1, 0.12]), 0.3


class Balls(Generator):
  """A ball of the radius that the style says, [b, 1], a second one where it is asked for, painted
  by place: a field in closed form.

  Attributes:
    field_kind: 'density' (60 · (radius − distance)) or 'sdf' (distance − radius).
    second: Radius of a ball at the mirrored centre; 0 for none.
    view: Colours of the view direction instead of the place.
  """

  has_field = True

  field_kind: str = 'density'
  second: float = 0.0
  view: bool = False
  z_dim: int = 1

  def map(self, z, label=None):
    return z * 0 + RADIUS

  def query(self, w, points, directions=None):
    distance = jnp.linalg.norm(points - CENTRE, axis=-1) - w
    if self.second:
      other = jnp.linalg.norm(points + CENTRE * 3, axis=-1) - self.second
      distance = jnp.minimum(distance, other)
    colours = (directions if self.view and directions is not None else points) + 0.5
    return (distance if self.field_kind == 'sdf' else -60 * distance), colours


def model_of(generator=None, **render):
  config = config_lib.tiny(config_lib.base_config())
  config.render.update(fov_degrees=50.0, near=0.5, far=1.5, **render)
  config.pose_prior.update(name='uniform', yaw_std=math.pi)
  return trained.Trained(config, generator or Balls(), {'params': {}}, 1, 'balls')


STYLE = np.full((1, 1), RADIUS, np.float32)


def distances(mesh):
  return np.linalg.norm(mesh.vertices - CENTRE, axis=-1) - RADIUS


@pytest.mark.parametrize('kind', ['density', 'sdf'])
def test_a_ball_is_where_it_is(kind):
  """Within half a voxel, closed, normals outwards; in the middle of many slabs, too."""
  model = model_of(Balls(kind))
  mesh = meshing.extract(model, STYLE, 33, level=0.0, cube=1.0)
  voxel = 1 / 32
  assert np.abs(distances(mesh)).max() < 0.1 * voxel
  assert mesh.is_watertight and mesh.is_winding_consistent and mesh.euler_number == 2
  assert mesh.volume == pytest.approx(4 / 3 * math.pi * RADIUS**3, rel=0.01)
  outwards = (mesh.vertices - CENTRE) / np.linalg.norm(mesh.vertices - CENTRE, axis=-1)[:, None]
  assert (mesh.vertex_normals * outwards).sum(-1).min() > 0.9999  # of the field, not of the faces
  assert (mesh.face_normals * (mesh.triangles_center - CENTRE)).sum(-1).min() > 0
  assert mesh.area_faces.min() > 0


def test_the_level_moves_the_surface():
  mesh = meshing.extract(model_of(), STYLE, 33, level=6.0, cube=1.0)
  np.testing.assert_allclose(distances(mesh), -0.1, atol=0.004)
  mesh = meshing.extract(model_of(Balls('sdf')), STYLE, 33, level=0.1, cube=1.2)
  np.testing.assert_allclose(distances(mesh), 0.1, atol=0.004)


def test_slabs_give_the_mesh_of_the_whole(monkeypatch):
  whole = meshing.extract(model_of(), STYLE, 24, 0.0, cube=1.0)
  monkeypatch.setattr(meshing, '_SLAB_POINTS', 5 * 24**2)  # five planes, the last slab is not full
  parts = meshing.extract(model_of(), STYLE, 24, 0.0, cube=1.0)
  assert parts.is_watertight and len(parts.vertices) == len(whole.vertices)
  order = [np.lexsort(np.round(m.vertices, 5).T) for m in (whole, parts)]
  np.testing.assert_allclose(whole.vertices[order[0]], parts.vertices[order[1]], atol=1e-6)
  assert parts.volume == pytest.approx(whole.volume, rel=1e-5)


def test_planes_are_those_of_the_grid():
  whole = grid.query_planes(Balls(), {}, STYLE, 0, 9, 9, 1.0, 100)
  parts = [grid.query_planes(Balls(), {}, STYLE, first, 4, 9, 1.0, 100) for first in (0, 4, 8)]
  np.testing.assert_allclose(np.concatenate(parts)[:9], whole, atol=1e-5)


@pytest.mark.parametrize('parts', [1, 4, 12])
def test_any_values_give_a_closed_surface(parts):
  """Noise: every case of marching cubes, surfaces that touch themselves, the cube's faces."""
  values = np.random.default_rng(parts).normal(size=(12, 12, 12)).round(1)  # with exact zeros
  vertices, faces = surfaces.marching_cubes(np.array_split(values, parts))
  mesh = trimesh.Trimesh(vertices, faces, process=False)
  assert mesh.is_watertight and mesh.is_winding_consistent and mesh.volume > 0
  assert surfaces.areas(vertices, faces).min() > 0
  whole = trimesh.Trimesh(*surfaces.marching_cubes([values]), process=False)
  assert mesh.volume == pytest.approx(whole.volume, rel=1e-3)


def test_the_cube_closes_what_reaches_it():
  closed = meshing.extract(model_of(), STYLE, 17, 0.0, cube=0.5)
  assert closed.is_watertight and closed.metadata['at_border'] > 0.1
  np.testing.assert_allclose(closed.bounds[1, 2], 0.25, atol=1e-3)
  opened = meshing.extract(model_of(), STYLE, 17, 0.0, cube=0.5, close=False)
  assert not opened.is_watertight and opened.metadata['at_border'] < 0.05
  assert meshing.extract(model_of(), STYLE, 17, 0.0, cube=1.0).metadata['at_border'] == 0


def test_which_parts_are_kept():
  model = model_of(Balls(second=0.09))
  small = 0.09**2 / (0.09**2 + RADIUS**2)  # its share of the area, 8 %
  for keep, parts in (('largest', 1), ('all', 2), (0.9 * small, 2), (1.2 * small, 1)):
    mesh = meshing.extract(model, STYLE, 33, 0.0, cube=1.2, keep=keep, colours=None)
    assert len(mesh.split()) == parts == mesh.metadata['kept'] and mesh.metadata['parts'] == 2
  with pytest.raises(UserError, match='None of 2 parts has 1 of the area'):
    meshing.extract(model, STYLE, 33, 0.0, cube=1.2, keep=1.0)
  with pytest.raises(UserError, match="keep='some'"):
    meshing.extract(model, STYLE, 33, 0.0, cube=1.2, keep='some')


def test_the_cube_is_what_the_cameras_see():
  assert meshing.default_cube(model_of()) == pytest.approx(1.0)  # the depths reach farthest
  model = model_of()
  model.config.render.fov_degrees = 90.0
  assert meshing.default_cube(model) == pytest.approx(2.0)  # the sides do


def test_the_level_of_the_sampling_interval():
  """Half of the light is gone between two samples, with the activation."""
  for density in ('relu', 'softplus'):
    model = model_of(density=density)
    model.config.render.num_coarse = 11  # a tenth apart
    level = meshing.interval_level(model)
    sigma = level if density == 'relu' else math.log1p(math.exp(level))
    assert 1 - math.exp(-sigma * 0.1) == pytest.approx(0.5)
  faces = trained.Trained(config_lib.base_config(), Balls(), {}, 1, 'faces')
  assert meshing.interval_level(faces) == pytest.approx(31.8, abs=0.1)
  assert meshing.default_level(model_of(Balls('sdf')), STYLE) == 0


class Solid(Balls):
  """A ball of one density, softly edged over about a hundredth."""

  def query(self, w, points, directions=None):
    distance = jnp.linalg.norm(points, axis=-1) - w
    return 40 * jnp.clip(0.5 - distance / 0.02, 0, 1), points


def test_the_level_of_the_field():
  """Where the field has a sharp edge, the level lies on the edge, and the mesh with it."""
  model = model_of(Solid(), density='relu')
  level = meshing.default_level(model, STYLE)
  assert 5 < level <= 40.0
  mesh = meshing.extract(model, STYLE, 65, cube=0.9)
  assert mesh.metadata['level'] == pytest.approx(level)
  assert np.abs(np.linalg.norm(mesh.vertices, axis=-1) - RADIUS).max() < 0.5 / 65 + 0.01
  empty = model_of(Solid(), density='relu')
  weak = STYLE * 0.01  # no ray loses half of its light
  assert meshing.default_level(empty, weak) == meshing.interval_level(empty)


@pytest.mark.parametrize(
  'flags, message',
  [
    (dict(resolution=2, level=None), r'A grid of 2 points .* Set --resolution=128'),
    (dict(level=1e3), r'never exceeds 1000: its extreme is 1\d\.\d+ \(between'),
    (dict(level=-1e3), 'All of the cube is inside'),
    (dict(level=float('nan')), 'nan is no level'),
    (dict(cube=0.0), 'cube of side 0 is empty'),
    (dict(resolution=1), 'grid of 1 points'),
    (dict(colours='left'), "No directions are called 'left'"),
    (dict(texture=2), 'texture of 2² texels is too small'),
  ],
)
def test_what_cannot_be(flags, message):
  # An even number of points: none lies in the middle, and the extreme is what the grid sees.
  with pytest.raises(UserError, match=message):
    meshing.extract(
      model_of(),
      STYLE,
      **({'resolution': 9, 'level': 0.0} | flags),
      close=flags.get('level') != -1e3,
    )


def test_the_level_that_is_advised_has_a_surface():
  def advice(model, level, **flags):
    with pytest.raises(UserError) as error:
      meshing.extract(model, STYLE, 9, level=level, **flags)
    return str(error.value)

  distance = model_of(Balls('sdf'))
  assert 'Leave out --level, which is then 0, or a larger --cube.' in advice(distance, 5.0)
  usual = meshing.default_level(model_of(), STYLE)
  text = advice(model_of(), 1e9)
  level = float(re.search(r'(?:then |level=)([-\d.]+[\d])', text)[1])
  assert level > 0 and (f'Leave out --level, which is then {usual:.4g}' in text or level < usual)
  meshing.extract(model_of(), STYLE, 9, level=level)  # there is a surface


def test_how_opaque_a_level_is():
  model = model_of(density='relu')
  assert meshing.opacity_of(model, -1.0) == 0 and meshing.opacity_of(model, 0.0) == 0
  level = math.log(2) / (model.config.render.far - model.config.render.near)
  assert meshing.opacity_of(model, level) == pytest.approx(0.5)
  assert meshing.extract(model, STYLE, 9, level=0.0).metadata['opacity'] == 0
  assert meshing.extract(model_of(Balls('sdf')), STYLE, 9).metadata['opacity'] == 1


def test_several_styles_or_no_field(tiny_model):
  with pytest.raises(UserError, match='these are 2'):
    meshing.extract(model_of(), np.concatenate([STYLE, STYLE]), 9)
  flat = dataclasses.replace(tiny_model, generator=Generator(), name='flat')
  with pytest.raises(UserError, match='flat has no field'):
    meshing.extract(flat, STYLE, 9)
  broken = dataclasses.replace(model_of(), generator=Balls('fog'))
  with pytest.raises(UserError, match="kind 'fog'"):
    meshing.extract(broken, STYLE, 9)


def test_a_style_without_its_batch_axis():
  one, batch = (meshing.extract(model_of(), w, 9, 0.0, colours=None) for w in (STYLE[0], STYLE))
  np.testing.assert_array_equal(one.vertices, batch.vertices)


def test_a_missing_package_is_named():
  with pytest.raises(UserError, match=r'need the package nowhere_.* pip install jax3dgan\[apps\]'):
    surfaces.require('nowhere_to_be_found')


def test_triangles_cover_their_pixels():
  """Two halves of a square: each pixel once, also those whose centre lies on the diagonal."""
  square = np.float64([[[1, 1], [9, 1], [1, 9]], [[9, 9], [1, 9], [9, 1]]])
  face, bary = rasterizer.rasterize(square, 10, 12)
  assert face.shape == (10, 12) and (face >= 0).sum() == 64
  assert (face[1:9, 1:9] >= 0).all() and face[1, 1] == 0 and face[8, 8] == 1
  np.testing.assert_allclose(bary[face >= 0].sum(-1), 1)
  y, x = np.nonzero(face >= 0)
  places = (square[face[y, x]] * bary[y, x][..., None]).sum(1)
  np.testing.assert_allclose(places, np.stack([x + 0.5, y + 0.5], -1), atol=1e-9)


def test_the_nearest_triangle_is_visible():
  corners = np.float64([[[0, 0], [20, 0], [0, 20]]] * 3)
  inverse_depth = np.float64([[0.5] * 3, [1.0] * 3, [0.2] * 3])
  face, _ = rasterizer.rasterize(corners, 8, 8, inverse_depth)
  assert (face[:8, :8] == 1).all()
  # Two planes that cross: each is in front on its side.
  crossing = np.float64([[1, 0.1, 1], [0.5, 0.5, 0.5]])
  face, _ = rasterizer.rasterize(corners[:2], 8, 20, crossing)
  assert face[0, 0] == 0 and face[0, 18] == 1


def test_perspective():
  """Half way in the picture is not half way in space: from depth 1 to 3, the middle is at 1.5."""
  bary = rasterizer.perspective(np.float64([0.5, 0.5, 0]), np.float64([1, 1 / 3, 1]))
  assert bary @ [1, 3, 1] == pytest.approx(1.5)
