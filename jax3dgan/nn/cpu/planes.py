"""Features at positions on planes, by bilinear interpolation.

Left to autodiff, the planes' gradient scatters each of the four pixels around a position on its
own, in indices that a CPU computes anew for every feature. Here two neighbours in a row, which are
adjacent in memory, are scattered at once (148 ms instead of 171), their weights computed
as a product with a constant matrix (33 ms instead of 47). GPUs take this form as well ('pairs' of
`backend.FORMS`); what it gains there is not measured. Their additions to the planes are atomic, in
whatever order they arrive: two runs have the same bits only with XLA's
`--xla_gpu_deterministic_ops=true`.

A TPU takes `nn.plane_rows` ('rows').
"""

import jax
import jax.numpy as jnp
import numpy as np

from jax3dgan.nn import backend, plane_rows, precision
from jax3dgan.nn.primitives import linear


def reference_sum_on_planes(planes, x, y):
  """`sum_on_planes`, left to autodiff."""
  b, p, h, w, c = planes.shape
  first, fx, fy = _corners(x, y, h, w)
  flat = planes.reshape(b, p * h * w, c)
  if b == 1:  # one scene for all
    flat, gather = flat[0], lambda flat, i: flat[i]
  else:
    gather = jax.vmap(lambda plane, i: plane[i])
  corners = (
    (0, (1 - fy) * (1 - fx)), (1, (1 - fy) * fx), (w, fy * (1 - fx)), (w + 1, fy * fx)
  )  # fmt: skip
  # Gathers of [b, n, c] that XLA fuses with their sum, not one of all corners: 50 times as fast on
  # a CPU, and nothing 4·p times as large as the result is in memory.
  total = 0.0
  for offset, weight in corners:
    for plane in range(p):
      total += weight[..., plane, None] * gather(flat, first[..., plane] + offset)
  return total


def _corners(x, y, h, w):
  """Of the pixel up left of positions, plane by plane: its place in p·h·w, [b, n, p], and how far
  to the right and down of it the positions are."""
  x0, y0 = (jnp.minimum(jnp.floor(v), size - 2) for v, size in ((x, w), (y, h)))
  first = (jnp.arange(x.shape[-1]) * h + y0.astype(jnp.int32)) * w + x0.astype(jnp.int32)
  return first, x - x0, y - y0


def _scattered_pairs(g, x, y, *, shape):
  """The cotangent of the planes, of whose shape it is."""
  b, p, h, w, c = shape
  first, fx, fy = _corners(x, y, h, w)
  updates = _weights(fx, fy)[..., None] * g[:, :, None, None, None]  # [b, n, p, 2, 2, c]
  index = jnp.stack([first, first + w], axis=-1)  # both rows
  index = index.reshape(b if b > 1 else 1, -1)
  updates = updates.reshape(*index.shape, 2 * c)
  numbers = jax.lax.ScatterDimensionNumbers(
    update_window_dims=(1,), inserted_window_dims=(), scatter_dims_to_operand_dims=(0,)
  )

  def collect(index, updates):
    zeros = jnp.zeros(p * h * w * c, g.dtype)
    return jax.lax.scatter_add(zeros, c * index[:, None], updates, numbers)

  return jax.vmap(collect)(index, updates).reshape(shape)


# Which form is taken is decided where these are lowered.
def _gathered(planes, x, y):
  if backend.form('planes') != 'rows':
    return reference_sum_on_planes(planes, x, y)
  return plane_rows.gather(planes, *_corners(x, y, *planes.shape[2:4]))


def _scattered(g, x, y, *, shape):
  if backend.form('planes') != 'rows':
    return _scattered_pairs(g, x, y, shape=shape)
  return plane_rows.scatter(g, *_corners(x, y, *shape[2:4]), shape)


def _weights(fx, fy):
  """The weights of the four pixels, [b, n, p, row, column].

  As a product with a constant matrix, which XLA does not compute anew for every feature, as it does
  what it fuses: the updates of a scatter in a quarter of the time on a CPU.
  """
  terms = jnp.stack([jnp.ones_like(fx), fx, fy, fx * fy], axis=-1)
  # (1 − y)(1 − x), (1 − y) x, y (1 − x), y x as sums of the terms.
  sums = np.array([[1, 0, 0, 0], [-1, 1, 0, 0], [-1, 0, 1, 0], [1, -1, -1, 1]], fx.dtype)
  return precision.einsum('bnpi,ij->bnpj', terms, sums).reshape(*fx.shape, 2, 2)


def _tangent(planes, positions, tangents):
  """What moving positions contribute; their features are gathered again in the backward pass."""

  def slope(planes, positions, tangents):
    sum_of = lambda x, y: reference_sum_on_planes(planes, x, y)  # noqa: E731
    return jax.jvp(sum_of, tuple(positions), tuple(tangents))[1]

  slope = jax.checkpoint(slope, prevent_cse=False)
  return slope(planes, positions, _with_zeros(positions, tangents))


def _tangent_of_scatter(g, positions, tangents, shape):
  scatter = lambda x, y: _scattered_pairs(g, x, y, shape=shape)  # noqa: E731
  return jax.jvp(scatter, tuple(positions), tuple(_with_zeros(positions, tangents)))[1]


def _with_zeros(positions, tangents):
  pairs = zip(positions, tangents, strict=True)
  return [jnp.zeros_like(x) if dx is None else dx for x, dx in pairs]


def _batch(args, axes):
  size = next(x.shape[axis] for x, axis in zip(args, axes, strict=True) if axis is not None)
  if axes[0] is None and args[0].shape[0] == 1:
    planes = args[0]
  else:
    planes = _leading(args[0], axes[0], size)
    b = args[1].shape[0 if axes[1] != 0 else 1]
    planes = jnp.broadcast_to(planes, (size, b, *planes.shape[2:])).reshape(-1, *planes.shape[2:])
  x, y = (_leading(v, axis, size) for v, axis in zip(args[1:], axes[1:], strict=True))
  out = _sum_on_planes(planes, *(v.reshape(-1, *v.shape[2:]) for v in (x, y)))
  return out.reshape(size, -1, *out.shape[1:]), 0


def _leading(x, axis, size):
  if axis is None:
    return jnp.broadcast_to(x, (size, *x.shape))
  return jnp.moveaxis(x, axis, 0)


# The transpose is an operation of its own, whose derivatives are those of the pairs.
_scatter_on_planes = linear(
  'scatter_on_planes',
  _scattered,
  lambda planes, g, x, y, *, shape: _sum_on_planes(planes, x, y),
  lambda g, positions, tangents, *, shape: _tangent_of_scatter(g, positions, tangents, shape),
)
_sum_on_planes = linear(
  'sum_on_planes',
  _gathered,
  lambda g, planes, x, y: _scatter_on_planes(g, x, y, shape=planes.shape),
  _tangent,
  batch=_batch,
)


def sum_on_planes(planes, x, y):
  """Σ over planes of the features at positions.

  Args:
    planes: [b, p, h, w, c], or [1, ...] for all; h and w at least 2.
    x, y: [b, n, p] columns and rows, in pixels of each plane, within [0, w − 1] and [0, h − 1].

  Returns:
    [b, n, c], linear in the planes, continuous and piecewise bilinear in the positions.
  """
  run = reference_sum_on_planes if backend.form('planes') == 'autodiff' else _sum_on_planes
  return run(planes, x, y)
