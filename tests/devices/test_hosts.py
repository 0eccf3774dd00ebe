"""Several processes: two that really run, what is said where they fail, and who detects them."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from jax3dgan.devices import hosts, parallel
from jax3dgan.errors import UserError
from jax3dgan.runs import checkpoints, interruption

ROOT = pathlib.Path(__file__).resolve().parents[2]
TINY = ROOT / 'tests/tiny_toys.py'


def free_port():
  with socket.socket() as listener:
    listener.bind(('127.0.0.1', 0))
    return listener.getsockname()[1]


def start(words, devices, output):
  variables = os.environ | {'PYTHONPATH': str(ROOT), 'JAX_NUM_CPU_DEVICES': str(devices)}
  # A proxy of the machine must not come between the processes.
  variables |= {'no_proxy': '127.0.0.1'}
  with open(output, 'w') as file:
    return subprocess.Popen(
      [sys.executable, *map(str, words)],
      stdout=file,
      stderr=subprocess.STDOUT,
      stdin=subprocess.DEVNULL,
      env=variables,
      cwd=output.parent,
    )


def end(processes, seconds=300):
  try:
    return [process.wait(seconds) for process in processes]
  finally:
    for process in processes:
      process.kill()
      process.wait()


def lines_of(path):
  return [line for line in path.read_text().splitlines() if line.startswith('Error')]


@pytest.fixture(scope='module')
def ran(tmp_path_factory):
  """The folder in which two processes of two devices, and one of four, did the same things."""
  folder = tmp_path_factory.mktemp('two')
  port = free_port()
  script = ROOT / 'tests/two_processes.py'
  processes = [
    start([script, folder, name, port], 4 if name == 'one' else 2, folder / f'{name}.log')
    for name in ('one', '0', '1')
  ]
  codes = end(processes)
  logs = '\n'.join((folder / f'{name}.log').read_text() for name in ('one', '0', '1'))
  assert codes == [0, 1, 1], logs[-6000:]
  return folder


def same_states(a, b, tolerance):
  (_, a), (_, b) = checkpoints.read(a), checkpoints.read(b)
  jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=tolerance), a, b)


def same_scalars(a, b, steps):
  a, b = (json.loads((path / 'scalars.json').read_text()) for path in (a, b))
  for step in steps:
    assert a[step].keys() == b[step].keys() and len(a[step]) > 8
    for name, value in a[step].items():
      assert value == pytest.approx(b[step][name], abs=1e-5, rel=1e-5), (step, name)


def test_two_processes_train_as_one(ran):
  same_scalars(ran / 'one', ran / 'two', '1234')
  same_states(ran / 'one', ran / 'two', 1e-6)


@pytest.mark.parametrize('resumed', ['one_to_two', 'two_to_one'])
def test_a_run_goes_on_in_another_number_of_processes(ran, resumed):
  same_scalars(ran / 'one', ran / resumed, '34')
  same_states(ran / 'one', ran / resumed, 1e-6)


def test_pictures_and_results_are_written_once(ran):
  names = lambda workdir: sorted(  # noqa: E731
    str(path.relative_to(workdir))
    for path in workdir.rglob('*')
    if path.is_file() and 'checkpoints' not in path.parts
  )
  # The single process made no pictures of its end, to save time.
  final = ['samples.png', 'samples/00000004.png', 'turntable.mp4']
  assert names(ran / 'two') == sorted(names(ran / 'one') + final)


def test_each_process_reads_its_share(ran):
  one, first, second = (
    json.loads((ran / f'{name}.json').read_text())['reads'] for name in ('one', '0', '1')
  )
  assert len(first) == len(second) == 32 and not set(first) & set(second)
  assert set(first) | set(second) == set(one) == set(range(64))


def test_each_process_decodes_its_share_of_a_resident_set(ran):
  (one, whole), (first, a), (second, b) = (
    json.loads((ran / f'{name}.json').read_text())['resident'] for name in ('one', '0', '1')
  )
  assert one == first == second
  assert a + b == whole and max(a, b) <= whole // 2 + 2


def test_two_processes_evaluate_as_one(ran):
  one, first, second = (
    json.loads((ran / f'{name}.json').read_text())['figures'] for name in ('one', '0', '1')
  )
  assert {'FID-6', 'KID-6', 'nfs'} <= one.keys()
  assert first == second
  # To single values of a pixel that another batch size rounds the other way.
  assert first == pytest.approx(one, rel=1e-3, abs=1e-6)


def test_a_checkpoint_that_one_process_cannot_read(ran):
  both = [json.loads((ran / f'{name}.json').read_text())['one_fails'] for name in '01']
  assert both[0] == both[1]
  said = both[0]
  assert said['for a while'] == [2.0] * 3
  assert 'Process 1 of 2: ' in said['for good'] and 'the file system fails' in said['for good']
  assert said['for good, then'] == [1, 2]  # it is not put aside
  assert 'Process 1 of 2: ' in said['of memory'] and said['of memory, then'] == [1, 2]
  assert said['saved'] == [1, 2, 3]
  assert said['damaged'] == [1.0] * 3 and said['damaged, then'] == [1]
  assert (ran / 'one_fails/damaged/2').is_dir()


def test_processes_that_differ_end_with_the_same_line(ran):
  for name in '01':
    (line,) = lines_of(ran / f'{name}.log')
    assert line.startswith('Error: Process 1 has batch_size 8 and process 0 has 4. Start all')


def two(folder, name, *flags, which=(0, 1)):
  """The same run in these of two processes."""
  program = ['-m', 'jax3dgan.main', f'--config={TINY}', f'--config.data.cache_dir={folder}']
  port = f'--coordinator=127.0.0.1:{free_port()}'
  common = [*program, f'--workdir={folder}/run', port, '--num_processes=2', *flags]
  return [start([*common, f'--process_id={i}'], 1, folder / f'{name}{i}.log') for i in which]


def test_whoever_waits_in_vain_says_for_whom(tmp_path):
  # Each at a port of its own.
  waiting = [two(tmp_path, 'alone', '--coordinator_timeout=2', which=[i])[0] for i in (0, 1)]
  assert end(waiting) == [1, 1]
  for i, words in enumerate(
    ['not all of the 1 others have connected', 'Nothing answers at 127.0.0.1:']
  ):
    (line,) = lines_of(tmp_path / f'alone{i}.log')
    assert 'within 2 s' in line and f'(process {i} of 2)' in line and words in line
    assert '--coordinator_timeout=' in line


@pytest.fixture(scope='module')
def lost(tmp_path_factory):
  """Two processes of which one is killed; then the same command again, and Ctrl-C on one. Returns
  the folder and exit codes."""
  folder, codes = tmp_path_factory.mktemp('lost'), {}

  def wait_for(there, started):
    for _ in range(6000):
      if there():
        return
      assert all(process.poll() is None for process in started)
      time.sleep(0.1)
    raise AssertionError('nothing happened')

  started = two(folder, 'killed', '--heartbeat_timeout=10')
  try:
    wait_for((folder / 'run/checkpoints/5').is_dir, started)
    started[1].kill()
    codes['killed'] = [started[0].wait(90)]
  finally:
    end(started)
  codes['saved'] = checkpoints.steps(folder / 'run')
  started = two(folder, 'stopped', '--config.checkpoint.every=1000000')
  try:
    wait_for(lambda: 'images/s' in (folder / 'stopped0.log').read_text(), started)
    started[1].send_signal(signal.SIGINT)
    codes['stopped'] = [process.wait(90) for process in started]
  finally:
    end(started)
  return folder, codes


# That two processes agree on a step, save it and stop is in launch/test_local.py.


@pytest.mark.thorough
def test_a_process_that_dies_ends_the_others(lost):
  folder, codes = lost
  # Whoever notices first: Gloo's closed connection, which we explain, or JAX's own service, which
  # aborts with its stack.
  (code,) = codes['killed']
  assert code in (1, -6)
  if code == 1:
    (line,) = lines_of(folder / 'killed0.log')
    assert 'Another process has ended' in line and 'goes on from the last checkpoint' in line
  assert f'Going on from step {codes["saved"][-1]:,}.' in (folder / 'stopped0.log').read_text()


@pytest.mark.thorough
def test_ctrl_c_on_one_saves_on_all(lost):
  folder, codes = lost
  assert codes['stopped'] == [0, 130]
  step = checkpoints.steps(folder / 'run')[-1]
  assert step > codes['saved'][-1]
  for i in range(2):
    assert f'Stopped; saved at step {step:,}.' in (folder / f'stopped{i}.log').read_text()


@pytest.mark.parametrize(
  'flags, words',
  [
    (('host', 2, 0), 'Give the host of process 0 and a free port'),
    (('host:x', 2, 0), 'is not HOST:PORT'),
    (('host:70000', 2, 0), 'is not HOST:PORT'),
    (('host:80', 0, 0), 'Add --num_processes=N'),
    (('host:80', 2, 2), 'Number them from 0 to 1'),
    (('host:80', 2, -1), 'Number them from 0 to 1'),
    (('', 2, 0), 'Add --coordinator=HOST:PORT'),
    (('', 0, 1), 'Add --coordinator=HOST:PORT'),
    (('host:80', 2, 0, 0), '--coordinator_timeout'),
    (('host:80', 2, 0, 9, 0), '--heartbeat_timeout'),
  ],
)
def test_flags_that_contradict_each_other(flags, words):
  with pytest.raises(UserError) as error:
    parallel.initialize(*flags)
  assert words in str(error.value) and '\n' not in str(error.value)


_SLURM = {
  'SLURM_JOB_ID': '7',
  'SLURM_STEP_NODELIST': 'n[1-2]',
  'SLURM_STEP_NUM_NODES': '2',
  'SLURM_NTASKS': '2',
  'SLURM_PROCID': '1',
  'SLURM_LOCALID': '0',
}
_FOUR = {'CUDA_VISIBLE_DEVICES': '0,1,2,3'}
_EIGHT_TASKS = {'SLURM_NTASKS': '8', 'SLURM_LOCALID': '3'}
_TPU_VM = {'TPU_ML_PLATFORM': 'JAX'}


@pytest.mark.parametrize(
  'variables, devices',
  [
    (_FOUR, []),  # a task for each node
    (_FOUR | _EIGHT_TASKS, [3]),  # a task for each GPU
    (_FOUR | {'SLURM_NTASKS': '4', 'SLURM_LOCALID': '1'}, [2, 3]),  # two GPUs for each
    (_EIGHT_TASKS | {'CUDA_VISIBLE_DEVICES': '2'}, []),  # bound to its own by --gpu-bind
    (_EIGHT_TASKS | {'CUDA_VISIBLE_DEVICES': '0,1', 'SLURM_GPUS_PER_TASK': '2'}, []),
    (_EIGHT_TASKS, None),  # nothing known: as JAX does it
    (_FOUR | {'JAX_LOCAL_DEVICE_IDS': '0,1'}, None),
  ],
)
def test_devices_of_a_task_of_slurm(variables, devices):
  name, arguments = hosts.detect(_SLURM | variables)
  assert name == 'SLURM'
  assert arguments == {'cluster_detection_method': 'slurm', 'local_device_ids': devices}


@pytest.mark.parametrize(
  'variables, name',
  [
    ({}, None),
    (_SLURM | {'SLURM_NTASKS': '1'}, None),
    ({'SLURM_JOB_ID': '7', 'SLURM_NTASKS': '2'}, None),  # sbatch without srun
    ({'TPU_WORKER_HOSTNAMES': 'a,b', **_TPU_VM}, 'a TPU pod'),
    ({'TPU_PROCESS_ADDRESSES': 'a:1,b:1', **_TPU_VM}, 'a TPU pod'),
    ({'TPU_WORKER_HOSTNAMES': 'a', **_TPU_VM}, None),
    ({'TPU_WORKER_HOSTNAMES': 'a', 'MEGASCALE_NUM_SLICES': '2', **_TPU_VM}, 'a TPU pod'),
    (_TPU_VM, 'a TPU VM'),  # by ssh
    (_TPU_VM | {'JAX_PLATFORMS': 'cpu'}, None),
    (_TPU_VM | {'TPU_SKIP_MDS_QUERY': '1'}, None),
    ({'OMPI_MCA_orte_hnp_uri': 'x', 'OMPI_COMM_WORLD_SIZE': '2'}, 'Open MPI'),
    ({'OMPI_MCA_orte_hnp_uri': 'x', 'OMPI_COMM_WORLD_SIZE': '1'}, None),
  ],
)
def test_who_started_the_processes(variables, name):
  assert (hosts.detect(variables) or (None,))[0] == name


def test_jax_is_asked_only_where_there_are_others(monkeypatch):
  calls = []
  monkeypatch.setattr(jax.distributed, 'initialize', lambda **options: calls.append(options))
  for variable in [*_SLURM, *_TPU_VM, 'CUDA_VISIBLE_DEVICES', 'JAX_LOCAL_DEVICE_IDS']:
    monkeypatch.delenv(variable, raising=False)
  parallel.initialize()
  parallel.initialize('host:80', 1, 0)
  assert not calls
  parallel.initialize('host:80', 2, 1, timeout=20, heartbeat=7)
  assert calls[0]['coordinator_address'] == 'host:80' and calls[0]['process_id'] == 1
  # JAX's own time-out, which ends in a stack, comes after ours.
  assert calls[0]['initialization_timeout'] > 20 and calls[0]['heartbeat_timeout_seconds'] == 7
  for name, value in (_SLURM | _FOUR).items():
    monkeypatch.setenv(name, value)
  parallel.initialize()
  assert calls[1]['local_device_ids'] == [] and 'coordinator_address' not in calls[1]


@pytest.mark.parametrize(
  'error',
  [
    ValueError('coordinator_address should be defined.'),
    ConnectionError('Failed to resolve metadata.google.internal'),  # as of `requests`: an OSError
  ],
)
def test_a_tpu_without_a_metadata_server_is_a_single_host(monkeypatch, error):
  def refuse(**options):
    raise error

  monkeypatch.setattr(jax.distributed, 'initialize', refuse)
  monkeypatch.setattr(hosts, 'detect', lambda environ: ('a TPU VM', {}))
  assert parallel.initialize() is None


def test_a_platform_that_the_config_chose_counts_for_the_detection(monkeypatch):
  found = []
  monkeypatch.setattr(hosts, 'detect', lambda environ: found.append(environ['JAX_PLATFORMS']))
  monkeypatch.setenv('JAX_PLATFORMS', 'another')
  assert parallel.initialize() is None and found == [jax.config.jax_platforms]


def test_a_process_whose_devices_fail_after_it_has_joined_leaves(monkeypatch):
  """An ordinary exit would wait for the others for an hour."""

  def fail():
    raise RuntimeError("Unable to initialize backend 'cuda'")

  monkeypatch.setattr(jax.distributed, 'is_initialized', lambda: True)
  monkeypatch.setattr(jax, 'process_count', fail)
  monkeypatch.setattr(jax, 'process_index', fail)
  monkeypatch.setattr(hosts.time, 'sleep', lambda seconds: None)
  codes = []
  monkeypatch.setattr(hosts.os, '_exit', codes.append)
  assert hosts.several()
  hosts.leave(1)
  assert codes == [1]


def test_exit_codes_of_a_stop(monkeypatch):
  monkeypatch.delenv('JAX3DGAN_SIGTERM_EXIT_CODE', raising=False)
  codes = {}
  for number in (signal.SIGINT, signal.SIGTERM):
    with interruption.Interruption() as stop:
      os.kill(os.getpid(), number)
      assert stop.requested(1)
      codes[number] = interruption.exit_code(stop.reason())
  assert codes == {signal.SIGINT: 130, signal.SIGTERM: 0}
  monkeypatch.setenv('JAX3DGAN_SIGTERM_EXIT_CODE', '143')
  assert interruption.exit_code(interruption.Terminated()) == 143
  assert interruption.exit_code(KeyboardInterrupt()) == 130
