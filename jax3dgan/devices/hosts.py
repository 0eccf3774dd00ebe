"""Several processes, on one machine or many: joining them, and errors if one is missing or lost.

`agreement` checks that their configs and devices are the same.
"""

import contextlib
import itertools
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping

import jax

from jax3dgan.errors import UserError, first_line

# A process without a heartbeat for so many seconds counts as dead, and the others end.
HEARTBEAT_SECONDS = 60
# At the end process 0 renders videos while the others wait for it.
_SHUTDOWN_SECONDS = 3600
_WAIT_SECONDS = 14 * 24 * 3600  # JAX wants a limit, in milliseconds of 32 bits
_WAITS = itertools.count()  # each wait has a name of its own, the same in all processes
# Process 0 holds all connections: it waits so long for the others to print their error.
_ERROR_OUTPUT_SECONDS = 2
# Words in the errors of collective operations after a process ended: Gloo (CPU), NCCL (GPU), JAX.
_LOST_PROCESS_WORDS = (
  'Gloo',
  'gloo',
  'NCCL',
  'Connection closed by peer',
  'Connection reset by peer',
  'coordination service',
  'heartbeat',
)


def detect(environ: Mapping[str, str]) -> tuple[str, dict] | None:
  """Finds the cluster manager that this process was started by, from the environment alone.

  Args:
    environ: As `os.environ` is once JAX has been imported.

  Returns:
    Its name and the arguments of `jax.distributed.initialize`, or None for a single process. JAX
    itself finds the index of the process, their number and the address of process 0.
  """
  if environ.get('OMPI_COMM_WORLD_SIZE', '1') != '1' and 'OMPI_MCA_orte_hnp_uri' in environ:
    return 'Open MPI', {}
  # Only srun sets the list of nodes of a step: what a batch script runs without it is one process.
  if 'SLURM_JOB_ID' in environ and 'SLURM_STEP_NODELIST' in environ:
    if environ.get('SLURM_NTASKS', '1') == '1':
      return None
    return 'SLURM', {
      'cluster_detection_method': 'slurm',
      'local_device_ids': slurm_devices(environ),
    }
  if environ.get('JAX_PLATFORMS', 'tpu').startswith('cpu'):
    return None
  slices = environ.get('MEGASCALE_NUM_SLICES', '1')
  hosts = environ.get('TPU_PROCESS_ADDRESSES') or environ.get('TPU_WORKER_HOSTNAMES')
  if hosts is not None:
    return ('a TPU pod', {}) if ',' in hosts or slices != '1' else None
  # In an ssh session of a TPU VM these variables are missing; JAX, which sets the next two when it
  # is imported, asks the metadata server.
  if environ.get('TPU_ML_PLATFORM') == 'JAX' and 'TPU_SKIP_MDS_QUERY' not in environ:
    return 'a TPU VM', {}
  return None


def slurm_devices(environ: Mapping[str, str]) -> list[int] | None:
  """Which of the visible devices belong to this task of SLURM.

  Returns:
    Their indices; [] for all; None to leave it to JAX, which takes JAX_LOCAL_DEVICE_IDS or else
    the device with the index of the task on its node.
  """
  if environ.get('JAX_LOCAL_DEVICE_IDS'):
    return None
  tasks = int(environ['SLURM_NTASKS'])
  nodes = environ.get('SLURM_STEP_NUM_NODES') or environ.get('SLURM_JOB_NUM_NODES') or '1'
  if tasks <= int(nodes) or 'SLURM_GPUS_PER_TASK' in environ:
    return []
  local_tasks = -(-tasks // int(nodes))
  visible = [gpu for gpu in environ.get('CUDA_VISIBLE_DEVICES', '').split(',') if gpu]
  if not visible:
    return None
  each = len(visible) // local_tasks
  if not each:  # fewer than tasks: SLURM has bound each to its own
    return []
  first = int(environ.get('SLURM_LOCALID', '0')) * each
  return list(range(first, first + each))


def check_flags(coordinator: str, num_processes: int, process_id: int) -> None:
  """Raises a UserError if the flags that join processes contradict each other."""
  if not coordinator:
    if num_processes > 1 or process_id:
      raise UserError(
        '--num_processes and --process_id need the address of process 0. '
        'Add --coordinator=HOST:PORT.'
      )
    return
  host, _, port = coordinator.rpartition(':')
  if not host or not port.isdigit() or not 0 < int(port) < 65536:
    raise UserError(
      f'--coordinator={coordinator} is not HOST:PORT. Give the host of process 0 and a free port '
      'there, such as --coordinator=10.0.0.1:8476.'
    )
  if num_processes < 1:
    raise UserError(
      f'--coordinator={coordinator} needs the number of processes. Add --num_processes=N.'
    )
  if not 0 <= process_id < num_processes:
    raise UserError(
      f'--process_id={process_id} is not one of {num_processes} processes. '
      f'Number them from 0 to {num_processes - 1}.'
    )


def join(
  coordinator: str = '',
  num_processes: int = 0,
  process_id: int = 0,
  timeout: float = 300,
  heartbeat: int = HEARTBEAT_SECONDS,
) -> None:
  """Joins the other processes, or returns at once where there are none; see
  `parallel.initialize`."""
  check_flags(coordinator, num_processes, process_id)
  if timeout <= 0:
    raise UserError(f'--coordinator_timeout={timeout} leaves no time. Give seconds, such as 300.')
  if heartbeat < 1:
    raise UserError(f'--heartbeat_timeout={heartbeat} leaves no time. Give seconds, such as 60.')
  options = {
    'heartbeat_timeout_seconds': heartbeat,
    'shutdown_timeout_seconds': _SHUTDOWN_SECONDS,
    # At its own timeout JAX ends the process with a stack trace; `_timeout` ends it earlier.
    'initialization_timeout': int(timeout) + 60,
  }
  if coordinator:
    if num_processes == 1:
      return
    who = f'process {process_id} of {num_processes}'
    problem = lambda: _unreachable(coordinator, num_processes, process_id)  # noqa: E731
    options |= {
      'coordinator_address': coordinator,
      'num_processes': num_processes,
      'process_id': process_id,
    }
  else:
    chosen = {'JAX_PLATFORMS': jax.config.jax_platforms} if jax.config.jax_platforms else {}
    found = detect({**os.environ, **chosen})
    if found is None:
      return
    name, own = found
    who = f'the processes of {name}'
    problem = lambda: 'Check that all of them run and can reach each other'  # noqa: E731
    options |= own
  began = time.monotonic()
  with _timeout(timeout, who, problem):
    try:
      jax.distributed.initialize(**options)
    except OSError as error:
      # The query of the metadata server of Google Cloud, which a notebook service does not have.
      if coordinator:
        raise
      print(f'No metadata server answers ({first_line(error)}): a single host.', file=sys.stderr)
      return
    except ValueError as error:
      # Likewise, in other versions of JAX.
      if not coordinator and 'coordinator_address should be defined' in str(error):
        return
      raise UserError(f'The processes cannot be joined: {first_line(error)}') from error
    except RuntimeError as error:
      raise UserError(
        f'{who[0].upper()}{who[1:]} cannot be joined: {first_line(error)}. Check that the port '
        'is free on the host of process 0 and that each process has its own --process_id.'
      ) from error
  if jax.process_index() == 0 and jax.process_count() > 1:
    print(
      f'{jax.process_count()} processes, joined in {time.monotonic() - began:.1f} s. If one is '
      f'lost, the others end within about {heartbeat} s.',
      file=sys.stderr,
      flush=True,
    )


@contextlib.contextmanager
def _timeout(timeout: float, who: str, problem: Callable[[], str]):
  """Prints after a while what is being waited for, and ends the process at the timeout.

  A thread does this: the wait itself is in C++ and cannot be interrupted by an exception.
  """
  joined = threading.Event()

  def watch():
    first = min(10.0, timeout / 2)
    if joined.wait(first):
      return
    print(f'Waiting for the other processes ({who}): {problem()} ...', file=sys.stderr, flush=True)
    if joined.wait(timeout - first):
      return
    print(
      f'Error: The processes did not find each other within {timeout:g} s ({who}). {problem()}. '
      'To wait longer, set --coordinator_timeout=SECONDS.',
      file=sys.stderr,
      flush=True,
    )
    os._exit(1)

  threading.Thread(target=watch, daemon=True).start()
  try:
    yield
  finally:
    joined.set()


def _unreachable(coordinator: str, num_processes: int, process_id: int) -> str:
  """The likely cause and its remedy, as far as this process can find out."""
  if process_id == 0:
    return (
      f'Process 0 listens at {coordinator}, but not all of the {num_processes - 1} others have '
      'connected. Check that they run, with the same --coordinator and --num_processes'
    )
  host, _, port = coordinator.rpartition(':')
  try:
    socket.create_connection((host.strip('[]'), int(port)), timeout=5).close()
  except socket.gaierror:
    return f'The host name {host} is not known here. Check --coordinator, or give the address'
  except OSError as error:
    return (
      f'Nothing answers at {coordinator} ({error.strerror or error}). Check that process 0 '
      'runs there, with the same --coordinator, and that no firewall blocks the port'
    )
  return (
    f'{coordinator} answers, but not all processes have connected. Check that all {num_processes} '
    'run, each with its own --process_id, and that no other program uses the port'
  )


def several() -> bool:
  """Whether this process is one of several; does not initialise JAX's devices."""
  if not jax.distributed.is_initialized():
    return False
  try:
    return jax.process_count() > 1
  except (RuntimeError, AssertionError):  # its devices failed after it had joined the others
    return True


def lost(error: BaseException) -> UserError | None:
  """The one-line form of an error that means that another process has ended; None for others."""
  kinds = (jax.errors.JaxRuntimeError, ValueError, OSError)
  if not isinstance(error, kinds) or not any(words in str(error) for words in _LOST_PROCESS_WORDS):
    return None
  if not several():
    return None
  return UserError(
    f'Another process has ended ({first_line(error)}). Read the reason in its output, then start '
    'all of them again: the same command goes on from the last checkpoint.'
  )


def wait_for_all(what: str) -> None:
  """Returns when all processes have called this; returns at once for a single one.

  For work that may take some of them hours, such as preparing data on a disk of their own: a
  collective operation, or a checkpoint's, would give up before that. A process that is lost
  meanwhile ends the others, as elsewhere.

  Args:
    what: what the others are doing, for a line that says so.
  """
  if not several():
    return
  from orbax.checkpoint import multihost

  barrier, failures = multihost.get_barrier_sync_fn(), []
  key = f'jax3dgan wait_for_all {next(_WAITS)}'

  def wait():
    try:
      barrier(key=key, timeout_ms=_WAIT_SECONDS * 1000)
    except Exception as error:
      failures.append(error)

  # The wait is in C++; in a thread of its own it leaves signals to this one.
  thread = threading.Thread(target=wait, daemon=True)
  thread.start()
  thread.join(10)
  if thread.is_alive():
    print(f'Waiting for the other processes: {what} ...', file=sys.stderr, flush=True)
  while thread.is_alive():
    thread.join(1)
  if failures:
    raise failures[0]


def leave(code: int) -> None:
  """Ends this process, one of several, at once, after an error.

  An ordinary exit would wait for all the others, which wait for this one in the middle of a step.
  """
  sys.stdout.flush()
  sys.stderr.flush()
  try:
    first = jax.process_index() == 0
  except (RuntimeError, AssertionError):
    first = True  # as far as is known
  if first:
    time.sleep(_ERROR_OUTPUT_SECONDS)
  os._exit(code)
