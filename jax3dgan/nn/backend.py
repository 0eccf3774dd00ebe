"""The platform that code is compiled for, and whether forms of our own are used.

Some building blocks have a form that is fastest on a CPU and another that is fastest on an
accelerator (the polynomial sine, convolutions as patches, products with columns, tiles of an
image): `nn.cpu`. Only this module decides between them. Lowering for another platform than the
present one (`with lowering_for('tpu'): ...`) then takes that platform's forms, also of functions
that were traced before: platform and choice are part of jit's keys.
"""

import contextlib

import jax

_PLATFORM = jax.make_user_context(None)
_REFERENCE = jax.make_user_context(False)


def platform() -> str:
  """'cpu', 'gpu' or 'tpu': the platform that the current trace is for."""
  name = _PLATFORM.value or jax.default_backend()
  return 'gpu' if name in ('cuda', 'rocm') else name


@contextlib.contextmanager
def lowering_for(name: str):
  """Traces inside take the forms for platform `name` ('cpu', 'gpu', 'cuda', 'tpu')."""
  with _PLATFORM(name):
    yield


@contextlib.contextmanager
def reference():
  """Traces inside take the plain form of every operation, on any platform.

  Results are the same up to rounding. To compare with, and to find out whether a form of our own is
  at fault.
  """
  with _REFERENCE(True):
    yield


def own_forms() -> bool:
  """Whether forms that serve every platform are taken: not within `reference`."""
  return not _REFERENCE.value


def cpu_forms() -> bool:
  """Whether forms for CPUs are taken: on a CPU, not within `reference`."""
  return platform() == 'cpu' and own_forms()
