"""Renders a person from a camera: image, depth, mask."""

import numpy as np

from jax3dgan.data.builders.ict_faces import looks, model, paint, raster

# The corneas of some identities stick through closed lids: eyeballs recede by this as lids close.
_RECESS_CM = 0.15
SUPERSAMPLING = 3  # Odd: the middle one of a pixel's 3 x 3 samples is its centre.


class Head:
  """A person's surface, from which any number of views are rendered.

  Attributes:
    vertices: float32 [v, 3], world units.
    attributes: float32 [v, 8] of canonical place, normal, lid and cavity.
  """

  def __init__(self, faces: model.FaceModel, look: looks.Look):
    self.faces, self.look = faces, look
    vertices = faces.vertices(look.identity, look.expression)
    self.vertices = vertices + paint.grow(faces, look, model.UNIT_CM)
    for side, eye in zip('LR', faces.eyes, strict=True):
      if f'eyeBlink_{side}' in faces.expression_names:
        closed = look.expression[faces.expression_names.index(f'eyeBlink_{side}')]
        self.vertices[eye, 2] -= np.float32(closed * _RECESS_CM / model.UNIT_CM)
    self.attributes = np.concatenate(
      [
        faces.canonical,
        faces.normals(self.vertices),
        faces.lid[:, None],
        faces.cavity[:, None],
      ],
      axis=1,
    ).astype(np.float32)

  def project(self, label):
    """Normalised image positions [v, 2] and depth [v] along the axis, of a label [25]."""
    label = np.asarray(label, np.float64)
    matrix, intrinsics = label[:16].reshape(4, 4), label[16:].reshape(3, 3)
    # Sums by einsum, here and elsewhere, as BLAS is free to change them with its threads.
    local = np.einsum('vi,ij->vj', self.vertices - matrix[:3, 3], matrix[:3, :3])
    image = np.einsum('vi,ji->vj', local, intrinsics)
    return image[:, :2] / image[:, 2:], local[:, 2]

  def render(self, label, resolution):
    """One view.

    Args:
      label: [25] the camera.
      resolution: pixels on a side.

    Returns:
      image, uint8 [r, r, 3], the mean of 3 x 3 samples a pixel; depth, float32 [r, r], the distance
      from the camera along the ray through each pixel's centre, inf beside the head; mask, bool
      [r, r], where that ray meets the head.
    """
    size, hit = self._hit(label, resolution)
    colours = np.repeat(
      self.look.ground[0]
      + (self.look.ground[1] - self.look.ground[0]) * np.linspace(0, 1, size)[:, None],
      size,
      axis=0,
    ).astype(np.float32)
    pixel, triangle, weights = hit
    colours[pixel] = self._shade(triangle, weights)
    image = np.round(255 * looks.to_srgb(_sums(colours, resolution) / SUPERSAMPLING**2))
    return image.astype(np.uint8), *self._truth(label, hit, resolution)

  def matte(self, label, resolution):
    """One view on white, as its own colours and how much of each pixel they cover.

    At the rim it differs a little from `render`'s, whose light is mixed before it becomes a
    picture's numbers; so that on any other ground, where these are mixed, the rim is right.

    Returns:
      image, uint8 [r, r, 3]; opacity, uint8 [r, r], 255 where the ground does not show.
    """
    size, (pixel, triangle, weights) = self._hit(label, resolution)
    covered = np.zeros((size * size, 4), np.float32)
    covered[pixel, :3] = self._shade(triangle, weights)
    covered[pixel, 3] = 1
    sums = _sums(covered, resolution)
    opacity = sums[..., 3:] / SUPERSAMPLING**2
    image = 1 + opacity * (looks.to_srgb(sums[..., :3] / np.maximum(sums[..., 3:], 1)) - 1)
    image, opacity = (np.round(255 * x).astype(np.uint8) for x in (image, opacity))
    return image, opacity[..., 0]

  def _hit(self, label, resolution):
    """(samples on a side, what `raster.rasterize` finds at them)."""
    size = SUPERSAMPLING * resolution
    points, depth = self.project(label)
    return size, raster.rasterize(points * size, depth, self.faces.triangles, size)

  def _shade(self, triangle, weights):
    corners = self.attributes[self.faces.triangles[triangle]]  # [n, 3, 8]
    values = np.einsum('nk,nka->na', weights.astype(np.float32), corners)
    normal = values[:, 3:6].astype(np.float64)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
    colour = paint.albedo(
      self.faces, self.look, self.faces.part[triangle], values[:, :3], values[:, 6], values[:, 7]
    )
    return np.clip(colour * paint.irradiance(self.look, normal), 0.0, 1.0)

  def _truth(self, label, hit, resolution):
    pixel, triangle, weights = hit
    row, column = np.divmod(pixel, SUPERSAMPLING * resolution)
    middle = SUPERSAMPLING // 2
    centre = (row % SUPERSAMPLING == middle) & (column % SUPERSAMPLING == middle)
    flat = row[centre] // SUPERSAMPLING * resolution + column[centre] // SUPERSAMPLING
    corners = self.vertices[self.faces.triangles[triangle[centre]]]
    points = (weights[centre][..., None] * corners).sum(1)
    depth = np.full(resolution * resolution, np.inf, np.float32)
    depth[flat] = np.linalg.norm(points - np.asarray(label, np.float64)[[3, 7, 11]], axis=1)
    depth = depth.reshape(resolution, resolution)
    return depth, np.isfinite(depth)


def _sums(samples, resolution):
  """Sums [r, r, c] of the samples [s², c] of each pixel."""
  blocks = samples.reshape(resolution, SUPERSAMPLING, resolution, SUPERSAMPLING, -1)
  return blocks.sum((1, 3))
