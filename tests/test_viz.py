"""Pictures: what is drawn is where it should be, and files can be read again."""

import subprocess

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from jax3dgan import viz
from jax3dgan.errors import UserError


def test_to_uint8():
  image = np.array([-1.0, 0.0, 1.0, -9.0, 9.0, np.nan])
  np.testing.assert_array_equal(viz.to_uint8(image), [0, 128, 255, 0, 255, 0])
  same = np.arange(4, dtype=np.uint8)
  assert viz.to_uint8(same) is same


def test_grid_is_row_by_row_on_white():
  tiles = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.ones((4, 6, 3), np.uint8)
  image = viz.grid(tiles, columns=3, pad=1)
  assert image.shape == (2 * 4 + 1, 3 * 6 + 2, 3)
  assert image[0, 0, 0] == 0 and image[0, 7, 0] == 1 and image[5, 7, 0] == 4
  assert (image[4] == 255).all() and (image[5:, 14:] == 255).all()
  assert viz.grid(tiles).shape == (2 * 4 + 2, 3 * 6 + 4, 3)


def test_the_ramp_gets_lighter_all_the_way():
  colours = viz.colour_ramp(np.linspace(0, 1, 50)).astype(np.float64)
  lightness = colours @ [0.2126, 0.7152, 0.0722]
  assert (np.diff(lightness) > 0).all()
  np.testing.assert_array_equal(
    viz.colour_ramp(np.array([-1.0, 2.0])), viz.colour_ramp(np.array([0.0, 1.0]))
  )


def test_depth_in_colours():
  depth = np.array([[1.0, 1.5], [2.0, np.nan]])
  opacity = np.array([[1.0, 1.0], [1.0, 0.0]])
  colours = viz.colour_depth(depth, opacity, limits=(1.0, 2.0))
  near, far = viz.colour_ramp(np.array([1.0, 0.0]))
  np.testing.assert_array_equal(colours[0, 0], near)
  np.testing.assert_array_equal(colours[1, 0], far)
  np.testing.assert_array_equal(colours[1, 1], [255, 255, 255])  # nothing there
  assert viz.depth_range(depth, np.zeros_like(opacity)) == viz.depth_range(depth)  # fog
  assert viz.depth_range(np.full((2, 2), np.nan)) == (0.0, 1.0)
  low, high = viz.depth_range(np.linspace(3, 4, 101))
  assert (low, high) == pytest.approx((3.02, 3.98))


def test_surface_depth_of_a_half_transparent_pixel():
  # Half of the light is stopped at distance 2: Σ w·t = 1, Σ w = 0.5.
  np.testing.assert_allclose(viz.surface_depth(np.array([1.0, 0.0]), np.array([0.5, 0.0])), [2, 0])


def test_normals_of_walls():
  size, fov = 32, 40.0
  half = np.tan(np.radians(fov) / 2)
  ticks = ((np.arange(size) + 0.5) / size * 2 - 1) * half
  y, x = np.meshgrid(ticks, ticks, indexing='ij')
  for normal in ([0, 0, -1], [0.6, 0, -0.8], [0, -0.6, -0.8]):
    # The plane normal·p = −1: distance along the ray t = −1 / (normal·direction).
    rays = np.stack([x, y, np.ones_like(x)], -1)
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    found = viz.normals_from_depth(-1 / (rays @ np.array(normal)), fov)
    np.testing.assert_allclose(found, np.broadcast_to(normal, found.shape), atol=1e-3)
  assert viz.colour_normals(np.array([[[0.0, 0.0, -1.0]]])).tolist() == [[[128, 128, 255]]]


def test_a_sheet_has_its_titles_and_grids():
  red = np.full((10, 20, 3), [255, 0, 0], np.uint8)
  image = viz.sheet([('a title that is wider than what is below it', red), ('', red)])
  assert image.shape[1] > 200
  rows = np.flatnonzero((image[:, 2:22] == [255, 0, 0]).all(axis=(1, 2)))
  assert len(rows) == 20 and rows[10] - rows[9] == 3
  assert (image[: rows[0]] < 200).any()  # letters


def test_png_keeps_its_notes_and_leaves_nothing_behind(tmp_path):
  image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
  viz.save_png(tmp_path / 'new' / 'x.png', image, {'seeds': '[0, 1]', 'model': 'π-GAN'})
  with Image.open(tmp_path / 'new' / 'x.png') as file:
    np.testing.assert_array_equal(np.asarray(file), image)
    assert file.text == {'seeds': '[0, 1]', 'model': 'π-GAN'}
  assert [p.name for p in (tmp_path / 'new').iterdir()] == ['x.png']


def _frames(num, height=33, width=47):
  for i in range(num):
    frame = np.full((height, width, 3), 255, np.uint8)
    frame[:, : 4 * i + 1] = [200, 30, 30]
    yield frame


def test_mp4_of_odd_size_plays(tmp_path):
  viz.write_video(tmp_path / 'x.mp4', _frames(6), fps=10)
  ffmpeg = [imageio_ffmpeg.get_ffmpeg_exe(), '-i', str(tmp_path / 'x.mp4')]
  raw = [*ffmpeg, '-f', 'rawvideo', '-pix_fmt', 'rgb24', '-']
  done = subprocess.run(raw, capture_output=True, check=True)
  frames = np.frombuffer(done.stdout, np.uint8).reshape(-1, 34, 48, 3)
  assert len(frames) == 6
  assert abs(int(frames[5][16, 8, 0]) - 200) < 12 and frames[0][16, 30].min() > 240
  about = done.stderr.decode().split('Output')[0]
  assert 'h264' in about and 'yuv420p' in about and '10 fps' in about


@pytest.mark.parametrize('ending', ['gif', 'webp'])
def test_animated_images(tmp_path, ending):
  path = tmp_path / f'x.{ending}'
  viz.write_video(path, _frames(4), fps=20)
  with Image.open(path) as file:
    assert file.n_frames == 4 and file.size == (47, 33)
    file.seek(3)
    file.load()
    assert file.info['duration'] == 50 and file.info['loop'] == 0
    last = np.asarray(file.convert('RGB')).astype(int)
  assert abs(last[16, 4] - [200, 30, 30]).max() < 12 and last[16, 40].min() > 240


@pytest.mark.parametrize(
  'ending, fps, milliseconds, said',
  [
    ('gif', 120, 20, '50 is the nearest'),
    ('gif', 60, 20, '50 is'),
    ('gif', 30, 30, '33.3 is'),
    ('gif', 1e-6, 655350, '0.00153 is'),
    ('gif', 24, 40, ''),
    ('webp', 120, 11, '90.9 is'),
    ('webp', 50, 20, ''),
  ],
)
def test_frame_rates_that_a_format_cannot_have(tmp_path, capsys, ending, fps, milliseconds, said):
  viz.write_video(tmp_path / f'x.{ending}', _frames(3), fps)
  with Image.open(tmp_path / f'x.{ending}') as file:
    for i in range(3):
      file.seek(i)
      file.load()
      assert file.info['duration'] == milliseconds
  text = capsys.readouterr().err
  assert said in text and bool(said) == bool(text)


def test_a_video_that_cannot_be_written(tmp_path):
  with pytest.raises(UserError, match=r'End it in one of .mp4, .gif, .webp'):
    viz.write_video(tmp_path / 'x.avi', _frames(2))
  with pytest.raises(ValueError, match='at least one frame'):
    viz.write_video(tmp_path / 'x.mp4', [])
  with pytest.raises(OSError, match='ffmpeg could not write'):
    viz.write_video(tmp_path / 'x.mp4', _frames(2), fps=-1)
  assert list(tmp_path.iterdir()) == []
