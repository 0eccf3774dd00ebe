"""FLOPs of the products of a traced function, loops by their length.

XLA's own cost analysis counts the body of a loop once, and every addition and sine as well; a
device's peak is stated for products. Here only dot products and convolutions are counted, a
multiply-add as two, from the jaxpr, so that models need no formulas. Zeros of a convolution's own
padding and dilation are not multiplied; those that a `pad` before it has inserted are.
"""

import math
from collections.abc import Callable, Iterator, Sequence

from jax.extend import core
from jax.interpreters import partial_eval

from jax3dgan.nn import primitives


def valid_taps(size: int, taps: int, outputs: int, stride=1, low=0, inner=1, spread=1) -> int:
  """Pairs of an output and a tap that are on an element, in one dimension of a convolution.

  Taps on padding, or between dilated elements, multiply zeros; XLA does not
  count them either.

  Args:
    size, taps, outputs: elements, taps of the kernel and outputs in this dimension.
    stride: of the outputs.
    low: padding before the first element.
    inner: distance of the elements (lhs dilation).
    spread: distance of the taps (rhs dilation).
  """
  places = (o * stride + t * spread - low for o in range(outputs) for t in range(taps))
  return sum(p % inner == 0 and 0 <= p <= (size - 1) * inner for p in places)


def dot(lhs: Sequence[int], out: Sequence[int], contracting: Sequence[int]) -> int:
  """FLOPs of a product of shape `out`, summed over the `contracting` dimensions of `lhs`."""
  return 2 * math.prod(out) * math.prod(lhs[i] for i in contracting)


def _conv(eqn) -> int:
  lhs, rhs, out = (v.aval.shape for v in (*eqn.invars, *eqn.outvars))
  p, numbers = eqn.params, eqn.params['dimension_numbers']
  pairs = 1
  for i, (l, r, o) in enumerate(
    zip(numbers.lhs_spec[2:], numbers.rhs_spec[2:], numbers.out_spec[2:], strict=True)
  ):
    strides = p['window_strides'][i], p['padding'][i][0]
    pairs *= valid_taps(
      lhs[l], rhs[r], out[o], *strides, p['lhs_dilation'][i], p['rhs_dilation'][i]
    )
  batch, features = lhs[numbers.lhs_spec[0]], lhs[numbers.lhs_spec[1]]
  groups = p['feature_group_count'] * p['batch_group_count']
  return 2 * pairs * batch * features * rhs[numbers.rhs_spec[0]] // groups


def _inner(value) -> Iterator[core.Jaxpr]:
  if isinstance(value, core.ClosedJaxpr):
    yield value.jaxpr
  elif isinstance(value, core.Jaxpr):
    yield value
  elif isinstance(value, tuple | list):
    for part in value:
      yield from _inner(part)


def products(jaxpr, branch: Callable = max, open_ended: int | None = None) -> int:
  """FLOPs of the products of a jaxpr, as one device runs it; of primitives of our own in the form
  of the present platform (`backend.lowering_for`).

  Args:
    jaxpr: such as `jax.jit(f).trace(...).jaxpr`. Inside a shard_map shapes are those of a shard.
    branch: `max` for the dearest branch of a condition, `min` for the cheapest, such as that of a
      training step in which no lazy phase is due.
    open_ended: how often a while loop with products in it is counted, whose length the jaxpr does
      not say; None for an error.

  Raises:
    ValueError: There is such a loop.
  """
  # Rematerialisation leaves unused products; lowering drops them, too.
  used, _ = partial_eval.dce_jaxpr(getattr(jaxpr, 'jaxpr', jaxpr), True)
  return _products(used, branch, open_ended)


def _products(jaxpr, branch, open_ended) -> int:
  total = 0
  for eqn in jaxpr.eqns:
    name, params = eqn.primitive.name, eqn.params
    if name == 'dot_general':
      contracting = params['dimension_numbers'][0][0]
      total += dot(eqn.invars[0].aval.shape, eqn.outvars[0].aval.shape, contracting)
      continue
    if name == 'conv_general_dilated':
      total += _conv(eqn)
      continue
    own = primitives.inner_jaxpr(eqn)
    inside = params.values() if own is None else [own]
    parts = [_products(inner, branch, open_ended) for value in inside for inner in _inner(value)]
    if name == 'while' and any(parts):
      if open_ended is None:
        raise ValueError('a while loop has products, but its number of iterations is not known')
      total += open_ended * sum(parts)
    elif name == 'cond':
      total += branch(parts, default=0)
    else:
      total += sum(parts) * (params['length'] if name == 'scan' else 1)
  return total
