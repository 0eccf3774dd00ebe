"""View leaks of synthetic generators that leak by known amounts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scenes

from jax3dgan import trained
from jax3dgan.evaluation import view_leak


def values(render, labels, unit=1.0):
  return view_leak.geometry_values(view_leak.geometry_leak(render, labels, unit))


def test_depth_that_moves_with_the_label():
  solid = np.zeros((2, 4, 4), bool)
  solid[:, 1:3] = True
  base = np.random.default_rng(0).uniform(1, 2, (2, 4, 4))

  def render(label):
    return base + 0.03 * label, solid

  found = values(render, [0, 1, -2], unit=0.1)
  assert found['depth'] == pytest.approx(0.1 * (3 + 6) / 2)
  assert found['opacity_iou'] == 1
  assert values(render, [1, 1, 1])['depth'] == 0


def test_opacity_that_moves_with_the_label():
  def render(label):
    solid = np.zeros((1, 4, 8), bool)
    solid[:, :, label : label + 4] = True  # the depth is wild where nothing is solid
    return np.where(solid, 1.0, np.nan), solid

  found = values(render, [0, 1])
  assert found['opacity_iou'] == pytest.approx(3 / 5) and found['depth'] == 0
  apart = values(render, [0, 4])
  assert apart['opacity_iou'] == 0 and np.isnan(apart['depth'])


def test_a_field_that_depends_on_the_direction():
  points = np.random.default_rng(0).normal(size=(50, 3))
  directions = np.broadcast_to(np.eye(3)[:, None], (3, 50, 3))

  def query(points, directions, density=0.0, colour=0.0):
    x = directions @ np.array([0.0, 1.0, 2.0])
    return 2 + density * x, np.full((len(points), 3), 0.2) + colour * x[:, None]

  assert view_leak.field_leak(query, points, directions) == {'density': 0, 'colour': 0}
  found = view_leak.field_leak(lambda x, d: query(x, d, 0.1, 0.05), points, directions)
  assert found['density'] == pytest.approx(0.1 * 1.5 / 2)  # changes of 1 and 2, relative to 2
  assert found['colour'] == pytest.approx(0.05 * 1.5)


class Leaky:
  """A generator whose sphere grows with the label, and whose field looks at the direction."""

  def __init__(self, growth, density, colour):
    self.growth, self.density, self.colour = growth, density, colour

  def apply(self, variables, *inputs, method, **truncation):
    if method == 'map':
      z, label = inputs
      return 0.25 + self.growth * jnp.abs(label[:, 3:4]) + 0 * z  # |x| of the label's camera
    _, points, directions = inputs
    side = jnp.abs(directions[..., 0])
    grey = jnp.full((*points.shape[:-1], 3), 0.5)
    return 4 + self.density * side, grey + self.colour * side[..., None]

  query = True
  has_gaussians = False


class LeakyModel(scenes.SphereModel):
  variables = None
  has_field = True
  average_w = None

  def __init__(self, **leaks):
    super().__init__(lambda w, azimuth: w, resolution=64)
    self.generator = Leaky(**leaks)

  def render(self, w, camera, resolution=None):
    w = np.asarray(w)
    camera = jax.tree.map(lambda x: np.broadcast_to(x, (len(w), *x.shape[1:])), camera)
    return super().render(w, camera, resolution)


def test_measure_of_a_generator_that_leaks():
  tight = view_leak.measure(LeakyModel(growth=0.0, density=0.0, colour=0.0), 2)
  assert tight.values == {
    'view_leak/style': 0,
    'view_leak/depth': 0,
    'view_leak/opacity_iou': 1,
    'view_leak/density': 0,
    'view_leak/colour': 0,
  }
  loose = view_leak.measure(LeakyModel(growth=0.1, density=0.4, colour=0.2), 2)
  found = {name.split('/')[1]: value for name, value in loose.values.items()}
  larger = 0.25 + 0.1 * np.sin(0.5)  # labels at ±0.5 rad, radius 1
  assert found['style'] == pytest.approx(larger / 0.25 - 1, rel=1e-3)
  # Outlines are cones: areas go with the squared tangents.
  area = 0.25**2 / (1 - 0.25**2), larger**2 / (1 - larger**2)
  assert found['opacity_iou'] == pytest.approx(area[0] / area[1], rel=0.03)
  bins = (larger - 0.25) / 0.05
  assert bins < found['depth'] < 1.6 * bins  # along the axis, and more where rays are oblique
  # From the front |x| of a direction to a sphere's point is small, from ±0.5 rad about sin 0.5.
  assert found['density'] == pytest.approx(0.4 * np.sin(0.5) / 4, rel=0.2)
  assert found['colour'] == pytest.approx(0.2 * np.sin(0.5), rel=0.2)
  assert loose.sheet.dtype == np.uint8 and '2 latents' in loose.protocol


def test_pigan_has_geometry_that_does_not_look_back(tiny_model):
  result = view_leak.measure(tiny_model, 2)
  assert result.values['view_leak/style'] == result.values['view_leak/density'] == 0
  assert result.values['view_leak/colour'] > 1e-4  # its colour may, and this one is not locked
  locked = trained.load(pretrained='toys')
  result = view_leak.measure(locked, 2, resolution=16)
  assert result.values['view_leak/depth'] == result.values['view_leak/colour'] == 0
  assert result.values['view_leak/opacity_iou'] == 1
  assert 'locked' in result.protocol
