"""Where rays are sampled: the official code's samples, closed forms, properties."""

import goldens
import hypothesis.extra.numpy as st_np
import numpy as np
import pytest
import x64
from hypothesis import given, settings
from hypothesis import strategies as st

from jax3dgan.rendering import sampling

# One shape for all properties, so that they share one program.
NUM_BINS, NUM_SAMPLES = 6, 10
importance_sample = x64.jit(sampling.importance_sample)
importance_depths = x64.jit(sampling.importance_depths)
stratified_depths = x64.jit(sampling.stratified_depths, static_argnums=2)


def float32s(low, high, shape):
  return st_np.arrays(np.float32, shape, elements=st.floats(low, high, width=32))


@pytest.mark.parametrize('dtype', [np.float32, np.float64])
def test_importance_samples_match_official(dtype):
  """Zero, one-hot, tiny and huge weights, uniforms from 0 to almost 1."""
  arrays = goldens.load('volume_edge_cases')
  bins, weights, u = (arrays[f'pdf/{name}'].astype(dtype) for name in ('bins', 'weights', 'u'))
  samples = importance_sample(bins, weights, u)
  # The official deterministic uniforms; whether the last one finds cdf[-1] is up to its rounding.
  even = np.broadcast_to(np.linspace(0, 1, 10, dtype=dtype), u.shape)
  even = importance_sample(bins, weights, even)
  assert samples.dtype == dtype
  shares = (np.float64(weights) + 1e-5) / np.sum(np.float64(weights) + 1e-5, -1, keepdims=True)
  index = np.sum(np.cumsum(shares, -1)[:, None] < u[..., None], -1)
  share = np.take_along_axis(shares, np.minimum(index, 5), -1)
  # Whether a bin with a share of 1e-5 counts as empty is up to its rounding in float32.
  sure = (np.abs(share - 1e-5) > 1e-7) | (dtype == np.float64)
  assert sure.mean() > 0.9
  goldens.compare('volume_edge_cases', 'pdf/samples', samples, atol=3e-7, where=sure)
  but_last = np.arange(10) < 9
  goldens.compare('volume_edge_cases', 'pdf/samples_det', even, atol=3e-7, where=but_last)


def test_importance_sample_is_the_quantile_function():
  """Where no bin is empty, that is linear interpolation in the cumulative distribution."""
  rng = np.random.default_rng(0)
  bins = np.sort(rng.uniform(1, 2, (8, NUM_BINS + 1)))
  weights, u = rng.uniform(0.1, 3, (8, NUM_BINS)), rng.uniform(size=(8, NUM_SAMPLES))
  samples = importance_sample(bins, weights, u)
  cdf = np.cumsum(weights + 1e-5, -1) / np.sum(weights + 1e-5, -1, keepdims=True)
  cdf = np.pad(cdf, ((0, 0), (1, 0)))
  expected = [np.interp(*args) for args in zip(u, cdf, bins, strict=True)]
  np.testing.assert_allclose(samples, expected, rtol=0, atol=1e-13)


@settings(max_examples=60, deadline=None)
@given(
  float32s(0, 1, NUM_BINS),
  float32s(0, 1e3, NUM_BINS) | float32s(0, 2.0**-16, NUM_BINS),
  float32s(0, 1, NUM_SAMPLES),
)
def test_samples_lie_in_bins_and_rise_with_u(widths, weights, u):
  bins = np.cumsum(np.concatenate([[0.5], widths + 1e-3]), dtype=np.float32)
  samples = importance_sample(bins, weights, np.sort(u))
  rounding = 2e-6  # of a few sums around 6
  assert samples.min() >= bins[0] - rounding and samples.max() <= bins[-1] + rounding
  assert np.diff(samples).min() >= -rounding


@settings(max_examples=20, deadline=None)
@given(float32s(0, 8, NUM_BINS))
def test_samples_recover_the_distribution(weights):
  """Random uniforms give each bin its share, and every place in a bin the same chance."""
  num = 8192
  bins = np.float32([0, 0.1, 0.4, 0.5, 1, 1.2, 2])
  u = np.random.default_rng(0).uniform(size=num).astype(np.float32)
  samples = importance_sample(bins, weights, u)
  shares = np.histogram(samples, bins)[0] / num
  expected = (weights + 1e-5) / np.sum(weights + 1e-5)
  # Four standard deviations of a share, and a sample's rounding across an edge.
  np.testing.assert_allclose(shares, expected, atol=4 * 0.5 / num**0.5 + 1e-3)
  fullest = int(np.argmax(shares))
  inside = samples[(samples >= bins[fullest]) & (samples < bins[fullest + 1])]
  place = (np.sort(inside) - bins[fullest]) / (bins[fullest + 1] - bins[fullest])
  even = (np.arange(len(place)) + 0.5) / len(place)
  assert np.abs(place - even).max() < 1.95 / len(place) ** 0.5  # Kolmogorov-Smirnov


def test_an_empty_ray_is_sampled_everywhere():
  bins = np.linspace(1, 2, NUM_BINS + 1, dtype=np.float32)
  u = np.asarray(sampling.midpoint_uniforms(NUM_SAMPLES))
  samples = importance_sample(bins, np.zeros(NUM_BINS, np.float32), u)
  np.testing.assert_allclose(samples, 1 + u, atol=2e-6)


def test_importance_depths_leave_out_the_ends():
  """Bins are the mid-points; the outermost weights have none, and 1e-5 is added twice."""
  rng = np.random.default_rng(0)
  depths = np.sort(rng.uniform(0.8, 1.2, (5, NUM_BINS + 2)))
  weights = rng.uniform(size=(5, NUM_BINS + 2)) ** 8 * 1e-3
  u = rng.uniform(size=(5, NUM_SAMPLES))
  samples = importance_depths(depths, weights, u)
  middle = (depths[:, 1:] + depths[:, :-1]) / 2
  expected = importance_sample(middle, weights[:, 1:-1] + 1e-5, u)
  np.testing.assert_allclose(samples, expected, rtol=0, atol=1e-14)
  assert (samples >= middle[:, :1]).all() and (samples <= middle[:, -1:]).all()
  assert np.abs(np.diff(samples)).min() > 0  # in the order of u, not sorted
  assert np.diff(samples).min() < 0


def test_stratified_depths_are_one_per_stratum():
  near, far, num = 0.9, 1.1, 12
  centres = np.asarray(stratified_depths(near, far, num))
  np.testing.assert_allclose(centres, np.linspace(near, far, num), atol=1e-6)
  u = np.random.default_rng(0).uniform(size=(4096, num)).astype(np.float32)
  depths = np.asarray(stratified_depths(near, far, num, u))
  spacing = (far - near) / (num - 1)
  assert depths.shape == u.shape and depths.dtype == np.float32
  assert np.abs(depths - centres).max() <= spacing / 2 + 1e-6
  assert np.diff(depths).min() > -1e-6
  np.testing.assert_allclose(depths.mean(0), centres, atol=4 * spacing / (12 * 4096) ** 0.5)
  np.testing.assert_allclose(depths.std(0), spacing / 12**0.5, rtol=0.03)
  # Strata without gaps: the ends of neighbours meet.
  ends = [np.asarray(stratified_depths(near, far, num, np.full(num, end))) for end in (0.0, 1.0)]
  np.testing.assert_allclose(ends[0][1:], ends[1][:-1], atol=1e-6)


def test_one_sample_is_at_the_near_end():
  np.testing.assert_allclose(stratified_depths(0.5, 1.5, 1), [0.5])


def test_midpoint_uniforms():
  np.testing.assert_allclose(sampling.midpoint_uniforms(4), [0.125, 0.375, 0.625, 0.875])


def test_cells_share_the_interval():
  """Cell i of s is [i/s, (i + 1)/s] of the interval; without numbers, its beginning (StyleSDF)."""
  even = sampling.stratified_depths(1.0, 2.0, 4, strata='cells')
  np.testing.assert_allclose(even, [1.0, 1.25, 1.5, 1.75], rtol=1e-6)
  offset = np.float32([[0.0], [0.5], [0.96]])  # one for all samples of a ray
  depths = sampling.stratified_depths(1.0, 2.0, 4, offset, 'cells')
  np.testing.assert_allclose(depths, even + 0.25 * offset, rtol=1e-6)
  disparity = sampling.stratified_depths(1.0, 2.0, 2, offset[1:2], 'cells', 'disparity')
  np.testing.assert_allclose(disparity, [[1 / 0.875, 1 / 0.625]], rtol=1e-6)
