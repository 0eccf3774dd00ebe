"""CGS-GAN against its formulas in NumPy, and through the library: one object for all views, the
apps."""

import functools
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import numpy_cgsgan
import pytest
import x64

from jax3dgan import editing, generators, splats, trained
from jax3dgan.apps import export as export_app
from jax3dgan.errors import UserError
from jax3dgan.generators.cgsgan import CGSGAN
from jax3dgan.losses import gaussians as losses
from jax3dgan.nn import backend
from jax3dgan.rendering import spherical_harmonics

# Parents of both kinds: above the scale at which children stop being smaller, and below it.
MODEL = CGSGAN(
  z_dim=6,
  w_dim=6,
  num_points=10,
  width=8,
  num_heads=2,
  num_blocks=2,
  ratios=(1, 2, 3),
  channels=(8, 6, 4),
  target_resolution=64,
  box=0.8,
  log_scale=-2.5,
  start_opacity=0.3,
)


def not_fresh(variables):
  """Parameters of a size at which everything has an effect, gains of layers too."""
  random = np.random.default_rng(5)
  louder = lambda x: x + 0.7 * random.standard_normal(x.shape).astype(np.float32)  # noqa: E731
  return {**variables, 'params': jax.tree.map(louder, variables['params'])}


@functools.cache
def found():
  """(parameters, z, results of two latents, and of the first twice) in float64; results are styles
  [2, ...], hierarchy, Gaussians."""
  variables = not_fresh(generators.init(MODEL, jax.random.key(1)))
  variables = jax.tree.map(np.float64, variables)
  z = np.random.default_rng(2).standard_normal((2, 6))

  @x64.jit
  def run(variables, z):
    w = MODEL.apply(variables, z, method='map')
    raw = MODEL.apply(variables, w, method='raw_attributes')
    return w, raw, MODEL.apply(variables, raw, method='gaussians_of')

  return variables['params'], z, run(variables, z), run(variables, z[[0, 0]])


def close(ours, expected):
  assert ours.dtype == np.float64
  np.testing.assert_allclose(ours, expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())


def test_all_stages_are_those_of_the_formulas():
  params, z, (w, raw, gaussians), _ = found()
  own = numpy_cgsgan.mapping(params['mapping'], z[1])
  close(w[1], np.broadcast_to(own, (MODEL.num_ws, 6)))
  anchors, levels = numpy_cgsgan.object_of(params, w[1], MODEL)
  assert len(raw.anchors) == 2 and len(raw.levels) == 3
  for ours, expected in zip((*raw.anchors, *raw.levels), (*anchors, *levels), strict=True):
    for name, x in expected.items():
      close(getattr(ours, name)[1], x)
  sizes = [np.exp(x['scale']).max(axis=1) > 0.4 / 64 for x in anchors]
  assert np.concatenate(sizes).any() and not np.concatenate(sizes).all()
  colours = spherical_harmonics.C0 * gaussians.harmonics[1, :, 0] + 0.5
  drawn = gaussians.means, gaussians.scales, gaussians.quaternions, gaussians.opacities
  expected = numpy_cgsgan.drawn(levels, MODEL)
  for ours, theirs in zip((*(x[1] for x in drawn), colours), expected, strict=True):
    close(ours, theirs)
  assert gaussians.opacities.shape == (2, MODEL.num_gaussians) == (2, 90)


def test_an_object_depends_on_its_own_style_alone():
  _, _, (_, _, two), (_, _, same) = found()
  for ours, beside_itself in zip(jax.tree.leaves(two), jax.tree.leaves(same), strict=True):
    np.testing.assert_array_equal(ours[0], beside_itself[0])
    assert np.abs(ours[1] - ours[0]).max() > 1e-3  # another style is another object


@functools.cache
def fresh():
  """(config, generator, variables) of the smallest config."""
  config = importlib.import_module('configs.cgsgan_toys').get_test_config()
  generator = generators.create(config)
  return config, generator, generators.init(generator, jax.random.key(0))


def test_a_fresh_block_changes_nothing():
  """Gains are 0 at first, so that objects of all latents are alike."""
  _, generator, variables = fresh()
  gains = [x for path, x in jax.tree_util.tree_leaves_with_path(variables['params'])
           if '_gain' in jax.tree_util.keystr(path)]  # fmt: skip
  assert len(gains) == 4 * generator.num_ws and not any(np.any(x) for x in gains)
  radii = np.linalg.norm(variables['params']['points'], axis=1)
  np.testing.assert_allclose(radii, 0.3, rtol=1e-5)


def test_the_papers_sizes():
  counts = {256: (1, 4, 4, 4, 2), 512: (1, 4, 4, 4, 2, 2), 1024: (1, 4, 4, 4, 2, 2, 2)}
  found = [CGSGAN(ratios=r, channels=(8,) * len(r)).num_gaussians for r in counts.values()]
  assert found == [109_056, 240_128, 502_272]
  assert CGSGAN().num_ws == 11


def test_the_terms_of_anchors():
  points = np.random.default_rng(0).normal(size=(2, 9, 3)).astype(np.float32)
  expected = []
  for own in points.astype(np.float64):
    square = ((own[:, None] - own[None]) ** 2).sum(-1)
    expected.append(np.sort(square, axis=1)[:, 1:5].mean())
  np.testing.assert_allclose(losses.neighbour_distance(points, 4), expected, rtol=1e-5)
  everybody = losses.neighbour_distance(points, 64)
  np.testing.assert_allclose(everybody, losses.neighbour_distance(points, 8), rtol=1e-6)
  slopes = jax.jit(jax.grad(lambda x: losses.neighbour_distance(x, 64).sum()))(points)
  # Of all pairs: 4/(n (n − 1)) Σ (x − x'), and none at coinciding points.
  every = 4 / 72 * (9 * points - points.sum(axis=1, keepdims=True))
  np.testing.assert_allclose(slopes, every, rtol=1e-4, atol=1e-6)
  assert not np.any(losses.neighbour_distance(jnp.zeros((1, 3, 3)), 2))
  assert not np.any(losses.neighbour_distance(points[:, :1], 2))
  np.testing.assert_allclose(losses.off_centre(points), (points.mean(1) ** 2).sum(-1), rtol=1e-5)


@pytest.fixture(scope='module')
def model():
  config, generator, variables = fresh()
  variables = not_fresh(variables)
  with backend.choose(splatting='dense'):
    yield trained.Trained(config, generator, variables, 3, 'cars')


def test_every_view_shows_the_same_gaussians(model):
  assert model.has_camera and model.has_depth and not model.has_field
  scene = model.prepare(model.map(model.latents([0]), 1.0))
  views = model.render(scene, model.orbit([0.0, 1.0]), batch=2)
  assert views.image.shape == (2, 16, 16, 3) and 0.05 < views.opacity.mean() < 1
  assert np.abs(views.image[0] - views.image[1]).max() > 0.05
  with pytest.raises(UserError, match='no field'):
    model.generator.apply(model.variables, scene, np.zeros((1, 1, 3)), method='query')


def test_its_styles_have_directions(model):
  params = {jax.tree_util.keystr(p, simple=True, separator='/')
            for p, _ in jax.tree_util.tree_leaves_with_path(model.params)}  # fmt: skip
  rows = model.generator.style_rows()
  assert rows.keys() <= params and set(rows.values()) == set(range(model.generator.num_ws))
  assert editing.sefa(model, count=2, num=8).vectors.shape == (2, model.generator.num_ws, 8)


def test_the_command_writes_gaussians(model, tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(export_app.common, 'load', lambda args: model)
  export_app.main(['--pretrained=cars', f'--splats={tmp_path / "x.ply"}', '--seeds=0'])
  assert f'{model.generator.num_gaussians} Gaussians' in capsys.readouterr().out
  own = splats.of_gaussians(model.gaussians(model.map(model.latents([0]))))
  jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5),
               splats.read(tmp_path / 'x.ply'), own)  # fmt: skip


@pytest.mark.parametrize(
  'fields, words',
  [
    (dict(channels=(8,)), 'Give as many'),
    (dict(ratios=(1, 0)), 'to 1 or more'),
    (dict(width=6, num_heads=4), 'even multiple'),
    (dict(target_resolution=16), 'above 16'),
  ],
)
def test_one_line_says_which_fields_make_no_gaussians(fields, words):
  generator = CGSGAN(**{**CGSGAN().tiny(16), **fields})
  with pytest.raises(UserError, match=words) as error:
    generator.check_options(generators.render_options(fresh()[0]))
  assert '\n' not in str(error.value)
