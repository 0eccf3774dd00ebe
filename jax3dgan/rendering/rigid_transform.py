"""Voxels turned, scaled and moved, by trilinear interpolation: HoloGAN's rigid-body transform
(Nguyen-Phuoc et al., ICCV 2019, arXiv 1904.01326, Sec. 3.2).

Voxels are [b, n, n, n, c], along z, y and x, with places 0 … n − 1. Their centre is n/2, as the
release has it. Outside of [0, n − 1) along any axis there is nothing: zeros, not the border.
"""

import itertools

import flax.struct
import jax
import jax.numpy as jnp

from jax3dgan.cameras import Camera
from jax3dgan.nn import precision


@flax.struct.dataclass
class View:
  """How voxels lie before a camera that looks along x, with y up and z to the right:
  p' = scale·rotation·(p − n/2) + translation + n/2.

  Attributes:
    rotation: [b, 3, 3] of (x, y, z).
    scale: [b].
    translation: [b, 3], voxels.
  """

  rotation: jax.Array
  scale: jax.Array
  translation: jax.Array


def rotation_of(azimuth, elevation):
  """[b, 3, 3] = Rz(elevation)·Ry(azimuth − 90°), of angles [b] in radians as the release has them.

  The camera of the library's `orbit(azimuth − 90°, −elevation)` has this view.
  """
  a, e = azimuth - jnp.pi / 2, elevation
  zero, one = jnp.zeros_like(a), jnp.ones_like(a)

  def matrix(*rows):
    return jnp.stack([jnp.stack(row, axis=-1) for row in rows], axis=-2)

  about_y = matrix(
    (jnp.cos(a), zero, -jnp.sin(a)), (zero, one, zero), (jnp.sin(a), zero, jnp.cos(a))
  )
  about_z = matrix(
    (jnp.cos(e), jnp.sin(e), zero), (-jnp.sin(e), jnp.cos(e), zero), (zero, zero, one)
  )
  return precision.einsum('bij,bjk->bik', about_z, about_y)


def view_of(camera: Camera, size: int, fov_degrees: float) -> View:
  """The view of cameras [b], without perspective.

  The voxels' (x, y, z) are the world's (−z, y, x). Distance and field of view give the scale, what
  is beside the world's origin in the image the translation.

  Args:
    size: n, voxels on a side; the image shows as many.
    fov_degrees: a camera at distance 1 from the origin with this field of view has scale 1.
  """
  cam2world, k = camera.cam2world, camera.intrinsics
  right, down, forward = (cam2world[..., :3, i] for i in range(3))
  of_axes = jnp.stack([forward, -down, right], axis=-2)  # rows: the camera's x, y, z in the world
  rotation = jnp.stack([-of_axes[..., 2], of_axes[..., 1], of_axes[..., 0]], axis=-1)
  origin = -jnp.sum(of_axes * camera.origin[..., None, :], axis=-1)  # the world's, from the camera
  depth = jnp.maximum(origin[..., 0], 1e-6)
  focal = jnp.sqrt(k[..., 0, 0] * k[..., 1, 1]) / depth
  scale = focal * 2 * jnp.tan(jnp.radians(fov_degrees) / 2)
  across = k[..., 0, 0] * origin[..., 2] / depth + k[..., 0, 2] - 0.5
  up = k[..., 1, 1] * origin[..., 1] / depth - k[..., 1, 2] + 0.5
  translation = size * jnp.stack([jnp.zeros_like(up), up, across], axis=-1)
  return View(rotation, scale, translation)


def source_places(view: View, places, size: int, new_size: int | None = None):
  """Where in the voxels (x, y, z) [b, m, 3] the places (x, y, z) [m, 3] of the result come from.

  Args:
    size, new_size: voxels on a side before and after; None for the same.
  """
  half = 0.5 * (size if new_size is None else new_size)
  moved = places - half - view.translation[:, None]
  turned = precision.einsum('bji,bmj->bmi', view.rotation, moved)  # the inverse rotation
  return turned / view.scale[:, None, None] + 0.5 * size


def interpolate(voxels, places):
  """Features [b, m, c] of voxels [b, n, n, n, c], or [1, ...] for all, at places (x, y, z)
  [b, m, 3]; 0 outside."""
  n, c = voxels.shape[1], voxels.shape[-1]
  low = jnp.clip(jnp.floor(places), 0, n - 2)
  inside = jnp.all((places >= 0) & (places < n - 1), axis=-1)
  fraction = jnp.where(inside[..., None], places - low, 0)
  x, y, z = jnp.moveaxis(low.astype(jnp.int32), -1, 0)
  first = (z * n + y) * n + x
  flat, total = voxels.reshape(-1, n**3, c), 0.0
  if flat.shape[0] == 1:
    gather = lambda flat, index: flat[0][index]  # noqa: E731
  else:
    gather = jax.vmap(lambda flat, index: flat[index])
  # Eight gathers that XLA fuses with their sum.
  for corner in itertools.product((0, 1), repeat=3):
    offset = (corner[2] * n + corner[1]) * n + corner[0]
    weight = jnp.prod(jnp.where(jnp.array(corner, bool), fraction, 1 - fraction), axis=-1)
    total += jnp.where(inside, weight, 0.0)[..., None] * gather(flat, first + offset)
  return total


def inside_sphere(voxels):
  """The voxels [b, n, n, n, c], 0 outside of the largest sphere around n/2; its border fades over
  one voxel."""
  n = voxels.shape[1]
  steps = jnp.arange(n, dtype=voxels.dtype) - n // 2
  radius = jnp.sqrt(sum(jnp.square(a) for a in jnp.meshgrid(steps, steps, steps)))
  return voxels * jnp.clip(n // 2 - 0.5 - radius, 0, 1)[..., None]


def _grid(z, y, x):
  """(x, y, z) [len(z)·len(y)·len(x), 3] of places along three axes, x fastest."""
  z, y, x = jnp.meshgrid(z, y, x, indexing='ij')
  return jnp.stack([x, y, z], axis=-1).reshape(-1, 3)


def rigid_transform(voxels, view: View, new_size: int | None = None):
  """The voxels [b or 1, n, n, n, c] as they lie in a view, along z, y and x: [b, m, m, m, c]."""
  size = voxels.shape[1]
  m = new_size or size
  steps = jnp.arange(m, dtype=voxels.dtype)
  places = source_places(view, _grid(steps, steps, steps), size, m)
  return interpolate(voxels, places).reshape(-1, m, m, m, voxels.shape[-1])


def image_axes(voxels, view: View):
  """`rigid_transform` along the axes of an image: rows, columns, depth, [b, n, n, n, c].

  A row is n − 1 − y, a column z, and the depth x, which grows away from the camera.
  """
  n = voxels.shape[1]
  steps = jnp.arange(n, dtype=voxels.dtype)
  y, z, x = jnp.meshgrid(steps[::-1], steps, steps, indexing='ij')
  places = source_places(view, jnp.stack([x, y, z], axis=-1).reshape(-1, 3), n)
  return interpolate(voxels, places).reshape(-1, *voxels.shape[1:])
