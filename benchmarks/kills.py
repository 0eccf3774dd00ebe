"""Kills a run at random moments, starts it again each time, and compares it with one never killed.

  python -m benchmarks.kills --kills=20

Both are the same tiny run on a CPU. The moments: between the start and the first step, during the
steps, while a checkpoint is being written (its temporary folder is there), and, where there are
any, during evaluations and pictures. At the end every array of the last checkpoints, parameters,
optimizer states and averages, must be the same to the last bit. Prints a table; exit code 1 if not.
"""

import argparse
import hashlib
import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time

MOMENTS = ('start', 'step', 'save', 'pictures', 'evaluation')
_ROOT = pathlib.Path(__file__).resolve().parent.parent
_CONFIG = """
import importlib.util
spec = importlib.util.spec_from_file_location('toys', {toys!r})
toys = importlib.util.module_from_spec(spec)
spec.loader.exec_module(toys)

def get_config():
  config = toys.get_test_config()
  config.num_steps = {steps}
  config.log.update(every=5, images_every=60)
  config.checkpoint.update(every=10, keep=3)
  if 'eval' in config:
    config.eval.update(every=80, metrics='nfs')
  return config
"""


class Run:
  """One start of the command, its output read line by line."""

  def __init__(self, config, workdir, env):
    command = [sys.executable, '-u', '-m', 'jax3dgan.main']
    command += [f'--config={config}', f'--workdir={workdir}']
    self.process = subprocess.Popen(
      command, cwd=_ROOT, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    self.lines = []
    self._reader = threading.Thread(target=self._read, daemon=True)
    self._reader.start()

  def _read(self):
    for line in self.process.stdout:
      self.lines.append(line.rstrip())

  def said(self, pattern: str) -> bool:
    return any(re.search(pattern, line) for line in list(self.lines))

  def ended(self) -> bool:
    return self.process.poll() is not None

  def wait_for(self, condition) -> bool:
    """Waits until `condition()`; False where the run ended before."""
    while not self.ended():
      if condition():
        return True
      time.sleep(0.0005)
    return False

  def kill(self) -> None:
    self.process.send_signal(signal.SIGKILL)
    self.process.wait()
    self._reader.join()


def digest(workdir) -> tuple[int, str]:
  """The last step, and a hash of every array of its checkpoint, with names, types and shapes."""
  import jax
  import numpy as np
  from orbax.checkpoint import v1 as ocp

  from jax3dgan.runs import checkpoints

  step = checkpoints.steps(workdir)[-1]
  path = pathlib.Path(workdir).resolve() / checkpoints.FOLDER / str(step)
  wanted = jax.tree.map(lambda x: np.empty(x.shape, x.dtype), ocp.metadata(path).metadata)
  total = hashlib.sha256()
  for name, leaf in jax.tree_util.tree_leaves_with_path(ocp.load(path, wanted)):
    total.update(f'{jax.tree_util.keystr(name)} {leaf.dtype} {leaf.shape}'.encode())
    total.update(np.ascontiguousarray(leaf).tobytes())
  return step, total.hexdigest()


def strike(run: Run, moment: str, workdir, draw: random.Random) -> str:
  """Waits for a moment of the run and kills it; returns what was hit, '' where it ended before."""
  if moment == 'start':
    time.sleep(draw.uniform(0.2, 6.0))
  elif moment == 'step':
    if run.wait_for(lambda: run.said(r'^step ')):
      time.sleep(draw.uniform(0.0, 2.0))
  elif moment == 'save':
    folder = pathlib.Path(workdir) / 'checkpoints'
    after = draw.randrange(3)  # not always the first

    def writing():
      nonlocal after
      if any('tmp' in path.name for path in folder.glob('*')):
        after -= 1
        if after < 0:
          return True
        time.sleep(0.05)
      return False

    run.wait_for(writing)
  else:
    words = {'pictures': 'Rendering|step 60/', 'evaluation': 'Measuring'}[moment]
    if run.wait_for(lambda: run.said(words)):
      time.sleep(draw.uniform(0.0, 0.5))
  if run.ended():
    return ''
  run.kill()
  shown = [line for line in run.lines if line.startswith('step ')]
  return shown[-1].split(' · ')[0] if shown else 'before the first step'


def main(argv=None) -> None:
  """The program."""
  flags = argparse.ArgumentParser(prog='python -m benchmarks.kills', description=__doc__)
  flags.add_argument('--kills', type=int, default=20)
  flags.add_argument('--steps', type=int, default=400)
  flags.add_argument('--seed', type=int, default=0)
  args = flags.parse_args(argv)
  draw = random.Random(args.seed)
  env = {**os.environ, 'JAX_PLATFORMS': 'cpu', 'PYTHONPATH': str(_ROOT)}
  with tempfile.TemporaryDirectory() as folder:
    folder = pathlib.Path(folder)
    config = folder / 'tiny.py'
    toys = str(_ROOT / 'configs' / 'toys.py')
    config.write_text(_CONFIG.format(toys=toys, steps=args.steps))
    whole = Run(config, folder / 'whole', env)
    whole.wait_for(lambda: False)
    if whole.process.wait():
      sys.exit('\n'.join(whole.lines))
    step, expected = digest(folder / 'whole')
    print(f'never killed: step {step}, {expected[:16]}', flush=True)

    hits, restarts, moments = 0, 0, []
    while hits < args.kills:
      workdir = folder / f'killed{restarts}'
      struck = []
      while True:
        run = Run(config, workdir, env)
        if hits < args.kills:
          if not moments:
            moments = list(MOMENTS)
            draw.shuffle(moments)
          moment = moments.pop()
          where = strike(run, moment, workdir, draw)
          if where:
            hits += 1
            struck.append(f'{moment}: {where}')
            print(f'kill {hits:2}: {moment:10} {where}', flush=True)
            continue
        run.wait_for(lambda: False)
        break
      if run.process.wait():
        sys.exit('\n'.join(run.lines))
      restarts += 1
      found = digest(workdir)
      same = found == (step, expected)
      print(f'run killed {len(struck)} times: step {found[0]}, {found[1][:16]}, same: {same}')
      if not same:
        sys.exit(1)
  print(f'{hits} of {hits} kills: bit-equal at the end')


if __name__ == '__main__':
  main()
