"""The sine of a SIREN.

The sine dominates a SIREN's cost on a CPU, and by estimate on a TPU, where XLA's own takes longer
than the products in bfloat16. `polynomial_sine` reduces the argument by multiples of π (Cody-Waite,
three parts), evaluates an odd polynomial on [-π/2, π/2] and sets the sign by the parity of the
multiple: a dozen vector operations with no table and no branch.
Its derivative is the matching cosine, so that forward and backward agree.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jax3dgan.nn import backend

# π split so that k·PI_A and k·PI_B are exact in float32 for |k| < 2^12 (|x| up to about 12,000).
_PI_A = np.float32(3.140625)
_PI_B = np.float32(0.0009670257568359375)
_PI_C = np.float32(6.2771141529083252e-07)
# Minimax coefficients of (sin r - r) / r^3 in r^2 on [0, (π/2)^2].
_COEFFICIENTS = tuple(
  np.float32(c)
  for c in (
    -0.16666657058479156,
    8.333016352702623e-3,
    -1.9806546908807894e-4,
    2.599902819749237e-6,
  )
)


def _reduced_sine(x, shift):
  """sin(x + shift·π/2) for shift 0 or 1, float32."""
  # With shift 1 the nearest multiple is a half-integer one:
  # sin(x + π/2) = (-1)^k sin(x - (k - 1/2)π).
  k = jnp.round(x * np.float32(1 / np.pi) + np.float32(0.5 * shift))
  m = k - np.float32(0.5 * shift)
  r = ((x - m * _PI_A) - m * _PI_B) - m * _PI_C
  r2 = r * r
  p = jnp.float32(_COEFFICIENTS[-1])
  for c in _COEFFICIENTS[-2::-1]:
    p = p * r2 + c
  value = r + r * r2 * p
  sign = jnp.left_shift(k.astype(jnp.int32), 31)  # parity of k in the sign bit
  bits = jax.lax.bitcast_convert_type(value, jnp.int32) ^ sign
  return jax.lax.bitcast_convert_type(bits, jnp.float32)


@jax.custom_jvp
def polynomial_sine(x):
  """sin(x) for float32 x of any shape; absolute error below 3e-7 for |x| up to 3000."""
  return _reduced_sine(x, 0)


@jax.custom_jvp
def polynomial_cosine(x):
  """cos(x) for float32 x of any shape; absolute error below 3e-7 for |x| up to 3000."""
  return _reduced_sine(x, 1)


@polynomial_sine.defjvp
def _sine_jvp(primals, tangents):
  (x,), (t,) = primals, tangents
  return polynomial_sine(x), polynomial_cosine(x) * t


@polynomial_cosine.defjvp
def _cosine_jvp(primals, tangents):
  (x,), (t,) = primals, tangents
  return polynomial_cosine(x), -polynomial_sine(x) * t


reference_sine, reference_cosine = jnp.sin, jnp.cos


def _by_polynomial(x) -> bool:
  return x.dtype == jnp.float32 and backend.form('sine') == 'polynomial'


def sine(x):
  """sin(x): for float32 the polynomial, or XLA's own as `backend.form('sine')` says."""
  if _by_polynomial(x):
    return polynomial_sine(x)
  return reference_sine(x)


def cosine(x):
  """cos(x), as `sine`."""
  if _by_polynomial(x):
    return polynomial_cosine(x)
  return reference_cosine(x)
