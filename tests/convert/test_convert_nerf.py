"""A NeRF's npz becomes a workdir whose field is the file's, in our world."""

import pathlib

import numpy as np
import numpy_nerf
import pytest

from jax3dgan import cameras, trained
from jax3dgan.cameras import Z_UP_TO_Y_UP
from jax3dgan.convert import __main__ as convert_cli
from jax3dgan.convert import nerf_npz
from jax3dgan.data import posed
from jax3dgan.errors import UserError
from jax3dgan.inversion import quality

SKIP = 2
_LEGO = pathlib.Path(__file__).resolve().parents[3] / 'shared' / 'data' / 'lego'


def arrays(**sizes):
  networks = {
    name: numpy_nerf.weights(i, skip=SKIP, **sizes) for i, name in enumerate(nerf_npz.NETWORKS)
  }
  return {f'{name}/{k}': v for name, network in networks.items() for k, v in network.items()}


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
  folder = tmp_path_factory.mktemp('nerf')
  np.savez(folder / 'x.npz', **arrays())
  flags = ['--from=nerf-npz', f'--input={folder / "x.npz"}', f'--workdir={folder / "run"}']
  assert convert_cli.main([*flags, '--step=7']) == 0
  return folder / 'run'


def test_the_field_is_the_files(workdir):
  model = trained.load(workdir=workdir)
  assert model.step == 7 and model.config.model.skip_layer == SKIP
  draw = np.random.default_rng(0)
  points = draw.uniform(-1.5, 1.5, (1, 6, 3)).astype(np.float32)
  directions = draw.normal(size=(1, 6, 3)).astype(np.float32)
  directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
  # Points of the file, z up, as ours, y up.
  ours = [(x @ Z_UP_TO_Y_UP.T).astype(np.float32) for x in (points, directions)]
  w = model.map(model.latents([0]))
  density, colour = model.query(w, *ours)
  fine = {k.removeprefix('fine/'): v for k, v in arrays().items() if k.startswith('fine/')}
  expected = numpy_nerf.field(fine, points[0], directions[0], skip=SKIP)
  np.testing.assert_allclose(density[0], expected[0], rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(colour[0], expected[1], atol=1e-5)


def test_one_network_serves_both_passes():
  alone = {k: v for k, v in arrays().items() if k.startswith('coarse/')}
  params, fields = nerf_npz.networks_in('x', alone)
  assert set(params) == {'network'} and not fields['two_networks']


def refused(given):
  with pytest.raises(UserError) as caught:
    nerf_npz.networks_in('x.npz', given)
  assert '\n' not in str(caught.value)
  return str(caught.value)


def test_arrays_that_are_refused():
  whole = arrays()
  assert 'It is no NeRF' in refused({'a': np.zeros(2, np.float32)})
  missing = {k: v for k, v in whole.items() if k != 'fine/fc_rgb.bias'}
  assert 'fine/fc_rgb.bias is missing' in refused(missing)
  assert 'has coarse/other.weight, which is not known' in refused(
    {**whole, 'coarse/other.weight': np.zeros((2, 2), np.float32)}
  )
  wrong = {**whole, 'fine/layers_xyz.0.weight': np.zeros((8, 9), np.float32)}
  assert 'has 9 inputs, which are neither 8 features' in refused(wrong)
  assert 'no positional encoding' in refused(
    {**whole, 'fine/layer1.weight': np.zeros((8, 20), np.float32)}
  )
  larger = {k: v for k, v in arrays(hidden=6).items() if k.startswith('coarse/')}
  assert 'differ in size' in refused({**whole, **larger})


@pytest.mark.parametrize(
  ('content', 'message'),
  [
    (None, 'does not exist'),
    (b'nothing', 'is no npz of numbers'),
    ({'fine/layer1.weight': np.array(['a'], object)}, 'is no npz of numbers'),
    ({'fine/layer1.weight': np.full((2, 3), np.nan)}, 'values that are not finite'),
  ],
)
def test_files_that_are_refused(content, message, tmp_path, capsys):
  path = tmp_path / 'x.npz'
  if isinstance(content, bytes):
    path.write_bytes(content)
  elif content is not None:
    np.savez(path, **content)
  flags = ['--from=nerf-npz', f'--input={path}', f'--workdir={tmp_path / "run"}']
  assert convert_cli.main(flags) == 1
  assert message in capsys.readouterr().err and not (tmp_path / 'run').exists()


@pytest.mark.parametrize('flag', ['--ema=x', '--field=tall', '--curriculum=ffhq'])
def test_flags_of_other_releases_are_refused(flag, tmp_path, capsys):
  flags = ['--from=nerf-npz', '--input=x.npz', f'--workdir={tmp_path}', flag]
  assert convert_cli.main(flags) == 1
  assert 'Leave it out' in capsys.readouterr().err


def test_lego_as_it_was_trained(tmp_path):
  """Views 3 and 40 of the training at 64²: 26.6 and 24.7 dB, by which filter photos are resized
  ±.4; 17 with the ReLU after the first layer that the paper has."""
  file = _LEGO / 'nerf_lego_lowres_krrish94.npz'
  if not file.is_file():
    pytest.skip('the trained NeRF is not in ../shared/data/lego')
  flags = ['--from=nerf-npz', f'--input={file}', f'--workdir={tmp_path / "run"}']
  assert convert_cli.main(flags) == 0
  model = trained.load(workdir=tmp_path / 'run')
  views = posed.load(_LEGO / 'lego_100.tar', resolution=64)
  photos = views.images[[3, 40]].astype(np.float32) / 127.5 - 1
  out = model.render(model.map(model.latents([0])), cameras.from_label(views.labels[[3, 40]]), 64)
  np.testing.assert_allclose(quality.psnr(out.image, photos), [26.6, 24.7], atol=0.4)
