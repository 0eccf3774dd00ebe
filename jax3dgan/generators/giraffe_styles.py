"""GIRAFFE's styles: made of codes and poses, and taken apart into a scene. Pure functions."""

import jax.numpy as jnp

from jax3dgan.generators.base import truncated
from jax3dgan.generators.giraffe_rendering import GIRAFFEScene
from jax3dgan.generators.giraffe_scene import Layout, Poses


def styles_of(layout: Layout, codes, poses: Poses, truncation_psi=1.0, average_w=None):
  """Styles w [b, n + 1, width].

  Args:
    codes: [b, 2·(n·latent_dim + background_dim)] of a latent: a shape and an appearance code of
      each object, then those of the background.
    truncation_psi: pulls the codes towards those of `average_w` [n + 1, width]; 1 does nothing.
  """
  split = 2 * layout.num_objects * layout.latent_dim
  objects = codes[:, :split].reshape(codes.shape[0], layout.num_objects, 2 * layout.latent_dim)
  background = codes[:, split:]
  if average_w is None:
    truncated(codes, truncation_psi, None)
  else:
    mean, mean_background, _ = layout.split(average_w[None])
    objects = truncated(objects, truncation_psi, mean)
    background = truncated(background, truncation_psi, mean_background)
  return layout.join(objects, background, poses)


def scene_of(layout: Layout, w, size_max: tuple[float, ...]) -> GIRAFFEScene:
  """The scene of styles w [b, n + 1, width], without boxes larger than `size_max`, for which
  windows of samples are made."""
  objects, background, poses = layout.split(w)
  d, e = layout.latent_dim, layout.background_dim
  return GIRAFFEScene(
    objects[..., :d],
    objects[..., d:],
    background[..., :e],
    background[..., e:],
    poses.replace(size=jnp.minimum(poses.size, jnp.asarray(size_max, w.dtype))),
  )
