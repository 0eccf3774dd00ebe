"""Path length regularisation: closed forms, official arrays."""

import goldens
import jax
import jax.numpy as jnp
import numpy as np

from jax3dgan.losses import path_length


def test_lengths_of_a_linear_map():
  """‖Jᵀ y‖ by hand; its mean over normals y is nearly the root of the trace of JᵀJ."""
  rng = np.random.default_rng(0)
  jacobian = rng.standard_normal((4, 4, 3, 2, 5)).astype(np.float32)
  w = rng.standard_normal((6, 2, 5)).astype(np.float32)
  noise = path_length.noise(jax.random.split(jax.random.key(0), 6), (4, 4, 3))

  def image_fn(w):
    return jnp.einsum('hwcnd,bnd->bhwc', jacobian, w, precision='highest')

  found = path_length.lengths(image_fn, w, noise)
  slopes = np.einsum('hwcnd,bhwc->bnd', jacobian, np.asarray(noise)) / 4
  np.testing.assert_allclose(found, np.sqrt((slopes**2).sum(-1).mean(-1)), rtol=1e-5)
  many = path_length.noise(jax.random.split(jax.random.key(1), 2000), (4, 4, 3))
  w = np.broadcast_to(w[:1], (2000, 2, 5))
  mean_square = np.square(path_length.lengths(image_fn, w, many)).mean()
  np.testing.assert_allclose(mean_square, (jacobian**2).sum() / 16 / 2, rtol=0.03)


def test_no_gradient_goes_through_the_mean():
  lengths = np.array([1.0, 3.0])
  gradient = jax.jit(jax.grad(lambda x: path_length.penalty(x, path_length.updated_mean(0.0, x))))(
    lengths
  )
  np.testing.assert_allclose(gradient, lengths - 0.02, rtol=1e-6)


def test_mean_and_penalty_are_the_official_ones():
  file = 'stylesdf_full'
  lengths = goldens.load(file)['pl_lengths']
  mean = path_length.updated_mean(np.float32(0.3), lengths)
  goldens.compare(file, 'pl_mean', np.asarray(mean), relative=1e-6)
  penalty = path_length.penalty(lengths, mean)
  goldens.compare(file, 'pl_penalty', np.asarray(penalty), relative=1e-5)
