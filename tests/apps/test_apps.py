"""The apps write what their flags say, from a pretrained model or a workdir."""

import argparse
import subprocess
import sys

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from jax3dgan.apps import common, interpolate, samples, turntable
from jax3dgan.pictures import display, sheets


def test_seeds():
  assert common.parse_seeds('0-3,7') == [0, 1, 2, 3, 7]
  assert common.parse_seeds('12') == [12]
  for wrong in ('', '1-', '-3', 'a', '3-1', '1,,2'):
    with pytest.raises(argparse.ArgumentTypeError):
      common.parse_seeds(wrong)


def test_seeds_are_counted_in_lines():
  assert [common.num_seeds(seeds) for seeds in ([7], [0, 3])] == ['1 seed', '2 seeds']


def test_degrees():
  assert common.parse_degrees('-40,0,12.5') == [-40, 0, 12.5]
  with pytest.raises(argparse.ArgumentTypeError, match='such as -40,0,40'):
    common.parse_degrees('left')


def test_views_suit_the_prior(tiny_model):
  np.testing.assert_allclose(np.degrees(display.show_views(tiny_model, 5)), [0, 45, 90, 135, 180])
  narrow = tiny_model.with_params(tiny_model.params, 1)
  narrow.yaw_half_range = 0.4
  np.testing.assert_allclose(display.show_views(narrow, 3), [-0.4, 0, 0.4])
  assert display.show_azimuth(narrow) == 0


def test_the_sheet_of_samples(tiny_model):
  plain = sheets.sheet(tiny_model, [0, 1, 2], psi=1.0, yaws=())
  tile = 16 * 8  # enlarged to 128 pixels
  assert plain.shape[1] >= 3 * tile and tile < plain.shape[0] < 2 * tile
  full = sheets.sheet(tiny_model, [0, 1, 2], psi=1.0, yaws=(0, 90), depth=True)
  # The grid, and below it each seed from two sides with two depth maps.
  assert full.shape[0] > 4 * tile and full.shape[1] >= 4 * tile
  again = sheets.sheet(tiny_model, [0, 1, 2], psi=1.0, yaws=(0, 90), depth=True)
  np.testing.assert_array_equal(full, again)


def test_the_command_for_samples(pretrained, tmp_path, capsys):
  out = tmp_path / 'x.png'
  samples.main(['--pretrained=tiny', f'--out={out}', '--seeds=0-2', '--psi=0.5', '--resolution=8'])
  assert '3 seeds of tiny, step 12' in capsys.readouterr().out
  with Image.open(out) as file:
    assert file.text['seeds'] == '[0, 1, 2]' and file.text['psi'] == '0.5'
    assert np.asarray(file).std() > 0


def test_the_command_for_turntables(pretrained, tmp_path, capsys):
  out = tmp_path / 'x.gif'
  common_flags = ['--pretrained=tiny', '--seeds=0,5', '--frames=6', '--resolution=8']
  turntable.main([*common_flags, f'--out={out}', '--depth', '--fps=10'])
  with Image.open(out) as file:
    assert file.n_frames == 6 and file.info['duration'] == 100
    # Two objects above their depth maps, each enlarged to 128 pixels.
    assert file.size == (2 * 128 + 2, 2 * 128 + 2)
  out = tmp_path / 'x.mp4'
  turntable.main([*common_flags, f'--out={out}', '--trajectory=sweep'])
  frames, seconds = imageio_ffmpeg.count_frames_and_secs(str(out))
  assert frames == 6 and seconds == pytest.approx(3, abs=0.01)
  assert capsys.readouterr().out.count('2 seeds of tiny') == 2


@pytest.mark.parametrize('app', [samples, turntable, interpolate])
@pytest.mark.parametrize(
  'flags, message',
  [
    (['--pretrained=tiny'], 'the following arguments are required: --out'),
    (['--out=x.mp4'], 'one of the arguments --workdir --pretrained is required'),
    (['--pretrained=tiny', '--out=x.avi'], 'must end in'),
    (['--pretrained=tiny', '--out=x.gif', '--seeds=a-b'], 'not a list of seeds such as 0-3,7'),
  ],
)
def test_wrong_flags(app, flags, message, capsys):
  with pytest.raises(SystemExit) as stop:
    app.main(flags)
  assert stop.value.code == 2 and message in capsys.readouterr().err


@pytest.mark.parametrize(
  'app, out', [(samples, 'x.png'), (turntable, 'x.mp4'), (interpolate, 'x.png')]
)
def test_what_the_user_can_fix_is_one_line(pretrained, app, out, tmp_path):
  with pytest.raises(SystemExit) as stop:
    app.main(['--pretrained=tony', f'--out={tmp_path / out}'])
  assert (
    stop.value.code == "Error: No pretrained model is called 'tony'. There are: flat, tiny, toys."
  )
  with pytest.raises(SystemExit) as stop:
    app.main([f'--workdir={tmp_path / "nowhere"}', f'--out={tmp_path / out}'])
  assert 'no run began there' in stop.value.code
  (tmp_path / 'file').write_text('')
  with pytest.raises(SystemExit) as stop:
    app.main(['--pretrained=tiny', f'--out={tmp_path / "file" / out}', '--seeds=0-1'])
  assert 'part of its path is a file' in stop.value.code and '\n' not in stop.value.code


def test_the_apps_start_without_tensorflow():
  code = (
    'import sys\n'
    "sys.modules['tensorflow'] = None\n"  # importing it is an error
    'import jax3dgan\n'
    "assert 'jax' not in sys.modules\n"
    'from jax3dgan import trained\n'
    'from jax3dgan.apps import interpolate, samples, turntable\n'
    "assert 'orbax.checkpoint' not in sys.modules\n"
  )
  subprocess.run([sys.executable, '-c', code], check=True)
