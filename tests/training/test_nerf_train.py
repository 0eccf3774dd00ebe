"""A NeRF through training, evaluation and the apps, as a user calls them."""

import json
import zipfile

import numpy as np
import pytest
import tiny_scene
from PIL import Image

from configs import nerf_lego
from jax3dgan import cli, train, trained
from jax3dgan import main as main_lib
from jax3dgan.apps import common
from jax3dgan.errors import UserError
from jax3dgan.evaluation import held_out
from jax3dgan.meshes import meshing
from jax3dgan.runs import checkpoints


def config_of(data):
  config = nerf_lego.get_test_config()
  with config.unlocked():
    config.data.source = str(data)
    config.log.images_every = 0
  return config


@pytest.fixture(scope='module')
def data(tmp_path_factory):
  return tiny_scene.prepare_scene(tmp_path_factory.mktemp('scene'))


@pytest.fixture(scope='module')
def run(data, tmp_path_factory):
  """The workdir of a run of two steps."""
  workdir = tmp_path_factory.mktemp('runs') / 'lego'
  train.run(config_of(data), workdir)
  return workdir


def test_two_steps_leave_a_run(run):
  assert checkpoints.steps(run)[-1] == 2
  assert {'samples.png', 'turntable.mp4', 'summary.json'} <= {path.name for path in run.iterdir()}
  _, state = checkpoints.read(run)
  assert set(state['networks']) == {'generator'} and set(state['optimizers']) == {'generator'}
  moments = np.concatenate([np.ravel(x) for x in _leaves(state['optimizers'])])
  assert np.abs(moments).max() > 0


def _leaves(tree):
  if isinstance(tree, dict | list | tuple):
    for value in tree.values() if isinstance(tree, dict) else tree:
      yield from _leaves(value)
  elif tree is not None:
    yield np.asarray(tree)


def test_held_out_views_are_measured(run, capsys):
  assert main_lib.main(['main', '--mode=eval', f'--workdir={run}']) == 0
  assert '3 views of the split test, 16²' in capsys.readouterr().err
  about = json.loads((run / 'eval' / '00000002' / 'metrics.json').read_text('utf-8'))
  assert about['metrics']['held_out/views'] == 3 and 0 < about['metrics']['held_out/psnr'] < 30
  assert -1 <= about['metrics']['held_out/ssim'] <= 1
  with Image.open(run / 'eval' / '00000002' / 'held_out.png') as sheet:
    assert 'split test' in sheet.text['protocol']


def test_a_mesh_and_an_export(run, tmp_path, capsys):
  pytest.importorskip('skimage')
  flags = [f'--workdir={run}', '--seeds=0']
  out = tmp_path / 'x.ply'
  assert not cli.main(['mesh', *flags, '--resolution=12', '--level=0.1', f'--out={out}'])
  assert out.stat().st_size > 1000
  out = tmp_path / 'x.zip'
  assert not cli.main(['export', *flags[:1], f'--out={out}', '--resolution=8', '--platforms=cpu'])
  with zipfile.ZipFile(out) as file:
    assert json.loads(file.read('about.json'))['z_dim'] == 0


@pytest.mark.parametrize(
  'flags',
  [
    ('edit', '--directions=pca', '--out=x.png'),
    ('interpolate', '--out=x.png'),
    ('interpolate', '--out=x.png', '--mix=coarse'),
    ('invert', '--input=photo.png', '--out=x'),
  ],
  ids=' '.join,
)
def test_what_needs_latents_is_refused(run, flags, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  with pytest.raises(SystemExit) as stop:
    cli.main([flags[0], f'--workdir={run}', *flags[1:]])
  assert 'is a single scene without latents' in str(stop.value)


def test_seeds_of_a_scene_are_one(run):
  flags = common.parser('samples', 'a sheet', '.png', seeds='0-15')
  args = flags.parse_args([f'--workdir={run}', '--out=x.png'])
  common.load(args)
  assert args.seeds == [0]


def test_a_mesh_ends_where_the_samples_do(run):
  model = trained.load(workdir=run)
  assert meshing.default_cube(model) == model.config.render.box == nerf_lego.BOX


def test_a_wrong_background_is_refused_before_anything_is_compiled(data, tmp_path):
  config = config_of(data)
  config.render.white_back = False
  with pytest.raises(UserError, match='white background. Set --config.render.white_back=True'):
    train.run(config, tmp_path)


def test_photos_of_training_are_not_held_out(data, run):
  config = config_of(data / 'train')
  with pytest.raises(UserError, match='has no held-out views. Prepare the scene with --hold-out'):
    held_out.open_views(config.data, 16)
  with pytest.raises(UserError, match='16'):  # there are some, of another size
    held_out.open_views(config_of(data).data, 32)
  views = held_out.open_views(config_of(data).data, 16)
  model = trained.load(workdir=run)
  result = held_out.measure(model, views)
  # As the mean of squares says it.
  photo, label = views[0]
  from jax3dgan import cameras

  out = model.render(model.map(model.latents([0]), psi=1), cameras.from_label(label[None]))
  error = np.mean((np.clip(out.image[0], -1, 1) / 2 + 0.5 - photo / 255.0) ** 2)
  assert result.values['held_out/psnr_min'] <= -10 * np.log10(error) + 1e-4


def test_models_with_latents_have_no_held_out_views(tiny_model):
  with pytest.raises(UserError, match='makes many objects'):
    held_out.check(tiny_model)
