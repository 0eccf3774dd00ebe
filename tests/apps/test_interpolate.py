"""Interpolation and style mixing: what is between is between, and files are made again."""

import json

import numpy as np
import pytest
from PIL import Image

from jax3dgan import trained
from jax3dgan.apps import common, interpolate, samples, turntable
from jax3dgan.errors import UserError
from jax3dgan.pictures import display, paths, sheets
from jax3dgan.runs import provenance


@pytest.fixture(scope='module')
def flat():
  return trained.load(pretrained='toys_2d')


@pytest.mark.parametrize('space', ['w', 'z'])
def test_styles_pass_those_of_the_seeds(tiny_model, space):
  w = interpolate.styles(tiny_model, [3, 8, 5], 12, space, psi=0.7)
  exact = np.asarray(tiny_model.map(tiny_model.latents([3, 8, 5]), 0.7))
  np.testing.assert_allclose(w[::4], exact, atol=1e-5)
  assert w.shape == (12, *exact.shape[1:])
  if space == 'w':  # half way, by the easing, is the middle
    np.testing.assert_allclose(w[2], (exact[0] + exact[1]) / 2, atol=1e-6)
  opened = interpolate.styles(tiny_model, [3, 8], 5, space, psi=0.7, closed=False)
  np.testing.assert_allclose(opened[-1], exact[1], atol=1e-5)


def test_no_way(tiny_model):
  with pytest.raises(UserError, match='Give two, as --seeds=0,5'):
    interpolate.styles(tiny_model, [3], 5)
  with pytest.raises(UserError, match='no space'):
    interpolate.styles(tiny_model, [3, 4], 5, 'x')
  with pytest.raises(UserError, match='truncation of nan'):
    interpolate.styles(tiny_model, [3, 4], 5, psi=float('nan'))


def test_the_table_mixes_rows_and_columns(tiny_model):
  num_layers = tiny_model.map(tiny_model.latents([0])).shape[1]

  def cells(layers):
    table = interpolate.mixing_table(tiny_model, [0, 1], [2, 3, 4], layers, 1.0, 8)
    table = table[-(3 * 128 + 2 * 4 + 2) : -2, 2 : 4 * 132]
    return [[table[y * 132 :, x * 132 :][:128, :128] for x in range(4)] for y in range(3)]

  every = cells(range(num_layers))
  none = cells([])
  some = cells([0])
  assert (every[0][0] == 255).all()
  for y in (1, 2):
    for x in (1, 2, 3):
      np.testing.assert_array_equal(every[y][x], every[0][x])  # all layers: the column
      np.testing.assert_array_equal(none[y][x], none[y][0])  # no layer: the row
      assert (some[y][x] != some[y][0]).any() and (some[y][x] != some[0][x]).any()
  np.testing.assert_array_equal(some[0][1], every[0][1])
  np.testing.assert_array_equal(some[1][0], every[1][0])


COMMANDS = [
  (samples, 'x.png', ['--seeds=0-1', '--yaws=-20,20', '--pitches=0,50', '--psis=0,0.5,1',
                      '--pitch=10', '--show=colour,depth,normals,opacity']),
  (samples, 'x.png', ['--seeds=0-1', '--show=normals,opacity', '--yaws=0']),
  (turntable, 'x.webp', ['--seeds=0,5', '--frames=6', '--trajectory=figure-eight', '--fps=7',
                         '--show=colour,normals,opacity', '--yaw=-20,20', '--pitch=0,30']),
  (turntable, 'x.gif', ['--seeds=4', '--frames=5', '--trajectory=dolly', '--depth']),
  (turntable, 'x.mp4', ['--seeds=4', '--frames=5', '--trajectory=orbit', '--pitch=20']),
  (interpolate, 'x.gif', ['--seeds=0,5', '--frames=6', '--space=z', '--trajectory=orbit']),
  (interpolate, 'x.png', ['--seeds=0,5,9', '--depth', '--no-loop', '--yaw=30', '--pitch=5']),
  (interpolate, 'x.png', ['--mix=coarse', '--rows=0-1', '--columns=2-3']),
]  # fmt: skip


@pytest.mark.parametrize('app, name, flags', COMMANDS)
def test_every_output_is_made_again_from_its_record(pretrained, tmp_path, app, name, flags):
  first, again = tmp_path / f'first-{name}', tmp_path / f'again-{name}'
  app.main(['--pretrained=tiny', '--resolution=8', *flags, f'--out={first}'])
  app.main([f'--repeat={first}', f'--out={again}'])
  assert first.read_bytes() == again.read_bytes()
  record = provenance.read(first)
  assert record == provenance.read(again)
  assert record['model']['name'] == 'tiny' and json.dumps(record['camera'])


def test_the_record_has_the_cameras(pretrained, tiny_model, tmp_path):
  out = tmp_path / 'x.gif'
  flags = ['--pretrained=tiny', '--seeds=0', '--frames=4', '--resolution=8', f'--out={out}']
  turntable.main([*flags, '--trajectory=sweep', '--yaw=-30,30', '--pitch=15'])
  camera = provenance.read(out)['camera']
  assert camera['azimuth'] == pytest.approx([0, 30, 0, -30], abs=1e-5)
  assert camera['elevation'] == pytest.approx([15] * 4)
  assert camera['distance'] == [tiny_model.config.render.radius] * 4
  assert camera['fov'] == [tiny_model.config.render.fov_degrees] * 4


def test_strips_and_sheets_have_the_kinds(pretrained, tmp_path):
  out = tmp_path / 'x.png'
  flags = ['--pretrained=tiny', '--resolution=8', f'--out={out}']
  interpolate.main([*flags, '--seeds=0,5', '--no-loop', '--frames=3'])
  with Image.open(out) as file:
    assert file.size == (3 * 128 + 4, 128)
  interpolate.main([*flags, '--seeds=0,5', '--no-loop', '--frames=3', '--depth'])
  with Image.open(out) as file:
    assert file.size == (3 * (2 * 128 + 2) + 4, 128)


def test_opacity_and_truncation_on_a_sheet(tiny_model):
  plain = sheets.sheet(tiny_model, [0, 1], 1.0, (), 8)
  with_psis = sheets.sheet(tiny_model, [0, 1], 1.0, (), 8, psis=[0, 1])
  rows = with_psis[-(2 * 128 + 2 + 2) : -2]
  average, full = rows[:, 2:130], rows[:, 132:260]
  np.testing.assert_array_equal(average[:128], average[-128:])  # psi 0 is one object
  assert (full[:128] != full[-128:]).any()
  # psi 1 is what the grid above shows, as its own truncation is 1.
  np.testing.assert_array_equal(full[:128], plain[-130:-2, 2:130])


def test_a_2d_model(flat, tmp_path):
  w = interpolate.styles(flat, [0, 1], 2)
  views = interpolate.render(flat, w)
  assert views.image.shape == (2, 32, 32, 3) and views.depth is None
  table = interpolate.mixing_table(flat, [0], [1], 'fine')
  assert table.shape[1] >= 2 * 128
  for kinds, remedy in ((('depth',), 'Leave out --depth'), (('normals',), 'Use --show=colour')):
    with pytest.raises(UserError, match=remedy):
      interpolate.render(flat, w, kinds=kinds)
  with pytest.raises(UserError, match='2D model.*samples'):
    paths.make(flat, 4, 'figure-eight')
  with pytest.raises(UserError, match='2D model.*--pitches'):
    sheets.sheet(flat, [0], 1.0, pitches=[10])
  with pytest.raises(SystemExit) as stop:
    interpolate.main(
      ['--pretrained=toys_2d', '--seeds=0,1', f'--out={tmp_path}/x.gif', '--trajectory=orbit']
    )
  assert '2D model' in stop.value.code and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
  'app, flags, message',
  [
    (samples, ['--psi=nan'], "'nan' is not a number such as 0.7"),
    (samples, ['--resolution=0'], 'not a whole number from 1'),
    (samples, ['--show=colours'], "'colours' is none of colour, depth, normals, opacity"),
    (samples, ['--psis=0,inf'], 'not a list of numbers such as 0,0.5,1'),
    (turntable, ['--frames=0'], 'not a whole number from 1'),
    (turntable, ['--fps=0'], 'not a number of frames per second'),
    (turntable, ['--fps=1e9'], 'not a number of frames per second'),
    (interpolate, ['--mix=fine'], 'with --mix it is a table'),
    (interpolate, ['--space=y'], 'invalid choice'),
  ],
)
def test_wrong_numbers(app, flags, message, capsys):
  out = 'x.png' if app is samples else 'x.gif'
  with pytest.raises(SystemExit) as stop:
    app.main(['--pretrained=toys', f'--out={out}', *flags])
  assert stop.value.code == 2 and message in capsys.readouterr().err


@pytest.mark.parametrize(
  'app, out, flags, message',
  [
    (samples, 'x.png', ['--pitches=120'], 'cannot be 120° above the horizon'),
    (interpolate, 'x.gif', ['--seeds=4'], 'Give two'),
    (interpolate, 'x.png', ['--mix=9'], 'no layer 9'),
    (interpolate, 'x.gif', ['--seeds=4,5', '--yaw=0,3'], 'A fixed camera has one yaw'),
    (turntable, 'x.gif', ['--dolly=3,2', '--trajectory=dolly'], 'nearest and the farthest'),
  ],
)
def test_what_the_user_can_fix(pretrained, tmp_path, app, out, flags, message):
  with pytest.raises(SystemExit) as stop:
    app.main(['--pretrained=tiny', f'--out={tmp_path / out}', *flags])
  assert stop.value.code.startswith('Error: ') and message in stop.value.code


def test_kinds_come_in_one_order():
  assert common.parse_kinds('opacity,colour') == ['colour', 'opacity']
  assert display.with_depth(['normals'], True) == ('depth', 'normals')
