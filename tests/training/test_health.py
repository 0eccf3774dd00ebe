"""Silent failures are told from healthy trainings."""

import numpy as np
import pytest

from jax3dgan.generators import Rendering
from jax3dgan.rendering.hierarchical import RenderOptions
from jax3dgan.training import health

OPTIONS = RenderOptions(resolution=8, near=0.5, far=1.5)


def rendering(spread, depth):
  images = np.random.default_rng(0).normal(0, spread, (16, 8, 8, 3))
  opacity = np.ones((16, 8, 8))
  return Rendering(images, np.broadcast_to(depth, (16, 8, 8)), opacity)


RAMP = np.linspace(0.6, 1.4, 64).reshape(8, 8)


@pytest.fixture
def watched():
  lines = []
  return health.Health(0.5, lines.append), lines


def test_diversity_is_the_deviation_over_images():
  images = np.zeros((2, 4, 4, 3))
  images[1] = 1
  assert health.diversity(images) == pytest.approx(0.5)
  assert health.diversity(images[:1].repeat(5, 0)) == 0
  photos = [np.full((4, 4, 3), value, np.uint8) for value in (0, 255)]

  class Photos(list):
    def __getitem__(self, i):
      return list.__getitem__(self, i), None

  assert health.photos_diversity(Photos(photos)) == pytest.approx(1.0)


def test_a_healthy_run_hears_nothing(watched):
  watch, lines = watched
  for step in range(4):
    figures = watch.samples(step, rendering(0.4, RAMP), OPTIONS)
    watch.losses(step, {'discriminator/adversarial': 1.2})
  assert not lines
  assert figures['health/diversity'] == pytest.approx(0.8, rel=0.1)
  assert figures['health/nfs_solid'] == pytest.approx(51, abs=3)  # of 64 bins, .8 of the range


def test_collapse_and_flatness_are_told_once_they_last(watched):
  watch, lines = watched
  watch.samples(100, rendering(0.05, 1.0), OPTIONS)
  assert not lines  # one look may be chance
  watch.samples(200, rendering(0.05, 1.0), OPTIONS)
  assert len(lines) == 2
  assert 'step 200: mode collapse? Other latents differ by 9%' in lines[0] and 'r1' in lines[0]
  assert 'flat geometry? Its depth fills 1.0 of 64 bins' in lines[1] and 'loss.pose' in lines[1]
  watch.samples(300, rendering(0.05, 1.0), OPTIONS)
  assert len(lines) == 2  # not again
  watch.samples(400, rendering(0.4, RAMP), OPTIONS)
  for step in (500, 600):
    watch.samples(step, rendering(0.05, RAMP), OPTIONS)
  assert len(lines) == 3 and 'step 600: mode collapse' in lines[2]  # gone and come again


def test_a_discriminator_that_is_always_right(watched):
  watch, lines = watched
  for step in (10, 20, 30):
    watch.losses(step, {'discriminator/adversarial': 0.001})
  assert len(lines) == 1 and 'saturated discriminator' in lines[0] and 'lr_disc' in lines[0]


def test_a_distance_that_is_negative_nowhere(watched):
  watch, lines = watched
  means = {'discriminator/adversarial': 1.2}
  for inside in (0.06, 0.001, 0.06, 0.001):
    watch.losses(1, means | {'generator/inside': inside})
  assert not lines
  watch.losses(2, means | {'generator/inside': 0.0})
  assert len(lines) == 1 and 'a distance without a surface? It is negative in 0.00%' in lines[0]
  assert 'lower --config.model.style_scale' in lines[0]


def test_no_depth_and_no_solid_pixel(watched):
  watch, lines = watched
  flat = Rendering(rendering(0.4, RAMP).image)
  fog = rendering(0.4, RAMP).replace(opacity=np.full((16, 8, 8), 0.2))
  assert set(watch.samples(1, flat, OPTIONS)) == {'health/diversity'}
  assert watch.samples(2, fog, OPTIONS)['health/solid'] == 0
  assert not lines
  assert set(watch.samples(3, fog, OPTIONS)) == {'health/diversity', 'health/solid'}
  assert len(lines) == 1 and 'missing surface? 0.0% of the pixels are opaque' in lines[0]


def test_a_single_opaque_pixel_is_a_missing_surface_and_no_flat_one(watched):
  watch, lines = watched
  opacity = np.full((16, 8, 8), 0.2)
  opacity[0, 3, 3] = 1.0
  for step in (1, 2):
    figures = watch.samples(step, rendering(0.4, RAMP).replace(opacity=opacity), OPTIONS)
  assert figures['health/nfs_solid'] == pytest.approx(1.0)
  assert len(lines) == 1 and 'missing surface? 0.1% of the pixels are opaque' in lines[0]
