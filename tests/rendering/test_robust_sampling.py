"""Fine samples over the bins that hold nearly all of a ray's weight, and in strata."""

import dataclasses

import jax
import numpy as np
import pytest
import x64
from test_hierarchical import OPTIONS, make_rays, sphere

from jax3dgan.errors import UserError
from jax3dgan.rendering import hierarchical, sampling

robust_depths = x64.jit(sampling.robust_depths, static_argnames='nucleus')
DEPTHS = np.arange(5.0)  # bins: 0, .5, 1.5, 2.5, 3.5, 4


def test_samples_of_known_weights():
  """.7 + .19 is below .98, with .1 it is not: three bins of four samples, the heaviest has two."""
  weights = np.array([0.0, 0.1, 0.7, 0.19, 0.01])
  fine = robust_depths(DEPTHS, weights, np.full(4, 0.5))
  np.testing.assert_allclose(fine, [1.0, 1.75, 2.25, 3.0], rtol=0, atol=1e-12)
  fine = robust_depths(DEPTHS, weights, np.array([0.0, 0.25, 0.75, 1.0]))
  np.testing.assert_allclose(fine, [0.5, 1.625, 2.375, 3.5], rtol=0, atol=1e-12)
  # Fewer samples than bins: the heaviest have them.
  fine = robust_depths(DEPTHS, weights, np.full(2, 0.5))
  np.testing.assert_allclose(fine, [2.0, 3.0], rtol=0, atol=1e-12)
  # A smaller nucleus is one bin.
  fine = robust_depths(DEPTHS, weights, np.full(2, 0.5), nucleus=0.5)
  np.testing.assert_allclose(fine, [1.75, 2.25], rtol=0, atol=1e-12)


def test_weights_between_samples_are_those_of_the_samples_beside_them():
  """.4, .4 and .2 between four samples: .4, .4, .3, .2, of which the last is not needed."""
  fine = robust_depths(np.arange(4.0), np.array([0.4, 0.4, 0.2]), np.full(3, 0.5), nucleus=0.8)
  np.testing.assert_allclose(fine, [0.25, 1.0, 2.0], rtol=0, atol=1e-12)


@pytest.mark.parametrize('weights', [[0.0] * 5, [0.2, 0.0, 0.5, 0.1, 0.2]])
def test_all_of_the_weight_is_stratified_sampling_of_all_bins(weights):
  u = np.random.default_rng(0).uniform(size=(3, 10))
  fine = robust_depths(
    np.broadcast_to(DEPTHS, (3, 5)), np.broadcast_to(weights, (3, 5)), u, nucleus=1.0
  )
  edges = np.array([0, 0.5, 1.5, 2.5, 3.5, 4])
  low, width = np.repeat(edges[:-1], 2), np.repeat(np.diff(edges), 2)
  np.testing.assert_allclose(fine, low + width * (np.tile([0, 1], 5) + u) / 2, rtol=0, atol=1e-12)


def test_strata_lower_the_error_of_random_pictures():
  """Of a ball, at three seeds: those of independent fine samples are more than a half larger."""
  rays, ball = make_rays(), sphere(0.25, 20.0)
  options = dataclasses.replace(OPTIONS, ray_chunk=0, density='relu', num_coarse=8, num_fine=8)
  exact = dataclasses.replace(options, num_coarse=300, num_fine=0)
  truth = hierarchical.render_rays(ball, rays, exact).colour

  def median_error(**fields):
    own = dataclasses.replace(options, **fields)

    @jax.jit
    def picture(keys):
      draws = hierarchical.draw(keys, 64, own, noise=False)
      return hierarchical.render_rays(ball, rays, own, draws).colour

    keys = [jax.random.split(jax.random.key(seed), 2) for seed in range(3)]
    return np.median([np.sqrt(np.mean((picture(k) - truth) ** 2)) for k in keys])

  independent = median_error()
  assert 1.5 * median_error(fine_jitter='strata') < independent
  assert 1.5 * median_error(importance='robust') < independent


@pytest.mark.parametrize(
  'fields, message',
  [
    (dict(nucleus=0.0), 'nucleus 0.0'),
    (dict(nucleus=1.5), 'nucleus 1.5'),
    (dict(importance='robust', fine_jitter='strata'), "fine_jitter='sample'"),
    (dict(fine_jitter='stratum'), "fine_jitter.*'stratum'.*sample, strata"),
  ],
)
def test_errors(fields, message):
  with pytest.raises(UserError, match=message):
    dataclasses.replace(OPTIONS, **fields)
