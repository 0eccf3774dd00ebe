"""The extractor: any batches, any devices, the same features."""

import pathlib
import subprocess
import sys

import inception_golden as golden
import jax
import numpy as np
import pytest

from jax3dgan import viz
from jax3dgan.errors import UserError
from jax3dgan.evaluation import features
from jax3dgan.feature_networks import inception, inception_layers, inception_weights


def weights_768():
  """Random, of the smaller network: the extractor does not care."""
  rng, params = np.random.default_rng(0), {}
  for name, layer in inception_layers.layers(768).items():
    kernel = rng.standard_normal(layer.shape, np.float32)
    kernel *= np.float32((2 / np.prod(layer.shape[:3])) ** 0.5)
    params[name] = {'kernel': kernel, 'bias': np.zeros(layer.features, np.float32)}
  return inception_weights.Weights(params, 768, 'abc', 'npz', '')


def extractor(weights, batch_size=6, size=inception.MIN_SIZE, **options):
  """Of a network that resizes to less, which is faster."""
  extract = features.FeatureExtractor(weights, batch_size=batch_size, **options)
  extract._network = inception.Inception(768, size=size, resize=options.get('resize', 'half_pixel'))
  return extract


@pytest.fixture(scope='module')
def weights():
  return weights_768()


@pytest.fixture(scope='module')
def extract(weights):
  return extractor(weights)


def pictures(n, size=16, seed=0):
  return np.random.default_rng(seed).integers(0, 256, (n, size, size, 3), dtype=np.uint8)


@pytest.fixture(scope='module')
def direct(weights):
  """Features without an extractor."""
  module = inception.Inception(768, size=inception.MIN_SIZE)
  apply = jax.jit(module.apply)
  return lambda images: apply({'params': weights.params}, images)


@pytest.mark.parametrize('sizes', [[17], [6, 6, 5], [1] * 17, [3, 0, 13, 1], [20, 0]])
def test_features_do_not_depend_on_the_batches(sizes, extract, direct):
  images = pictures(sum(sizes))
  batches = np.split(images, np.cumsum(sizes)[:-1])
  found = list(extract(batches))
  assert [f.shape for f in found] == [(n, 768) for n in sizes]
  assert all(f.dtype == np.float32 for f in found)
  wanted = np.concatenate([direct(images[i : i + 1]) for i in range(len(images))])
  np.testing.assert_allclose(np.concatenate(found), wanted, rtol=1e-4, atol=1e-5 * wanted.max())


def test_images_of_several_sizes_and_shapes(extract, direct):
  batches = [pictures(4), pictures(4, 20)[:, :16], pictures(4, seed=1)]
  for found, images in zip(extract(batches), batches, strict=True):
    np.testing.assert_allclose(found, direct(images), rtol=1e-4, atol=1e-4)


def test_nothing_gives_nothing(extract):
  assert list(extract([])) == []
  assert [f.shape for f in extract([pictures(0)])] == [(0, 768)]


def test_batches_are_taken_one_by_one(extract):
  """Memory is bounded however many there are: at most two programs' images are waiting."""
  taken = []

  def batches():
    for i in range(12):
      taken.append(i)
      yield pictures(3, seed=i)

  found = extract(batches())
  next(found)
  assert len(taken) <= 5
  assert len(list(found)) == 11


def test_floats_are_rounded_as_in_files(weights, extract):
  floats = np.random.default_rng(1).uniform(-1.2, 1.2, (4, 16, 16, 3)).astype(np.float32)
  rounded = next(extract([viz.to_uint8(floats)]))
  np.testing.assert_array_equal(next(extract([floats])), rounded)
  np.testing.assert_array_equal(next(extract([floats.astype(np.float64)])), rounded)
  plain = extractor(weights, quantize=False)
  exact = viz.to_uint8(floats) / np.float32(127.5) - 1
  np.testing.assert_allclose(next(plain([exact])), rounded, rtol=1e-3, atol=1e-3)
  difference = np.abs(next(plain([floats])) - rounded).max()
  assert difference > 1e-2 * rounded.max()  # clipped values at least


def test_names_tell_what_features_are(weights, extract):
  assert (extract.label, extract.dims) == ('FID-768', 768)
  prints = {extractor(weights, **options).fingerprint for options in (
    {}, {'batch_size': 3}, {'resize': 'tensorflow'}, {'quantize': False}
  )}  # fmt: skip
  assert len(prints) == 3 and all(p.startswith('abc') for p in prints)


@pytest.mark.parametrize(
  'images, message',
  [
    (pictures(3)[..., :1], r'shape \(3, 16, 16, 1\).*Give colour images'),
    (pictures(3)[0], r'shape \(16, 16, 3\)'),
    (pictures(3)[:, :0], r'shape \(3, 0, 16, 3\)'),
    (pictures(3).astype(np.int32), 'type int32'),
    (pictures(3).astype(np.float32), r'value 255 are not in \[−1, 1\]'),
    (
      np.where(np.arange(3)[:, None, None, None] == 1, np.nan, pictures(3) / 255),
      '1 of 3.*image 1',
    ),
    (np.full((2, 4, 4, 3), -np.inf, np.float32), '2 of 2.*image 0'),
  ],
)
def test_what_is_no_image_is_refused(images, message, extract):
  with pytest.raises(UserError, match=message):
    list(extract([images]))


def test_options_are_checked(weights):
  with pytest.raises(UserError, match="'bicubic'. Choose one of half_pixel, tensorflow"):
    features.FeatureExtractor(weights, resize='bicubic')
  with pytest.raises(UserError, match='A batch of 0 images'):
    features.FeatureExtractor(weights, batch_size=0)


def test_real_features_are_those_of_pytorch_fid():
  if not golden.REAL.exists():
    pytest.skip(f'{golden.REAL} is not here')
  extract = features.FeatureExtractor(inception_weights.load(golden.REAL), batch_size=4)
  with np.load(golden.GOLDEN) as file:
    wanted = file['real/mixed_7']
  images = golden.images().astype(np.float32) / 127.5 - 1
  (found,) = extract([images])
  assert np.linalg.norm(found - wanted) < 1e-5 * np.linalg.norm(wanted)


_EIGHT = """
import sys
import jax
jax.config.update('jax_num_cpu_devices', 8)
sys.path.insert(0, {tests!r})
import numpy as np
import test_features as t
from jax3dgan.devices import parallel
weights, batches = t.weights_768(), [t.pictures(11), t.pictures(2, seed=1)]
one = t.extractor(weights, mesh=parallel.make_mesh(jax.devices()[:1]))
many = t.extractor(weights)
assert (one.batch_size, many.batch_size) == (6, 8), (one.batch_size, many.batch_size)
assert one.fingerprint == many.fingerprint
for a, b in zip(one(batches), many(batches), strict=True):
  np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * a.max())
print('equal')
"""


@pytest.mark.thorough
def test_eight_devices_give_what_one_gives():
  """In a process of its own: the number of devices is fixed before JAX starts."""
  code = _EIGHT.format(tests=str(pathlib.Path(__file__).parent))
  done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=600)
  assert done.returncode == 0 and 'equal' in done.stdout, done.stderr[-3000:]
