"""Devices: the mesh, the data-parallel step, per-example keys.

The step is written for one device's share of the batch and wrapped once by `data_parallel`. Every
random number hangs on the global index of its example, so that one device and many give the same
training.
"""

import os

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

AXIS = 'data'
REPLICATED, SPLIT = PartitionSpec(), PartitionSpec(AXIS)

# What cluster managers set; without one of these jax.distributed.initialize() has nobody to ask.
_CLUSTER_VARIABLES = (
  'SLURM_JOB_ID',
  'TPU_WORKER_HOSTNAMES',
  'MEGASCALE_COORDINATOR_ADDRESS',
  'OMPI_MCA_orte_hnp_uri',
)


def initialize(coordinator: str = '', num_processes: int = 0, process_id: int = 0):
  """Joins the other processes of a multi-host run; does nothing on a single machine.

  Args:
    coordinator: host:port of process 0, or '' to join only where a cluster manager is detected.
    num_processes, process_id: needed with a coordinator.
  """
  if coordinator:
    jax.distributed.initialize(coordinator, num_processes, process_id)
    return
  slurm_alone = os.environ.get('SLURM_NTASKS', '1') == '1' and 'SLURM_JOB_ID' in os.environ
  hosts = os.environ.get('TPU_WORKER_HOSTNAMES', '').split(',')
  tpu_alone = 'TPU_WORKER_HOSTNAMES' in os.environ and len(hosts) <= 1
  if any(name in os.environ for name in _CLUSTER_VARIABLES) and not slurm_alone and not tpu_alone:
    jax.distributed.initialize()


def make_mesh(devices=None) -> jax.sharding.Mesh:
  """All devices (or those given) in one axis, 'data'."""
  devices = jax.devices() if devices is None else devices
  return jax.make_mesh((len(devices),), (AXIS,), axis_types=(AxisType.Auto,), devices=devices)


def data_parallel(step, mesh, batch_spec=SPLIT):
  """Wraps `step(state, batch) -> (state, metrics)`, written for one device's shard.

  The state is replicated; the batch is split along its first axis, or, with `REPLICATED`, whole on
  every device, which then draws its own part from it. Not jitted: the caller compiles it, together
  with what surrounds it, and donates the state. `check_vma=False` goes with local gradients that
  the step itself averages, once; the checked mode would sum them silently as well.
  """
  return jax.shard_map(
    step,
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


def replicate(tree, mesh):
  """Puts a pytree on every device of the mesh."""
  sharding = NamedSharding(mesh, REPLICATED)
  return jax.tree.map(
    lambda x: jax.make_array_from_process_local_data(sharding, np.asarray(x)), tree
  )


def shard(batch, mesh):
  """Puts this process's part of a batch on its devices, split along the first axis."""
  sharding = NamedSharding(mesh, SPLIT)
  return jax.tree.map(
    lambda x: jax.make_array_from_process_local_data(sharding, np.asarray(x)), batch
  )
