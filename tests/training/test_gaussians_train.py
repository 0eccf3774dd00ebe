"""One scene's Gaussians through training, evaluation and the apps, as a user calls them. Of so few
every pixel meets every one, which compiles faster."""

import json

import numpy as np
import pytest
import tiny_scene

from configs import gaussians_lego
from jax3dgan import cli, splats, train
from jax3dgan import main as main_lib
from jax3dgan.errors import UserError
from jax3dgan.nn import backend
from jax3dgan.runs import checkpoints


@pytest.fixture(scope='module', autouse=True)
def dense():
  with backend.choose(splatting='dense'):
    yield


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  """The workdir of a run of two steps."""
  folder = tmp_path_factory.mktemp('scene')
  config = gaussians_lego.get_test_config()
  with config.unlocked():
    config.data.source = str(tiny_scene.prepare_scene(folder))
    config.log.update(images_every=0, results=False)
  with pytest.raises(UserError, match='white background'):
    config.render.white_back = False
    train.run(config, folder / 'black')
  config.render.white_back = True
  train.run(config, folder / 'lego')
  return folder / 'lego'


def test_two_steps_leave_a_run(run):
  assert checkpoints.steps(run)[-1] == 2
  _, state = checkpoints.read(run)
  assert {'generator', 'densification'} == set(state['buffers'])
  assert state['buffers']['densification']['counts'].max() > 0


def test_held_out_views_are_measured(run, capsys):
  assert main_lib.main(['main', '--mode=eval', f'--workdir={run}']) == 0
  assert '3 views of the split test, 16²' in capsys.readouterr().err
  about = json.loads((run / 'eval' / '00000002' / 'metrics.json').read_text('utf-8'))
  assert about['metrics']['held_out/views'] == 3 and 0 < about['metrics']['held_out/psnr'] < 30


def test_splats_are_those_in_use(run, tmp_path, capsys):
  out = tmp_path / 'x.ply'
  assert not cli.main(['export', f'--workdir={run}', f'--splats={out}', '--seeds=0'])
  assert '64 Gaussians' in capsys.readouterr().out
  cloud = splats.read(out)
  assert cloud.means.shape == (64, 3) and cloud.degree == 1
  assert np.abs(cloud.means).max() < gaussians_lego.BOX
