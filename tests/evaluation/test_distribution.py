"""The measures together: names, protocols, what is skipped, and the sheet."""

import io

import numpy as np
import pytest

from jax3dgan.errors import UserError
from jax3dgan.evaluation import distribution, fid, kid, precision_recall
from jax3dgan.evaluation.statistics import Collected, Statistics
from jax3dgan.runs import progress

DIMS = 5


class Extractor:
  """Features of an image: its first pixels."""

  dims, label, fingerprint = DIMS, 'FID-5', 'pixels'

  def __call__(self, batches):
    for batch in batches:
      yield batch.reshape(len(batch), -1)[:, :DIMS].astype(np.float32) / 255


def _images(n, low=0, high=256, seed=0):
  return np.random.default_rng(seed).integers(low, high, (n, 4, 4, 3), dtype=np.uint8)


def _collect(images, keep=100, batch_size=7, **options):
  batches = (images[i : i + batch_size] for i in range(0, len(images), batch_size))
  return distribution.collect(batches, Extractor(), keep, **options)


def _features(images):
  return np.concatenate(list(Extractor()([images])))


def test_collect():
  images, stream = _images(40), io.StringIO()
  counter = progress.Counter('images', 40, lambda text: print(text, file=stream))
  found = _collect(images, keep=10, keep_images=12, counter=counter)
  expected = Statistics.of(_features(images))
  np.testing.assert_allclose(found.statistics.scatter, expected.scatter, rtol=1e-9, atol=1e-9)
  np.testing.assert_array_equal(found.features, _features(images)[:10])
  np.testing.assert_array_equal(found.images, images[:12])
  assert 'images 40/40' in stream.getvalue()
  assert _collect(images).images is None


def test_images_are_kept_within_bounds(monkeypatch):
  monkeypatch.setattr(distribution, '_MAX_IMAGE_BYTES', 9 * 48)
  assert len(_collect(_images(40), keep_images=30).images) == 9


def test_measure_gives_what_the_parts_give():
  real, fake = _images(80), _images(60, high=200, seed=1)
  options = {'kid_subsets': 6, 'kid_subset_size': 20, 'neighbours': 2, 'seed': 3}
  found = distribution.measure(
    _collect(real), _collect(fake), 'FID-5', protocol='random cameras', **options
  )
  assert list(found) == ['fid', 'kid', 'precision_recall']
  a, b = _features(real), _features(fake)
  distance = fid.frechet_distance(Statistics.of(a), Statistics.of(b))
  assert found['fid'].values == {'FID-5': pytest.approx(distance)}
  expected = kid.kid(a, b, 6, 20, 3)
  assert found['kid'].values == {
    'KID-5': pytest.approx(expected.mean),
    'KID-5/standard_error': pytest.approx(expected.standard_error),
  }
  figures = precision_recall.precision_recall(a, b, 2)
  assert found['precision_recall'].values == {
    'precision-5': figures.precision,
    'recall-5': figures.recall,
    'density-5': figures.density,
    'coverage-5': figures.coverage,
  }
  assert 0 < figures.recall < 1
  for result in found.values():
    assert result.skipped == '' and result.sheet is None
    assert result.protocol.startswith('60 generated images, 80 photos')
    assert result.protocol.endswith(', random cameras')
    assert all(type(value) is float for value in result.values.values())
  assert '×1, 6 subsets of 20, seed 3' in found['kid'].protocol


def test_one_subset_has_no_standard_error():
  real, fake = (_collect(_images(50, seed=i)) for i in range(2))
  found = distribution.measure(real, fake, 'FID-5', ['kid'], kid_subsets=1, kid_subset_size=20)
  assert list(found['kid'].values) == ['KID-5']


def test_better_images_get_better_figures():
  real = _collect(_images(400), keep=400)
  good, bad = (
    distribution.measure(
      real,
      _collect(_images(400, low=low, seed=1), keep=400),
      'FID-5',
      kid_subsets=10,
      kid_subset_size=100,
    )
    for low in (0, 120)
  )
  good, bad = ({k: v for r in x.values() for k, v in r.values.items()} for x in (good, bad))
  assert good['FID-5'] < 0.05 < bad['FID-5']
  assert good['KID-5'] < bad['KID-5']
  assert good['recall-5'] > bad['recall-5'] + 0.3
  assert good['coverage-5'] > bad['coverage-5'] + 0.3


def test_fid_alone_needs_no_features():
  assert distribution.num_features_kept(['fid']) == 0
  assert (
    distribution.num_features_kept(['fid', 'kid'])
    == distribution.num_features_kept(['precision_recall'])
    == 10_000
  )
  real, fake = (_collect(_images(50, seed=i), keep=0) for i in range(2))
  found = distribution.measure(real, fake, 'FID-5', ['fid'])
  assert found['fid'].values['FID-5'] > 0


def test_what_cannot_be_measured_is_skipped_with_a_remedy():
  real, fake = _collect(_images(50)), _collect(_images(3, seed=1), keep_images=9)
  found = distribution.measure(real, fake, 'FID-5', kid_subset_size=20, protocol='here')
  for metric, option in (('fid', 'num_images'), ('kid', 'subset_size'), ('precision_recall', 'ne')):
    assert found[metric].values == {} and option in found[metric].skipped
    assert found[metric].protocol == 'here'
  # Enough were seen, but no features were kept.
  found = distribution.measure(real, _collect(_images(50, seed=1), keep=0), 'FID-5')
  assert not found['fid'].skipped and '0 generated images' in found['kid'].skipped


def test_problems_are_known_beforehand():
  assert distribution.problem('fid', 3000, 3000, 2048) == ''
  assert 'eval.num_images=2049' in distribution.problem('fid', 3000, 2000, 2048)
  assert 'more than 2,048 photos' in distribution.problem('fid', 2000, 3000, 2048)
  assert distribution.problem('kid', 1000, 1000, 2048) == ''
  assert '999 photos' in distribution.problem('kid', 999, 50_000, 2048)
  assert '10,000 photos' in distribution.problem('kid', 50_000, 50_000, 2048, 20_000)
  assert distribution.problem('precision_recall', 4, 4, 2048) == ''
  assert distribution.problem('precision_recall', 3, 4, 2048)
  with pytest.raises(ValueError, match="'is' is none of fid, kid"):
    distribution.problem('is', 3, 4, 2048)


def test_other_features_are_an_error():
  real, fake = Collected(3, 10), _collect(_images(50))
  real.update(np.random.default_rng(0).standard_normal((50, 3)).astype(np.float32))
  for metric in distribution.METRICS:
    with pytest.raises(UserError, match='3 dimensions do not compare with features of 5'):
      distribution.measure(real, fake, 'FID-5', [metric], kid_subset_size=10)


def test_the_sheet_shows_the_best_first_and_the_worst_last():
  # On a line: photos at 0, 0.1 …; images ever farther off. Colours say which is which.
  real = (np.arange(50) / 10)[:, None]
  distance = np.random.default_rng(0).permutation(np.arange(1, 61))
  images = np.broadcast_to(4 * distance[:, None, None, None], (60, 4, 4, 3)).astype(np.uint8)
  picture = distribution.sheet(images, -distance[:, None] / 10, real, k=1)
  tile, pad = 64, 2
  # The tiles are constant; white and letters are elsewhere.
  found = []
  y = 0
  while y + tile <= len(picture):
    square = picture[y : y + tile, pad : pad + tile]
    if (square == square[0, 0]).all() and square[0, 0, 0] < 245:
      x = pad + np.arange(12) * (tile + pad)
      found.append(picture[y + 1, x + 1, 0] // 4)
      y += tile
    y += 1
  np.testing.assert_array_equal(found[:2], np.arange(1, 25).reshape(2, 12))
  np.testing.assert_array_equal(found[2:], np.arange(37, 61).reshape(2, 12))


def test_precision_and_recall_come_with_a_sheet():
  real, fake = _collect(_images(50)), _collect(_images(50, seed=1), keep=20, keep_images=30)
  found = distribution.measure(real, fake, 'FID-5', ['precision_recall'], neighbours=2)
  sheet = found['precision_recall'].sheet
  assert sheet.dtype == np.uint8 and sheet.shape[2] == 3
  np.testing.assert_array_equal(
    sheet, distribution.sheet(fake.images[:20], fake.features, real.features, 2)
  )
  with pytest.raises(ValueError, match='30 images, features of 20'):
    distribution.sheet(fake.images, fake.features, real.features)
