"""Products of matrices under a precision policy: what is rounded is only ever an input of a
product; sums, phases and sines stay in float32.

| policy | inputs of the forward product | inputs of the two backward products |
|---|---|---|
| float32 | float32, full precision on every platform | the same |
| tensorfloat32 | float32, as the platform likes it: TF32 on GPUs, bfloat16 on TPUs | the same |
| bfloat16 | bfloat16: 8 bits | bfloat16 |
| float16 | float16: 11 bits, beyond ±65504 saturated | bfloat16 |

A SIREN's forward inputs suit float16: activations within ±1, folded weights within a few tens. A
cotangent may have any size (a mean over pixels makes it tiny), so the backward products take
bfloat16, which has float32's range, and no loss needs a scale. Left to autodiff, the backward
products would take float32 cotangents, hence float32 for both inputs at a fraction of the speed,
and the gradients would be rounded after the accumulation. `benchmarks/precision.py` measures what
each policy costs in accuracy. TPUs multiply bfloat16; float16 is for GPUs.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jax3dgan.errors import UserError


class Policy(NamedTuple):
  """How a product is computed.

  Attributes:
    inputs: the dtype that inputs are rounded to; None leaves them.
    backward: the name of the policy of the backward products.
    precision: XLA's, where inputs are left.
  """

  inputs: Any
  backward: str
  precision: jax.lax.Precision | None


POLICIES = {
  'float32': Policy(None, 'float32', jax.lax.Precision.HIGHEST),
  'tensorfloat32': Policy(None, 'tensorfloat32', jax.lax.Precision.DEFAULT),
  'bfloat16': Policy(jnp.bfloat16, 'bfloat16', None),
  'float16': Policy(jnp.float16, 'bfloat16', None),
}


def get(policy: str) -> Policy:
  """The policy of a name; UserError for a name that is not known."""
  if policy not in POLICIES:
    raise UserError(f"No matmul_dtype is called '{policy}'. Choose one of {', '.join(POLICIES)}.")
  return POLICIES[policy]


def round_input(x, dtype):
  """x in `dtype`; beyond its range, the largest number it has, so that no product is infinite."""
  if dtype == jnp.float16:
    largest = jnp.finfo(dtype).max.astype(x.dtype)
    x = jnp.clip(x, -largest, largest)
  return x.astype(dtype)


def einsum(spec: str, x, w, policy: str = 'float32'):
  """einsum of two arrays; inputs rounded by the policy, accumulated and returned in x's type.

  Where the policy rounds, every index of `spec` must be in two of its three terms, as in any
  product of matrices.
  """
  rule = get(policy)
  if rule.inputs is None:
    return jnp.einsum(spec, x, w, precision=rule.precision)
  return _rounded_einsum(spec, policy, x, w.astype(x.dtype))


def rows_product(x, weights, policy: str = 'float32'):
  """[..., c] times [c, f] → [..., f], under a policy.

  As one product of two matrices: of a gradient that sums over several axes XLA's CPU back end makes
  a product of transposed copies (pixels of 16 images of 64², 32 to 48 channels: 41 ms against 16).
  """
  y = einsum('nc,cf->nf', x.reshape(-1, x.shape[-1]), weights, policy)
  return y.reshape(*x.shape[:-1], -1)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _rounded_einsum(spec, policy, x, w):
  return _forward(spec, policy, x, w)[0]


def _forward(spec, policy, x, w):
  dtype = POLICIES[policy].inputs
  rounded = round_input(x, dtype), round_input(w, dtype)
  y = jnp.einsum(spec, *rounded, preferred_element_type=jnp.float32)
  return y.astype(x.dtype), rounded  # kept for the backward pass in half the bytes


def _backward(spec, policy, saved, g):
  x, w = (a.astype(g.dtype) for a in saved)
  x_axes, w_axes, y_axes = spec.replace('->', ',').split(',')
  policy = POLICIES[policy].backward
  # `einsum` again, so that the gradient can be differentiated (R1).
  gx = einsum(f'{y_axes},{w_axes}->{x_axes}', g, w, policy)
  return gx, einsum(f'{x_axes},{y_axes}->{w_axes}', x, g, policy)


_rounded_einsum.defvjp(_forward, _backward)
