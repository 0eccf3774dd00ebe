"""Functions compiled for float64, whose results are numpy arrays."""

import functools

import jax


def jit(function, **options):
  """`jax.jit` in the arguments' own types, float64 too; takes and returns numpy arrays."""
  compiled = jax.jit(function, **options)

  @functools.wraps(function)
  def run(*args, **kwargs):
    with jax.enable_x64(True):
      return jax.device_get(compiled(*args, **kwargs))

  return run
