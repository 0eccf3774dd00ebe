"""Devices: the mesh, the data-parallel step, per-example keys.

The step is written for one device's share of the batch and wrapped once by `data_parallel`. Every
random number depends on the global index of its example, so that one device and many give the same
result.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jax3dgan.devices import hosts
from jax3dgan.nn import batch_axis

AXIS = 'data'
REPLICATED, SPLIT = PartitionSpec(), PartitionSpec(AXIS)


def initialize(
  coordinator: str = '',
  num_processes: int = 0,
  process_id: int = 0,
  timeout: float = 300,
  heartbeat: int = hosts.HEARTBEAT_SECONDS,
):
  """Joins the other processes of a run; does nothing for a single one.

  At the timeout the process ends, with one line and the exit code 1: JAX's wait cannot be
  interrupted in another way.

  Args:
    coordinator: host:port of process 0, or '' to join only where a cluster manager is detected.
    num_processes, process_id: needed with a coordinator.
    timeout: Seconds to wait for all of them.
    heartbeat: Seconds of silence after which a process counts as dead, which ends the others.

  Raises:
    UserError: The arguments contradict each other, or process 0 cannot listen.
  """
  hosts.join(coordinator, num_processes, process_id, timeout, heartbeat)


def make_mesh(devices=None) -> jax.sharding.Mesh:
  """All devices (or those given) in one axis, 'data', process by process.

  `jax.make_mesh` is not used: it refuses devices of several slices, which all GPUs of more than one
  host are, and on a TPU slice it orders them along the links, so that those of one process are not
  neighbours. Here process h has the h-th part of the axis, and so of each batch.
  """
  devices = in_order(jax.devices() if devices is None else devices)
  return jax.sharding.Mesh(np.array(devices), (AXIS,), axis_types=(AxisType.Auto,))


def in_order(devices) -> list:
  """Devices by the index of their process, then by their id."""
  return sorted(devices, key=lambda device: (device.process_index, device.id))


def local_mesh(mesh=None) -> jax.sharding.Mesh:
  """The devices of a mesh (None for all devices) that belong to this process, as a mesh."""
  devices = jax.devices() if mesh is None else mesh.devices.flat
  return make_mesh([d for d in devices if d.process_index == jax.process_index()])


def data_parallel(step, mesh, batch_spec=SPLIT):
  """Wraps `step(state, batch) -> (state, metrics)`, written for one device's shard.

  The state is replicated; the batch is split along its first axis, or, with `REPLICATED`, whole on
  every device, which then selects its own share of it. Not jitted: the caller compiles it, together
  with what surrounds it, and donates the state. With `check_vma=False` gradients are local and the
  step itself averages them, once; the checked mode would sum them a second time.
  """

  def of_device(state, batch):
    with batch_axis.divided(AXIS, mesh.size):
      return step(state, batch)

  return jax.shard_map(
    of_device,
    mesh=mesh,
    in_specs=(REPLICATED, batch_spec),
    out_specs=(REPLICATED, REPLICATED),
    check_vma=False,
  )


def example_keys(key, local_batch: int):
  """Keys [local_batch], one per example of this device's shard, by global index. Inside
  `data_parallel`."""
  first = jax.lax.axis_index(AXIS) * local_batch
  return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, first + jnp.arange(local_batch))


def are_keys(x) -> bool:
  """Whether x is an array of PRNG keys, and not of numbers that were drawn already."""
  return isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jax.dtypes.prng_key)


def replicate(tree, mesh):
  """Puts a pytree on every device of the mesh."""
  sharding = NamedSharding(mesh, REPLICATED)
  return jax.tree.map(
    lambda x: jax.make_array_from_process_local_data(sharding, np.asarray(x)), tree
  )


def replicated_shapes(tree, mesh):
  """The shapes of a pytree that lies on every device of the mesh, for `Checkpoints.restore`."""
  sharding = NamedSharding(mesh, REPLICATED)
  return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)


def shard(batch, mesh):
  """Puts this process's share of a batch on its devices, split along the first axis."""
  sharding = NamedSharding(mesh, SPLIT)
  return jax.tree.map(
    lambda x: jax.make_array_from_process_local_data(sharding, np.asarray(x)), batch
  )
