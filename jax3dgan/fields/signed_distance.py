"""Signed distances: their density, and the terms that make a field one (StyleSDF, Or-El et al.,
CVPR 2022, arXiv 2112.11427, Sec. 3 and supplement). Pure functions; each value is of one point."""

import jax
import jax.numpy as jnp

# Where a step of an optimizer takes β to zero, a density would be infinite. A surface of this width
# is 4e-4 of the paper's scene.
_LEAST_BETA = 1e-4

_SMALLEST = 1e-20  # of a squared norm: the root has a finite derivative at 0


def density(distance, beta):
  """σ = sigmoid(−d/β)/β of distances d (eq. 3), 1/world unit, for any shapes that broadcast."""
  return jax.nn.sigmoid(-distance / beta) / beta


def width(beta, floor: float = 0.0):
  """The positive β of a density, |β| + floor, of the parameter β, which may have crossed zero.

  Args:
    floor: what it is never below, world units (as VolSDF has it, arXiv 2106.12052): a surface much
      thinner than the distance of two samples has no gradient between them.
  """
  return jnp.maximum(jnp.abs(beta), _LEAST_BETA) + floor


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
