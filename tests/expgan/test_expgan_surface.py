"""The face model's surface among the samples of a ray: closed forms, and gradients."""

import jax
import jax.numpy as jnp
import numpy as np

from jax3dgan.generators.expgan_rendering import shown
from jax3dgan.rendering import compositing
from jax3dgan.rendering.rays import Surface

RAYS, SAMPLES, FEATURES = 5, 6, 4


def inputs():
  rng = np.random.default_rng(0)
  raw = rng.normal(size=(1, RAYS, SAMPLES)).astype(np.float32)
  colour = rng.normal(size=(1, RAYS, SAMPLES, FEATURES)).astype(np.float32)
  depths = np.sort(rng.uniform(0, 3, (1, RAYS, SAMPLES)), axis=-1).astype(np.float32)
  own = rng.normal(size=(1, RAYS, FEATURES)).astype(np.float32)
  # In front of all, beside, in the middle, behind all; the last one hides all as well.
  alpha = np.float32([[1, 0, 0.4, 0.7, 1]])
  place = np.float32([-1, 1.5, 1.5, 4, 1.5])
  return raw, colour, depths, Surface(own, alpha[..., None], place[None, :, None])


def pixels(raw, colour, depths, surface=None):
  surface = surface and surface.replace(colour=shown(surface.colour))
  density = compositing.activate_density(raw, 'relu')
  return compositing.composite(density, shown(colour), depths, last_back=True, surface=surface)


@jax.jit
def both(raw, colour, depths, surface):
  with_it, without = pixels(raw, colour, depths, surface), pixels(raw, colour, depths)

  def loss(raw, colour, surface):
    return jnp.sum(pixels(raw, colour, depths, surface).colour ** 2)

  return with_it, without, jax.grad(loss, argnums=(0, 1, 2))(raw, colour, surface)


def test_a_surface_is_one_more_sample():
  raw, colour, depths, surface = inputs()
  out, without, gradients = jax.device_get(both(raw, colour, depths, surface))

  def as_numpy(x):
    return np.concatenate([np.tanh(x[..., :3]), x[..., 3:]], axis=-1)

  own = as_numpy(surface.colour)[0]
  np.testing.assert_allclose(out.colour[0, 0], own[0], atol=1e-5)
  np.testing.assert_allclose(out.depth[0, 0], -1, atol=1e-5)
  np.testing.assert_allclose(out.colour[0, 1], without.colour[0, 1], atol=1e-6)
  # By a loop over the samples, front to back; the deepest takes what is left.
  deltas = np.append(np.diff(depths[0]), np.full((RAYS, 1), compositing.INFINITE_INTERVAL), axis=1)
  alphas = 1 - np.exp(-np.maximum(raw[0], 0) * deltas)
  for ray in range(RAYS):
    samples = [*zip(depths[0, ray], alphas[ray], as_numpy(colour)[0, ray], strict=True)]
    samples.append((surface.depth[0, ray, 0], surface.alpha[0, ray, 0], own[ray]))
    left, pixel, depth = 1.0, 0.0, 0.0
    samples.sort(key=lambda sample: sample[0])
    for i, (t, alpha, c) in enumerate(samples):
      weight = left if i == SAMPLES else left * alpha
      pixel, depth, left = pixel + weight * c, depth + weight * t, left - weight
    np.testing.assert_allclose(out.colour[0, ray], pixel, atol=2e-5)
    np.testing.assert_allclose(out.depth[0, ray], depth, atol=2e-5)
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(gradients))
  behind = depths[0, 4] > 1.5
  assert behind.any() and np.abs(gradients[1][0, 4, behind]).max() < 1e-5
  assert np.abs(gradients[1][0, 3]).max() > 1e-3
