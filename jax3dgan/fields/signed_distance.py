"""Signed distances: their density, and the terms that make a field one (StyleSDF, Or-El et al.,
CVPR 2022, arXiv 2112.11427, Sec. 3 and supplement). Pure functions; each value is of one point."""

import jax
import jax.numpy as jnp

# Below, a density would be infinite, and of the other sign below zero, where a step of an optimizer
# may take β. A surface is 1e-3 of the paper's scene wide there.
_LEAST_BETA = 1e-4

_SMALLEST = 1e-20  # of a squared norm: the root has a finite derivative at 0


def density(distance, beta):
  """σ = sigmoid(−d/β)/β of distances d (eq. 3), 1/world unit, for any shapes that broadcast."""
  beta = jnp.maximum(beta, _LEAST_BETA)
  return jax.nn.sigmoid(-distance / beta) / beta


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
