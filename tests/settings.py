"""What makes compiling cheaper in any process of the tests that imports this; conftest.py has what
must be in place before JAX is imported."""

import functools
import gc
import threading

# Tracing makes many objects that stay: looking through them less often saves a sixth of its time.
gc.set_threshold(50_000, 20, 50)


@functools.cache  # once in a process
def share_contexts() -> None:
  """Programs are lowered in a context of MLIR that others had before: making one, with all its
  dialects, is a fifth of the time of a small program. Constants stay in a context, so it is not for
  ever; a thread has its own. Where JAX keeps them elsewhere, each program has one as usual."""
  try:
    from jax._src.interpreters import mlir

    make = mlir.make_ir_context
  except (ImportError, AttributeError):
    return
  own = threading.local()

  def context():
    if not getattr(own, 'left', 0):
      own.context, own.left = make(), 50
    own.left -= 1
    return own.context

  mlir.make_ir_context = context
