"""Mean and covariance of features that come in batches, and the first of the features themselves.

One pass over the images serves every measure of their distribution:

  collected = Collected(dims=768, keep=10_000)
  for features in extractor(batches):
    collected.update(features)
  collected.statistics.covariance()  # of all images: FID
  collected.features  # of the first 10,000: KID, precision, recall
"""

import dataclasses
import math
from collections.abc import Mapping

import numpy as np

from jax3dgan.errors import UserError

# Rows that are gathered before they are added: the products of 2,048 features took 12 s of two
# cores per 50,000 images in blocks of 1,024, and 90 s in batches of 64.
_BLOCK = 1024


@dataclasses.dataclass(frozen=True)
class Statistics:
  """The first two moments of features.

  Attributes:
    count: Number of images.
    mean: float64 [d].
    scatter: float64 [d, d], Σ (x − mean)(x − mean)ᵀ.
  """

  count: int
  mean: np.ndarray
  scatter: np.ndarray

  @classmethod
  def empty(cls, dims: int) -> 'Statistics':
    """The statistics of no image; `merge` with others of the same dimensions returns the others."""
    return cls(0, np.zeros(dims), np.zeros((dims, dims)))

  @classmethod
  def of(cls, features: np.ndarray) -> 'Statistics':
    """The statistics of all features [n, d]."""
    return cls.empty(np.shape(features)[-1]).update(features)

  @property
  def dims(self) -> int:
    """d."""
    return len(self.mean)

  def update(self, features: np.ndarray) -> 'Statistics':
    """Returns the statistics with features [n, d] added.

    Raises:
      UserError: Another number of dimensions, or numbers that are not finite.
    """
    features = _checked(features, self.dims)
    if not len(features):
      return self
    # Subtracted before the sums: otherwise rounding errors grow with the size of the mean.
    start = self.mean if self.count else features[0].astype(np.float64)
    rows = np.empty((len(features) + 1, self.dims))
    np.subtract(features, start, out=rows[:-1])
    delta = rows[:-1].mean(axis=0)
    rows[:-1] -= delta
    total = self.count + len(features)
    # Chan's correction for the two means is one more row of the same product.
    rows[-1] = math.sqrt(self.count * len(features) / total) * delta
    scatter = rows.T @ rows
    scatter += self.scatter
    share = len(features) / total
    return Statistics(total, start + delta * share, scatter)

  def merge(self, other: 'Statistics') -> 'Statistics':
    """Returns the statistics of both sets of images.

    Chan, Golub & LeVeque, 'Algorithms for computing the sample variance' (1983):
    S = Sa + Sb + na·nb/(na + nb) δδᵀ with δ the difference of the means.

    Raises:
      UserError: They differ in their dimensions.
    """
    check_same_dims(self.dims, other.dims)
    if not self.count or not other.count:
      return self if self.count else other
    total = self.count + other.count
    delta = other.mean - self.mean
    scatter = np.outer(delta, delta * (self.count * other.count / total))
    scatter += self.scatter
    scatter += other.scatter
    return Statistics(total, self.mean + delta * (other.count / total), scatter)

  def covariance(self) -> np.ndarray:
    """Returns the unbiased covariance, float64 [d, d]; UserError of fewer than two images."""
    if self.count < 2:
      raise UserError(f'A covariance needs two images, there are {self.count}. Give more images.')
    return self.scatter / (self.count - 1)

  def to_npz(self) -> dict[str, np.ndarray]:
    """Returns the arrays to give to `np.savez`."""
    return {'count': np.int64(self.count), 'mean': self.mean, 'scatter': self.scatter}

  @classmethod
  def from_npz(cls, arrays: Mapping[str, np.ndarray]) -> 'Statistics':
    """Returns what `to_npz` gave, of a file opened with `np.load(path, allow_pickle=False)`.

    Raises:
      ValueError: The arrays are no statistics.
    """
    try:
      count, mean, scatter = (np.asarray(arrays[name]) for name in ('count', 'mean', 'scatter'))
    except KeyError as error:
      raise ValueError(f'no statistics: {error}') from error
    whole = count.shape == () and count.dtype.kind == 'i' and count >= 0 and mean.ndim == 1
    doubles = mean.dtype == scatter.dtype == np.float64
    if not (whole and doubles and scatter.shape == 2 * mean.shape):
      raise ValueError(f'no statistics: {count.shape}, {mean.shape}, {scatter.shape}')
    if not (np.isfinite(mean).all() and np.isfinite(scatter).all()):
      raise ValueError('statistics that are not finite')
    return cls(int(count), mean, scatter)


class Collected:
  """The result of a pass over images: statistics of all, features of the first, some images.

  Args:
    dims: d.
    keep: Number of images whose features are kept, in float32; 0 keeps the statistics alone
      (d = 2,048: 64 MB). 50,000 × 2,048 features are 400 MB.

  Attributes:
    images: uint8 [m, h, w, 3], the first images, if the caller sets them; else None.
  """

  def __init__(self, dims: int, keep: int = 0):
    self.images: np.ndarray | None = None
    self._keep = keep
    self._statistics = Statistics.empty(dims)
    self._waiting, self._num_waiting = [], 0
    self._kept, self._num_kept = [], 0

  def update(self, features: np.ndarray) -> None:
    """Adds features [n, d]; UserError where they do not fit or are not finite."""
    features = np.array(_checked(features, self._statistics.dims), np.float32)
    if self._num_kept < self._keep:
      self._kept.append(features[: self._keep - self._num_kept])
      self._num_kept += len(self._kept[-1])
    self._waiting.append(features)
    self._num_waiting += len(features)
    if self._num_waiting >= _BLOCK:
      self._add_waiting()

  def _add_waiting(self):
    if self._waiting:
      self._statistics = self._statistics.update(np.concatenate(self._waiting))
      self._waiting, self._num_waiting = [], 0

  @property
  def statistics(self) -> Statistics:
    """Of all images so far."""
    self._add_waiting()
    return self._statistics

  @property
  def features(self) -> np.ndarray:
    """float32 [min(keep, count), d], of the first images."""
    if len(self._kept) != 1:
      empty = np.zeros((0, self._statistics.dims), np.float32)
      self._kept = [np.concatenate([empty, *self._kept])]
    return self._kept[0]

  def to_npz(self) -> dict[str, np.ndarray]:
    """Returns the arrays of statistics and features; the images are not among them."""
    return {**self.statistics.to_npz(), 'features': self.features}

  @classmethod
  def from_npz(cls, arrays: Mapping[str, np.ndarray], keep: int) -> 'Collected':
    """Returns what `to_npz` gave, with the features of the first `keep` images.

    Raises:
      ValueError: The arrays are of another kind, or have fewer features than asked for.
    """
    statistics = Statistics.from_npz(arrays)
    collected = cls(statistics.dims, keep)
    collected._statistics = statistics
    if keep:
      if 'features' not in arrays:
        raise ValueError('no features')
      features = np.asarray(arrays['features'])
      if features.dtype != np.float32 or features.shape[1:] != statistics.mean.shape:
        raise ValueError(f'no features: {features.dtype} {features.shape}')
      if not len(features) >= min(keep, statistics.count):
        raise ValueError(f'features of {len(features)} images, {keep} are wanted')
      if not np.isfinite(features[:keep]).all():
        raise ValueError('features that are not finite')
      # A copy, so that the rest does not stay in memory.
      collected._kept = [features[:keep].copy()]
      collected._num_kept = len(collected._kept[0])
    return collected


def check_same_dims(a: int, b: int) -> None:
  """Raises a UserError if features have different dimensions."""
  if a != b:
    raise UserError(
      f'Features of {a} dimensions do not compare with features of {b}. Take both from the same '
      'network and layer: set --config.eval.dims and --config.eval.inception alike.'
    )


def _checked(features, dims):
  features = np.asarray(features)
  if features.ndim != 2 or features.shape[1] != dims:
    raise UserError(
      f'Features have the shape {list(features.shape)}, not [n, {dims}]. Give one row per image.'
    )
  if features.dtype.kind != 'f':
    raise UserError(f'Features are {features.dtype}, not floating-point. Give float32.')
  bad = len(features) - int(np.isfinite(features).all(axis=1).sum())
  if bad:
    raise UserError(
      f'Features of {bad} of {len(features)} images are not finite. '
      'Check the weights that --config.eval.inception names.'
    )
  return features
