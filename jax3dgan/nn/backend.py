"""The platform that code is compiled for, and which form of an operation it takes.

Some building blocks have a form that is fastest on a CPU and another that is fastest on an
accelerator (the polynomial sine, convolutions as patches, products with columns, tiles of an
image): `nn.cpu`. Only this module decides between them. Lowering for another platform than the
present one (`with lowering_for('tpu'): ...`) then takes that platform's forms, also of functions
that were traced before: platform and choice are part of jit's keys.

`FORMS` lists what has a name, to compare forms on a device:

  with backend.choose(sine='xla', planes='rows'):
    ...

What is chosen while a function is traced counts; that of `planes` and `permuted` while it is
lowered, so that one trace serves every accelerator.
"""

import contextlib
from typing import NamedTuple

import jax

_PLATFORM = jax.make_user_context(None)
_REFERENCE = jax.make_user_context(False)
_CHOSEN = jax.make_user_context(())


class Forms(NamedTuple):
  """The forms of an operation, which agree up to rounding.

  Attributes:
    names: of all of them, the plain one first.
    cpu, gpu, tpu: which one a platform takes.
  """

  names: tuple[str, ...]
  cpu: str
  gpu: str
  tpu: str


# What accelerators take is by estimate: `benchmarks/device.py` measures it.
FORMS = {
  # XLA's own takes a TPU more operations than the hidden products of a SIREN.
  'sine': Forms(('xla', 'polynomial'), 'polynomial', 'polynomial', 'polynomial'),
  # A product that sums over 3 numbers costs a TPU as much as one over 128, and in full precision
  # that six times; a GPU computes it without its tensor cores in either form.
  'thin_product': Forms(('product', 'multiply_adds'), 'product', 'multiply_adds', 'multiply_adds'),
  # A TPU gathers single numbers one after another; n² comparisons in registers are cheap on any
  # accelerator.
  'take': Forms(('gather', 'compare'), 'gather', 'compare', 'compare'),
  'permuted': Forms(('gather', 'compare'), 'gather', 'compare', 'compare'),
  # A TPU's unit of memory is a row of 128 numbers, and it adds rows one after another; a GPU adds
  # single numbers in parallel, and four copies of the planes would not fit into its cache.
  'planes': Forms(('autodiff', 'pairs', 'rows'), 'pairs', 'pairs', 'rows'),
  # XLA's CPU back end compiles products of bfloat16 of few rows that it then does not compute;
  # 'by_size', see `nn.precision`: the native one where the CPU has it and no size is small.
  'rounded_product': Forms(('native', 'float32', 'by_size'), 'by_size', 'native', 'native'),
  # 'dense': every pixel with every Gaussian.
  'splatting': Forms(('dense', 'tiles'), 'tiles', 'tiles', 'tiles'),
  # What is not 'native' multiplies the rounded numbers as float32, see `nn.rounded_conv`.
  'rounded_conv': Forms(('native', 'float32'), 'native', 'native', 'native'),
}


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
  with _REFERENCE(True), _CHOSEN(()):
    yield


@contextlib.contextmanager
def choose(**forms: str):
  """Traces inside take these forms, on any platform: operation=form, of `FORMS`.

  Raises:
    ValueError: there is no such operation, or no such form of it.
  """
  for name, form_name in forms.items():
    if name not in FORMS or form_name not in FORMS[name].names:
      known = ', '.join(f'{key}={"|".join(of.names)}' for key, of in FORMS.items())
      raise ValueError(f'{name}={form_name} is no form of an operation: {known}')
  with _CHOSEN(tuple(sorted((dict(_CHOSEN.value) | forms).items()))):
    yield


def form(name: str) -> str:
  """The form of an operation of `FORMS` that the current trace takes."""
  chosen = dict(_CHOSEN.value)
  if name in chosen:
    return chosen[name]
  forms = FORMS[name]
  return getattr(forms, platform()) if own_forms() else forms.names[0]


def own_forms() -> bool:
  """Whether forms that serve every platform are taken: not within `reference`."""
  return not _REFERENCE.value


def cpu_forms() -> bool:
  """Whether forms for CPUs are taken: on a CPU, not within `reference`."""
  return platform() == 'cpu' and own_forms()
