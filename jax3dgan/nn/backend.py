"""The one place that knows which platform the code is being compiled for.

Some building blocks have a form that is best on a CPU and another that is best on an accelerator
(the polynomial sine, convolutions as patches). They ask `platform()`; nothing else does. Lowering
for another platform than the one at hand (`with lowering_for('tpu'): ...`) then takes the right
forms too, also of functions that were traced before: the platform is part of jit's keys.
"""

import contextlib

import jax

_PLATFORM = jax.make_user_context(None)


def platform() -> str:
  """'cpu', 'gpu' or 'tpu': what the current trace is meant for."""
  name = _PLATFORM.value or jax.default_backend()
  return 'gpu' if name in ('cuda', 'rocm') else name


@contextlib.contextmanager
def lowering_for(name: str):
  """Traces inside take the forms for platform `name` ('cpu', 'gpu', 'cuda', 'tpu')."""
  with _PLATFORM(name):
    yield
