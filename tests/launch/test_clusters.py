"""The scripts for clusters, with stand-ins for gcloud, srun and the rest.

What the stand-ins answer is what the documentation says; no cluster has been asked.
"""

import re
import shutil
import sys
import time

import pytest
from launch_scripts import ROOT

_TPU = dict(
  TPU_NAME='toys',
  ZONE='us-west4-a',
  ACCELERATOR_TYPE='v5litepod-16',
  RUNTIME_VERSION='v2-alpha-tpuv5-lite',
  POLL_SECONDS='0',
)
_RUN = ('configs/toys.py', 'gs://my-bucket/runs/toys', '--config.seed=1')


# Each call is noted; the answers to `describe` and to `ls` come from files, a line for each call,
# and the last line stays.
_GCLOUD = """
next() { head -n 1 "$1"; if (($(wc -l <"$1") > 1)); then sed -i 1d "$1"; fi; }
echo "$*" >>"$HOME/calls"
case "$*" in
  *'queued-resources describe'*)
    state=$(next "$HOME/states"); [[ $state != NONE ]] && echo "$state" ;;
  *'storage ls'*) exit "$(next "$HOME/finished")" ;;
  *'tpu-vm ssh'*kill\\ -0*) [[ $* == *nohup* ]] || exit "$(next "$HOME/alive")" ;;
esac
"""


def queued(scripts, states, finished, alive, **variables):
  """Runs tpu_queued.sh against the given answers; returns its exit code and what it called."""
  scripts.program('gcloud', _GCLOUD)
  for name, lines in dict(states=states, finished=finished, alive=alive).items():
    (scripts.home / name).write_text(''.join(f'{line}\n' for line in lines))
  code, _, errors = scripts.call('tpu_queued.sh', *_RUN, **{**_TPU, **variables})
  calls = (scripts.home / 'calls').read_text()
  names = {
    'queued-resources create': 'create',
    'queued-resources delete': 'delete',
    'tpu-vm scp': 'setup',
    'nohup': 'run',
    'kill -TERM': 'stop',
    'kill -KILL': 'kill',
  }
  found = re.findall('|'.join(names), calls)
  return code, [names[call] for call in found], errors


def test_a_preempted_slice_is_asked_for_again(scripts):
  states = ['NONE', 'WAITING_FOR_RESOURCES', 'ACTIVE', 'ACTIVE', 'ACTIVE', 'SUSPENDED']
  states += ['NONE', 'ACTIVE', 'ACTIVE', 'ACTIVE']
  code, calls, errors = queued(scripts, states, finished=[1] * 9 + [0], alive=[1, 0, 1, 0])
  assert code == 0, errors
  assert calls == ['create', 'setup', 'run', 'delete', 'create', 'setup', 'run', 'delete']
  assert 'The slice is gone (SUSPENDED).' in errors and 'Done: gs://my-bucket/runs/toys.' in errors


def test_a_finished_run_asks_for_nothing(scripts):
  code, calls, _ = queued(scripts, ['NONE'], finished=[0], alive=[1])
  assert code == 0 and calls == []


def test_a_run_at_work_is_left_alone(scripts):
  code, calls, _ = queued(scripts, ['ACTIVE'], finished=[1, 1, 1, 1, 0], alive=[0])
  assert code == 0 and calls == ['delete']


def test_a_run_that_crashes_again_and_again_is_given_up(scripts):
  """The slice stays for the logs; hosts that hang are stopped before each new start."""
  code, calls, errors = queued(scripts, ['ACTIVE'], finished=[1], alive=[1], MAX_FAILURES='3')
  assert code == 2 and 'The run stopped 3 times' in errors
  start, again = ['setup', 'run'], ['stop', 'kill', 'setup', 'run']
  assert calls == [*start, *again, *again]


# One host, which is this machine: what would go to it by ssh is done in $HOME.
_HOST = """
for word in "$@"; do case $word in --command=*) command=${word#--command=} ;; esac; done
case "$3" in
  tpu-vm) [[ $4 == scp ]] && exec cp "$5" "$HOME/${6#*:}"; cd "$HOME" && bash -c "$command" ;;
esac
"""


def test_a_tpu_vm_starts_shows_and_stops_a_run(scripts):
  scripts.program('gcloud', _HOST)
  host = scripts.home / 'jax3dgan/launch/tpu_host.sh'
  host.parent.mkdir(parents=True)
  stub = scripts.program(
    'stub',
    'printf "<%s>" "$@"; echo; trap "echo saved; exit 130" TERM; while :; do sleep 0.1; done',
  )
  host.symlink_to(stub)

  def call(*args):
    return scripts.call('tpu_vm.sh', *args, **_TPU)

  odd = "--config.data.source=it's (.9, .99) $HOME"
  assert call('run', *_RUN, odd)[0] == 0
  log = scripts.home / 'jax3dgan/run.log'
  try:
    assert call('alive')[0] == 0
    code, _, errors = call('run', *_RUN)
    assert code == 1 and 'A run is at work here already.' in errors
  finally:
    assert call('stop')[0] == 0
  for _ in range(300):
    if call('alive')[0]:
      break
    time.sleep(0.1)
  assert call('alive')[0] == 1
  words = ['run', *_RUN, odd]
  assert log.read_text().splitlines() == [''.join(f'<{word}>' for word in words), 'saved']


@pytest.mark.skipif(not (ROOT / '.git').exists(), reason='copies the last commit')
def test_a_tpu_vm_is_set_up_with_the_last_commit(scripts):
  scripts.program('gcloud', _HOST)
  scripts.program('gcsfuse', 'echo "$*" >"$HOME/mounted"')
  scripts.program('sudo', '')
  # Makes what `python3 -m venv` makes.
  scripts.program(
    'python3',
    'if [[ $2 == venv ]]; then mkdir -p "$3/bin"\n'
    'for name in python uv; do ln -s "$0" "$3/bin/$name"; done; fi\n'
    'echo "$PWD $*" >>"$HOME/installed"',
  )
  variables = dict(_TPU, TMPDIR=str(scripts.home))
  code, _, errors = scripts.call('tpu_vm.sh', 'setup', _RUN[1], **variables)
  assert code == 0, errors
  folder = scripts.home / 'jax3dgan'
  assert (folder / 'setup.py').is_file() and (folder / 'configs/toys.py').is_file()
  installed = (scripts.home / 'installed').read_text().splitlines()
  assert installed[-1].startswith(f'{folder} pip install') and '.[tpu]' in installed[-1]
  assert (
    (scripts.home / 'mounted').read_text().endswith(f'my-bucket {scripts.home}/buckets/my-bucket\n')
  )
  assert not list(scripts.home.glob('jax3dgan_toys*'))


@pytest.mark.parametrize(
  'endpoints, flags',
  [
    ('10.0.0.5', ''),
    ('x:y:10.0.0.5', ''),
    ('a-0,a-1', ' --coordinator=a-0:8482 --num_processes=2 --process_id=1'),
    (
      'u:u:10.0.0.7,u:u:10.0.0.8,u:u:10.0.0.9',
      ' --coordinator=10.0.0.7:8482 --num_processes=3 --process_id=1',
    ),
  ],
)
def test_a_tpu_host_joins_its_slice_and_trains_in_the_bucket(scripts, endpoints, flags):
  scripts.program(
    'curl',
    f'[[ $* == *"Metadata-Flavor: Google"* ]] || exit 9\n'
    f'case "$*" in *worker-network-endpoints) echo {endpoints} ;; '
    '*agent-worker-number) echo 1 ;; *) exit 22 ;; esac',
  )
  scripts.program('gcsfuse', 'echo "$*" >"$HOME/mounted"')
  scripts.program('sudo', '')
  python = scripts.home / 'venv/bin/python'
  python.parent.mkdir(parents=True)
  python.symlink_to(
    scripts.program(
      'noted', 'echo "$JAX_COMPILATION_CACHE_DIR $*"; [[ /dev/fd/9 -ef $HOME/buckets/my-bucket ]]'
    )
  )
  given = dict(VENV=str(scripts.home / 'venv'), DATA='gs://my-bucket/data/x')
  code, output, errors = scripts.call('tpu_host.sh', 'run', *_RUN, **given)
  assert code == 0, errors
  folder = f'{scripts.home}/buckets/my-bucket'
  assert output == (
    f'{folder}/jax_cache -m jax3dgan.main --config=configs/toys.py --workdir={folder}/runs/toys '
    f'--config.platform=tpu --config.data.source={folder}/data/x '
    f'--config.data.local_copy={scripts.home}/data --config.seed=1{flags}\n'
  )
  assert (scripts.home / 'mounted').read_text() == (
    '--implicit-dirs --rename-dir-limit=100000 --metadata-cache-ttl-secs=0 '
    f'--cache-dir={scripts.home}/gcsfuse_cache --file-cache-max-size-mb=20000 '
    f'--file-cache-cache-file-for-range-read my-bucket {folder}\n'
  )


def test_another_machine_is_not_a_tpu_host(scripts):
  scripts.program('curl', 'exit 6')
  code, output, errors = scripts.call('tpu_host.sh', 'run', *_RUN)
  assert code == 2 and not output and 'does not say that it is a TPU VM' in errors


def test_a_tpu_host_is_set_up(scripts):
  scripts.program('gcsfuse', '')
  code, output, _ = scripts.call('tpu_host.sh', 'setup', 'my-bucket', DRY_RUN='1', VENV='/v')
  tools = f'{scripts.home}/jax3dgan_tools'
  assert code == 0 and output.splitlines()[:4] == [
    f'python3 -m venv {tools}',
    f'{tools}/bin/python -m pip install --quiet uv',
    f'{tools}/bin/uv venv --python 3.12 /v',
    f"{tools}/bin/uv pip install --quiet --python /v/bin/python -e '.[tpu]'",
  ]
  (scripts.bin / 'gcsfuse').unlink()
  if not shutil.which('gcsfuse'):
    code, _, errors = scripts.call('tpu_host.sh', 'setup', 'b', GCSFUSE_INSTALL='exit 3')
    assert code == 2 and errors.startswith('Error: gcsfuse could not be installed.')
    output = scripts.call('tpu_host.sh', 'setup', 'b', DRY_RUN='1', GCSFUSE_VERSION='9.9')[1]
    fetch, update, install = output.splitlines()[:3]
    assert fetch.startswith('curl ') and fetch.endswith('/v9.9/gcsfuse_9.9_amd64.deb')
    assert update.endswith('Lock::Timeout=60 update') and install.endswith(' install ./gcsfuse.deb')


def test_a_fresh_host_waits_for_its_own_updates(scripts):
  """apt-get is locked at first; and Python has no module venv."""
  scripts.program('gcsfuse', '')
  true = shutil.which('true')
  scripts.program(
    'python3',
    f'[[ -e $HOME/has_venv ]] && mkdir -p "$3/bin" && ln -sf {true} "$3/bin/python" && '
    f'ln -sf {true} "$3/bin/uv"',
  )
  scripts.program(
    'sudo',
    'echo "$*" >>"$HOME/sudo"; [[ $* == *python3-venv ]] || exit 0\n'
    '(($(grep -c venv "$HOME/sudo") > 2)) && touch "$HOME/has_venv"',
  )
  code, _, errors = scripts.call('tpu_host.sh', 'setup', 'my-bucket', RETRY_SECONDS='0')
  assert code == 0, errors
  assert (scripts.home / 'sudo').read_text().count('install python3-venv') == 3


def sbatch(scripts, python, state='RUNNING', **variables):
  """Runs slurm.sbatch as SLURM would, in a job of one task unless `variables` say otherwise."""
  if not (scripts.bin / 'srun').exists():
    scripts.program('srun', 'shift; exec "$@"')
  scripts.program('squeue', f'[[ $* == *--jobs=77* ]] && echo {state}')
  scripts.program('scontrol', 'echo "$*" >"$HOME/scontrol"')
  return scripts.call(
    'slurm.sbatch',
    'configs/toys.py',
    scripts.home / 'runs/toys',
    '--config.seed=1',
    **{'SLURM_JOB_ID': '77', 'PYTHON': str(python), **variables},
  )


@pytest.mark.parametrize(
  'code, state, again',
  [(130, 'RUNNING', True), (143, 'RUNNING', True), (130, '', False), (1, 'RUNNING', False)],
)
def test_a_job_out_of_time_is_queued_again(scripts, code, state, again):
  python = scripts.program('stand_in', f'exit {code}')
  status, output, _ = sbatch(scripts, python, state)
  assert (scripts.home / 'scontrol').exists() == again
  if again:
    assert status == 0 and (scripts.home / 'scontrol').read_text() == 'requeue 77\n'
    assert 'Queued again' in output
  else:
    assert status == code


@pytest.mark.parametrize(
  'tasks, nodes, gpus, local',
  [('2', '2', '0,1,2,3', '0,1,2,3'), ('1', '1', '5', '0'), ('4', '1', '0,1,2,3', '-'),
   ('2', '2', '', '-')],
)  # fmt: skip
def test_a_task_for_a_node_has_all_its_devices(scripts, tasks, nodes, gpus, local):
  python = scripts.program(
    'stand_in', 'echo "${JAX_LOCAL_DEVICE_IDS:--} $JAX_COMPILATION_CACHE_DIR $*"'
  )
  code, output, errors = sbatch(
    scripts, python, SLURM_NTASKS=tasks, SLURM_JOB_NUM_NODES=nodes, CUDA_VISIBLE_DEVICES=gpus
  )
  assert code == 0, errors
  assert output == (
    f'{local} {scripts.home}/runs/jax_cache -m jax3dgan.main --config=configs/toys.py '
    f'--workdir={scripts.home}/runs/toys --config.platform=gpu --config.seed=1\n'
  )


@pytest.mark.parametrize('tasks, proxy', [('2', ''), ('1', 'http://p:3128')])
def test_tasks_have_cores_and_memory_and_no_proxy_between_them(scripts, tasks, proxy):
  python = scripts.program(
    'stand_in', 'echo "$SRUN_CPUS_PER_TASK|$XLA_CLIENT_MEM_FRACTION|$http_proxy"'
  )
  given = dict(SLURM_NTASKS=tasks, SLURM_CPUS_PER_TASK='64', http_proxy='http://p:3128')
  code, output, errors = sbatch(scripts, python, **given)
  assert code == 0 and output == f'64|.92|{proxy}\n', errors


def test_jax_joins_the_tasks_of_slurm(scripts):
  """Two tasks with the variables that srun sets: JAX's own detection finds them."""
  join = 'from jax3dgan.devices import parallel; parallel.initialize(); import jax; '
  # One write, however Python buffers: lines of two processes must not mix.
  counts = '{jax.process_index()} {jax.process_count()} {jax.device_count()}'
  join += f"import os; os.write(1, f'{counts}{{chr(10)}}'.encode())"
  # In place of the training, since what is in question is only who finds whom.
  python = scripts.program('stand_in', f'exec {sys.executable} -c "{join}"')
  scripts.program(
    'srun',
    'shift; for i in 0 1; do SLURM_PROCID=$i SLURM_LOCALID=$i "$@" & pids+=($!); done; '
    'code=0; for pid in "${pids[@]}"; do wait "$pid" || code=$?; done; exit "$code"',
  )
  code, output, errors = sbatch(
    scripts,
    python,
    SLURM_NTASKS='2',
    SLURM_JOB_NUM_NODES='1',
    SLURM_STEP_NODELIST='localhost',
    PYTHONPATH=str(ROOT),
  )
  assert code == 0, errors
  found = [line for line in output.splitlines() if re.fullmatch(r'\d 2 \d+', line)]
  assert sorted(line[0] for line in found) == ['0', '1'], output
