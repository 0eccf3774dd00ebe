"""The picture of an inversion: photo, reconstruction, error, depth, and views without a photo."""

import math

import numpy as np

from jax3dgan import viz
from jax3dgan.cameras import Camera
from jax3dgan.inversion import poses

_ROUND = (-90, -45, 45, 90, 180)  # degrees from the photo's azimuth, for a full-circle pose prior
_LARGEST_ERROR = 0.5  # of 2: shown as the lightest


def new_views(model, camera: Camera) -> Camera | None:
  """Five cameras other than the photos', at the elevation of the first photo."""
  from jax3dgan.pictures import display

  if not model.has_camera:
    return None
  azimuth = math.radians(poses.angles(camera)[0][0])
  if display.goes_round(model):
    offsets = np.radians(_ROUND)
  else:
    offsets = np.asarray(display.show_views(model, len(_ROUND))) - azimuth
  first = Camera(camera.cam2world[:1], camera.intrinsics[:1])
  return poses.turned(first, offsets)


def error_picture(image, photo) -> np.ndarray:
  """Mean absolute differences of the channels as colours, uint8 [n, h, w, 3]; 0 is dark."""
  error = np.abs(np.clip(image, -1, 1) - photo).mean(-1)
  return viz.colour_ramp(error / _LARGEST_ERROR)


def compose(model, photo, shown, views, title: str, azimuths=()) -> np.ndarray:
  """The picture, uint8 [h, w, 3].

  Args:
    photo: [n, h, h, 3] in [−1, 1], all of one object.
    shown: the Rendering of the reconstructions [n].
    views: the Rendering of new views, or None.
    title: a line about it.
    azimuths: of the new views, degrees.
  """
  from jax3dgan.pictures import display, maps

  factor = display.enlargement(photo.shape[1])
  columns = [viz.to_uint8(photo), viz.to_uint8(shown.image), error_picture(shown.image, photo)]
  names, limits = ['photo', 'reconstruction', 'error'], None
  if model.has_depth:
    limits = maps.depth_limits(model, shown)
    columns.append(display.depth_picture(model, shown, limits))
    names.append('depth, near is light')
  tiles = np.stack(columns, axis=1)  # [n, columns, h, w, 3]
  tiles = viz.enlarge(tiles.reshape(-1, *tiles.shape[2:]), factor)
  rows = [(title, np.full((1, 1, 3), 255, np.uint8))]
  rows.append((' | '.join(names), viz.grid(tiles, len(columns))))
  if views is not None:
    pictures = [viz.to_uint8(views.image)]
    if model.has_depth:
      pictures.append(display.depth_picture(model, views, limits))
    every = viz.enlarge(np.concatenate(pictures), factor)
    sides = ', '.join(f'{round(float(azimuth))}°' for azimuth in azimuths)
    rows.append((f'from other sides: yaw {sides}', viz.grid(every, len(views.image))))
  return viz.sheet(rows)
