"""What a SIREN keeps for its backward pass: one fixed-point phase per activation, in two bytes.

Left to autodiff, a layer sin(Wx + b) keeps its input x for the gradient of W and the cosine of its
phase, eight bytes per activation in float32. Both follow from phases: the layer's own, and that of
the layer before. A phase counts modulo 2π, so 16 bits of fixed point represent it to 5e-5 radians
everywhere, where bfloat16, in as many bytes, errs by up to 8e-3 after reduction to [−π, π] and is
useless before. The forward pass takes the rounded phase too, so that value and gradient agree.
With chunks of rays, memory is that of one chunk and the phases of all, and no hidden product is
done twice (`benchmarks/RESULTS.md`). Meant for accelerators: on a CPU it gains no time.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.ad_checkpoint import checkpoint_name

_NAME = 'siren_phase'
# For jax.checkpoint: keeps the phases and computes all else again. Keeps nothing where there are
# none.
POLICY = jax.checkpoint_policies.save_only_these_names(_NAME)
_LEVELS = 2**16


def encode(phase):
  """Phases in radians to int16: multiples of 2π/2^16, modulo 2π."""
  turns = phase * phase.dtype.type(1 / (2 * np.pi))
  turns = turns - jnp.round(turns)  # exact
  # Half a turn is 2^15, which wraps to −2^15, the same angle.
  return jnp.round(turns * _LEVELS).astype(jnp.int32).astype(jnp.int16)


def decode(code, dtype=jnp.float32):
  """The inverse of `encode`, in [−π, π)."""
  return code.astype(dtype) * np.asarray(2 * np.pi / _LEVELS, dtype)


def _rounded(phase):
  return decode(checkpoint_name(encode(phase), _NAME), phase.dtype)


@jax.custom_jvp
def rounded(phase):
  """The phase modulo 2π, in 16 bits, which are what is kept under `POLICY`; derivative 1."""
  return _rounded(phase)


# The name must not hide inside another custom_jvp; hence not `rounded` itself.
rounded.defjvp(lambda primals, tangents: (_rounded(*primals), tangents[0]))
