"""docs/cameras.md: its code runs, its numbers are the library's, and its figure is drawn."""

import importlib.util
import math
import pathlib
import re

import numpy as np
from PIL import Image

from jax3dgan import cameras

DOCS = pathlib.Path(__file__).parent.parent / 'docs'
PAGE = (DOCS / 'cameras.md').read_text(encoding='utf-8')


def test_the_code_of_the_page_runs(capsys):
  (code,) = re.findall(r'```python\n(.*?)```', PAGE, re.S)
  exec(code, {})
  uv, shape = capsys.readouterr().out.splitlines()
  # From (0, 0, 4) the camera looks along −z: at half the size, the object is (4 − 0.5) / 2 away.
  assert uv == '[[0.5 0.5]] [1.75]' and shape == '(25,)'


def test_the_frontal_camera_of_the_page():
  numbers = re.search(r'12° has (.*?)\.\n', PAGE, re.S).group(1).replace('−', '-').replace('·', ' ')
  label = [float(number) for number in numbers.split()]
  expected = cameras.orbit(0.0, 0.0, 1.0, 12.0).label()
  np.testing.assert_allclose(label, expected, atol=5e-4)


def test_what_the_page_says_of_angles_and_entries():
  azimuth, elevation = 0.4, 0.3
  camera = cameras.orbit(azimuth, elevation, 2.0, 30.0)
  other = cameras.from_yaw_pitch(math.pi / 2 - azimuth, math.pi / 2 - elevation, 2.0, 30.0)
  np.testing.assert_allclose(camera.label(), other.label(), atol=1e-6)
  label = np.asarray(camera.label())
  position = 2 * np.array([
    math.sin(azimuth) * math.cos(elevation), math.sin(elevation),
    math.cos(azimuth) * math.cos(elevation),
  ])  # fmt: skip
  np.testing.assert_allclose(label[[3, 7, 11]], position, atol=1e-6)
  np.testing.assert_allclose(label[[2, 6, 10]], -position / 2, atol=1e-6)  # forward
  np.testing.assert_allclose(
    label[[0, 4, 8]], [math.cos(azimuth), 0, -math.sin(azimuth)], atol=1e-6
  )
  assert label[5] < 0  # down
  np.testing.assert_allclose(label[16], 0.5 / math.tan(math.radians(15)), rtol=1e-6)


def test_every_function_of_the_page_is_there():
  for name in re.findall(r'`cameras\.(\w+)', PAGE):
    assert callable(getattr(cameras, name)), name


def test_the_figure_is_drawn(tmp_path):
  spec = importlib.util.spec_from_file_location('figure', DOCS / 'make_camera_figure.py')
  figure = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(figure)
  figure.main([f'--out={tmp_path / "x.png"}'])
  with Image.open(tmp_path / 'x.png') as drawn, Image.open(DOCS / 'images' / 'cameras.png') as kept:
    assert drawn.size == kept.size and np.asarray(drawn.convert('L')).std() > 20
