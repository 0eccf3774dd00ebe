"""Separable convolutions are dense ones with a kernel of two factors; forms, networks, refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_steps
import x64

from jax3dgan import config as config_lib
from jax3dgan import discriminators, generators
from jax3dgan.convert import eg3d_runs
from jax3dgan.errors import UserError
from jax3dgan.nn import backend
from jax3dgan.nn.modulated_conv import modulated_conv2d
from jax3dgan.nn.separable_conv import EqualizedSeparableConv, separable_modulated_conv2d
from jax3dgan.tools import flops

B = 18  # more examples than terms that the kernel's gradient adds at once


@pytest.mark.parametrize(
  'options',
  [
    dict(),
    dict(border='repeat', demodulate=False),
    dict(up=2, border='repeat'),
    dict(up=2, demodulate=False),
    dict(down=2),
  ],
  ids=str,
)
def test_it_is_the_dense_one_with_the_kernel_of_both_factors(options):
  """Values, and the gradients of images, filters, product and styles."""
  rng, enlarges = np.random.default_rng(0), 'up' in options
  depthwise = rng.normal(size=(3, 3, 4 if enlarges else 3))
  args = rng.normal(size=(B, 4, 4, 3)), depthwise, rng.normal(size=(3, 4)), rng.normal(size=(B, 3))

  def dense(x, depthwise, pointwise, style):
    filters = depthwise[:, :, None] if enlarges else depthwise[..., None]
    return modulated_conv2d(x, filters * pointwise, style, **options)

  def separable(*args):
    return separable_modulated_conv2d(*args, **options)

  @x64.jit
  def run(*args):
    def both(function):
      loss = lambda *args: jnp.sum(jnp.sin(function(*args)))  # noqa: E731
      return function(*args), jax.grad(loss, (0, 1, 2, 3))(*args)

    return both(dense), both(separable)

  expected, own = run(*args)
  for a, b in zip(*map(jax.tree.leaves, (own, expected)), strict=True):
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-11 * np.abs(b).max())


def test_a_fresh_layer_keeps_the_variance():
  x = np.random.default_rng(1).standard_normal((2, 12, 12, 64), np.float32)
  layer = EqualizedSeparableConv(64, 3)
  y = jax.jit(lambda x: layer.init_with_output(jax.random.key(0), x)[0])(x)
  np.testing.assert_allclose(np.std(y[:, 1:-1, 1:-1]), 1, atol=0.1)


def test_products_are_counted():
  """As an accelerator computes them: pairs of a pixel and a tap within the image, then the matrix
  at the smaller size."""
  x, depthwise, matrix, style = (np.ones(s, 'f') for s in ((2, 8, 8, 3), (3, 3, 3), (3, 4), (2, 3)))

  def count(depthwise, **options):
    run = jax.jit(lambda *args: separable_modulated_conv2d(*args, demodulate=False, **options))
    with backend.lowering_for('gpu'), backend.choose(thin_product='product'):
      return flops.products(run.trace(x, depthwise, matrix, style).jaxpr)

  taps = 3 * 8 - 2  # of 8 pixels in a row, on pixels
  assert count(depthwise) == 2 * 2 * (taps**2 * 3 + 8 * 8 * 3 * 4)
  # Up-sampled, there is a pixel more on each side; down-sampled, a filtered one.
  up = np.ones((3, 3, 4), 'f')
  assert count(up, up=2) == 2 * 2 * ((16 * 3) ** 2 * 4 + 8 * 8 * 3 * 4)
  assert count(depthwise, down=2) == 2 * 2 * ((8 * 3) ** 2 * 3 + 4 * 4 * 3 * 4)


NETWORKS = {
  'eg3d': (generators, 'model'),
  'gghead': (generators, 'model'),
  'stylegan2': (generators, 'model'),
  'dual': (discriminators, 'discriminator'),
}


def shapes_of(name, separable):
  """{path: shape} of the parameters of a small network."""
  module, group = NETWORKS[name]
  config = config_lib.base_config('eg3d')
  if group == 'model':
    config_lib.set_model(config, name, separable=separable)
  else:
    config_lib.set_discriminator(config, name, separable=separable)
  config = config_lib.tiny(config)
  network = module.create(config if group == 'model' else config.discriminator)
  params = jax.eval_shape(lambda key: module.init_params(network, key), jax.random.key(0))
  leaves = jax.tree_util.tree_leaves_with_path(params)
  return {jax.tree_util.keystr(path): leaf.shape for path, leaf in leaves}


@pytest.mark.parametrize('name', NETWORKS)
def test_a_network_has_both_factors_of_every_kernel_or_none(name):
  dense, separable = (shapes_of(name, value) for value in (False, True))
  assert not any('depthwise' in path or 'pointwise' in path for path in dense)
  kernels = {path for path, shape in dense.items() if shape[:2] == (3, 3) and len(shape) == 4}
  assert len(kernels) > 1
  for path in kernels:
    *size, c, f = dense.pop(path)
    layer = path.removesuffix("['kernel']")
    pointwise, depthwise = (
      separable.pop(f"{layer}['{kind}']") for kind in ('pointwise', 'depthwise')
    )
    assert pointwise == (c, f) and depthwise[:2] == tuple(size) and depthwise[2] in (c, f)
  assert separable == dense


def eg3d():
  """EG3D at a tiny size, of separable convolutions alone."""
  return tiny_steps.eg3d(**{'model.separable': True, 'discriminator.separable': True})


def test_a_step_of_eg3d_has_it_in_every_phase():
  state, metrics = tiny_steps.shapes(eg3d())
  for network in ('generator', 'discriminator'):
    names = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(
      state.networks[network])]  # fmt: skip
    assert any('depthwise' in name for name in names)
  assert 'discriminator/r1' in metrics


@pytest.mark.thorough
def test_a_step_of_eg3d_moves_both_factors():
  program = tiny_steps.program(eg3d())
  fresh, (state, (metrics,)) = jax.device_get(program.create()), program.run()
  assert all(np.isfinite(value) for value in metrics.values()), metrics
  for path, leaf in jax.tree_util.tree_leaves_with_path(fresh.networks):
    name = jax.tree_util.keystr(path)
    if 'depthwise' in name or 'pointwise' in name:
      moved = dict(jax.tree_util.tree_leaves_with_path(state.networks))[path]
      assert np.any(moved != leaf), name


def test_it_has_no_official_form():
  config = config_lib.base_config('eg3d')
  config.model.separable = True
  with pytest.raises(UserError, match='runs/x holds a EG3D with config.model.separable True'):
    eg3d_runs.release('runs/x', config, 'ema')
