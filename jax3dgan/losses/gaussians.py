"""Regularisations of generated Gaussians (Kirschstein et al., GGHead, SIGGRAPH Asia 2024, arXiv
2406.09377, Sec. 3.4; of anchors: Hyun & Heo, GSGAN, NeurIPS 2024, arXiv 2406.02968, Sec. 3.4)."""

import jax
import jax.numpy as jnp

_EPSILON = 1e-9  # a norm has no gradient at 0, where a fresh network is


def mean_norm(raw):
  """The Euclidean norms of raw attributes [b, n, c], averaged over Gaussians, [b]."""
  return jnp.sqrt(jnp.sum(raw**2, axis=-1) + _EPSILON).mean(axis=-1)


def beta(opacities):
  """Mean of log(.1 + o) + log(1.1 − o) + log(1/.11) of opacities in [0, 1]; a scalar, 0 at both
  ends: opacities go to 0 or 1 (Lombardi et al., Neural Volumes, SIGGRAPH 2019, Eq. 9)."""
  # The release's constant, which differs from log(1/.11) in the sixth digit.
  return jnp.mean(jnp.log(0.1 + opacities) + jnp.log(1.1 - opacities) + 2.20727)


def map_variation(places, opacity):
  """Total variation of the places on the map that images show; a scalar, the images' mean.

  Neighbouring pixels show neighbouring places where the surface does not fold. A third channel,
  constant in the release, counts in its mean.

  Args:
    places: [b, h, w, 2] Σ w·place of Gaussians, each in [−1, 1].
    opacity: [b, h, w] Σ w.
  """
  return sum((total / jnp.maximum(count, 1)).mean() for total, count in variations(places, opacity))


def variations(places, opacity):
  """Of neighbours down and to the right: ([b] sums, [b] how many numbers), see `map_variation`."""
  shown = opacity > 0
  places = places / jnp.where(shown, opacity, 1)[..., None]
  result = []
  for axis in (1, 2):
    n = shown.shape[axis]
    ahead, here = (
      [jax.lax.slice_in_dim(x, i, n - 1 + i, axis=axis) for x in (places, shown)] for i in (1, 0)
    )
    both = ahead[1] & here[1]
    steps = jnp.where(both[..., None], jnp.abs(ahead[0] - here[0]), 0)
    result.append((steps.sum(axis=(1, 2, 3)), 3 * both.sum(axis=(1, 2))))
  return result


def stretch(offsets, spacing: float, on_template=None):
  """How much offsets from a template's points stretch its surface, [b].

  Squared difference of the offsets of neighbours on the template's map, in their distance, the mean
  over rows plus that over columns. A surface that is turned back on itself has one above 1: this
  is what keeps it from folding, and leaves it free to move and to bend (a membrane's energy).

  Args:
    offsets: [b, h, w, 3] world units, of the points of a map's texels.
    spacing: distance of neighbours, world units.
    on_template: [h, w] which texels have points; None for all.
  """
  total = count = 0.0
  for axis in (1, 2):
    n = offsets.shape[axis]
    ahead, here = (jax.lax.slice_in_dim(offsets, i, n - 1 + i, axis=axis) for i in (1, 0))
    square = jnp.square(ahead - here).sum(axis=-1)
    if on_template is None:
      both = jnp.ones(square.shape[1:])
    else:
      ends = (jax.lax.slice_in_dim(on_template, i, n - 1 + i, axis=axis - 1) for i in (1, 0))
      both = jnp.logical_and(*ends).astype(square.dtype)
    total += (square * both).sum(axis=(1, 2))
    count += both.sum()
  return 2 * total / (jnp.maximum(count, 1) * spacing**2)


def neighbour_distance(points, num_neighbours: int):
  """Mean squared distance of points [b, n, 3] to their nearest ones, [b]: none goes astray.

  Args:
    num_neighbours: of a point, which is not its own neighbour; of fewer points all others.
  """
  n = points.shape[1]
  count = min(num_neighbours, n - 1)
  if not count:
    return jnp.zeros(points.shape[:1], points.dtype)
  # By coordinates, not by squares that cancel.
  square = sum(jnp.square(x[:, :, None] - x[:, None]) for x in jnp.moveaxis(points, -1, 0))
  # Which ones are near is no matter of gradients. The nearest of all is the point itself.
  farthest = jnp.sort(jax.lax.stop_gradient(square), axis=-1)[..., count, None]
  near = square <= farthest
  total = jnp.sum(jnp.where(near, square, 0), axis=-1)
  # Equal distances may make them more than so many.
  return (total / (jnp.sum(near, axis=-1) - 1)).mean(axis=-1)


def off_centre(points):
  """Squared distance of the mean of points [b, n, 3] from the origin, [b]."""
  return jnp.sum(jnp.square(points.mean(axis=1)), axis=-1)
