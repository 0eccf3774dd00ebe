"""Products of matrices under a precision policy: what is rounded is only ever an input of a
product; sums, phases and sines are computed in float32.

| policy | inputs of the forward product | inputs of the two backward products |
|---|---|---|
| float32 | float32, full precision on every platform | the same |
| tensorfloat32 | float32, by the platform's default: TF32 on GPUs, bfloat16 on TPUs | the same |
| bfloat16 | bfloat16: 8 bits | bfloat16 |
| float16 | float16: 11 bits, beyond ±65504 saturated | bfloat16 |
| bfloat16_wide | bfloat16 with a large matrix of weights (`of_weights`), else float32 | the same |

A SIREN's forward inputs suit float16: activations within ±1, folded weights within a few tens. A
cotangent may have any size (a mean over pixels makes it tiny), so the backward products take
bfloat16, which has float32's range, and no loss needs a scale. Left to autodiff, the backward
products would take float32 cotangents, hence float32 for both inputs at a fraction of the speed,
and the gradients would be rounded after the accumulation. `benchmarks/precision.py` measures what
each policy costs in accuracy. TPUs multiply bfloat16; float16 is for GPUs; bfloat16_wide is for
CPUs with products of bfloat16, which gain nothing from them in small products and in convolutions.
`nn.auto_precision` chooses one of them for a machine.
"""

import string
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jax3dgan.errors import UserError
from jax3dgan.nn import backend, cpu_features
from jax3dgan.nn.primitives import bilinear


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
  # Wherever it is not resolved by `of_weights`, as float32.
  'bfloat16_wide': Policy(None, 'bfloat16_wide', jax.lax.Precision.HIGHEST),
}
AUTO = 'auto'  # in a config alone: one of them, chosen by `nn.auto_precision`
CHOICES = {'matmul_dtype': (AUTO, *POLICIES)}  # of a config's field, see `registry.build`
# Multiplications per number that a product reads or writes, as many rows as there may be: that of
# 96 x 96 weights. Rounding costs about as much as a product of 64 x 64 gains.
_WIDE = 48
# The least size of a native product of bfloat16 on a CPU.
_NATIVE = 32


def get(policy: str) -> Policy:
  """The policy of a name; UserError for a name that is not known."""
  if policy == AUTO:
    raise UserError(
      "matmul_dtype 'auto' stands for a policy that is chosen when a run starts. Make the networks "
      'of the config that `auto_precision.resolve(config)` returns.'
    )
  if policy not in POLICIES:
    names = ', '.join(CHOICES['matmul_dtype'])
    raise UserError(f"No matmul_dtype is called '{policy}'. Choose one of {names}.")
  return POLICIES[policy]


def of_weights(policy: str, inputs: int, outputs: int) -> str:
  """The policy of a product of many rows with weights [inputs, outputs], under a policy.

  It says the same on every machine: 'bfloat16_wide' is 'bfloat16' where a number is multiplied so
  often that products of half the bits pay for the rounding on a CPU, else 'float32'.
  """
  if policy != 'bfloat16_wide':
    return policy
  return 'bfloat16' if inputs * outputs >= _WIDE * (inputs + outputs) else 'float32'


def of_convolution(policy: str) -> str:
  """The policy of a convolution, of whatever form, under a policy."""
  return 'float32' if policy == 'bfloat16_wide' else policy


def speed_note(config) -> str:
  """What full precision costs on the present platform, and the flags that change it; '' where it
  costs nothing.

  Args:
    config: of a run, with `matmul_dtype` in the groups of the networks that have one.
  """
  cost = {
    'tpu': 'a sixth of the speed of bfloat16',
    'gpu': 'a fraction of the speed of its tensor cores',
  }.get(backend.platform())
  full = [
    f'--config.{name}.matmul_dtype=bfloat16'
    for name in ('model', 'discriminator')
    if (config.get(name) or {}).get('matmul_dtype') == 'float32'
  ]
  if cost is None or not full:
    return ''
  return f'matmul_dtype float32: products run at {cost}. Faster: {" ".join(full)}.'


def round_input(x, dtype):
  """x in `dtype`; beyond its range, the largest number it has, so that no product is infinite."""
  if dtype == jnp.float16:
    largest = jnp.finfo(dtype).max.astype(x.dtype)
    x = jnp.clip(x, -largest, largest)
  return x.astype(dtype)


def rounded_float32(x):
  """What `round_input` has rounded, as float32."""
  # Not only there and back: XLA may leave out such a pair of conversions. With float32's exponent:
  # to that of float16 it would set numbers below 6e-5, which float16 has, to zero.
  bits = jnp.finfo(jnp.float32).nexp, jnp.finfo(x.dtype).nmant
  return jax.lax.reduce_precision(x.astype(jnp.float32), *bits)


def einsum(spec: str, x, w, policy: str = 'float32'):
  """einsum of two arrays; inputs rounded by the policy, accumulated and returned in x's type.

  Where the policy rounds, every index of `spec` must be in two of its three terms, as in any
  product of matrices.
  """
  rule = get(policy)
  if rule.inputs is None:
    return jnp.einsum(spec, x, w, precision=rule.precision)
  return _rounded_einsum(x, w.astype(x.dtype), spec=spec, policy=policy, dtype=x.dtype.name)


def rows_product(x, weights, policy: str = 'float32'):
  """[..., c] times [c, f] → [..., f], under a policy.

  As one product of two matrices: of a gradient that sums over several axes XLA's CPU back end makes
  a product of transposed copies (pixels of 16 images of 64², 32 to 48 channels: 41 ms against 16).
  """
  policy = of_weights(policy, *weights.shape)
  y = einsum('nc,cf->nf', x.reshape(-1, x.shape[-1]), weights, policy)
  return y.reshape(*x.shape[:-1], -1)


def _rounded(x, w, *, spec, policy, dtype):
  inputs = POLICIES[policy].inputs
  precision, rounded = jax.lax.Precision.DEFAULT, [round_input(a, inputs) for a in (x, w)]
  if not _is_native(spec, x, w, inputs):
    precision, rounded = jax.lax.Precision.HIGHEST, [rounded_float32(a) for a in rounded]
  y = jnp.einsum(spec, *rounded, precision=precision, preferred_element_type=jnp.float32)
  return y.astype(dtype)


def _is_native(spec: str, x, w, inputs) -> bool:
  """Whether rounded numbers are multiplied as such, not as float32."""
  form = backend.form('rounded_product')
  if form != 'by_size':
    return form == 'native'
  terms = spec.partition('->')[0].split(',')
  sizes = dict(zip(''.join(terms), (*x.shape, *w.shape), strict=True))
  batch = {axis for axis in sizes if all(axis in term for term in (*terms, spec.split('->')[1]))}
  return (
    inputs == jnp.bfloat16
    and min((size for axis, size in sizes.items() if axis not in batch), default=0) >= _NATIVE
    and cpu_features.multiplies_bfloat16()
  )


def _of_first(g, x, w, *, spec, policy, dtype):
  del dtype
  x_axes, w_axes, y_axes = spec.replace('->', ',').split(',')
  back = f'{y_axes},{w_axes}->{x_axes}'
  return _rounded_einsum(g, w, spec=back, policy=policy, dtype=x.dtype.name)


def _of_second(g, x, w, *, spec, policy, dtype):
  del dtype
  x_axes, w_axes, y_axes = spec.replace('->', ',').split(',')
  back = f'{x_axes},{y_axes}->{w_axes}'
  return _rounded_einsum(x, g, spec=back, policy=policy, dtype=w.dtype.name)


# A tangent may have any size, as a cotangent. The other factor is rounded before, so that what is
# kept for the backward pass has half the bytes.
def _tangent_of_first(dx, x, w, *, spec, policy, dtype):
  del x
  w, backward = round_input(w, POLICIES[policy].inputs), POLICIES[policy].backward
  return _rounded_einsum(dx, w, spec=spec, policy=backward, dtype=dtype)


def _tangent_of_second(dw, x, w, *, spec, policy, dtype):
  del w
  x, backward = round_input(x, POLICIES[policy].inputs), POLICIES[policy].backward
  return _rounded_einsum(x, dw, spec=spec, policy=backward, dtype=dtype)


def _batch(args, axes, *, spec, **options):
  new = next(letter for letter in string.ascii_letters if letter not in spec)
  terms, y_axes = spec.split('->')
  terms = [
    term if axis is None else new + term for term, axis in zip(terms.split(','), axes, strict=True)
  ]
  args = [
    x if axis is None else jnp.moveaxis(x, axis, 0) for x, axis in zip(args, axes, strict=True)
  ]
  return _rounded_einsum(*args, spec=f'{",".join(terms)}->{new}{y_axes}', **options), 0


_rounded_einsum = bilinear(
  'rounded_einsum',
  _rounded,
  _of_first,
  _of_second,
  tangents=(_tangent_of_first, _tangent_of_second),
  batch=_batch,
)
