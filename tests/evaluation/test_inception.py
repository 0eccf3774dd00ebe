"""The FID Inception: its resizing, its parts, and pytorch-fid's features."""

import inception_golden as golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax3dgan.feature_networks import inception, inception_layers, inception_weights
from jax3dgan.nn import backend


@pytest.fixture(scope='module')
def expected():
  with np.load(golden.GOLDEN, allow_pickle=False) as file:
    return dict(file)


@pytest.fixture(scope='module')
def real():
  if not golden.REAL.exists():
    pytest.skip(f'{golden.REAL} is not here')
  return inception_weights.load(golden.REAL)


def assert_near(actual, wanted, relative):
  """In the 2-norm of each image."""
  wanted = np.asarray(wanted)
  error = np.linalg.norm(np.asarray(actual) - wanted, axis=-1) / np.linalg.norm(wanted, axis=-1)
  assert error.max() < relative, error


@pytest.mark.parametrize('size, target', [(7, 20), (64, 299), (299, 299), (40, 13)])
@pytest.mark.parametrize('resize', inception.RESIZES)
def test_resizing_keeps_constants_and_finds_positions(size, target, resize):
  """A ramp becomes the positions that the convention looks at."""
  matrix = inception.resize_matrix(size, target, resize)
  np.testing.assert_allclose(matrix.sum(1), 1, atol=1e-6)
  offset = 0.5 if resize == 'half_pixel' else 0.0
  positions = (np.arange(target) + offset) * size / target - offset
  np.testing.assert_allclose(
    matrix @ np.arange(size), np.clip(positions, 0, size - 1), rtol=1e-5, atol=1e-5
  )
  assert np.count_nonzero(matrix, axis=1).max() <= 2  # no antialiasing


@pytest.mark.parametrize('resize', inception.RESIZES)
def test_resizing_to_the_same_size_changes_nothing(resize):
  np.testing.assert_array_equal(inception.resize_matrix(9, 9, resize), np.eye(9))


@pytest.mark.parametrize('name, shape', [('larger', (5, 7)), ('smaller', (23, 16))])
def test_resizing_is_that_of_pytorch(name, shape, expected):
  images = golden.images(32)[:1, : shape[0], : shape[1]]
  # PyTorch takes the positions in float32, which are off by some 1e-6 pixels.
  np.testing.assert_allclose(
    inception.preprocess(images, 11), expected[f'resized/{name}'], atol=5e-6
  )


def test_the_two_scales_of_values():
  images = np.array([0, 128, 255], np.uint8).reshape(1, 1, 3, 1)
  floats = images / np.float32(127.5) - 1
  for given in (images, floats):
    there = inception.preprocess(given, 0, 'half_pixel').ravel()
    np.testing.assert_allclose(there, [-1, 1 / 255, 1], atol=1e-6)
    there = inception.preprocess(given, 0, 'tensorflow').ravel()
    np.testing.assert_allclose(there, [-1, 0, 127 / 128], atol=1e-6)


def test_pools_leave_out_what_is_beyond_the_border():
  x = np.random.default_rng(0).normal(size=(2, 5, 7, 3)).astype(np.float32) - 5
  windows = [
    [x[:, max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2] for j in range(7)] for i in range(5)
  ]
  for pool, reduce in ((inception.average_pool, np.mean), (None, np.max)):
    wanted = np.stack(
      [np.stack([reduce(w, axis=(1, 2)) for w in row], axis=1) for row in windows], axis=1
    )
    y = pool(x) if pool else inception.max_pool(x, 1, same=True)
    np.testing.assert_allclose(y, wanted, rtol=1e-5)
  strided = wanted[:, 1:-1:2, 1:-1:2]
  np.testing.assert_array_equal(inception.max_pool(x), strided)


@pytest.mark.parametrize(
  'kernel, stride, same',
  [((1, 1), 1, True), ((3, 3), 1, True), ((3, 3), 1, False), ((3, 3), 2, False)]
  + [((1, 7), 1, True), ((7, 1), 1, True), ((5, 5), 1, True)],
)
def test_convolutions_by_the_definition(kernel, stride, same):
  """Whatever way a CPU and an accelerator take."""
  rng = np.random.default_rng(1)
  x, weights = rng.normal(size=(2, 9, 10, 4)), rng.normal(size=(*kernel, 4, 6))
  margin = [(n // 2 if same else 0,) * 2 for n in kernel]
  padded = np.pad(x, [(0, 0), *margin, (0, 0)])
  patches = np.lib.stride_tricks.sliding_window_view(padded, kernel, (1, 2))
  wanted = np.einsum('bhwcij,ijcf->bhwf', patches[:, ::stride, ::stride], weights)
  for platform in ('cpu', 'gpu'):
    with backend.lowering_for(platform):
      y = inception._correlate(jnp.float32(x), jnp.float32(weights), stride, same)
    np.testing.assert_allclose(y, wanted, rtol=1e-4, atol=1e-4)


def test_names_are_the_same_on_both_sides():
  assert set(inception_layers.TORCH_NAMES) == set(inception_layers.layers(2048))
  assert len(set(inception_layers.TORCH_NAMES.values())) == len(inception_layers.layers(2048)) == 94
  assert len(inception_layers.layers(768)) == 70


def test_parameters_of_a_fresh_module_are_those_of_the_files():
  module = inception.Inception(2048, size=0)
  x = jnp.zeros((1, inception.MIN_SIZE, inception.MIN_SIZE, 3))
  params = jax.eval_shape(module.init, jax.random.key(0), x)['params']
  assert {name: layer['kernel'].shape for name, layer in params.items()} == {
    name: layer.shape for name, layer in inception_layers.layers(2048).items()
  }


def test_features_of_random_weights_are_those_of_pytorch_fid(expected, random_weights):
  """All 2048, through every block, batch norm folded here and not there."""
  module = inception.Inception(2048, size=0)
  images = golden.images(golden.SIZE)[1:3]
  y = jax.jit(module.apply)({'params': random_weights.params}, images)
  assert y.dtype == jnp.float32
  assert_near(y, expected['random/pool3'], 2e-5)


@pytest.mark.parametrize('name', ['mixed_7', 'mixed_7_wide'])
def test_features_of_the_real_weights_are_those_of_pytorch_fid(name, expected, real):
  module = inception.Inception(768)
  images = golden.images() if name == 'mixed_7' else golden.images(160)[:, 20:120]
  y = jax.jit(module.apply)({'params': real.params}, images)
  assert_near(y, expected[f'real/{name}'], 1e-5)


def test_accelerators_way_gives_the_same(expected, real):
  module = inception.Inception(768)
  with backend.lowering_for('gpu'):
    y = jax.jit(module.apply)({'params': real.params}, golden.images()[:2])
  assert_near(y, expected['real/mixed_7'][:2], 1e-5)


def test_the_graphs_own_resizing_gives_others(expected, real):
  """Half a pixel of shift and 1/128 of value are seen by the features, but only just."""
  module = inception.Inception(768, resize='tensorflow')
  y = jax.jit(module.apply)({'params': real.params}, golden.images()[1:3])
  wanted = expected['real/mixed_7'][1:3]
  error = np.linalg.norm(y - wanted, axis=1) / np.linalg.norm(wanted, axis=1)
  assert error.min() > 1e-3 and error.max() < 0.5, error
