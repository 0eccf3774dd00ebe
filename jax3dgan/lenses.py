"""Which lenses are read, and the distortion of OpenCV's model. NumPy alone."""

import math

import numpy as np

from jax3dgan.errors import UserError

# Names of perspective cameras: COLMAP's, nerfstudio's, Blender's. With any distortion that is
# zero they are the same camera.
_PERSPECTIVE = (
  'SIMPLE_PINHOLE PINHOLE SIMPLE_RADIAL RADIAL OPENCV FULL_OPENCV PERSPECTIVE PERSP'.split()
)
_PROJECTIONS = (  # part of a model's name, what it is
  ('FISHEYE', 'fisheye'),
  ('FTHETA', 'fisheye'),
  ('FOV', 'fisheye'),
  ('EQUIRECT', 'equirectangular'),
  ('LATLONG', 'equirectangular'),
  ('SPHERICAL', 'equirectangular'),
  ('PANO', 'panoramic'),
  ('ORTHO', 'orthographic'),
)
_REMEDIES = {
  'fisheye': 'Make pinhole photos of them first, such as with colmap image_undistorter.',
  'equirectangular': 'Cut perspective views out of them first.',
  'panoramic': 'Cut perspective views out of them first.',
  'orthographic': 'Render the scene with perspective cameras.',
}
_COEFFICIENTS = ('k1', 'k2', 'p1', 'p2', 'k3', 'k4', 'k5', 'k6')
_FLAGS = (  # of instant-ngp
  ('is_fisheye', 'OPENCV_FISHEYE'),
  ('ftheta_p0', 'FTHETA'),
  ('equirectangular', 'EQUIRECTANGULAR'),
  ('latlong', 'LATLONG'),
)


def refuse_other_projections(model, where):
  """UserError where a camera model's name is not one of a perspective camera."""
  name = str(model).upper()
  if name in _PERSPECTIVE:
    return
  kind = next((kind for part, kind in _PROJECTIONS if part in name), None)
  if kind is None:
    raise UserError(
      f'{where} has the camera model {model}, which is not read. Undistort the photos first, such '
      f'as with colmap image_undistorter; read are {", ".join(_PERSPECTIVE[:6])}.'
    )
  article = 'an' if kind[0] in 'aeiou' else 'a'
  raise UserError(
    f'{where} is of {article} {kind} camera ({model}), which is not read. {_REMEDIES[kind]}'
  )


def number(entries, name, where):
  """A number of a transforms.json as float, None without it; UserError if it is none."""
  value = entries.get(name)
  if value is None:
    return None
  if isinstance(value, bool) or not isinstance(value, int | float):
    raise UserError(f'{where}: {name} is {str(value)[:40]!r}, not a number. Mend it.')
  try:
    return float(value)
  except OverflowError:  # a whole number of hundreds of digits
    return math.inf


def coefficients(entries, where):
  """The distortion (k1, k2, p1, p2, k3, k4, k5, k6) of a camera of a transforms.json.

  Raises:
    UserError: it is of another projection, or its distortion has no one meaning.
  """
  for name in ('camera_model', 'camera_type'):
    if entries.get(name) is not None:
      refuse_other_projections(entries[name], where)
  for flag, model in _FLAGS:
    if entries.get(flag):
      refuse_other_projections(model, where)
  numbers = {name: number(entries, name, where) for name in _COEFFICIENTS}
  if numbers['k4'] and not (numbers['k5'] or numbers['k6']):
    # OpenCV's k4 divides, nerfstudio's multiplies r⁸.
    if str(entries.get('camera_model')).upper() != 'FULL_OPENCV':
      raise UserError(
        f'{where} has the distortion k4, which has two meanings. Set camera_model to FULL_OPENCV '
        "if it is OpenCV's; else undistort the photos first."
      )
  return tuple(numbers[name] or 0.0 for name in _COEFFICIENTS)


def distort(points, coefficients):
  """Where the lens moves points to.

  Args:
    points: [..., 2] normalised coordinates.
    coefficients: (k1, k2, p1, p2, k3, k4, k5, k6); missing ones at the end are 0.

  Returns:
    [..., 2], of the points' dtype.
  """
  k1, k2, p1, p2, k3, k4, k5, k6 = (tuple(coefficients) + (0.0,) * 8)[:8]
  x, y = points[..., 0], points[..., 1]
  r2 = x * x + y * y
  radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
  if k4 or k5 or k6:
    radial = radial / (1 + r2 * (k4 + r2 * (k5 + r2 * k6)))
  xy = 2 * x * y
  return np.stack(
    [
      x * radial + p1 * xy + p2 * (r2 + 2 * x * x),
      y * radial + p1 * (r2 + 2 * y * y) + p2 * xy,
    ],
    axis=-1,
  )


def largest_shift(intrinsics, coefficients):
  """How far distortion moves a point of the image's edge, in shares of the image's size.

  Args:
    intrinsics: normalised, [3, 3].
    coefficients: see `distort`.
  """
  if not any(coefficients):
    return 0.0
  edge = np.array([0.0, 0.5, 1.0])
  image = np.stack(np.meshgrid(edge, edge), axis=-1).reshape(-1, 2)
  focal, centre = intrinsics[[0, 1], [0, 1]], intrinsics[:2, 2]
  points = (image - centre) / focal
  return float(np.abs((distort(points, coefficients) - points) * focal).max())
