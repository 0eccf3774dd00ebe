"""Rendering with given random numbers, whole and in chunks of rays."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from jax3dgan import cameras
from jax3dgan.rendering import hierarchical, rays
from jax3dgan.rendering.hierarchical import RenderOptions

OPTIONS = RenderOptions(resolution=4, num_coarse=4, num_fine=3)
BATCH, NUM_RAYS, NOISE_STD = 2, 16, 0.3


def field(points, directions):
  del directions
  return 20 * jnp.sin(9 * points).sum(-1), 0.5 + 0.5 * jnp.cos(20 * points)


def test_given_draws_render_as_their_keys_do_in_any_chunks():
  angles = jnp.array([1.4, 1.7])
  every = rays.camera_rays(cameras.from_yaw_pitch(angles, angles), OPTIONS.resolution)
  keys = jax.random.split(jax.random.key(3), BATCH)

  @jax.jit
  def render():
    draws = hierarchical.draw(keys, NUM_RAYS, OPTIONS)
    by_keys = hierarchical.render_chunked(field, every, OPTIONS, keys, NOISE_STD)
    without_noise = draws._replace(coarse_noise=None, final_noise=None)
    chunked = [
      [
        hierarchical.render_chunked(
          field, every, dataclasses.replace(OPTIONS, ray_chunk=chunk), given, NOISE_STD
        ).colour
        for chunk in (0, 4)
      ]
      for given in (draws, without_noise)
    ]
    return by_keys.colour, chunked

  by_keys, (noisy, clean) = render()
  np.testing.assert_allclose(noisy[0], by_keys, atol=1e-6)
  for whole, chunks in (noisy, clean):
    np.testing.assert_allclose(chunks, whole, atol=1e-6)
  assert np.abs(noisy[0] - clean[0]).max() > 0.01
