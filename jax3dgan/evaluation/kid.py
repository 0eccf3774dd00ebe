"""Kernel inception distance: the squared maximum mean discrepancy of two sets of features."""

from typing import NamedTuple

import numpy as np

from jax3dgan.errors import UserError
from jax3dgan.evaluation.statistics import check_same_dims


class Kid(NamedTuple):
  """KID, not multiplied by anything.

  Attributes:
    mean: Mean over the subsets of the unbiased MMD²; may be below 0.
    standard_error: Of that mean: std / √subsets. The subsets are drawn from the same features, so
      it is the error due to the choice of subsets, not to that of the images.
    std: Standard deviation (n − 1) over the subsets, which papers often give after the ±; NaN of
      one subset.
  """

  mean: float
  standard_error: float
  std: float


def too_few(num_real: int, num_fake: int, subset_size: int) -> str:
  """Returns the reason that KID cannot be measured; or ''."""
  if subset_size < 2:
    return f'KID needs subsets of two images or more, not {subset_size}. ' + _remedy(2)
  smallest = min(num_real, num_fake)
  if smallest >= subset_size:
    return ''
  return (
    f'KID draws subsets of {subset_size:,} images, there are features of {num_real:,} photos and '
    f'{num_fake:,} generated images. ' + _remedy(max(smallest // 2, 2))
  )


def _remedy(size: int) -> str:
  return f'Set --config.eval.kid_subset_size={size}.'


def kid(
  real: np.ndarray, fake: np.ndarray, subsets: int = 100, subset_size: int = 1000, seed: int = 0
) -> Kid:
  """Returns the kernel inception distance of two sets of features.

  Bińkowski et al., 'Demystifying MMD GANs' (2018), Section 4: MMD² with the kernel
  k(x, y) = (x·y / d + 1)³ by the unbiased estimator (Gretton et al. 2012, eq. 3), averaged over
  random subsets.

  Args:
    real, fake: Features [n, d] and [m, d].
    subsets: Number of subsets of each.
    subset_size: Images in a subset, drawn without replacement.
    seed: Of the subsets.

  Raises:
    UserError: Different dimensions, fewer images than in a subset, or numbers that are not finite.
  """
  real, fake = np.asarray(real), np.asarray(fake)
  check_same_dims(real.shape[-1], fake.shape[-1])
  if problem := too_few(len(real), len(fake), subset_size):
    raise UserError(problem)
  if subsets < 1:
    raise UserError(
      f'KID needs a subset or more, not {subsets}. Set --config.eval.kid_subsets=100.'
    )
  if not (np.isfinite(real).all() and np.isfinite(fake).all()):
    raise UserError('The features of KID are not finite. Take them again, from other images.')
  rng = np.random.default_rng(seed)
  values = np.empty(subsets)
  for i in range(subsets):
    x = real[rng.choice(len(real), subset_size, replace=False)]
    y = fake[rng.choice(len(fake), subset_size, replace=False)]
    values[i] = unbiased_mmd2(x, y)
  std = float(values.std(ddof=1)) if subsets > 1 else float('nan')
  return Kid(float(values.mean()), std / subsets**0.5, std)


def unbiased_mmd2(x: np.ndarray, y: np.ndarray) -> float:
  """Returns the unbiased estimate of MMD² from samples [n, d] and [m, d], n and m at least 2."""
  # Differences of 1e-4 between sums of cubes: beyond float32.
  x, y = x.astype(np.float64), y.astype(np.float64)
  between = _kernel(x, y).mean()
  return float(_mean_of_pairs(_kernel(x, x)) + _mean_of_pairs(_kernel(y, y)) - 2 * between)


def _kernel(x, y):
  k = x @ y.T
  k /= x.shape[1]
  k += 1
  # k**3 in two products: many times faster than a power.
  return k * k * k


def _mean_of_pairs(kernel):
  """Mean without the diagonal, which has pairs of a sample with itself."""
  n = len(kernel)
  return (kernel.sum() - np.trace(kernel)) / (n * (n - 1))
