"""A z-buffer: which triangle of a mesh is nearest at the centre of each pixel. Forward only.

Triangles of a face are smaller than a pixel, so that neither all pixels with all triangles nor
lists of tiles are worth it: the pixels of the boxes around all triangles of all images are numbered
through, and only these are tested, a fixed number at a time. Memory is bounded by the images, the
triangles and that number; a mesh of few large triangles takes as many rounds as it covers pixels.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jax3dgan import cameras
from jax3dgan.cameras import Camera
from jax3dgan.nn.cpu.apart import apart
from jax3dgan.rendering import rays

CHUNK = 8192  # pixels of boxes that are tested at a time
_MOST = 2**31 - 1 - CHUNK  # of them that are numbered through, in int32


class Hits(NamedTuple):
  """What is seen at the centres of pixels.

  Attributes:
    face: int32 [b, h, w], −1 where there is no triangle.
    weights: [b, h, w, 3] barycentric coordinates in space; 0 where there is no triangle.
    depth: [b, h, w] along the camera's axis, or of `rasterize_camera` along the ray; inf where
      there is no triangle.
  """

  face: jax.Array
  weights: jax.Array
  depth: jax.Array

  @property
  def mask(self):
    """bool [b, h, w]."""
    return self.face >= 0


def rasterize(points, depth, faces, size, perspective: bool = True, cull: bool = False) -> Hits:
  """Finds the nearest triangle at the centre of each pixel; of equally near ones the first counts.

  A centre on an edge belongs to both triangles. Which side of an edge a centre is on is computed
  alike for both, so that rounding leaves no crack between them. No gradient goes through it.

  Args:
    points: [b, v, 2] in pixels, x right, y down; the first pixel's centre is at (½, ½).
    depth: [b, v] along the camera's axis.
    faces: int [t, 3] vertices; front faces are counter-clockwise in a picture with y up.
    size: (h, w) of the picture.
    perspective: Whether lines of sight meet in the camera, where depth is 0: triangles that are not
      wholly in front of it are not drawn. Otherwise they are parallel, and depth may be negative.
    cull: Whether back faces are not drawn.
  """
  height, width = size
  points, depth = (jax.lax.stop_gradient(jnp.asarray(x)) for x in (points, depth))
  faces = jnp.asarray(faces, jnp.int32)
  images, pixels = len(points), len(points) * height * width
  third = 1 / depth if perspective else depth
  vertices = jnp.concatenate([points, third[..., None]], axis=-1)  # [b, v, 3]
  block = max(min(_MOST // pixels, len(faces)), 1)
  count = -(-len(faces) // block)
  # What fills the last block has no area.
  padded = jnp.pad(faces, ((0, count * block - len(faces)), (0, 0)))
  nearest = jnp.full(pixels, jnp.inf, vertices.dtype), jnp.full(pixels, len(faces), jnp.int32)

  def draw(nearest, number):
    part = jax.lax.dynamic_slice_in_dim(padded, number * block, block)
    return _draw(nearest, vertices, part, number * block, size, perspective, cull), None

  if count == 1:
    nearest, _ = draw(nearest, 0)
  else:
    nearest, _ = jax.lax.scan(draw, nearest, jnp.arange(count, dtype=jnp.int32))
  face = jnp.where(nearest[1] < len(faces), nearest[1], -1)
  pixel = jnp.arange(pixels, dtype=jnp.int32)
  ids = padded[jnp.maximum(face, 0)]  # [n, 3]
  corners = vertices.reshape(-1, 3)[(pixel // (height * width))[:, None] * points.shape[1] + ids]
  weights, value = _weights(_edges(corners, ids, _centre(pixel, size)), corners, perspective)
  hit = face >= 0
  shape = (images, height, width)
  return Hits(
    face.reshape(shape),
    jnp.where(hit[:, None], weights, 0).reshape(*shape, 3),
    jnp.where(hit, value, jnp.inf).reshape(shape),
  )


def rasterize_camera(camera: Camera, vertices, faces, size, cull: bool = True) -> Hits:
  """What cameras [b] see of a mesh at the centres of pixels; depth is the distance along the ray.

  Args:
    vertices: [b, v, 3], world units.
    faces, size, cull: See `rasterize`.
  """
  height, width = size
  places, depth = cameras.project(camera, vertices)
  hits = rasterize(
    places * np.asarray([width, height], places.dtype), depth, faces, size, cull=cull
  )
  ticks = [(np.arange(n) + 0.5) / n for n in size]
  v, u = np.meshgrid(*ticks, indexing='ij')
  uv = np.stack([u.ravel(), v.ravel()], axis=-1)
  cosine = rays.rays_through(camera, uv).axis_cosine
  return hits._replace(depth=hits.depth / cosine.reshape(hits.depth.shape))


def rasterize_orthographic(vertices, faces, size, cull: bool = False) -> Hits:
  """What is seen along −z of a mesh [b, v, 3] (x right, y up) on the square [−1, 1]²; depth is −z.

  Args:
    faces, size, cull: See `rasterize`.
  """
  height, width = size
  points = jnp.stack(
    [(vertices[..., 0] + 1) * (0.5 * width), (1 - vertices[..., 1]) * (0.5 * height)], axis=-1
  )
  return rasterize(points, -vertices[..., 2], faces, size, perspective=False, cull=cull)


def interpolate(hits: Hits, corners):
  """Values [b, h, w, c] of corners [t, 3, c] of the faces; 0 where there is no triangle."""
  values = jnp.asarray(corners)[jnp.maximum(hits.face, 0)]  # [b, h, w, 3, c]
  return jnp.sum(hits.weights[..., None] * values, axis=-2)


def _centre(pixel, size):
  """(x, y) of pixels [n] that are numbered row by row, image by image."""
  place = pixel % (size[0] * size[1])
  return place % size[1] + 0.5, place // size[1] + 0.5


def _edges(corners, ids, centre):
  """Twice the signed area [n] of a centre with each edge, opposite to corner 0, 1 and 2.

  Args:
    corners: [n, 3, 3], of which x and y count.
    ids: int [n, 3] vertices: an edge is computed from its lower vertex to the higher one, alike in
      both of its triangles.
    centre: (x, y), [n] each.
  """
  px, py = (p.astype(corners.dtype) for p in centre)
  found = []
  for i in range(3):
    j, k = (i + 1) % 3, (i + 2) % 3
    turned = ids[:, j] > ids[:, k]
    ax, bx = (jnp.where(turned, corners[:, m, 0], corners[:, n, 0]) for m, n in ((k, j), (j, k)))
    ay, by = (jnp.where(turned, corners[:, m, 1], corners[:, n, 1]) for m, n in ((k, j), (j, k)))
    area = (bx - ax) * (py - ay) - (by - ay) * (px - ax)
    found.append(jnp.where(turned, -area, area))
  return found


def _weights(edges, corners, perspective: bool):
  """Barycentric coordinates in space [n, 3], and depth [n]."""
  shares = jnp.stack(edges, axis=-1)
  area = shares.sum(-1, keepdims=True)
  shares = shares / jnp.where(area == 0, 1, area)
  third = corners[..., 2]
  if not perspective:
    return shares, jnp.sum(shares * third, axis=-1)
  # In the picture it is 1 / depth that is linear.
  shares = shares * third
  total = shares.sum(-1, keepdims=True)
  return shares / total, 1 / total[..., 0]


def _range(low, high, size: int):
  """First and last pixel (float) whose centre is within low and high."""
  return jnp.maximum(jnp.ceil(low - 0.5), 0), jnp.minimum(jnp.floor(high - 0.5), size - 1)


def _draw(nearest, vertices, faces, first, size, perspective, cull):
  """(depth, face) [pixels] of the nearest so far and of faces [t, 3], numbered from `first`."""
  (height, width), (images, count) = size, (len(vertices), len(faces))
  corners = jnp.take(vertices, faces.reshape(-1), axis=1, mode='clip')
  corners = apart(corners.reshape(images * count, 3, 3))
  low, high = corners[..., :2].min(1), corners[..., :2].max(1)
  left, right = _range(low[:, 0], high[:, 0], width)
  top, bottom = _range(low[:, 1], high[:, 1], height)
  drawn = (right >= left) & (bottom >= top)  # not so of NaN
  if perspective:
    drawn &= jnp.all((corners[..., 2] > 0) & jnp.isfinite(corners[..., 2]), axis=-1)
  boxes = [jnp.where(drawn, x, 0).astype(jnp.int32) for x in (left, right - left + 1, top)]
  rows = jnp.where(drawn, bottom - top + 1, 0).astype(jnp.int32)
  left, columns, top = boxes
  ends = jnp.cumsum(columns * rows, dtype=jnp.int32)
  ends, left, columns, top, rows = apart((ends, left, columns, top, rows))
  total, pixels = ends[-1], images * height * width

  def test(state):
    start, depth, face = state
    slot = start + jnp.arange(CHUNK, dtype=jnp.int32)
    owner = jnp.searchsorted(ends, slot, side='right', method='scan').astype(jnp.int32)
    owner = jnp.minimum(owner, images * count - 1)
    place = slot - (ends[owner] - columns[owner] * rows[owner])
    wide = jnp.maximum(columns[owner], 1)
    row, column = top[owner] + place // wide, left[owner] + place % wide
    number = owner % count
    pixel = (owner // count * height + row) * width + column
    edges = _edges(corners[owner], faces[number], (column + 0.5, row + 0.5))
    e = jnp.stack(edges, axis=-1)
    inside = jnp.all(e <= 0, axis=-1)  # y is down: these face the camera
    if not cull:
      inside |= jnp.all(e >= 0, axis=-1)
    inside &= (e.sum(-1) != 0) & (slot < total)
    _, value = _weights(edges, corners[owner], perspective)
    pixel = jnp.where(inside, pixel, pixels)
    pixel, value, number = apart((pixel, value, number + first))
    nearer = depth.at[pixel].min(value, mode='drop')
    face = jnp.where(nearer < depth, _MOST, face)
    wins = value == nearer.at[pixel].get(mode='fill', fill_value=jnp.nan)
    face = face.at[jnp.where(wins, pixel, pixels)].min(number, mode='drop')
    return start + CHUNK, nearer, face

  state = jax.lax.while_loop(lambda state: state[0] < total, test, (jnp.int32(0), *nearest))
  return state[1:]
