"""Every script of launch/: its syntax, its usage, its errors, and the commands that it gives."""

import json
import pathlib
import re
import shutil
import subprocess
import sys

import pytest
from launch_scripts import LAUNCH, ROOT

SHELL = sorted(p.name for p in LAUNCH.glob('*.sh')) + ['slurm.sbatch']
PROGRAMS = [name for name in SHELL if name != 'common.sh']
TPU = dict(TPU_NAME='toys', ZONE='us-west4-a')
SLICE = dict(ACCELERATOR_TYPE='v5litepod-16', RUNTIME_VERSION='v2-alpha-tpuv5-lite')
RUN = ('configs/toys.py', 'gs://my-bucket/runs/toys', '--config.seed=1')


@pytest.mark.parametrize('name', SHELL)
def test_the_shell_takes_it(name):
  done = subprocess.run(['bash', '-n', str(LAUNCH / name)], capture_output=True, text=True)
  assert done.returncode == 0, done.stderr


def test_shellcheck_finds_nothing():
  # Beside this Python's, whose folder need not be on the PATH.
  beside = shutil.which('shellcheck', path=str(pathlib.Path(sys.executable).parent))
  found = beside or shutil.which('shellcheck')
  if not found:
    pytest.skip("shellcheck is not installed: pip install -e '.[dev]'")
  command = [found, '--external-sources', f'--source-path={ROOT}']
  done = subprocess.run(
    [*command, *(str(LAUNCH / name) for name in SHELL)], capture_output=True, text=True
  )
  assert done.returncode == 0, done.stdout


@pytest.mark.parametrize('name', PROGRAMS)
def test_without_arguments_it_says_its_usage(scripts, name):
  code, output, errors = scripts.call(name)
  assert code == 2 and not output
  assert f'launch/{name}' in errors and 'Usage' in errors
  assert '#' not in errors and 'set -euo' not in errors
  text = (LAUNCH / name).read_text()
  assert '\nset -euo pipefail\n' in text and (LAUNCH / name).stat().st_mode & 0o111


@pytest.mark.parametrize(
  'script, args, variables, message',
  [
    ('local.sh', ('--processes', '0', 'c', 'w'), {}, '--processes takes a whole number from 1'),
    (
      'local.sh',
      ('--processes', '3', 'c', 'w'),
      dict(CUDA_VISIBLE_DEVICES='0,1', JAX_PLATFORMS='cuda'),
      '3 processes of at least 1 GPUs each need more than the 2 there are.',
    ),
    ('tpu_vm.sh', ('create',), {}, 'TPU_NAME is not set. Set it to the name of the TPU VM'),
    ('tpu_vm.sh', ('create',), TPU, 'ACCELERATOR_TYPE is not set.'),
    ('tpu_vm.sh', ('run', 'configs/toys.py', 'runs/x'), TPU, 'Give a folder in a bucket, such as'),
    ('tpu_vm.sh', ('run', 'configs/toys.py', 'gs://bucket'), TPU, 'Give a folder in a bucket'),
    ('tpu_queued.sh', RUN, TPU, 'ACCELERATOR_TYPE is not set.'),
    ('gke.sh', ('tpu', *RUN), {}, 'NAME is not set.'),
    ('gke.sh', ('tpu', *RUN), dict(NAME='Toys'), 'Use up to 20 lower-case letters'),
    ('gke.sh', ('tpu', *RUN), dict(NAME='toys'), 'IMAGE is not set.'),
    ('gke.sh', ('tpu', *RUN, '$(X)'), dict(NAME='toys', IMAGE='i'), 'a tab or $('),
    ('xpk.sh', ('create', *RUN), dict(CLUSTER='c', NAME='n'), 'IMAGE is not set.'),
    (
      'xpk.sh',
      ('create', 'configs/toys.py', '/tmp/x'),
      dict(CLUSTER='c', NAME='n', IMAGE='i', TPU_TYPE='t'),
      'WORKDIR is /tmp/x, which is not below /bucket and is lost with the pod.',
    ),
    ('slurm.sbatch', RUN, {}, 'this is not a SLURM job. Submit it with sbatch'),
    ('slurm.sbatch', ('no.py', 'w'), dict(SLURM_JOB_ID='1'), 'there is no no.py in'),
  ],
)
def test_what_is_missing_is_said_in_a_line(scripts, script, args, variables, message):
  code, output, errors = scripts.call(script, *args, **{'DRY_RUN': '1', **variables})
  assert code == 2 and not output
  assert errors.startswith('Error: ') and message in errors and errors.count('\n') == 1


MAIN = '-m jax3dgan.main --config=configs/toys.py'


def test_commands_of_local(scripts):
  def lines(*args, **variables):
    return scripts.call('local.sh', *args, DRY_RUN='1', **variables)[1].splitlines()

  one = lines('configs/toys.py', 'runs/x', '--config.ema.rates=(.9, .99)')
  assert one == [f"python {MAIN} --workdir=runs/x '--config.ema.rates=(.9, .99)'"]
  cpu = dict(JAX_PLATFORMS='cpu', COORDINATOR_PORT='20001')
  join = '--coordinator=127.0.0.1:20001 --num_processes=2 --process_id'
  many = ('--processes', '2', '--devices-per-process', '4', 'configs/toys.py', 'runs/x')
  assert lines(*many, **cpu) == [
    f'env JAX_NUM_CPU_DEVICES=4 python {MAIN} --workdir=runs/x {join}={i}' for i in range(2)
  ]
  # The GPUs in their order, evenly.
  cuda = dict(JAX_PLATFORMS='cuda', CUDA_VISIBLE_DEVICES='4,2,6,7,1', COORDINATOR_PORT='20001')
  assert lines('--processes', '2', 'configs/toys.py', 'runs/x', **cuda) == [
    f'env CUDA_VISIBLE_DEVICES={gpus} python {MAIN} --workdir=runs/x --config.platform=gpu '
    f'{join}={i}'
    for i, gpus in enumerate(['4,2', '6,7'])
  ]
  scripts.program('nvidia-smi', 'printf "0\\n1\\n2\\n3\\n"')
  found = lines('--devices-per-process', '3', 'configs/toys.py', 'runs/x', JAX_PLATFORMS='')
  assert found == [
    f'env CUDA_VISIBLE_DEVICES=0,1,2 python {MAIN} --workdir=runs/x --config.platform=gpu'
  ]
  assert not (ROOT / 'runs/x/logs').exists()


def test_commands_of_tpu_vm(scripts):
  def output(*args, **variables):
    code, output, errors = scripts.call('tpu_vm.sh', *args, DRY_RUN='1', **TPU, **variables)
    assert code == 0, errors
    return output

  gcloud = 'gcloud compute tpus tpu-vm'
  kind = '--accelerator-type=v5litepod-16 --version=v2-alpha-tpuv5-lite'
  assert output('create', **SLICE) == f'{gcloud} create toys --zone=us-west4-a {kind}\n'
  many = dict(SPOT='1', AUTOCHECKPOINT='1', PROJECT='p', SERVICE_ACCOUNT='me@p')
  assert output('create', **SLICE, **many) == (
    f'{gcloud} create toys --zone=us-west4-a --project=p {kind} --spot --autocheckpoint-enabled '
    '--service-account=me@p\n'
  )
  archive, copy, remove, install = output('setup', RUN[1], TMPDIR='/tmp').splitlines()
  assert archive.endswith('archive --format=tar.gz --output=/tmp/jax3dgan_toys.tar.gz HEAD')
  assert copy == (
    f'{gcloud} scp /tmp/jax3dgan_toys.tar.gz toys:jax3dgan.tar.gz --zone=us-west4-a --worker=all'
  )
  assert remove == 'rm -f /tmp/jax3dgan_toys.tar.gz'
  assert install == (
    f"{gcloud} ssh toys --zone=us-west4-a --worker=all '--command=mkdir -p jax3dgan && tar -xzf "
    "jax3dgan.tar.gz -C jax3dgan && cd jax3dgan && env launch/tpu_host.sh setup my-bucket'"
  )
  run = output('run', *RUN, '--config.ema.rates=(.9, .99)')
  assert run.startswith(f'{gcloud} ssh toys --zone=us-west4-a --worker=all ')
  assert f'nohup setsid launch/tpu_host.sh run {" ".join(RUN)} ' in run
  data = dict(DATA='gs://my-bucket/data/x')
  assert 'setsid env DATA=gs://my-bucket/data/x launch/tpu_host' in output('run', *RUN, **data)
  assert "(.9, .99)'\\''" in run  # quoted for the host's shell, within the quotes of this one
  assert '--worker=2' in output('logs', WORKER='2') and 'tail' in output('logs')
  assert 'kill -TERM' in output('stop') and 'kill -KILL' in output('kill')
  assert output('delete') == f'{gcloud} delete toys --zone=us-west4-a --quiet\n'


def test_commands_of_tpu_queued(scripts):
  code, output, _ = scripts.call('tpu_queued.sh', *RUN, DRY_RUN='1', **TPU, **SLICE)
  lines = output.splitlines()
  assert code == 0 and lines[0] == 'gcloud storage ls gs://my-bucket/runs/toys/summary.json'
  queue = 'gcloud compute tpus queued-resources'
  assert lines[1] == (
    f'{queue} create toys --zone=us-west4-a --node-id=toys --accelerator-type=v5litepod-16 '
    '--runtime-version=v2-alpha-tpuv5-lite --spot'
  )
  assert lines[2] == f"{queue} describe toys --zone=us-west4-a '--format=value(state.state)'"
  assert lines[-1] == f'{queue} delete toys --zone=us-west4-a --force --quiet'
  _, demand, _ = scripts.call('tpu_queued.sh', *RUN, DRY_RUN='1', SPOT='', **TPU, **SLICE)
  assert demand.splitlines()[1] == lines[1].removesuffix(' --spot')


def test_commands_of_xpk(scripts):
  where = dict(CLUSTER='pool', NAME='toys', ZONE='us-west4-a', DRY_RUN='1')
  what = dict(IMAGE='registry/jax3dgan:1', TPU_TYPE='v5litepod-16', NUM_SLICES='2')
  code, output, errors = scripts.call(
    'xpk.sh', 'create', RUN[0], '/bucket/runs/toys', RUN[2], **where, **what
  )
  assert code == 0, errors
  assert output == (
    'xpk workload create --workload=toys --cluster=pool --zone=us-west4-a --tpu-type=v5litepod-16 '
    '--num-slices=2 --docker-image=registry/jax3dgan:1 --max-restarts=10 '
    '--restart-on-exit-codes=1,130 --termination-grace-period-seconds=120 '
    '--env=JAX_COMPILATION_CACHE_DIR=/bucket/jax_cache --env=JAX3DGAN_SIGTERM_EXIT_CODE=143 '
    "'--command=exec /app/launch/container.sh --config=configs/toys.py "
    '--workdir=/bucket/runs/toys --config.platform=tpu --coordinator_timeout=1800 '
    "--config.seed=1'\n"
  )
  older = dict(RESTART='--restart-on-user-code-failure', DATA='/bucket/data/x')
  create = ('xpk.sh', 'create', RUN[0], '/bucket/runs/toys')
  output = scripts.call(*create, **where, **what, **older)[1]
  assert ' --restart-on-user-code-failure ' in output and 'exit-codes' not in output
  assert ' --config.data.source=/bucket/data/x --config.data.local_copy=/tmp/data' in output
  deleted = scripts.call('xpk.sh', 'delete', **where)[1]
  assert deleted == (
    'xpk workload delete --workload=toys --cluster=pool --zone=us-west4-a --force\n'
  )


def test_commands_of_slurm(scripts):
  job = dict(SLURM_JOB_ID='7', DRY_RUN='1')
  code, output, errors = scripts.call('slurm.sbatch', RUN[0], '/shared/runs/x', RUN[2], **job)
  assert code == 0, errors
  assert output == (
    'JAX_COMPILATION_CACHE_DIR=/shared/runs/jax_cache srun --kill-on-bad-exit=1 '
    f'python {MAIN} --workdir=/shared/runs/x --config.platform=gpu --config.seed=1\n'
  )
  cpu = scripts.call('slurm.sbatch', RUN[0], '/shared/runs/x', PLATFORM='cpu', **job)[1]
  assert cpu.endswith(' --config.platform=cpu\n')
  options = re.findall(r'^#SBATCH (\S+)$', (LAUNCH / 'slurm.sbatch').read_text(), re.MULTILINE)
  assert {'--requeue', '--signal=TERM@120', '--open-mode=append'} <= set(options)
  assert '--cpus-per-task=16' in options


@pytest.mark.parametrize(
  'variables, platforms, fraction',
  [
    ({}, '', ''),
    (dict(JAX3DGAN_EXTRAS='apps'), '', ''),
    (dict(JAX3DGAN_EXTRAS='cuda12'), 'cuda,cpu', '.92'),
    (dict(JAX3DGAN_EXTRAS='apps,cuda13', XLA_CLIENT_MEM_FRACTION='.5'), 'cuda,cpu', '.5'),
    (dict(JAX3DGAN_EXTRAS='cuda12', XLA_PYTHON_CLIENT_MEM_FRACTION='.5'), 'cuda,cpu', ''),
    (dict(JAX3DGAN_EXTRAS='cuda12', JAX_PLATFORMS='cpu'), 'cpu', ''),
    (dict(JAX3DGAN_EXTRAS='tpu'), 'tpu,cpu', ''),
  ],
)
def test_a_container_uses_what_it_was_built_for(scripts, variables, platforms, fraction):
  python = scripts.program(
    'noted', 'echo "$JAX_PLATFORMS|$XLA_CLIENT_MEM_FRACTION|$(ulimit -l)|$*"'
  )
  given = {'PYTHON': str(python), 'JAX_PLATFORMS': '', **variables}
  code, output, errors = scripts.call('container.sh', '--config=toys', '--workdir=/runs/x', **given)
  assert code == 0, errors
  found = output.strip().split('|')
  assert found[:2] == [platforms, fraction]
  assert found[3] == '-m jax3dgan.main --config=toys --workdir=/runs/x'
  if platforms.startswith('tpu'):
    assert found[2] == 'unlimited' or 'root with the capability SYS_RESOURCE' in errors
  else:
    assert not errors


def test_how_a_batch_is_divided_is_checked_before_anything_is_asked_for(scripts):
  scripts.program('kubectl', 'touch "$HOME/asked"')
  where = dict(NAME='toys', IMAGE='i', PYTHON=sys.executable, PYTHONPATH=str(ROOT), CHECK_BATCH='1')
  groups = ('--config.batch_size=9', '--config.discriminator.group_size=4')
  run = ('gke.sh', 'gpu', 'configs/eg3d_toys.py', RUN[1])
  code, _, errors = scripts.call(*run, *groups, NUM_NODES='2', **where)
  assert code == 2 and errors.count('Error:') == 1 and 'group' in errors
  assert not (scripts.home / 'asked').exists()
  # Where the package is not installed, a line says that nothing was checked.
  absent = dict(where, PYTHON=str(scripts.program('no_python', 'exit 1')))
  code, _, errors = scripts.call(*run, *groups, NUM_NODES='2', **absent)
  assert code == 0 and (scripts.home / 'asked').exists()
  assert errors.strip().endswith('how the batch is divided among 16 devices is not checked.')


def test_devices_of_types_of_slices():
  types = ['v5litepod-16', 'v6e-8', 'v5p-32', 'v4-8', 'v3-8', 'tpu7x-4', 'odd']
  program = f'source {LAUNCH}/common.sh; for t in {" ".join(types)}; do tpu_devices $t; done'
  done = subprocess.run(['bash', '-c', program], capture_output=True, text=True)
  assert done.stdout.split() == ['16', '8', '16', '4', '8', '4'] and not done.stderr


def test_the_image_is_built_from_what_there_is(tmp_path):
  """No builder here: that its sources exist, that they suffice for setup.py, and the extras."""
  text = (LAUNCH / 'Dockerfile').read_text().replace('\\\n', ' ')
  lines = [line.split(maxsplit=1) for line in text.splitlines() if line[:1] not in ('', '#')]
  words = {}
  for instruction, rest in lines:
    words.setdefault(instruction, []).append(rest)
  assert lines[0][0] == 'FROM' and words['USER'] == ['$RUN_AS'] and 'RUN_AS=trainer' in words['ARG']
  (entry,) = json.loads(words['ENTRYPOINT'][0])
  assert words['WORKDIR'] == ['/app'] and (ROOT / entry.removeprefix('/app/')).is_file()
  assert 'LD_LIBRARY_PATH=/usr/local/nvidia/lib64' in ' '.join(words['ENV'])
  assert 'JAX3DGAN_EXTRAS=$EXTRAS' in words['ENV']
  ignored = (ROOT / '.dockerignore').read_text().split()
  for rest in words['COPY'][:-1]:
    *sources, target = rest.split()
    for source in sources:
      assert source.split('/')[0] not in ignored
      to = tmp_path / target / (source if target.endswith('/') else '')
      to.parent.mkdir(parents=True, exist_ok=True)
      shutil.copy(ROOT / source, to)
  done = subprocess.run(
    [sys.executable, 'setup.py', '--version'], cwd=tmp_path, capture_output=True, text=True
  )
  assert done.returncode == 0 and re.fullmatch(r'\d+\.\d+\S*\n', done.stdout), done.stderr
  install = next(rest for rest in words['RUN'] if rest.startswith('pip install'))
  expand = ['sh', '-c', f'EXTRAS=$1; echo {install}', 'sh']
  for extras, wanted in [('', '.'), ('cuda13', '.[cuda13]'), ('tpu,apps', '.[tpu,apps]')]:
    output = subprocess.run([*expand, extras], capture_output=True, text=True).stdout
    assert output.split() == ['pip', 'install', '--editable', wanted]
  extras = re.findall(r"^  '(\w+)': ", (ROOT / 'setup.py').read_text(), re.MULTILINE)
  assert {'cuda13', 'tpu', 'apps'} <= set(extras)
  # What the container runs is not left out of it.
  assert not {'configs', 'jax3dgan', 'launch', 'setup.py', 'README.md'} & set(ignored)


def test_the_readme_names_every_file():
  text = (LAUNCH / 'README.md').read_text()
  files = [p.name for p in LAUNCH.iterdir() if p.is_file() and p.name != 'README.md']
  assert len(files) > 9 and all(f'`{name}`' in text for name in files)


def test_no_project_is_written_into_a_script():
  for path in LAUNCH.iterdir():
    text = path.read_text() if path.is_file() else ''
    for found in re.findall(r'(?:--project=|gs://|PROJECT=)([\w${}.:-]+)', text):
      assert found.startswith(('$', '.')) or found.isupper(), f'{path.name}: {found}'
