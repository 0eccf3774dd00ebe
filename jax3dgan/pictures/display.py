"""Defaults for pictures of a model (content, camera, size), and checks of what is asked for.

JAX is imported inside of functions: the help text of an app need not wait for it.
"""

import math
from collections.abc import Sequence

import numpy as np

from jax3dgan.errors import UserError

MIN_SIDE = 128  # pixels on a side below which a picture is enlarged for display
KINDS = ('colour', 'depth', 'normals', 'opacity')  # what can be shown of a view
# Elevations, radians, of an upright camera: at a pole there is no up direction.
STANDING = (math.radians(-90), math.radians(90))


def with_depth(show: Sequence[str], depth: bool) -> tuple[str, ...]:
  """Returns kinds in the order of `KINDS`, depth among them if it is asked for."""
  return tuple(k for k in KINDS if k in show or (depth and k == 'depth'))


def check_kinds(model, kinds: Sequence[str]) -> None:
  """Raises a UserError if the generator cannot show these kinds."""
  unknown = [kind for kind in kinds if kind not in KINDS]
  if unknown or not kinds:
    raise UserError(f'Nothing to show is called {unknown}. There are: {", ".join(KINDS)}.')
  if 'depth' in kinds and not model.has_depth:
    raise UserError(f'{model.name} has no depth: its generator has no field. Leave out --depth.')
  if set(kinds) != {'colour'} and not model.has_depth:
    raise UserError(
      f'{model.name} has no {" and no ".join(k for k in kinds if k != "colour")}: its generator '
      'has no field. Use --show=colour.'
    )

  if 'normals' in kinds and model.generator.parallel_rays:
    raise UserError(
      f'{model.name} has parallel rays, and normals are of depth from a place. Leave out normals.'
    )


def check_camera(model, remedy: str) -> None:
  """Raises a UserError if the generator has no camera; `remedy` is its last sentence."""
  if not model.has_camera:
    raise UserError(f'{model.name} is a 2D model: its images have no camera to move. {remedy}')


def check_pitch(degrees: Sequence[float] | None) -> None:
  """Raises a UserError for elevations in degrees outside of [−90, 90]."""
  for angle in degrees or ():
    if not -90 <= angle <= 90:
      raise UserError(
        f'A camera cannot be {angle:g}° above the horizon. Give a pitch from -90 (below) to 90.'
      )


def check_numbers(psi: float | None = None, resolution: int | None = None) -> None:
  """Raises a UserError for a truncation that is not finite, or a resolution below 1."""
  if psi is not None and not math.isfinite(psi):
    raise UserError(f'A truncation of {psi} is no number. Set psi to one, such as 0.7.')
  if resolution is not None and resolution < 1:
    raise UserError(f'A picture of {resolution}² has no pixels. Set a resolution from 1.')


def goes_round(model) -> bool:
  """Whether the cameras of training go all the way round."""
  from jax3dgan import cameras  # JAX, which the help text need not wait for

  return cameras.goes_round(model.yaw_half_range)


def show_views(model, num: int) -> np.ndarray:
  """Returns azimuths [num] in radians that show an object well.

  From the front to the back where the cameras of training go all the way round; otherwise from one
  end of their range to the other.
  """
  if goes_round(model):
    return np.linspace(0, math.pi, num)
  return np.linspace(-1, 1, num) * model.yaw_half_range


def show_azimuth(model) -> float:
  """Returns the azimuth of a single picture, radians: a three-quarter view, or the front."""
  return math.radians(40) if goes_round(model) else 0.0


def enlargement(resolution: int) -> int:
  """Returns the integer factor by which a picture is enlarged for display."""
  return max(math.ceil(MIN_SIDE / resolution), 1)


def depth_picture(model, rendering, limits=None) -> np.ndarray:
  """Returns the depth maps of a rendering in colours, uint8 [n, h, w, 3]."""
  from jax3dgan import viz

  depth, opacity = rendering.depth, rendering.opacity
  if depth is None:
    raise UserError(f'{model.name} has no depth: its generator has no field. Leave out --depth.')
  if model.options().last_back:  # transmitted light counts as the last sample: every pixel is solid
    return viz.colour_depth(depth, limits=limits)
  return viz.colour_depth(viz.surface_depth(depth, opacity), opacity, limits)
