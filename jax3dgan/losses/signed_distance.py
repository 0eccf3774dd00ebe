"""Terms that make a field a signed distance (StyleSDF, Or-El et al., CVPR 2022, arXiv 2112.11427,
Sec. 3.2 and supplement). Pure functions; each value is of one point."""

import jax.numpy as jnp

_SMALLEST = 1e-20  # of a squared norm: the root has a finite derivative at 0


def eikonal(gradient):
  """(‖∇d‖ − 1)² [...] of gradients [..., 3] of the distance (eq. 9): 0 for a distance."""
  norm = jnp.sqrt(jnp.sum(jnp.square(gradient), axis=-1) + _SMALLEST)
  return jnp.square(norm - 1)


def minimal_surface(distance, sharpness: float = 100.0):
  """exp(−sharpness·|d|) [...] of distances d (eq. 10): surfaces where nobody sees them cost.

  Args:
    sharpness: 1/world unit. The paper's 100 is for a scene 0.24 deep.
  """
  return jnp.exp(-sharpness * jnp.abs(distance))


def sphere(points, radius):
  """The signed distance [...] of points [..., 3] to a sphere around the origin."""
  return jnp.sqrt(jnp.sum(jnp.square(points), axis=-1)) - radius
