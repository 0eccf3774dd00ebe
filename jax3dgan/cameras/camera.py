"""The Camera pytree, look-at, spheres of cameras, projection and the 25-vector label."""

import math

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from jax3dgan.camera_checks import NUM_NUMBERS, check_labels
from jax3dgan.errors import UserError
from jax3dgan.nn import precision

POLE = 1e-5  # π-GAN keeps pitch this far from the poles, where look-at has no up direction.


@flax.struct.dataclass
class Camera:
  """A batch of pinhole cameras.

  Attributes:
    cam2world: [..., 4, 4] camera-to-world, OpenCV axes.
    intrinsics: [..., 3, 3] normalised: u = fx·x/z + cx in [0, 1] from the left edge to the right
      one.
  """

  cam2world: jax.Array
  intrinsics: jax.Array

  @property
  def origin(self):
    """Position of the camera in the world, [..., 3]."""
    return self.cam2world[..., :3, 3]

  def label(self):
    """The 25-vector of EG3D: cam2world row by row (16), then the intrinsics (9). [..., 25]."""
    batch = self.cam2world.shape[:-2]
    return jnp.concatenate(
      [self.cam2world.reshape(*batch, 16), self.intrinsics.reshape(*batch, 9)], axis=-1
    )


def from_label(label) -> Camera:
  """Camera of a 25-vector [..., 25].

  Raises:
    UserError: it is no camera, see `camera_checks.check_labels`. Inside of a compiled function, and
      of arrays that lie on several hosts, only the shape is checked.
  """
  shape = np.shape(label)
  is_known = not isinstance(label, jax.core.Tracer)
  if is_known and getattr(label, 'is_fully_addressable', True):
    check_labels(label)
  elif not shape or shape[-1] != NUM_NUMBERS:
    raise UserError(f'A camera label has {NUM_NUMBERS} numbers, not the last axis of {shape}.')
  label = jnp.asarray(label)
  return Camera(
    label[..., :16].reshape(*label.shape[:-1], 4, 4),
    label[..., 16:].reshape(*label.shape[:-1], 3, 3),
  )


def intrinsics_from_fov(fov_degrees, batch=()):
  """Normalised intrinsics [*batch, 3, 3] of a square image with this full field of view in
  degrees."""
  focal = 0.5 / math.tan(math.radians(fov_degrees) / 2)
  matrix = jnp.array([[focal, 0.0, 0.5], [0.0, focal, 0.5], [0.0, 0.0, 1.0]])
  return jnp.broadcast_to(matrix, (*batch, 3, 3))


def _normalize(v):
  return v / jnp.linalg.norm(v, axis=-1, keepdims=True)


def look_at(origin, target=(0.0, 0.0, 0.0), up=(0.0, 1.0, 0.0)):
  """cam2world [..., 4, 4] of a camera at `origin` [..., 3] that looks at `target`, `up` upwards."""
  origin = jnp.asarray(origin)
  origin = origin.astype(jnp.result_type(origin, float))  # whole numbers would round `up`
  forward = _normalize(jnp.asarray(target, origin.dtype) - origin)
  right = _normalize(
    jnp.cross(forward, jnp.broadcast_to(jnp.asarray(up, origin.dtype), forward.shape))
  )
  down = jnp.cross(forward, right)
  top = jnp.stack([right, down, forward, origin], axis=-1)  # [..., 3, 4]
  bottom = jnp.broadcast_to(jnp.array([0.0, 0.0, 0.0, 1.0], top.dtype), (*top.shape[:-2], 1, 4))
  return jnp.concatenate([top, bottom], axis=-2)


def from_yaw_pitch(yaw, pitch, radius=1.0, fov_degrees=12.0, pivot=(0.0, 0.0, 0.0)) -> Camera:
  """Camera on a sphere around the origin by π-GAN's angles.

  Args:
    yaw: [...] radians from +x towards +z; π/2 is frontal.
    pitch: [...] radians from +y; π/2 is the horizon. Kept 1e-5 away from the poles.
      yaw and pitch are broadcast against each other.
    radius: distance from the origin, world units.
    fov_degrees: full field of view.
    pivot: the point that it looks at, (x, y, z); the sphere stays around the origin (EG3D).
  """
  pitch = jnp.clip(jnp.asarray(pitch), POLE, math.pi - POLE)
  yaw, pitch = jnp.broadcast_arrays(yaw, pitch)
  sin_pitch = jnp.sin(pitch)
  origin = radius * jnp.stack(
    [sin_pitch * jnp.cos(yaw), jnp.cos(pitch), sin_pitch * jnp.sin(yaw)], axis=-1
  )
  return Camera(look_at(origin, pivot), intrinsics_from_fov(fov_degrees, origin.shape[:-1]))


def orbit(azimuth, elevation, radius=1.0, fov_degrees=12.0, pivot=(0.0, 0.0, 0.0)) -> Camera:
  """Camera by azimuth (0 frontal, positive towards +x) and elevation (0 horizon, positive up),
  radians."""
  return from_yaw_pitch(
    math.pi / 2 - jnp.asarray(azimuth),
    math.pi / 2 - jnp.asarray(elevation),
    radius,
    fov_degrees,
    pivot,
  )


def project(camera: Camera, points):
  """Normalised image position [..., n, 2] (0..1, u right, v down) and z-depth [..., n] of world
  points."""
  rotation, origin = camera.cam2world[..., :3, :3], camera.origin
  local = precision.einsum('...ji,...nj->...ni', rotation, points - origin[..., None, :])
  image = precision.einsum('...ij,...nj->...ni', camera.intrinsics, local)
  return image[..., :2] / image[..., 2:], local[..., 2]


def crop(camera: Camera, left, top, width, height) -> Camera:
  """The cameras whose image is a rectangle of the image.

  Args:
    camera: [...].
    left, top, width, height: [...] of the rectangle, in the normalised coordinates of the image
      (0..1, u right, v down). It may reach beyond the image.
  """
  xp = np if isinstance(camera.intrinsics, np.ndarray) else jnp
  left, top, width, height = (xp.asarray(x)[..., None] for x in (left, top, width, height))
  k = camera.intrinsics
  rows = [
    (k[..., 0, :] - left * k[..., 2, :]) / width,
    (k[..., 1, :] - top * k[..., 2, :]) / height,
    xp.broadcast_to(k[..., 2, :], xp.broadcast_shapes(k[..., 2, :].shape, left.shape[:-1] + (3,))),
  ]
  rows = xp.broadcast_arrays(*rows)
  batch = rows[0].shape[:-1]
  return Camera(
    xp.broadcast_to(camera.cam2world, (*batch, 4, 4)), xp.stack(rows, axis=-2).astype(k.dtype)
  )
