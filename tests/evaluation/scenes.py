"""Scenes with exact answers: depth along rays, masks, colours and occlusion in closed form."""

import dataclasses
import math
import types

import numpy as np

from jax3dgan import cameras, generators
from jax3dgan.rendering import rays
from jax3dgan.rendering.hierarchical import RenderOptions

FOV = 40.0
RADIUS = 1.0
NEAR, FAR = 0.5, 1.5


def texture(points):
  """A smooth colour in [−1, 1] of every point of space, [..., 3]."""
  x, y, z = np.moveaxis(points, -1, 0)
  waves = (np.sin(9 * x + 4 * z), np.sin(8 * y - 5 * x + 1), np.sin(7 * z + 6 * y + 2))
  return np.stack(waves, -1)


@dataclasses.dataclass(frozen=True)
class Sphere:
  radius: float
  centre: tuple = (0.0, 0.0, 0.0)

  def hit(self, origins, directions):
    """Distance along unit rays to the first meeting, inf where there is none."""
    offset = origins - np.array(self.centre)
    along = np.sum(offset * directions, -1)
    root = along**2 - np.sum(offset**2, -1) + self.radius**2
    distance = -along - np.sqrt(np.maximum(root, 0))
    return np.where((root >= 0) & (distance > 0), distance, np.inf)


@dataclasses.dataclass(frozen=True)
class Plane:
  """z = height, seen from both sides."""

  height: float = 0.0

  def hit(self, origins, directions):
    with np.errstate(divide='ignore', invalid='ignore'):
      distance = (self.height - origins[..., 2]) / directions[..., 2]
    return np.where(distance > 0, distance, np.inf)


@dataclasses.dataclass(frozen=True)
class Box:
  """Half sizes about a centre, turned by yaw about the vertical axis."""

  half: tuple
  centre: tuple = (0.0, 0.0, 0.0)
  yaw: float = 0.0

  def hit(self, origins, directions):
    c, s = math.cos(self.yaw), math.sin(self.yaw)
    turn = np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]])
    origins, directions = (origins - np.array(self.centre)) @ turn.T, directions @ turn.T
    with np.errstate(divide='ignore', invalid='ignore'):
      ends = (np.stack([-np.array(self.half), np.array(self.half)])[:, None] - origins) / directions
    first, last = ends.min(0).max(-1), ends.max(0).min(-1)
    return np.where((first <= last) & (first > 0), first, np.inf)


def trace(scene, origins, directions):
  """Distance [n] to the nearest of the scene's shapes along unit rays [n, 3]."""
  return np.min([shape.hit(origins, directions) for shape in scene], axis=0)


def orbit(azimuths, elevation=0.3):
  return cameras.orbit(np.asarray(azimuths, np.float32), np.float32(elevation), RADIUS, FOV)


def render(scene, camera, resolution, align_corners=False):
  """(image [v, h, w, 3] on white, distance [v, h, w] with inf beside everything, mask)."""
  bundle = rays.camera_rays(camera, resolution, align_corners)
  origins, directions = (np.asarray(x, np.float64) for x in (bundle.origins, bundle.directions))
  shape = (len(origins), resolution, resolution)
  origins, directions = origins.reshape(-1, 3), directions.reshape(-1, 3)
  distance = trace(scene, origins, directions)
  mask = np.isfinite(distance)
  points = origins + np.where(mask, distance, 0)[:, None] * directions
  image = np.where(mask[:, None], texture(points), 1.0)
  return image.reshape(*shape, 3), distance.reshape(shape), mask.reshape(shape)


def hidden(scene, points, camera_origin, margin=1e-4):
  """Whether something stands between surface points [n, 3] and a camera at [3]: exact."""
  offset = points - camera_origin
  length = np.linalg.norm(offset, axis=-1)
  origins = np.broadcast_to(camera_origin, points.shape)
  return trace(scene, origins, offset / length[:, None]) < length - margin


class SphereModel:
  """Stands for a `trained.Trained`: latent s is a sphere of radius `radius(s, azimuth)`."""

  has_field = True

  def __init__(self, radius, resolution=32, yaw_half_range=0.5, background=True):
    self.radius, self.resolution, self.yaw_half_range = radius, resolution, yaw_half_range
    self.background = background
    self.config = types.SimpleNamespace(display=types.SimpleNamespace(truncation_psi=0.7))
    self.batches = []

  def latents(self, seeds):
    return np.asarray(seeds, np.float32)[:, None]

  def map(self, z, psi=None):
    return z

  def orbit(self, azimuth):
    return orbit(np.atleast_1d(azimuth), elevation=0.0)

  def options(self, resolution=None):
    return RenderOptions(
      resolution or self.resolution, near=NEAR, far=FAR, num_coarse=20, align_corners=False
    )

  def render(self, w, camera, resolution=None):
    self.batches.append(len(w))
    images, depths, masks = [], [], []
    origins = np.asarray(camera.origin)
    for i in range(len(w)):
      azimuth = math.atan2(origins[i, 0], origins[i, 2])
      one = cameras.Camera(camera.cam2world[i : i + 1], camera.intrinsics[i : i + 1])
      scene = [Sphere(self.radius(w[i, 0], azimuth))]
      image, depth, mask = render(scene, one, resolution or self.resolution)
      images.append(image[0])
      masks.append(mask[0])
      depths.append(np.where(mask, depth, 0)[0])  # Σ w·t of a ray that passes
    stack = [np.stack(x) for x in (images, depths, np.float64(masks))]
    return generators.Rendering(*stack)
