"""GGHead through the library: templates, activations, a strictly consistent generator, the apps."""

import functools
import importlib
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax3dgan import editing, export, generators, splats, trained
from jax3dgan.apps import export as export_app
from jax3dgan.errors import UserError
from jax3dgan.generators import gghead_attributes, templates
from jax3dgan.generators.gghead import GGHead
from jax3dgan.inversion import search
from jax3dgan.inversion.descent import SearchOptions
from jax3dgan.losses import gaussians as losses
from jax3dgan.meshes import fusion, meshing
from jax3dgan.pictures import paths, sheets, turntables
from jax3dgan.viewer import quality


@pytest.fixture(scope='module')
def model():
  config = importlib.import_module('configs.gaussians_toys').get_test_config()
  config.model.template_radius = (0.25, 0.25, 0.25)
  generator = generators.create(config)
  variables = generators.init(generator, jax.random.key(0))
  return trained.Trained(config, generator, variables, 3, 'cars')


@pytest.mark.parametrize('name', templates.SURFACES)
def test_neighbours_on_a_map_are_neighbours_on_the_surface(name):
  n, radius, centre = 32, (0.3, 0.2, 0.25), (0.1, 0.2, -0.3)
  points = templates.points(name, n, radius, centre)
  unit = (points - np.float32(centre)) / np.float32(radius)
  np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1, atol=1e-6)
  grid = points.reshape(n, n, 3)
  spacing = templates.spacing(name, n, radius)
  for axis in (0, 1):
    steps = np.linalg.norm(np.diff(grid, axis=axis), axis=-1)
    # No tears: no neighbours are far apart, and the mean is what `spacing` says.
    assert steps.max() < 2.7 * spacing and 0.6 * spacing < steps.mean() < 1.5 * spacing
  if name == 'half_ellipsoid':
    assert unit[:, 2].min() > 0 and np.abs(unit[:, :2]).max() > 0.95
  else:  # all of the sphere: each quarter around y has as many, the lower half as the upper
    quarters = np.unique(unit[:, [0, 2]] > 0, axis=0, return_counts=True)[1]
    np.testing.assert_array_equal(quarters, n * n / 4)
    assert abs(np.sign(unit[:, 1].round(5)).sum()) < 1e-6


def test_scales_have_a_start_a_bound_and_a_floor():
  scales = functools.partial(gghead_attributes.scales, start=0.01, largest=0.05)
  assert math.isclose(scales(jnp.zeros(())), 0.01, rel_tol=1e-5)
  assert 0.049 < scales(jnp.float32(20.0)) <= 0.05 and scales(jnp.float32(-9.0)) < 1e-5
  # The release's: log s = −3 − softplus(2 − raw).
  raw = jnp.linspace(-4, 4, 9)
  start = math.exp(-3 - math.log1p(math.exp(2)))
  found = gghead_attributes.scales(raw, start, math.exp(-3))
  np.testing.assert_allclose(jnp.log(found), -3 - jax.nn.softplus(2 - raw), rtol=1e-5)
  floored = functools.partial(scales, least=0.006)
  assert math.isclose(floored(jnp.zeros(())), 0.01, rel_tol=1e-5)
  assert math.isclose(floored(jnp.float32(-20.0)), 0.006, rel_tol=1e-5)


def test_rotations_of_axis_and_angle():
  v = jnp.array([[0.0, 0, 0], [0.3, 0, 0], [0, -2.0, 0], [1e-8, 0, 0]])
  q = gghead_attributes.axis_angle_quaternions(v)
  expected = [[1, 0, 0, 0], [math.cos(0.15), math.sin(0.15), 0, 0],
              [math.cos(1), 0, -math.sin(1), 0], [1, 0, 0, 0]]  # fmt: skip
  np.testing.assert_allclose(q, expected, atol=1e-6)
  slopes = jax.jacobian(gghead_attributes.axis_angle_quaternions)(jnp.zeros(3))
  np.testing.assert_allclose(slopes, np.vstack([np.zeros(3), 0.5 * np.eye(3)]), atol=1e-6)


def test_the_terms_of_gaussians():
  opacity = jnp.array([0.0, 0.5, 1.0])
  expected = [0, 2 * math.log(0.6) - math.log(0.11), 0]
  for o, value in zip(opacity, expected, strict=True):
    assert abs(losses.beta(o) - value) < 2e-5
  zeros = jnp.zeros((1, 4, 3))
  assert losses.mean_norm(zeros)[0] < 1e-4
  assert np.isfinite(jax.jit(jax.grad(lambda x: losses.mean_norm(x).sum()))(zeros)).all()
  # A picture of a ramp: neighbours to the right differ by a tenth in one of three channels.
  ramp = jnp.broadcast_to(0.1 * jnp.arange(5.0), (1, 6, 5))
  places = jnp.stack([ramp, jnp.ones_like(ramp)], axis=-1)
  opaque = jnp.ones((1, 6, 5)).at[:, :, 3:].set(0)
  shown = places * opaque[..., None]
  assert abs(losses.map_variation(0.7 * shown, 0.7 * opaque) - 0.1 / 3) < 1e-6


def test_moving_a_template_stretches_nothing_and_folding_it_does():
  rows, columns = np.meshgrid(np.arange(5.0), np.arange(4.0), indexing='ij')
  grid = 0.1 * np.stack([columns, rows, 0 * rows], axis=-1)  # neighbours are .1 apart
  moved = np.broadcast_to(np.float32([0.3, -0.2, 0.1]), grid.shape)
  mirrored = np.float32([-2, 0, 0]) * grid  # of each column its mirror image
  offsets = np.stack([moved, mirrored, 0.5 * mirrored])
  np.testing.assert_allclose(
    losses.stretch(offsets, 0.1), [0, 4 * 2 * 15 / 31, 15 * 2 / 31], atol=1e-5
  )
  # Only neighbours that are both on the template count: here two in a column, of a mirrored row.
  both = np.zeros(grid.shape[:2], bool)
  both[1, 1:3] = both[3, 0] = True
  np.testing.assert_allclose(losses.stretch(offsets, 0.1, both), [0, 8, 2], atol=1e-5)


def test_more_points_than_texels_are_between_them():
  generator = GGHead(z_dim=4, w_dim=4, channels=(4,), points=8, start_scale=0.01)
  assert generator.num_gaussians == 64
  rows = jnp.broadcast_to(jnp.arange(4.0)[:, None, None], (4, 4, 13))[None]
  bound = generator.bind({'buffers': {'w_average': jnp.zeros(4)}})
  found = bound._at_points(rows).reshape(8, 8, 13)
  # At the edge the nearest texel's value, elsewhere on the line between two.
  expected = np.clip((np.arange(8) + 0.5) / 2 - 0.5, 0, 3)
  np.testing.assert_allclose(found[:, 0, 0], expected, atol=1e-6)


def test_every_view_shows_the_same_gaussians(model):
  assert model.has_camera and model.has_depth and not model.has_field
  w = model.map(model.latents([0, 1]), 1.0)
  scene = model.prepare(w)
  out = model.render(w, model.orbit([0.0, 1.0]), batch=2)
  assert out.image.shape == (2, 16, 16, 3) and out.depth.shape == out.opacity.shape == (2, 16, 16)
  assert 0.1 < out.opacity.mean() < 0.9
  # One scene from two cameras is the scene twice, and nothing of a camera is in it.
  one = jax.tree.map(lambda x: x[1:], scene)
  views = model.render(one, model.orbit([0.3, 1.0]))
  np.testing.assert_allclose(views.image[1], out.image[1], atol=1e-5)
  own, again = model.gaussians(w), model.gaussians(scene)
  jax.tree.map(np.testing.assert_array_equal, own, again)
  assert own.means.shape == (2, 64, 3)
  # A fresh generator's Gaussians are on their template.
  template = templates.points('sphere', 8, (0.25,) * 3, (0.0,) * 3)
  np.testing.assert_allclose(own.means[0], template, atol=1e-6)
  middle = views.depth[0, 8, 8] / views.opacity[0, 8, 8]
  assert 0.72 < middle < 1  # in front of the middle: some light passes the front


def test_its_mesh_is_what_depth_maps_show(model, monkeypatch):
  """Opaque Gaussians on a sphere of radius .25 in a corner of the world."""
  pytest.importorskip('skimage')
  monkeypatch.setattr(fusion, 'RESOLUTION', 16)
  config = model.config.copy_and_resolve_references()
  config.model.update(opacity_bias=9.0, start_scale=0.06, template_centre=(0.06, -0.04, 0.05))
  solid = trained.Trained(config, generators.create(config), model.variables, 3, 'ball')
  mesh = meshing.extract(solid, solid.map(solid.latents([0]), 1.0), 24, cube=0.9)
  centre = mesh.vertices.mean(axis=0)
  np.testing.assert_allclose(centre, (0.06, -0.04, 0.05), atol=0.025)
  radii = np.linalg.norm(mesh.vertices - centre, axis=1)
  # A Gaussian's surface is outside of its mean, by about its own size.
  assert abs(np.median(radii) - 0.29) < 0.05 and radii.std() < 0.04
  assert mesh.is_watertight and mesh.metadata['level'] == 0
  # Outside along the normals; its colours are those of pictures.
  assert (np.sum((mesh.vertices - centre) * mesh.vertex_normals, axis=1) > 0).mean() > 0.95
  assert mesh.visual.vertex_colors.shape == (len(mesh.vertices), 4)


def test_one_line_says_that_there_is_no_field(model):
  w = model.map(model.latents([0]), 1.0)
  with pytest.raises(UserError, match='GGHead has no field') as error:
    model.generator.apply(model.variables, w, np.zeros((1, 1, 3)), method='query')
  assert '\n' not in str(error.value)
  with pytest.raises(UserError, match='cars has no field'):
    meshing.field_kind(model)


def test_pictures_and_sizes(model):
  views = sheets.sheet(model, range(2), psi=1.0, yaws=(-40, 0, 40), depth=True)
  assert views.ndim == 3 and views.std() > 1
  views = turntables.render_path(model, model.map(model.latents([0])), paths.make(model, 3, None))
  assert np.any(views.image[0, 0] != views.image[0, 1])
  assert quality.still_sizes(model) == [16, 64, 128, 256, 512]
  assert [level.resolution for level in quality.moving_levels(model)] == [16, 32, 64, 128]


def test_its_styles_have_directions(model):
  assert editing.sefa(model, count=2, num=8).vectors.shape == (2, model.generator.num_ws, 8)


def test_inversion_goes_through_the_rasteriser(model):
  camera, w = model.orbit(0.4), model.map(model.latents([5]), 1.0)
  photo = np.clip(model.render(w, camera).image, -1, 1)
  options = SearchOptions(num_steps=8, learning_rate=0.2, noise=0.0)
  found = search.search(model, photo, camera, 'w', options=options)
  mse = found.losses['mse'][:, 0]
  assert np.isfinite(mse).all() and mse[-1] < 0.8 * mse[0]


def test_the_exported_file_draws_the_same(model, tmp_path):
  pytest.importorskip('flatbuffers')
  export.write(model, tmp_path / 'cars.j3d', platforms=('cpu',))
  assert export.check(model, tmp_path / 'cars.j3d') < 1e-5


def test_the_command_writes_gaussians(model, tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(export_app.common, 'load', lambda args: model)
  export_app.main(['--pretrained=cars', f'--splats={tmp_path / "x.glb"}', '--seeds=3,5'])
  assert 'x_0003.glb: seed 3 of cars, step 3: 64 Gaussians' in capsys.readouterr().out
  cloud = splats.read(tmp_path / 'x_0005.glb')
  own = splats.of_gaussians(model.gaussians(model.map(model.latents([5]))))
  jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-6), cloud, own)
  export_app.main([f'--repeat={tmp_path / "x_0005.glb"}', f'--splats={tmp_path / "y.glb"}'])
  assert (tmp_path / 'y.glb').read_bytes() == (tmp_path / 'x_0005.glb').read_bytes()
  for flags, words in (
    ([], 'Give either --out=x.zip'),
    (['--out=x.zip', '--splats=x.ply'], 'Give either'),
    (['--out=x.zip', '--seeds=3'], '--seeds does not go with --out'),
    (['--splats=x.ply', '--platforms=cpu'], '--platforms does not go with --splats'),
    (['--splats=x.obj'], 'End it in one of'),
  ):
    with pytest.raises(SystemExit):
      export_app.main(['--pretrained=cars', *flags])
    assert words in capsys.readouterr().err
