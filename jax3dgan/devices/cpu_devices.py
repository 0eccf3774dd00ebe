"""Makes each core of a CPU a device, so that a training step uses cores as it uses several GPUs.

XLA divides an operation among cores only if it is large. With one device for each core, each with
its share of the batch, all cores work all the time: on two cores the steps of the toy configs take
5 to 18 % less time (`benchmarks/cores.py`).
"""

import importlib.metadata
import importlib.util
import os

import jax

from jax3dgan.devices.cores import cores as cores

# XLA ends the process if one device waits for another for longer than a minute, which can happen
# with a large model on a busy machine.
_COLLECTIVE_TIMEOUTS = {
  'xla_cpu_collective_call_warn_stuck_timeout_seconds': 600,
  'xla_cpu_collective_call_terminate_timeout_seconds': 24 * 3600,
}
# XLA does not start with a flag that it does not know: only these versions of jaxlib have them.
_VERSIONS_WITH_TIMEOUT_FLAGS = ('0.10.', '0.11.', '0.12.')


def enable(num_devices: int) -> int:
  """Makes the cores of the CPU appear as `num_devices` devices.

  Call it before JAX is asked for a device. It changes nothing where there may be an accelerator,
  where JAX has started already, or where the user chose the number: JAX_NUM_CPU_DEVICES=1 is JAX's
  own single device.

  Args:
    num_devices: At most `cores`; how many can share the batch of a config says
      `training.device_count.largest`.

  Returns:
    `num_devices`, or 0 where nothing was changed.
  """
  flags = os.environ.get('XLA_FLAGS', '')
  if (
    _may_have_accelerator()
    or jax.config.jax_num_cpu_devices > 0
    or 'host_platform_device_count' in flags
    or jax.distributed.is_initialized()
  ):
    return 0
  try:
    jax.config.update('jax_num_cpu_devices', num_devices)
  except RuntimeError:  # JAX has created its devices already
    return 0
  version = importlib.metadata.version('jaxlib')
  if num_devices > 1 and version.startswith(_VERSIONS_WITH_TIMEOUT_FLAGS):
    timeouts = [f'--{k}={v}' for k, v in _COLLECTIVE_TIMEOUTS.items() if k not in flags]
    os.environ['XLA_FLAGS'] = ' '.join([*flags.split(), *timeouts])
  return num_devices


def _may_have_accelerator() -> bool:
  """Whether JAX may find another platform than a CPU; does not initialise any."""
  if platforms := jax.config.jax_platforms:
    return platforms != 'cpu'
  plugins = importlib.metadata.entry_points(group='jax_plugins')
  found = (importlib.util.find_spec(name) for name in ('jax_plugins', 'libtpu'))
  return bool(plugins) or any(found)
