"""Calls of the scripts in launch/, with stand-ins for the programs of clusters."""

import os
import pathlib
import signal
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
LAUNCH = ROOT / 'launch'
# Variables that the scripts read: those of whoever runs the tests must not count.
_READ = (
  'ACCELERATOR_TYPE AUTOCHECKPOINT BUCKET CACHE_MB CACHE_SIZE CLUSTER COORDINATOR_PORT '
  'CUDA_VISIBLE_DEVICES DATA DRY_RUN GCSFUSE_INSTALL GCSFUSE_VERSION GRACE_SECONDS IMAGE '
  'JAX3DGAN_EXTRAS JAX_COMPILATION_CACHE_DIR JAX_NUM_CPU_DEVICES MAX_FAILURES '
  'MAX_RESTARTS MOUNT_POINT NAME NAMESPACE PLATFORM POLL_SECONDS PROJECT PYTHON RESTART '
  'RETRY_SECONDS RUNTIME_VERSION SERVICE_ACCOUNT SPOT TPU_NAME TPU_TYPE VENV WORKER ZONE '
  'XLA_CLIENT_MEM_FRACTION XLA_PYTHON_CLIENT_MEM_FRACTION '
  'http_proxy https_proxy HTTP_PROXY HTTPS_PROXY'
).split()


class Scripts:
  """Runs scripts of launch/ in a folder of its own, `home`, with `bin` first on the PATH."""

  root, launch = ROOT, LAUNCH

  def __init__(self, home: pathlib.Path):
    self.home, self.bin = home, home / 'bin'
    self.bin.mkdir()

  def program(self, name: str, body: str) -> pathlib.Path:
    """Makes a program of the shell, which the scripts find before a real one of that name."""
    path = self.bin / name
    path.write_text(f'#!/usr/bin/env bash\n{body}\n')
    path.chmod(0o755)
    return path

  def environment(self, **variables) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if k not in _READ and not k.startswith('SLURM')}
    path = f'{self.bin}{os.pathsep}{os.environ["PATH"]}'
    # To check how the batch is divided takes a second or two: one test does.
    return kept | {'PATH': path, 'HOME': str(self.home), 'CHECK_BATCH': '0'} | variables

  def start(self, script: str, *args: str, cwd=ROOT, **variables) -> subprocess.Popen:
    # In the background of a shell SIGINT is ignored, and what inherits that cannot trap it.
    deaf = signal.getsignal(signal.SIGINT) in (signal.SIG_IGN, None)
    return subprocess.Popen(
      [
        *(['env', '--default-signal=INT'] if deaf else []),
        'bash',
        str(LAUNCH / script),
        *map(str, args),
      ],
      cwd=cwd,
      env=self.environment(**variables),
      stdin=subprocess.DEVNULL,
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
      start_new_session=True,  # a signal of the tests is for the script alone
    )

  def call(self, script: str, *args: str, cwd=ROOT, **variables) -> tuple[int, str, str]:
    """Returns exit code, output and error output."""
    process = self.start(script, *args, cwd=cwd, **variables)
    output, errors = process.communicate(timeout=600)
    return process.returncode, output, errors
