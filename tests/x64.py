"""Compilation for programs that run once: half the time without LLVM's optimizations."""

import functools

import jax

jit = functools.partial(jax.jit, compiler_options={'xla_backend_optimization_level': 0})


def jit64(function, **options):
  """`jit` in float64, as far as the arguments are: takes and returns numpy arrays."""
  compiled = jit(function, **options)

  @functools.wraps(function)
  def run(*args, **kwargs):
    with jax.enable_x64(True):
      return jax.device_get(compiled(*args, **kwargs))

  return run
