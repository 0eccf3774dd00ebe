"""Devices of a plan: memory, peak, links, and the share of the peak that a step reaches.

Peaks, memory and links are from the makers' data sheets (NVIDIA H100, H200 and A100, SXM, without
sparsity; Cloud TPU v5e, v5p, v6e), links in one direction. A TPU multiplies float32 at full
precision in six products of bfloat16, so that its peak is a sixth. The share of the peak (MFU, the
products of `benchmarks/roofline.py` and no repeated pass) is measured on a CPU alone; for
accelerators it is assumed, a little below what the traffic of layers that are not fused allows (the
floors in benchmarks/RESULTS.md: 15 % in bfloat16 and 22 % in TF32 on an H100, CelebA).
"""

import dataclasses
import os

from jax3dgan.errors import UserError


@dataclasses.dataclass(frozen=True)
class Device:
  """A device.

  Attributes:
    name: as on the command line.
    platform: JAX's: 'gpu', 'tpu', 'cpu'.
    memory: GiB.
    usable: share of it that JAX allocates by default.
    tflops: peak by precision policy, 10^12 FLOP/s; without the policies that it does not support.
    link: 10^9 byte/s to the others, one direction; 0 for none.
    source: where memory, peak and link are from.
  """

  name: str
  platform: str
  memory: float
  usable: float
  tflops: dict[str, float]
  link: float
  source: str


def _gpu(name, memory, single, tf32, half, link):
  # JAX's allocator takes 75 % of a GPU's memory by default: XLA_CLIENT_MEM_FRACTION.
  peaks = {'float32': single, 'tensorfloat32': tf32, 'bfloat16': half, 'float16': half}
  return Device(name, 'gpu', memory, 0.75, peaks, link, 'data sheet')


def _tpu(name, memory, peak, link):
  peaks = {'float32': peak / 6, 'tensorfloat32': peak, 'bfloat16': peak}
  return Device(name, 'tpu', memory, 1.0, peaks, link, 'data sheet')


def _cpu():
  memory = os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30
  source = "matrix peak of two cores of an AMD EPYC (Zen 5), measured; this machine's memory"
  policies = ('float32', 'tensorfloat32', 'bfloat16', 'float16', 'bfloat16_wide')
  return Device('cpu', 'cpu', memory, 1.0, dict.fromkeys(policies, 0.459), 0.0, source)


DEVICES = {
  device.name: device
  for device in (
    _gpu('h100', 80, 67, 494.7, 989.4, 450),
    _gpu('h200', 141, 67, 494.7, 989.4, 450),
    _gpu('a100', 80, 19.5, 156, 312, 300),
    _tpu('v5e', 16, 197, 200),
    _tpu('v5p', 95, 459, 600),
    _tpu('v6e', 32, 918, 400),
    _cpu(),
  )
}
# Where jax.Device.device_kind has another name.
_KINDS = {'v5 lite': 'v5e', 'v5litepod': 'v5e', 'v5p': 'v5p', 'v5': 'v5p', 'v6 lite': 'v6e'}
_ASSUMED = {'float32': 0.40, 'tensorfloat32': 0.15, 'bfloat16': 0.10, 'float16': 0.10}
# Hidden features of the field → MFU, of the steps in benchmarks/RESULTS.md: training_step_64x2
# (59 %), and the toys' .203 s for 20.3 GFLOP.
_CPU_MEASURED = {256: 0.59, 64: 0.218}


def find(name: str) -> Device:
  """The device of a name; UserError for one that is not known."""
  if name not in DEVICES:
    raise UserError(
      f"No device is called '{name}'. Choose --device= one of {', '.join(DEVICES)}, "
      'and its memory with --memory=80GiB.'
    )
  return DEVICES[name]


def name_of(kind: str) -> str:
  """The name of the device with this `jax.Device.device_kind`; 'cpu' for a CPU."""
  kind = kind.lower()
  names = {**{name: name for name in DEVICES}, **_KINDS}
  known = [names[part] for part in sorted(names, key=len, reverse=True) if part in kind]
  if not known:
    raise UserError(f'This machine has a {kind}, whose peak is not known. Choose one: --device=.')
  return known[0]


def peak(device: Device, policy: str) -> float:
  """FLOP/s of products in a precision policy; UserError if the device does not support it."""
  if policy not in device.tflops:
    raise UserError(
      f'{device.name} does not multiply {policy}. Set --config.model.matmul_dtype=bfloat16.'
    )
  return device.tflops[policy] * 1e12


def utilisation(device: Device, policy: str, width: int) -> tuple[float, bool]:
  """(MFU, whether it was measured) of a training step whose field has `width` features."""
  if device.platform != 'cpu':
    return _ASSUMED[policy], False
  nearest = min(_CPU_MEASURED, key=lambda measured: abs(measured - width))
  return _CPU_MEASURED[nearest], True
