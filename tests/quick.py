"""Compilation for programs that run once: half the time without LLVM's optimizations."""

import functools

import jax

jit = functools.partial(jax.jit, compiler_options={'xla_backend_optimization_level': 0})
