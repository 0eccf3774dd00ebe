"""Functions compiled for float64, whose results are numpy arrays."""

import functools

import jax
import numpy as np
import pytest

# Of golden arrays: float64 shows a mistake. What rounding costs in float32 is asked with --thorough
# (and --parity) where the program is a whole network's, whose compilation takes seconds.
DTYPES = (np.float64, pytest.param(np.float32, marks=pytest.mark.thorough))


def jit(function, **options):
  """`jax.jit` in the arguments' own types, float64 too; takes and returns numpy arrays."""
  compiled = jax.jit(function, **options)

  @functools.wraps(function)
  def run(*args, **kwargs):
    with jax.enable_x64(True):
      return jax.device_get(compiled(*args, **kwargs))

  return run
