"""Adaptive density control of 3D Gaussians in a fixed number of slots (Kerbl et al., SIGGRAPH 2023,
arXiv 2308.04079, Sec. 5.2 and App. B).

Where the places on images of a Gaussian have large gradients, something is missing: a small one is
cloned, a large one is split in two. Transparent ones, and those that have become too large, are
removed. Shapes are static: the new ones go into slots that are not in use, those with the largest
gradients first, and how many had no room is a metric.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jax3dgan.nn import precision
from jax3dgan.rendering import splatting_projection

SHRINK = 1.6  # scales of the two halves of a Gaussian are divided by it


class Thresholds(NamedTuple):
  """When a Gaussian is what.

  Attributes:
    gradient: mean norm of the gradient of its place on images, half image widths, from which on it
      is cloned or split.
    large: largest scale, world units, above which it is split instead of cloned.
    least_opacity: below which it is removed.
    too_large: largest scale, world units, above which it is removed.
  """

  gradient: float
  large: float
  least_opacity: float
  too_large: float


class Change(NamedTuple):
  """What `densify` returns.

  Attributes:
    params: after it.
    alive: [n] which slots are in use after it.
    fresh: [n] slots whose Gaussian is a new one, or none: an optimizer knows nothing of it.
    counts: scalars by name: `alive` after it, `cloned`, `split`, `removed`, and `without_slot`, how
      many were to be cloned or split and had no room.
  """

  params: dict[str, Any]
  alive: jax.Array
  fresh: jax.Array
  counts: dict[str, jax.Array]


def densify(params, alive, gradients, key, thresholds: Thresholds) -> Change:
  """Clones, splits and removes Gaussians.

  Args:
    params: of `GaussianSplats`, leaves [n, ...].
    alive: [n] bool.
    gradients: [n] mean norms, see `Thresholds`.
    key: of the halves' places.
    thresholds: See `Thresholds`.
  """
  n = alive.shape[0]
  largest = jnp.exp(jnp.max(params['log_scales'], axis=-1))
  stays = alive & (jax.nn.sigmoid(params['opacities']) >= thresholds.least_opacity)
  wanted = stays & (gradients >= thresholds.gradient)
  large = largest > thresholds.large
  # One that is to be split gets smaller.
  stays &= (wanted & large) | (largest <= thresholds.too_large)

  wanted &= stays
  sources = jnp.argsort(jnp.where(wanted, -gradients, jnp.inf), stable=True)
  slots = jnp.argsort(stays, stable=True)  # those that are not in use first
  asked = jnp.sum(wanted)
  served = jnp.arange(n) < jnp.minimum(asked, n - jnp.sum(stays))
  slots, of_served = jnp.where(served, slots, n), jnp.where(served, sources, n)  # n is nowhere
  origin = jnp.arange(n).at[slots].set(sources, mode='drop')
  new = jnp.zeros(n, bool).at[slots].set(True, mode='drop')
  doubled = jnp.zeros(n, bool).at[of_served].set(True, mode='drop')
  halves = (doubled & large)[origin]

  params = jax.tree.map(lambda x: x[origin], params)
  drawn = jnp.exp(params['log_scales']) * jax.random.normal(key, (n, 3))
  turned = precision.einsum(
    'nij,nj->ni', splatting_projection.rotations(params['quaternions']), drawn
  )
  params = params | {
    'means': params['means'] + jnp.where(halves[:, None], turned, 0),
    'log_scales': params['log_scales'] - jnp.where(halves[:, None], math.log(SHRINK), 0),
  }
  after = stays | new
  counts = {
    'alive': jnp.sum(after),
    'cloned': jnp.sum(doubled & ~large),
    'split': jnp.sum(doubled & large),
    'removed': jnp.sum(alive & ~stays),
    'without_slot': asked - jnp.sum(served),
  }
  counts = {name: value.astype(jnp.float32) for name, value in counts.items()}
  return Change(params, after, new | halves | ~after, counts)


def of_rest(rest, function):
  """(moments, averages) with function(name, x, of_moments) instead of their leaves x [n, ...] that
  stand for parameters, by the parameters' names.

  Args:
    rest: (moments of the optimizer, averages by rate).
  """

  def leaf(path, x, of_moments):
    names = [entry.key for entry in path if isinstance(entry, jax.tree_util.DictKey)]
    return function(names[-1], x, of_moments) if names else x

  moments, averages = rest
  changed = jax.tree_util.tree_map_with_path
  return (
    changed(lambda path, x: leaf(path, x, True), moments),
    changed(lambda path, x: leaf(path, x, False), averages),
  )


def lowered(params, rest, due, highest: float):
  """Opacities of at most `highest`, a logit, where it is due; their moments begin again.

  Args:
    rest: See `of_rest`.

  Returns:
    (params, rest).
  """

  def low(x):
    return jnp.where(due, jnp.minimum(x, highest), x)

  def opacities(name, x, of_moments):
    if name != 'opacities':
      return x
    return jnp.where(due, 0, x) if of_moments else low(x)

  return params | {'opacities': low(params['opacities'])}, of_rest(rest, opacities)


def rows(mask, x):
  """mask [n] with axes for a leaf x [n, ...]."""
  return mask.reshape(-1, *[1] * (x.ndim - 1))
