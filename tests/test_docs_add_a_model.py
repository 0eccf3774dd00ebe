"""docs/add_a_model.md: its package trains, is measured and shown, by the page's own commands."""

import json
import pathlib
import re
import sys

import tiny_scene

from jax3dgan import cli
from jax3dgan import main as main_lib
from jax3dgan.runs import checkpoints

PAGE = (pathlib.Path(__file__).parent.parent / 'docs' / 'add_a_model.md').read_text('utf-8')
# The page's experiment in small.
SMALL = ('num_steps=2', 'batch_size=2', 'resolution=16', 'render.num_coarse=4', 'render.num_fine=4')
SMALL += ('display.num_coarse=4', 'display.num_fine=4', 'log.images_every=0')


def commands():
  (block,) = re.findall(r'^```sh\n(.*?)```', PAGE, re.M | re.S)
  return [line.split() for line in block.splitlines()]


def test_the_page(tmp_path, monkeypatch):
  blocks = re.findall(r'^```python\n(# (\S+)\n.*?)```', PAGE, re.M | re.S)
  assert [name for _, name in blocks] == [
    f'our_nerf/{name}.py' for name in ('generator', 'recipe', 'config')
  ]
  (tmp_path / 'our_nerf').mkdir()
  for code, name in blocks:
    (tmp_path / name).write_text(code, encoding='utf-8')
  tiny_scene.prepare_scene(tmp_path).rename(tmp_path / 'lego')
  (tmp_path / 'data').mkdir()
  (tmp_path / 'lego').rename(tmp_path / 'data' / 'lego')
  monkeypatch.chdir(tmp_path)
  monkeypatch.syspath_prepend(tmp_path)
  prepare, train, evaluate, samples = commands()
  assert prepare[2] == 'jax3dgan.data.prepare' and '--out=data/lego' in prepare
  assert train[:3] == evaluate[:3] == ['python', '-m', 'jax3dgan.main']
  try:
    assert main_lib.main([*train[2:], *(f'--config.{field}' for field in SMALL)]) == 0
    assert main_lib.main(evaluate[2:]) == 0
    assert not cli.main(samples[1:])
  finally:
    for name in [name for name in sys.modules if name.split('.')[0] == 'our_nerf']:
      del sys.modules[name]
  assert checkpoints.steps(tmp_path / 'runs' / 'ours')[-1] == 2
  about = json.loads((tmp_path / 'runs/ours/eval/00000002/metrics.json').read_text('utf-8'))
  assert about['metrics']['held_out/views'] == 3
  assert (tmp_path / 'ours.png').stat().st_size > 1000
