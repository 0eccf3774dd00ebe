"""The mesh, and operations across it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractMesh, AxisType

from jax3dgan.devices import parallel
from jax3dgan.errors import UserError
from jax3dgan.nn import batch_axis
from jax3dgan.nn.minibatch_stddev import minibatch_stddev


@dataclasses.dataclass(frozen=True)
class FakeDevice:
  """What a mesh asks of a device."""

  process_index: int
  id: int
  slice_index: int
  platform: str
  device_kind: str = 'fake'


def fakes(num_processes, num_each, slices=lambda process: process, platform='gpu'):
  """Devices of several processes, in the order of a ring through all of them."""
  devices = [
    FakeDevice(
      process_index=process,
      id=process * num_each + i,
      slice_index=slices(process),
      platform=platform,
    )
    for i in range(num_each)
    for process in range(num_processes)
  ]
  return devices[::2] + devices[1::2][::-1]


@pytest.mark.parametrize('platform', ['gpu', 'tpu', 'cpu'])
@pytest.mark.parametrize('num_slices', [1, 2, 4])
def test_the_mesh_has_process_after_process(platform, num_slices):
  """XLA gives the GPUs of each host a slice of their own."""
  devices = fakes(4, 8, lambda process: process * num_slices // 4, platform)
  mesh = parallel.make_mesh(devices)
  assert mesh.axis_names == (parallel.AXIS,) and mesh.axis_types == (AxisType.Auto,)
  assert [device.id for device in mesh.devices] == list(range(32))
  # Process h has the h-th part, so that it reads the h-th part of each batch.
  assert [device.process_index for device in mesh.devices] == sorted([0, 1, 2, 3] * 8)


def test_the_mesh_of_this_process():
  assert parallel.make_mesh().devices.tolist() == parallel.in_order(jax.devices())
  assert parallel.local_mesh().devices.tolist() == parallel.in_order(jax.local_devices())


def lowered(num_devices, x, group_size):
  """The minibatch standard deviation of one device's images, lowered."""
  mesh = AbstractMesh((num_devices,), (parallel.AXIS,), axis_types=(AxisType.Auto,))

  def step(state, x):
    return state, minibatch_stddev(x, group_size)

  shape = jax.ShapeDtypeStruct((num_devices * len(x), *x.shape[1:]), x.dtype)
  run = jax.jit(parallel.data_parallel(step, mesh))
  return run.trace(np.zeros(()), shape).lower(lowering_platforms=('tpu',)).as_text()


def test_images_are_gathered_only_where_a_group_needs_them():
  x = np.zeros((2, 4, 4, 8), np.float32)
  assert 'all_gather' not in lowered(4, x, 2)
  assert 'all_gather' in lowered(4, x, 4)
  assert batch_axis.current() is None
  with pytest.raises(UserError, match='2 images do not make whole groups of 3'):
    lowered(4, x, 3)


@pytest.mark.parametrize('num_devices', [2, 3, 5])
def test_images_that_do_not_count_do_not_reach_the_gradient(num_devices):
  """Groups of four on two devices each: the last of an odd number of devices has part of one."""
  x = np.random.default_rng(0).normal(size=(num_devices, 2, 2, 2, 3)).astype(np.float32)

  def loss(scale, x):
    return jnp.square(minibatch_stddev(scale * x, 4)[..., -1]).sum()

  def of_device(x):
    with batch_axis.divided(parallel.AXIS, num_devices):
      return jax.grad(loss)(1.3, x)

  counted = num_devices // 2 * 2
  of_devices = jax.jit(jax.vmap(of_device, axis_name=parallel.AXIS))(x)[:counted].sum()
  whole = jax.jit(jax.grad(loss))(1.3, x[:counted].reshape(-1, *x.shape[2:]))
  np.testing.assert_allclose(of_devices, whole, rtol=1e-5)
