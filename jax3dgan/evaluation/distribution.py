"""Measures of generated images against photos: FID, KID, precision and recall, from one pass over
each set.

real = real_statistics(dataset, extractor, keep=distribution.KEEP)
fake = collect(batches_of_images, extractor, keep=distribution.KEEP, keep_images=2048)
results = measure(real, fake, extractor.label)  # {'fid': Result, 'kid': Result, …}
"""

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from jax3dgan import viz
from jax3dgan.evaluation import fid as fid_lib
from jax3dgan.evaluation import kid as kid_lib
from jax3dgan.evaluation import precision_recall as pr_lib
from jax3dgan.evaluation.results import Result
from jax3dgan.evaluation.statistics import Collected

METRICS = ('fid', 'kid', 'precision_recall')
# Number of features kept of each set: all that precision and recall use, and more than KID needs.
KEEP = pr_lib.MAX_POINTS
# Memory for the images of the sheet.
_MAX_IMAGE_BYTES = 2**28
# Images in a row of the sheet, and pixels to which small ones are enlarged.
_COLUMNS, _PIXELS = 12, 64


def collect(
  batches: Iterable[np.ndarray],
  extractor,
  keep: int = 0,
  keep_images: int = 0,
  counter=None,
) -> Collected:
  """Runs images through the network.

  Args:
    batches: Of uint8 [n, h, w, 3].
    extractor: See `real.real_statistics`.
    keep: Number of images whose features are kept.
    keep_images: Number of images that are kept for `sheet`, at most 256 MiB.
    counter: A `progress.Counter`, or None.

  Returns:
    Statistics, features and images.

  Raises:
    UserError: Features that do not fit or are not finite.
  """
  collected, kept = Collected(extractor.dims, keep), []
  for features in extractor(_keeping_first(batches, keep_images, kept)):
    collected.update(features)
    if counter is not None:
      counter.add(len(features))
  if kept:
    collected.images = np.concatenate(kept)
  return collected


def _keeping_first(batches, limit, kept) -> Iterator[np.ndarray]:
  """Yields the batches, and appends the first images to the list `kept`."""
  num = 0
  for images in batches:
    limit = min(limit, _MAX_IMAGE_BYTES // max(images[:1].nbytes, 1))
    if num < limit:
      kept.append(np.array(images[: limit - num]))
      num += len(kept[-1])
    yield images


def num_features_kept(metrics: Sequence[str]) -> int:
  """Returns how many features of each set the metrics need: 0 for FID alone."""
  return KEEP if set(metrics) & {'kid', 'precision_recall'} else 0


def problem(
  metric: str,
  num_real: int,
  num_fake: int,
  dims: int,
  kid_subset_size: int = 1000,
  neighbours: int = 3,
  is_all: bool = False,
) -> str:
  """Returns the reason that a metric cannot be measured on so many images, and the remedy; or ''.

  Call it before images are generated; `measure` checks again.

  Args:
    metric: One of `METRICS`.
    num_real, num_fake: Number of photos and of generated images.
    dims: Number of features.
    kid_subset_size, neighbours: As for `measure`.
    is_all: Whether the photos are all of the data set.
  """
  kept = min(num_real, KEEP), min(num_fake, KEEP)
  if metric == 'fid':
    reason = fid_lib.too_few(num_fake, dims)
    return reason or fid_lib.too_few(num_real, dims, photos=True, is_all=is_all)
  if metric == 'kid':
    return kid_lib.too_few(*kept, kid_subset_size)
  if metric == 'precision_recall':
    return pr_lib.too_few(*kept, neighbours)
  raise ValueError(f'{metric!r} is none of {", ".join(METRICS)}')


def measure(
  real: Collected,
  fake: Collected,
  label: str,
  metrics: Sequence[str] = METRICS,
  *,
  kid_subsets: int = 100,
  kid_subset_size: int = 1000,
  neighbours: int = 3,
  seed: int = 0,
  protocol: str = '',
) -> dict[str, Result]:
  """Returns the measures of generated images against photos, by metric.

  Args:
    real, fake: Collected with one extractor, from images in random order. KID, precision and recall
      use the features that were kept: at most 10,000 of each.
    label: Of the extractor: 'FID-768'. Values are called 'FID-768', 'KID-768',
      'KID-768/standard_error', 'precision-768', 'recall-768', 'density-768', 'coverage-768'.
    metrics: Some of `METRICS`.
    kid_subsets, kid_subset_size, seed: See `kid.kid`.
    neighbours: See `precision_recall.precision_recall`.
    protocol: Appended to each protocol: cameras, network.

  Returns:
    A Result for each metric; one that needs more images is skipped, with the remedy.
    Precision and recall have a sheet if there are `fake.images`.

  Raises:
    UserError: Features of different dimensions, or not finite.
  """
  kind = label.removeprefix('FID')
  all_images = real.statistics.count, fake.statistics.count
  kept = len(real.features), len(fake.features)
  measures = {
    'fid': lambda: _fid(real, fake, kind),
    'kid': lambda: _kid(real, fake, kind, kid_subsets, kid_subset_size, seed),
    'precision_recall': lambda: _precision_recall(real, fake, kind, neighbours),
  }
  results = {}
  for metric in metrics:
    counts = all_images if metric == 'fid' else kept
    reason = problem(metric, *counts, real.statistics.dims, kid_subset_size, neighbours)
    if reason:
      results[metric] = Result({}, protocol, skipped=reason)
      continue
    values, line, picture = measures[metric]()
    results[metric] = Result(values, ', '.join(filter(None, [line, protocol])), picture)
  return results


def _counts(fake: int, real: int) -> str:
  return f'{fake:,} generated images, {real:,} photos'


def _fid(real, fake, kind):
  distance = fid_lib.frechet_distance(real.statistics, fake.statistics)
  return {f'FID{kind}': distance}, _counts(fake.statistics.count, real.statistics.count), None


def _kid(real, fake, kind, subsets, subset_size, seed):
  found = kid_lib.kid(real.features, fake.features, subsets, subset_size, seed)
  values = {f'KID{kind}': found.mean}
  if subsets > 1:
    values[f'KID{kind}/standard_error'] = found.standard_error
  line = (
    f'{_counts(len(fake.features), len(real.features))}, kernel (x·y/d + 1)³, ×1, '
    f'{subsets:,} subsets of {subset_size:,}, seed {seed}'
  )
  return values, line, None


def _precision_recall(real, fake, kind, neighbours):
  figures = pr_lib.precision_recall(real.features, fake.features, neighbours)
  values = {f'{name}{kind}': value for name, value in figures._asdict().items()}
  num_fake, num_real = (min(len(each.features), KEEP) for each in (fake, real))
  line = f'{_counts(num_fake, num_real)}, {neighbours} neighbours'
  picture = None
  if fake.images is not None:
    num = min(len(fake.images), len(fake.features))
    picture = sheet(fake.images[:num], fake.features[:num], real.features, neighbours)
  return values, line, picture


def sheet(
  images: np.ndarray, features_fake: np.ndarray, features_real: np.ndarray, k: int = 3
) -> np.ndarray:
  """Returns a picture of the generated images that are most, and least, like photos.

  They are in the order of their realism score, see `precision_recall.realism`: two rows from the
  top, and two from the bottom, the worst last. Fewer images reach 1 than count for precision, since
  the score ignores the larger half of the photos' balls.

  Args:
    images: uint8 [n, h, w, 3].
    features_fake: [n, d], of these images.
    features_real: [m, d], of photos.
    k: Neighbours.

  Returns:
    uint8 [h, w, 3].

  Raises:
    UserError: As `precision_recall`.
    ValueError: The numbers of images and features differ.
  """
  images = np.asarray(images)[: pr_lib.MAX_POINTS]
  if len(images) != len(features_fake[: pr_lib.MAX_POINTS]):
    raise ValueError(f'{len(images)} images, features of {len(features_fake)}')
  scores = pr_lib.realism(features_real, features_fake, k)
  ranking = np.argsort(-scores, kind='stable')
  shown = min(2 * _COLUMNS, math.ceil(len(ranking) / 2))
  factor = max(_PIXELS // images.shape[1], 1)

  def row(what, chosen):
    first, last = scores[chosen[[0, -1]]]
    tiles = viz.enlarge(images[chosen], factor)
    title = f'{what} like photos: realism {first:.2f} to {last:.2f}'
    return title, viz.grid(tiles, min(_COLUMNS, shown))

  title = f'of {len(images):,} generated images, {np.mean(scores >= 1):.0%} reach 1'
  best, worst = row('most', ranking[:shown]), row('least', ranking[-shown:])
  return viz.sheet([(f'{best[0]}; {title}', best[1]), worst])
