"""How many devices the cores of a CPU become, and when they are left alone."""

import importlib
import os
import subprocess
import sys

import jax
import pytest

from jax3dgan.devices import cpu_devices
from jax3dgan.training import device_count


def config_of(name, **fields):
  config = importlib.import_module(f'configs.{name}').get_config()
  with config.unlocked():
    config.update_from_flattened_dict(fields)
  return config


@pytest.mark.parametrize(
  'name, fields, cores, number',
  [
    ('toys', {}, 1, 1),
    ('toys', {}, 2, 2),
    ('toys', {}, 3, 2),  # three do not share 16 images
    ('toys', {}, 64, 16),
    ('eg3d_toys', {}, 64, 16),  # groups of four images on four devices
    ('eg3d_toys', {'batch_size': 24}, 5, 3),  # on four devices whole groups would be left over
    ('eg3d_toys', {'micro_batches': 2}, 8, 8),
    ('toys', {'micro_batches': 3}, 64, 16),
    ('eg3d_toys', {'discriminator.group_size': 0}, 64, 16),
    ('toys', {'stages': ({'from_step': 10, 'batch_size': 6},)}, 16, 2),
    ('toys', {'batch_size': 7}, 4, 1),
    ('toys', {'stages': ({'from_step': 10, 'batch': 6},)}, 16, 1),
    ('toys', {'discriminator.name': 'no such'}, 16, 1),
  ],
)
def test_the_most_that_can_share(name, fields, cores, number):
  assert device_count.largest(config_of(name, **fields), cores) == number


def test_configs_of_the_repository_can_be_shared():
  for name in ('celeba', 'cats_small', 'toys_2d', 'eg3d_ict_faces', 'eg3d_cats64'):
    assert device_count.largest(config_of(name), 2) == 2


def test_a_running_backend_is_left_alone():
  jax.devices()
  assert cpu_devices.enable(2) == 0


def child(variables, before=''):
  """What `enable` returns, the devices and XLA's flags in another process."""
  program = f"""
import os, jax
{before}
from jax3dgan.devices import cpu_devices
number = cpu_devices.enable(4)
print(number, jax.device_count(), os.environ.get('XLA_FLAGS', ''), sep='|')
"""
  kept = {k: v for k, v in os.environ.items() if k not in ('XLA_FLAGS', 'JAX_NUM_CPU_DEVICES')}
  out = subprocess.run(
    [sys.executable, '-c', program],
    env={**kept, 'JAX_PLATFORMS': 'cpu', **variables},
    capture_output=True,
    text=True,
    check=True,
  )
  return out.stdout.strip().splitlines()[-1].split('|')


def test_cores_become_devices_that_wait_for_each_other():
  number, devices, flags = child({'XLA_FLAGS': '--xla_dump_hlo_as_text=false'})
  assert (number, devices) == ('4', '4')
  assert flags.startswith('--xla_dump_hlo_as_text=false ')
  assert flags.count('terminate_timeout_seconds=86400') == 1


@pytest.mark.parametrize(
  'variables, devices',
  [
    ({'JAX_NUM_CPU_DEVICES': '1'}, '1'),
    ({'JAX_NUM_CPU_DEVICES': '3'}, '3'),
    ({'XLA_FLAGS': '--xla_force_host_platform_device_count=2'}, '2'),
  ],
)
def test_who_chose_a_number_has_it(variables, devices):
  assert child(variables)[:2] == ['0', devices]


def test_a_machine_that_may_have_an_accelerator_is_left_alone():
  anything = {'JAX_PLATFORMS': ''}  # in the end JAX takes the CPU, where there is nothing else
  plugin = """
import sys, types
sys.modules['libtpu'] = module = types.ModuleType('libtpu')
module.__spec__ = types.SimpleNamespace()
"""
  assert child(anything, plugin)[0] == '0'
  assert child(anything, "jax.config.update('jax_platforms', 'cpu')")[0] == '4'
