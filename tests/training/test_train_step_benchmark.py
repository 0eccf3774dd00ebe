"""The benchmark of the training step, at a tiny size: its figures, its trace, what it imports."""

import pathlib
import re
import subprocess
import sys

import pytest

from benchmarks import roofline, train_step
from jax3dgan.training import schedule

ROOT = pathlib.Path(__file__).parents[2]
CONFIG = """
from configs import toys
def get_config():
  config = toys.get_test_config()
  config.resolution, config.discriminator.channels = 8, (4, 8, 8)
  config.loss.r1, config.render.num_fine = 0.0, 0  # the longest to compile
  return config
"""


def test_figures_and_trace(tmp_path, capsys, thorough):
  config = tmp_path / 'config.py'
  config.write_text(CONFIG)
  folder = tmp_path / 'profile'
  flags = ['--matmul-dtype=bfloat16', '--repeats=2', '--peak-tflops=0.001']
  flags += [f'--profile={folder}'] * thorough  # takes as long as all the rest
  train_step.main([f'--config={config}', '--batch=2', *flags])
  out = capsys.readouterr().out
  assert 'batch 2, 8², bfloat16' in out
  figures = {
    name: float(re.search(f'{re.escape(name)} +([0-9.]+)$', out, re.M)[1])
    for name in ('step, s (median)', 'images/s (median)', 'MFU, %')
  }
  # Seconds are printed to three places.
  assert figures['images/s (median)'] == pytest.approx(2 / figures['step, s (median)'], rel=0.2)
  tiny = train_step.load(config)
  tiny.batch_size = 2
  flops = roofline.step_flops(tiny, schedule.stages(tiny)[0])
  expected = 100 * flops / figures['step, s (median)'] / 1e9
  assert figures['MFU, %'] == pytest.approx(expected, rel=0.2)
  assert bool(list(folder.rglob('*.xplane.pb'))) == thorough


def test_it_needs_no_tensorflow():
  """A machine with an accelerator may have JAX alone."""
  code = (
    'import sys; from benchmarks import train_step; import configs.celeba; '
    "print([m for m in ('tensorflow', 'tensorflow_datasets', 'clu') if m in sys.modules])"
  )
  done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=ROOT)
  assert done.stdout.strip() == '[]', done.stderr
