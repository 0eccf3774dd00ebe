"""Draws docs/images/cameras.png: the conventions of `jax3dgan/cameras`, by its own functions.

python docs/make_camera_figure.py [--out=docs/images/cameras.png]
"""

import argparse
import io
import math
import pathlib

import matplotlib

matplotlib.use('Agg')

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

from jax3dgan import cameras
from jax3dgan.rendering import rays

_AZIMUTH, _ELEVATION = math.radians(56), math.radians(30)  # of the camera that is drawn
_FOV, _NEAR, _FAR = 26.0, 0.76, 1.24
_RESOLUTION = 4  # of the pixel grid
_RED, _GREEN, _BLUE, _GREY = '#c8393b', '#3a8f3f', '#2f62b5', '#8a8a8a'


def _flat(points):
  """Matplotlib's axes have z up: our (x, y, z) is drawn at its (z, x, y), right-handed too."""
  points = np.asarray(points)
  return points[..., 2], points[..., 0], points[..., 1]


def _arrow(axes, start, end, colour, text=None, width=1.6):
  start, end = np.asarray(start), np.asarray(end)
  axes.quiver(*_flat(start), *_flat(end - start), color=colour, lw=width, arrow_length_ratio=0.16)
  if text:
    axes.text(*_flat(start + (end - start) * 1.13), text, color=colour, ha='center', va='center')


def _line(axes, points, colour=_GREY, **style):
  axes.plot(*_flat(points), color=colour, **{'lw': 1, **style})


def _arc(angles_to_point, low, high):
  return np.stack([angles_to_point(t) for t in np.linspace(low, high, 40)])


def _sphere(azimuth, elevation, radius=1.0):
  return np.asarray(cameras.orbit(azimuth, elevation, radius, _FOV).origin)


def _corners(camera, depth):
  """World points [4, 3] of the image's corners at a z-depth."""
  inverse = np.linalg.inv(np.asarray(camera.intrinsics))
  uv = np.array([[0, 0, 1], [1, 0, 1], [1, 1, 1], [0, 1, 1]])
  local = depth * uv @ inverse.T
  pose = np.asarray(camera.cam2world)
  return local @ pose[:3, :3].T + pose[:3, 3]


def draw_world(axes):
  """World axes, the sphere of cameras, one camera with its axes, angles, near and far."""
  camera = cameras.orbit(_AZIMUTH, _ELEVATION, 1.0, _FOV)
  pose = np.asarray(camera.cam2world)
  origin, rotation = pose[:3, 3], pose[:3, :3]
  for axis, name in zip(np.eye(3), 'xyz', strict=True):
    _arrow(axes, [0, 0, 0], 0.62 * axis, 'black', name)
  turn = np.linspace(0, 2 * math.pi, 100)
  _line(axes, np.stack([_sphere(t, 0.0) for t in turn]), '#d0d0d0')
  _line(axes, _arc(lambda t: _sphere(_AZIMUTH, t), 0, math.pi / 2), '#d0d0d0')
  # Angles.
  foot = _sphere(_AZIMUTH, 0.0)
  _line(axes, [[0, 0, 0], foot], ls=':')
  _line(axes, [[0, 0, 0], origin], ls=':')
  _line(axes, _arc(lambda t: _sphere(t, 0.0, 0.45), 0, _AZIMUTH), _RED, lw=2.2)
  _line(axes, _arc(lambda t: _sphere(t, 0.0, 0.3), math.pi / 2, _AZIMUTH), '#d88b2c', lw=2.2)
  _line(axes, _arc(lambda t: _sphere(_AZIMUTH, t, 0.62), 0, _ELEVATION), _BLUE, lw=2.2)
  _line(axes, _arc(lambda t: _sphere(_AZIMUTH, t, 0.4), _ELEVATION, math.pi / 2), _GREEN, lw=2.2)
  middle = _AZIMUTH / 2
  axes.text(*_flat(_sphere(middle, 0.0, 0.55) - [0, 0.08, 0]), 'azimuth', color=_RED, ha='center')
  text = _sphere(1.4, 0.0, 0.3) + [0.12, -0.07, -0.05]
  axes.text(*_flat(text), 'yaw', color='#d88b2c', ha='center')
  axes.text(*_flat(_sphere(_AZIMUTH, _ELEVATION / 2, 0.69)), ' elevation', color=_BLUE)
  text = _sphere(_AZIMUTH, math.radians(62), 0.46)
  axes.text(*_flat(text), ' pitch', color=_GREEN)
  # The frontal camera.
  axes.scatter(*_flat(_sphere(0.0, 0.0)), color='black', s=14)
  axes.text(*_flat(_sphere(0.0, 0.0) + [0, -0.12, 0.02]), 'frontal camera', ha='center')
  # The camera: axes, frustum, what is sampled of its rays.
  axes.scatter(*_flat(origin), color='black', s=18)
  for column, (colour, name) in enumerate(
    [(_RED, 'x right'), (_GREEN, 'y down'), (_BLUE, 'z forward')]
  ):
    _arrow(axes, origin, origin + 0.3 * rotation[:, column], colour, name, 2.0)
  near, far = _corners(camera, _NEAR), _corners(camera, _FAR)
  for ends, name, corner, up in ((near, 'near', 1, 0.05), (far, 'far', 3, -0.09)):
    _line(axes, np.concatenate([ends, ends[:1]]), '#555555')
    axes.text(*_flat(ends[corner] + [0, up, 0]), name, color='#555555', ha='center')
  for corner in range(4):
    _line(axes, [origin, near[corner]], '#bbbbbb', lw=0.8)
    _line(axes, [near[corner], far[corner]], '#555555', lw=0.8)
  axes.set_title('world, camera, angles', fontsize=11)
  axes.view_init(elev=24, azim=-28)
  axes.set(xlim=(-0.6, 1.0), ylim=(-0.5, 1.1), zlim=(-0.55, 0.9))
  axes.set_box_aspect((1.6, 1.6, 1.45), zoom=1.35)
  axes.set_axis_off()


def draw_image(axes):
  """The image plane: u, v, pixel centres, and where `pixel_grid` puts them."""
  ticks = np.arange(_RESOLUTION + 1) / _RESOLUTION
  for tick in ticks:
    axes.plot([tick, tick], [0, 1], color='#c4c4c4', lw=1)
    axes.plot([0, 1], [tick, tick], color='#c4c4c4', lw=1)
  for align, colour, name, size in (
    (False, _BLUE, 'pixel centres', 26),
    (True, '#d88b2c', 'align_corners (π-GAN’s release)', 12),
  ):
    uv = np.asarray(rays.pixel_grid(_RESOLUTION, align))
    axes.scatter(uv[:, 0], uv[:, 1], s=size, color=colour, label=name, zorder=3)
  for i, (u, v) in enumerate(np.asarray(rays.pixel_grid(_RESOLUTION))[:5]):
    axes.text(u + 0.02, v - 0.03, f'ray {i}', fontsize=7, color=_BLUE)
  axes.plot(0.5, 0.5, '+', color='black', ms=10)
  axes.text(0.5, 0.46, '(cx, cy)', ha='center', fontsize=8)
  axes.annotate('', (1.12, 0), (0, 0), arrowprops={'arrowstyle': '->', 'color': _RED})
  axes.annotate('', (0, 1.12), (0, 0), arrowprops={'arrowstyle': '->', 'color': _GREEN})
  axes.text(1.14, 0, 'u', color=_RED, va='center')
  axes.text(0, 1.16, 'v', color=_GREEN, ha='center')
  axes.set_title('image: u = fx·x/z + cx,  v = fy·y/z + cy', fontsize=11)
  axes.legend(loc='upper center', bbox_to_anchor=(0.5, 0.06), frameon=False, fontsize=8, ncol=2)
  axes.set(xlim=(-0.08, 1.2), ylim=(1.22, -0.08), aspect='equal')
  axes.set_axis_off()


def draw_side(axes):
  """The side view of the field of view: fx = .5 / tan(fov / 2)."""
  half = math.tan(math.radians(_FOV) / 2)
  axes.plot([0, 1.4], [0, 0], color=_GREY, ls=':', lw=1)
  for sign in (-1, 1):
    axes.plot([0, 1.4], [0, sign * 1.4 * half], color='#bbbbbb', lw=1)
  angle = np.linspace(-math.radians(_FOV) / 2, math.radians(_FOV) / 2, 40)
  axes.plot(0.4 * np.cos(angle), 0.4 * np.sin(angle), color='#8c3fa8', lw=2)
  axes.text(0.2, 0.0, 'fov', color='#8c3fa8', va='bottom', ha='center', fontsize=9)
  # Near and far are distances along a ray, so they are arcs; the radius is the camera's distance.
  for distance, name in ((_NEAR, 'near'), (_FAR, 'far')):
    axes.plot(distance * np.cos(angle), distance * np.sin(angle), color='#555555', lw=1.5)
    at = distance * np.cos(angle[-1]), -distance * np.sin(angle[-1])
    axes.text(at[0], at[1] + 0.04, name, color='#555555', va='top', ha='center', fontsize=9)
  axes.plot(1, 0, 'o', color='black', ms=4)
  axes.text(1, -0.03, 'origin', ha='center', va='bottom', fontsize=8)
  axes.annotate('', (1, -0.5), (0, -0.5), arrowprops={'arrowstyle': '<->', 'color': _GREY})
  axes.text(0.5, -0.53, 'radius', color=_GREY, ha='center', fontsize=9)
  depths = np.linspace(_NEAR, _FAR, 7)
  direction = np.array([math.cos(angle[30]), math.sin(angle[30])])
  axes.scatter(*(depths[:, None] * direction).T, s=9, color=_BLUE, zorder=3)
  axes.text(0.66, 0.2, 'samples of a ray', color=_BLUE, fontsize=8, ha='right')
  axes.set_title('from the side: fx = 0.5 / tan(fov / 2)', fontsize=11)
  axes.set(xlim=(-0.05, 1.45), ylim=(0.55, -0.62), aspect='equal')
  axes.set_axis_off()


def draw(path) -> None:
  """Writes the figure."""
  figure = plt.figure(figsize=(11, 5.6))
  draw_world(figure.add_axes([-0.02, 0.0, 0.62, 0.96], projection='3d'))
  draw_image(figure.add_axes([0.62, 0.46, 0.36, 0.48]))
  draw_side(figure.add_axes([0.62, 0.01, 0.36, 0.33]))
  file = io.BytesIO()
  figure.savefig(file, dpi=85)
  plt.close(figure)
  with Image.open(file) as image:  # a palette is enough, and half of the bytes
    image.convert('RGB').quantize(64, dither=Image.Dither.NONE).save(path, optimize=True)


def main(argv=None) -> None:
  """The program."""
  flags = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  flags.add_argument(
    '--out', default=pathlib.Path(__file__).parent / 'images' / 'cameras.png', type=pathlib.Path
  )
  draw(flags.parse_args(argv).out)


if __name__ == '__main__':
  main()
