"""Products of matrices under a precision policy: what is rounded is only ever an input of a
product."""

import jax
import jax.numpy as jnp

from jax3dgan.errors import UserError

POLICIES = ('float32', 'tensorfloat32', 'bfloat16')


def einsum(spec: str, x, w, policy: str = 'float32'):
  """einsum of two arrays; inputs rounded by the policy, accumulated and returned in x's type.

  Args:
    policy: 'float32': full precision on every platform (XLA's default on GPUs and TPUs is less);
      'tensorfloat32': the platform's default for float32; 'bfloat16': inputs rounded to bfloat16.
  """
  if policy == 'bfloat16':
    product = jnp.einsum(
      spec, x.astype(jnp.bfloat16), w.astype(jnp.bfloat16), preferred_element_type=jnp.float32
    )
    return product.astype(x.dtype)
  if policy not in POLICIES:
    raise UserError(f"No matmul_dtype is called '{policy}'. Choose one of {', '.join(POLICIES)}.")
  precision = jax.lax.Precision.HIGHEST if policy == 'float32' else jax.lax.Precision.DEFAULT
  return jnp.einsum(spec, x, w, precision=precision)
