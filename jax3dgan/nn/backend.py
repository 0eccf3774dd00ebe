"""The one place that knows which platform the code is being compiled for.

Some building blocks have a form that is best on a CPU and another that is best on an accelerator
(the polynomial sine, convolutions as patches). They ask `platform()`; nothing else does. Lowering
for another platform than the one at hand (`with lowering_for('tpu'): ...`) then takes the right
forms too, for functions that are traced inside: jit would reuse a trace made before.
"""

import contextlib
import contextvars

import jax

_PLATFORM = contextvars.ContextVar('jax3dgan_platform', default=None)


def platform() -> str:
  """'cpu', 'gpu' or 'tpu': what the current trace is meant for."""
  name = _PLATFORM.get() or jax.default_backend()
  return 'gpu' if name in ('cuda', 'rocm') else name


@contextlib.contextmanager
def lowering_for(name: str):
  """Traces inside take the forms for platform `name` ('cpu', 'gpu', 'cuda', 'tpu')."""
  token = _PLATFORM.set(name)
  try:
    yield
  finally:
    _PLATFORM.reset(token)
