"""Precision and recall, density and coverage: how much of a set of features is inside the other's
manifold.

The manifold of a set is the union of balls around its points, each up to its k-th nearest neighbour
in the set.
"""

from typing import NamedTuple

import numpy as np

from jax3dgan.errors import UserError
from jax3dgan.evaluation.statistics import check_same_dims

# Distances of all pairs: more take minutes, and published figures use no more.
MAX_POINTS = 10_000
# Rows of distances at a time; 10,000 columns of them take 80 MB.
_CHUNK = 1000
# Products of float64 round at about 1e-14 of the norms: a squared distance below this share of them
# counts as 0.
_ROUNDING = 1e-12
# So that a point on a ball's edge is in it, independent of rounding.
_EDGE = 1 + 1e-9


class Figures(NamedTuple):
  """Shares of images, see `precision_recall`.

  Attributes:
    precision: Of the generated images, those within the photos' manifold.
    recall: Of the photos, those within the generated images' manifold.
    density: Balls of photos that a generated image is in, on average, per k; about 1 where both
      sets have one distribution, and not bounded by 1.
    coverage: Of the photos' balls, those with a generated image in them.
  """

  precision: float
  recall: float
  density: float
  coverage: float


def too_few(num_real: int, num_fake: int, k: int) -> str:
  """Returns the reason that nothing can be measured; or ''."""
  if k < 1:
    return f'Precision and recall need a neighbour, not {k}. Set --config.eval.neighbours=3.'
  if min(num_real, num_fake) > k:
    return ''
  return (
    f'Precision and recall with {k} neighbours need {k + 1} images or more, there are '
    f'{num_real:,} photos and {num_fake:,} generated images. Give more, or set '
    '--config.eval.neighbours lower.'
  )


def precision_recall(real: np.ndarray, fake: np.ndarray, k: int = 3) -> Figures:
  """Returns the shares of each set of features in the other's manifold.

  Precision and recall: Kynkäänniemi et al., 'Improved precision and recall metric for assessing
  generative models' (2019), eqs. 1 and 2. Density and coverage: Naeem et al., 'Reliable fidelity
  and diversity metrics for generative models' (2020), there with k = 5. State k: for n samples each
  from one distribution the expected coverage is about 1 − 2⁻ᵏ, the expected density 1.

  Distances are computed in float64 in bounded memory. Sets larger than `MAX_POINTS` are cut to
  their first points, which the caller has drawn at random.

  Args:
    real, fake: Features [n, d] and [m, d].
    k: The neighbour on the edge of a ball; a point is not its own neighbour.

  Raises:
    UserError: Different dimensions, no more images than neighbours, or numbers not finite.
  """
  real, fake = _prepared(real, fake)
  if problem := too_few(len(real), len(fake), k):
    raise UserError(problem)
  real_radii, fake_radii = _radii(real, k), _radii(fake, k)
  inside = np.zeros(len(fake), np.int64)  # balls of photos that each generated image is in
  recalled = np.zeros(len(real), bool)
  covered = np.zeros(len(real), bool)
  for rows, distances in _distances(real, fake):
    in_real = distances <= real_radii[rows, None]  # [rows, m]
    inside += in_real.sum(axis=0)
    covered[rows] = in_real.any(axis=1)
    recalled[rows] = (distances <= fake_radii).any(axis=1)
  return Figures(
    precision=float(np.mean(inside > 0)),
    recall=float(np.mean(recalled)),
    density=float(np.mean(inside) / k),
    coverage=float(np.mean(covered)),
  )


def realism(real: np.ndarray, fake: np.ndarray, k: int = 3) -> np.ndarray:
  """Returns the realism score of each generated image, float64 [m].

  Kynkäänniemi et al. (2019): the largest ratio of a photo's radius to its distance; 1
  and above is within the manifold. Only the half of the photos with the smaller radii count, as
  in the paper, since isolated photos have large balls; inf where an image is a photo.

  Args, errors as `precision_recall`.
  """
  real, fake = _prepared(real, fake)
  if problem := too_few(len(real), k + 1, k):  # any number of generated images is enough
    raise UserError(problem)
  radii = _radii(real, k)
  score = np.zeros(len(fake))
  kept = radii <= np.median(radii)
  radii = radii[kept]
  for rows, distances in _distances(real[kept], fake):
    # 0/0: an image that equals a photo with duplicates.
    same = np.where(distances == 0, np.inf, 0)
    ratio = np.divide(radii[rows, None], distances, out=same, where=distances > 0)
    score = np.maximum(score, ratio.max(axis=0))
  return np.sqrt(score)


def _prepared(real, fake):
  """Both sets as float64, cut to `MAX_POINTS`, around the mean of the real ones."""
  real, fake = np.asarray(real)[:MAX_POINTS], np.asarray(fake)[:MAX_POINTS]
  check_same_dims(real.shape[-1], fake.shape[-1])
  if not (np.isfinite(real).all() and np.isfinite(fake).all()):
    raise UserError('The features are not finite. Take them again, from other images.')
  # |x|² + |y|² − 2x·y cancels where the points are far from the origin.
  centre = real.mean(axis=0, dtype=np.float64) if len(real) else 0.0
  return real - centre, fake - centre


def _distances(a, b):
  """Yields (rows, squared distances [rows, m]) of a [n, d] from b [m, d], some rows at a time."""
  a_norms, b_norms = (np.einsum('nd,nd->n', x, x) for x in (a, b))
  for start in range(0, len(a), _CHUNK):
    rows = slice(start, min(start + _CHUNK, len(a)))
    norms = a_norms[rows, None] + b_norms
    distances = a[rows] @ b.T
    distances *= -2
    distances += norms
    norms *= _ROUNDING
    distances[distances < norms] = 0
    yield rows, distances


def _radii(points, k):
  """Squared distance to the k-th nearest other point, float64 [n], a rounding error larger."""
  radii = np.empty(len(points))
  for rows, distances in _distances(points, points):
    distances[np.arange(len(distances)), np.arange(rows.start, rows.stop)] = np.inf
    radii[rows] = np.partition(distances, k - 1, axis=1)[:, k - 1]
  return radii * _EDGE
