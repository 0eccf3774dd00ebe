"""The non-flatness score of distributions whose entropy is known."""

import numpy as np
import pytest
import scenes

from jax3dgan import generators
from jax3dgan.evaluation import flatness
from jax3dgan.rendering import depth_maps


def test_scores_in_closed_form():
  assert depth_maps.non_flatness(np.full((8, 8), 0.97), 0.5, 1.5) == 1
  centres = 0.5 + (np.arange(64) + 0.5) / 64
  assert depth_maps.non_flatness(np.tile(centres, 3), 0.5, 1.5) == pytest.approx(64)
  assert depth_maps.non_flatness(centres[:8], 0.5, 1.5) == pytest.approx(8)
  # Three quarters and a quarter: exp of the binary entropy.
  entropy = -(0.75 * np.log(0.75) + 0.25 * np.log(0.25))
  depth = [0.6, 0.6, 0.6, 1.2]
  assert depth_maps.non_flatness(depth, 0.5, 1.5) == pytest.approx(np.exp(entropy))
  # Beyond the ends counts at the ends.
  beyond = [0.0, 0.2, 0.5, 9.0]
  assert depth_maps.non_flatness(beyond, 0.5, 1.5) == pytest.approx(np.exp(entropy))
  assert np.isnan(depth_maps.non_flatness([], 0.5, 1.5))


def sphere_shares(radius):
  """The exact distribution of a sphere's depth over the pixels of an image, from the front.

  A ray at an angle θ from the axis meets the sphere at t with cos θ = (t² + 1 − R²) / 2t; pixels
  are even in the image plane, so that P(depth ≤ t) = (tan θ(t) / tan θ_outline)².
  """
  edges = np.linspace(scenes.NEAR, scenes.FAR, 65)
  outline = np.sqrt(1 - radius**2)
  t = np.clip(edges, 1 - radius, outline)
  cosine = (t**2 + 1 - radius**2) / (2 * t)
  squared = 1 / cosine**2 - 1
  return np.diff(squared / (radius**2 / (1 - radius**2)))


@pytest.mark.parametrize('radius', [0.15, 0.3])
def test_a_sphere_has_its_closed_form(radius):
  camera = scenes.orbit([0.0], elevation=0.0)
  _, distance, mask = scenes.render([scenes.Sphere(radius)], camera, 256)
  shares = sphere_shares(radius)
  assert shares.sum() == pytest.approx(1)
  found = depth_maps.histogram(distance[mask], scenes.NEAR, scenes.FAR)
  np.testing.assert_allclose(found, shares, atol=0.006)
  assert depth_maps.perplexity(found) == pytest.approx(depth_maps.perplexity(shares), rel=0.01)


def test_empty_pixels_enter_at_far():
  radius = 0.3
  model = scenes.SphereModel(lambda s, a: radius, resolution=128)
  result = flatness.measure(model, 2)
  solid = sphere_shares(radius)
  scale = 0.5 / np.tan(np.radians(scenes.FOV / 2))
  disc = np.pi * scale**2 * radius**2 / (1 - radius**2)  # share of the image that it covers
  everything = disc * solid
  everything[-1] += 1 - disc
  assert result.values['nfs'] == pytest.approx(depth_maps.perplexity(everything), rel=0.02)
  assert result.values['nfs_solid'] == pytest.approx(depth_maps.perplexity(solid), rel=0.02)
  assert result.values['nfs_solid/measured'] == 1
  assert result.sheet.dtype == np.uint8 and 'empty pixels at far' in result.protocol


def test_a_half_open_pixel_is_between_its_surface_and_far():
  options = scenes.SphereModel(None).options()
  opacity = np.array([[1.0, 0.5], [0.0, 0.95]])
  out = generators.Rendering(None, 0.8 * opacity, opacity)
  full, distance, solid = depth_maps.with_background(out, options)
  np.testing.assert_allclose(full, 0.8 * opacity + 1.5 * (1 - opacity))
  np.testing.assert_allclose(distance[solid], 0.8)
  np.testing.assert_array_equal(solid, [[True, False], [False, True]])


def test_bars():
  shares = np.zeros(64)
  shares[[3, 63]] = 0.25, 0.75
  picture = flatness.bars(shares, 128, 40)
  dark = picture[..., 0] < 100
  assert dark[:, 6].all() and dark[:, 127].all()  # cut off at the tallest but the background
  assert dark.sum() == 2 * 2 * 40
