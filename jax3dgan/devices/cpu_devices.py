"""The cores of a CPU as devices of a training step, as the chips of a pod are.

XLA divides a single operation among cores only where it is large. A device for each core, with its
share of the batch, keeps all of them at work: on two cores the steps of the toy configs take 5 to
18 % less time (`benchmarks/cores.py`).
"""

import importlib.metadata
import importlib.util
import os

import jax

from jax3dgan import discriminators
from jax3dgan.errors import UserError
from jax3dgan.training import schedule

# XLA ends the process where one device waits for another longer than a minute, as on a loaded
# machine it may, with a large model.
_PATIENCE = {
  'xla_cpu_collective_call_warn_stuck_timeout_seconds': 600,
  'xla_cpu_collective_call_terminate_timeout_seconds': 24 * 3600,
}
# XLA does not start with a flag that it does not know.
_VERSIONS_WITH_THEM = ('0.10.', '0.11.', '0.12.')


def use(config) -> int:
  """Makes as many devices of the cores as the batch of `config` can be shared among.

  Call it before JAX is asked for a device. It leaves all as it is where an accelerator may be, JAX
  has started already, or the number was chosen: JAX_NUM_CPU_DEVICES=1 is one device, as JAX has it.

  Returns:
    How many there are of this process, as far as this function has a say; 0 where it has none.
  """
  flags = os.environ.get('XLA_FLAGS', '')
  if (
    _may_have_accelerator()
    or jax.config.jax_num_cpu_devices > 0
    or 'host_platform_device_count' in flags
    or jax.distributed.is_initialized()
  ):
    return 0
  number = sharing(config, cores())
  try:
    jax.config.update('jax_num_cpu_devices', number)
  except RuntimeError:  # there are devices already
    return 0
  if number > 1 and importlib.metadata.version('jaxlib').startswith(_VERSIONS_WITH_THEM):
    patience = [f'--{name}={value}' for name, value in _PATIENCE.items() if name not in flags]
    os.environ['XLA_FLAGS'] = ' '.join([*flags.split(), *patience])
  return number


def sharing(config, most: int) -> int:
  """The largest number of devices, up to `most`, that can share the batch of every stage; each part
  has whole groups of the images that a discriminator looks at together, so that a number of devices
  changes nothing. 1 for a config that is wrong."""
  try:
    group = getattr(discriminators.create(config.discriminator), 'group_size', 0) or 1
  except UserError:
    return 1
  for number in range(most, 1, -1):
    try:
      stages = schedule.stages(config, number)
    except UserError:
      continue
    if all(not stage.batch_size // (number * stage.micro_batches) % group for stage in stages):
      return number
  return 1


def cores() -> int:
  """The cores that this process may use."""
  if hasattr(os, 'sched_getaffinity'):
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1


def _may_have_accelerator() -> bool:
  """Whether JAX may find another platform than a CPU. Asks no device."""
  if platforms := jax.config.jax_platforms:
    return platforms != 'cpu'
  plugins = importlib.metadata.entry_points(group='jax_plugins')
  found = (importlib.util.find_spec(name) for name in ('jax_plugins', 'libtpu'))
  return bool(plugins) or any(found)
