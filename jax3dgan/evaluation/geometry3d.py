"""Functions of the measures of geometry: points from depth maps, and warps by them.

A depth map has Euclidean distances along the unit ray through each pixel of `rays.pixel_grid` (in
π-GAN's release with both ends of the image, `align_corners`); warps use the same positions.
Everything here is NumPy in float64: no device is needed and sums stay exact.

The warp is a backward one, with the occlusion test of a shadow map: each target pixel samples the
source view where its surface point projects to, and the source's depth map (a z-buffer that is
known already) says whether something is in front of it. Splatting forward would need a second
z-buffer, and would leave holes.
"""

import dataclasses
import math
from collections.abc import Iterator, Sequence

import jax
import numpy as np

from jax3dgan.cameras import Camera
from jax3dgan.errors import UserError
from jax3dgan.rendering import depth_maps


@dataclasses.dataclass(frozen=True)
class Warp:
  """A source view, resampled at the target's pixels; masks are bool [v, h, w] and disjoint.

  Attributes:
    image: [v, h, w, c] the source, bilinear where each target pixel's surface point projects to.
    valid: where the two views may be compared.
    outside: beside or behind the source's image: not between the centres of its outer pixels.
    occluded: something nearer is in front of it in the source view.
    silhouette: on an edge of the source's depth, where bilinear samples mix what lies on both
      sides and the depth map does not say which of them hides the point.
    solid: the target has a surface: the union of the four above.
  """

  image: np.ndarray
  valid: np.ndarray
  outside: np.ndarray
  occluded: np.ndarray
  silhouette: np.ndarray

  @property
  def solid(self) -> np.ndarray:
    return self.valid | self.outside | self.occluded | self.silhouette


def sample_bin(options) -> float:
  """Distance between coarse samples, (far − near) / num_coarse: the unit of depth errors."""
  return (options.far - options.near) / options.num_coarse


def ray_directions(camera: Camera, resolution: int, align_corners: bool = False) -> np.ndarray:
  """Unit directions [v, h, w, 3] in the world; the same as `rays.camera_rays`, in float64."""
  ticks = _ticks(resolution, align_corners)
  cam2world, intrinsics = _matrices(camera)
  fx, skew, cx = (intrinsics[:, 0, i, None, None] for i in range(3))
  fy, cy = (intrinsics[:, 1, i, None, None] for i in (1, 2))
  y = (ticks[None, :, None] - cy) / fy + np.zeros((1, 1, resolution))
  x = (ticks[None, None, :] - cx - skew * y) / fx
  local = np.stack([x, y, np.ones_like(x)], axis=-1)
  local /= np.linalg.norm(local, axis=-1, keepdims=True)
  return np.einsum('vij,vhwj->vhwi', cam2world[:, :3, :3], local)


def world_points(camera: Camera, distance: np.ndarray, align_corners: bool = False) -> np.ndarray:
  """Points [v, h, w, 3] at distances [v, h, w] along the rays of cameras [v]."""
  directions = ray_directions(camera, distance.shape[-1], align_corners)
  origin = np.asarray(camera.cam2world, np.float64)[:, None, None, :3, 3]
  return origin + np.asarray(distance, np.float64)[..., None] * directions


def pixel_positions(camera: Camera, points: np.ndarray, resolution: int, align_corners=False):
  """Where points [v, n, 3] are in the images of cameras [v].

  Returns:
    (row [v, n], column [v, n], distance [v, n], front [v, n]): positions in pixels, whole numbers
    at the pixels of `rays.pixel_grid`; Euclidean distance from the camera; whether in front of it.
  """
  cam2world, intrinsics = _matrices(camera)
  offset = points - cam2world[:, None, :3, 3]
  local = np.einsum('vji,vnj->vni', cam2world[:, :3, :3], offset)
  front = local[..., 2] > 1e-6
  image = np.einsum('vij,vnj->vni', intrinsics, local)
  uv = image[..., :2] / np.where(front, image[..., 2], 1.0)[..., None]
  pixels = uv * (resolution - 1) if align_corners else uv * resolution - 0.5
  return pixels[..., 1], pixels[..., 0], np.linalg.norm(offset, axis=-1), front


def warp(
  source: tuple[np.ndarray, np.ndarray, np.ndarray, Camera],
  target: tuple[np.ndarray, np.ndarray, Camera],
  tolerance: float,
  align_corners: bool = False,
) -> Warp:
  """Warps source views into target views by the target's depth.

  Of the four source pixels around a projected point:
  - the nearest is beyond none: all are solid and nearer than the point by more than `tolerance`
    → occluded. The farthest of the four is the reference, so that a slope within them does not
    count; `tolerance` is for the error of a rendered depth.
  - some are solid and some not, or their depths differ by more than 2·tolerance → silhouette.
  - none is solid → valid: nothing hides the point there, so that a consistent scene would show
    it; the source shows its background, and the comparison counts this as an error.
  - otherwise valid; also where the source's surface is farther than the point, which no
    consistent scene has.

  Args:
    source: image [v, h, w, c], surface distance [v, h, w], solid [v, h, w], cameras [v].
    target: surface distance, solid, cameras of the target views.
    tolerance: world units; half a `sample_bin` for renderings, whose depth is no finer.
    align_corners: see `rays.pixel_grid`.
  """
  image, depth, solid, camera = source
  distance, target_solid, target_camera = target
  v, h, w = distance.shape
  if image.shape[:3] != (v, h, w) or depth.shape != (v, h, w) or h != w:
    raise UserError(
      f'Views of shape {image.shape} and {distance.shape} do not fit. Give both [v, h, h, ...].'
    )
  # Where nothing is solid the distance may be anything; it is masked below.
  points = world_points(target_camera, np.where(target_solid, distance, 0.0), align_corners)
  row, column, length, front = pixel_positions(camera, points.reshape(v, -1, 3), h, align_corners)
  # A tolerance for rounding: a camera's own border pixels are inside its image.
  inside = front & (np.minimum(row, column) > -1e-4) & (np.maximum(row, column) < h - 1 + 1e-4)
  corners, weights = _corners(np.where(inside, row, 0), np.where(inside, column, 0), h)
  pixels = np.asarray(image, np.float64).reshape(v, h * w, -1)
  views = np.arange(v)[None, :, None]
  warped = np.sum(pixels[views, corners] * weights[..., None], axis=0)  # [v, n, c]
  around = np.where(solid, depth, np.inf).reshape(v, -1)[views, corners]  # [4, v, n]
  is_solid = solid.reshape(v, -1)[views, corners]
  # A corner of weight zero is neither in the sample nor in the decision.
  used = weights > 1e-4
  every, some = (is_solid | ~used).all(0), (is_solid & used).any(0)
  farthest = np.where(used, around, -np.inf).max(0)
  nearest = np.where(used, around, np.inf).min(0)
  with np.errstate(invalid='ignore'):
    edge = np.where(every, farthest - nearest > 2 * tolerance, some)
  candidate = inside & target_solid.reshape(v, -1)
  occluded = candidate & every & (length > farthest + tolerance)
  silhouette = candidate & ~occluded & edge
  masks = {
    'outside': target_solid.reshape(v, -1) & ~inside,
    'occluded': occluded,
    'silhouette': silhouette,
    'valid': candidate & ~occluded & ~silhouette,
  }
  masks = {name: mask.reshape(v, h, w) for name, mask in masks.items()}
  return Warp(image=warped.reshape(v, h, w, -1), **masks)


def _corners(row, column, size):
  """The four pixels around positions [v, n], as indices [4, v, n], and their bilinear weights."""
  top = np.clip(np.floor(row), 0, max(size - 2, 0)).astype(int)
  left = np.clip(np.floor(column), 0, max(size - 2, 0)).astype(int)
  y, x = np.clip(row - top, 0, 1), np.clip(column - left, 0, 1)
  index = top * size + left
  step = 1 if size > 1 else 0
  indices = np.stack([index, index + step, index + step * size, index + step * (size + 1)])
  return indices, np.stack([(1 - y) * (1 - x), (1 - y) * x, y * (1 - x), y * x])


def _ticks(resolution, align_corners):
  if align_corners:
    return np.linspace(0.0, 1.0, resolution)
  return (np.arange(resolution) + 0.5) / resolution


def _matrices(camera):
  cam2world = np.asarray(camera.cam2world, np.float64)
  intrinsics = np.asarray(camera.intrinsics, np.float64)
  return cam2world, np.broadcast_to(intrinsics, (len(cam2world), 3, 3))


def base_azimuth(model, seeds: Sequence[int]) -> np.ndarray:
  """The middle azimuth [n] of each latent's views: the front, or, with a full-circle prior, spread.

  With a prior that covers the circle there is no front to prefer: seed s is rendered from s
  golden angles, so that a few of them cover all sides.
  """
  if not _is_full_circle(model):
    return np.zeros(len(seeds))
  golden = math.pi * (3 - math.sqrt(5))
  return np.remainder(np.asarray(seeds) * golden + math.pi, 2 * math.pi) - math.pi


def middle_view(model) -> str:
  """The choice of `base_azimuth`, for a protocol."""
  return 'a middle by golden angles' if _is_full_circle(model) else 'the front'


def _is_full_circle(model):
  return model.yaw_half_range > 0.95 * math.pi


def azimuth_step(model) -> float:
  """0.2 rad, or half the pose prior's half range where that is less: two steps stay inside it."""
  return min(0.2, model.yaw_half_range / 2)


def protocol(model, options, seeds, psi, views: str, extra: str = '') -> str:
  """One line on how a measurement was taken."""
  samples = f', {options.num_coarse}+{options.num_fine} samples per ray' if model.has_field else ''
  psi = model.config.display.truncation_psi if psi is None else psi
  parts = [
    f'{len(seeds)} latents (seeds {seeds[0]}–{seeds[-1]})',
    f'truncation {psi:g}',
    views,
    f'{options.resolution}²{samples}',
    f'solid where opacity > {depth_maps.SOLID}',
    extra,
  ]
  return '; '.join(part for part in parts if part)


def seeds_from(num_latents: int, seed: int) -> range:
  """The latents' seeds: those of different `seed` do not overlap."""
  if num_latents < 1:
    raise UserError(f'{num_latents} latents measure nothing. Ask for one or more.')
  return range(seed * 1_000_000, seed * 1_000_000 + num_latents)


def render_views(
  model, seeds: Sequence[int], azimuths: np.ndarray, psi=None, resolution=None, say=None
) -> Iterator[tuple[int, object, Camera]]:
  """Renders every latent from its azimuths, in bounded memory and with one compiled shape.

  Args:
    model: A `trained.Trained`.
    seeds: n seeds of latents.
    azimuths: [n, v] radians, at the prior's mean elevation.
    psi, resolution: see `Trained.map` and `Trained.render`.
    say: Called with the number of latents done.

  Yields:
    (i, Rendering of leaves [v, h, w, ...], Camera [v]) of each latent in turn.
  """
  n, v = azimuths.shape
  resolution = resolution or model.resolution
  chunk = min(n, max(16 * 64**2 // resolution**2, 1))
  for start in range(0, n, chunk):
    # The last latent pads the last chunk, so that nothing is compiled for a smaller one.
    rows = np.minimum(np.arange(start, start + chunk), n - 1)
    w = model.map(model.latents([seeds[i] for i in rows]), psi)
    w = np.repeat(np.asarray(w), v, axis=0)
    camera = jax.tree.map(np.asarray, model.orbit(azimuths[rows].ravel()))
    out = model.render(w, camera, resolution)
    for k in range(min(chunk, n - start)):
      rows_of_latent = slice(k * v, (k + 1) * v)
      yield start + k, *jax.tree.map(lambda x, rows=rows_of_latent: x[rows], (out, camera))
    if say is not None:
      say(min(start + chunk, n))
