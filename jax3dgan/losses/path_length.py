"""Path length regularisation (Karras et al. 2020, arXiv 1912.04958, Sec. 3.2): a step in style
space changes the image as much everywhere, and in every direction."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

DECAY = 0.01  # of the running mean of the lengths, a call (App. B)


def noise(keys, shape):
  """Normals [b, *shape] of per-example keys [b], for `lengths`."""
  return jax.vmap(lambda key: jax.random.normal(key, shape))(keys)


def lengths(image_fn: Callable, w, noise):
  """‖Jᵀ y‖ of each example, [b]: root of the mean over styles of the squared gradient.

  Args:
    image_fn: Styles w → images [b, h, w, c].
    w: [b, num_ws, w_dim].
    noise: y, normals of the images' shape; divided by √(h·w), so that the size does not matter.
  """
  scale = (noise.shape[1] * noise.shape[2]) ** -0.5
  gradient = jax.grad(lambda w: jnp.sum(image_fn(w) * noise) * scale)(w)
  return jnp.sqrt(jnp.square(gradient).sum(-1).mean(-1))


def penalty(lengths, mean, weights=1.0):
  """E(length − a)² of lengths [b]; multiply by the weight.

  Args:
    mean: a, the running mean of the lengths, see `updated_mean`; no gradient goes through it.
    weights: of the examples, [b], of mean 1 over the whole batch.
  """
  return jnp.mean(weights * jnp.square(lengths - jax.lax.stop_gradient(mean)))


def updated_mean(mean, lengths):
  """The running mean after lengths [b]."""
  return jax.lax.stop_gradient(mean + DECAY * (lengths.mean() - mean))
