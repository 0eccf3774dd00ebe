"""Pictures of a mesh beside renderings of its model."""

import math
from typing import NamedTuple

import numpy as np

from jax3dgan.meshes import rasterizer, texturing
from jax3dgan.pictures import display

RESOLUTION = 160  # of each picture
_SUPERSAMPLING = 2
_LIGHT = np.float32([0.35, 0.5, 0.8])  # towards it, in the camera's axes (x right, y up, z back)
_MATERIAL = np.float32([196, 190, 184])


class View(NamedTuple):
  """A picture of a mesh.

  Attributes:
    colour: uint8 [h, w, 3], the mesh's own colours; white where there is none.
    shaded: uint8 [h, w, 3], a grey diffuse surface in light.
    depth: [h, w] distance from the camera, inf where there is nothing.
  """

  colour: np.ndarray
  shaded: np.ndarray
  depth: np.ndarray


def view(mesh, camera, resolution: int) -> View:
  """Draws a mesh, pixel centres at (i + ½)/resolution, without smoothing of edges.

  Args:
    mesh: A `trimesh.Trimesh` with colours at its vertices or a texture, or without either.
    camera: One camera, [1, ...].
    resolution: Pixels on a side.
  """
  cam2world = np.asarray(camera.cam2world, np.float64)[0]
  intrinsics = np.asarray(camera.intrinsics, np.float64)[0]
  rotation, origin = cam2world[:3, :3], cam2world[:3, 3]
  local = (np.asarray(mesh.vertices) - origin) @ rotation  # x right, y down, z forward
  image = local @ intrinsics.T
  faces = np.asarray(mesh.faces)
  faces = np.where(
    (local[faces, 2] > 1e-3).all(1)[:, None], faces, 0
  )  # behind the camera: without area
  uv = image[:, :2] / np.maximum(image[:, 2:], 1e-3)
  inverse = 1 / np.maximum(local[:, 2], 1e-3)
  face, bary = rasterizer.rasterize(uv[faces] * resolution, resolution, resolution, inverse[faces])
  mask = face >= 0
  corners = faces[face[mask]]  # [m, 3]
  weights = rasterizer.perspective(bary[mask], inverse[corners])[..., None]

  def interpolated(values):
    return (np.asarray(values)[corners] * weights).sum(1)

  depth = np.full(mask.shape, np.inf)
  depth[mask] = np.linalg.norm(interpolated(local), axis=-1)
  normals = interpolated(mesh.vertex_normals) @ rotation * [1, -1, -1]
  normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-12)
  light = np.maximum(normals @ (_LIGHT / np.linalg.norm(_LIGHT)), 0)
  shaded = np.full((*mask.shape, 3), 255, np.uint8)
  shaded[mask] = np.clip(_MATERIAL * (0.3 + 0.75 * light[:, None]), 0, 255)
  colour = np.full((*mask.shape, 3), 255, np.uint8)
  texture = texturing.texture_of(mesh)
  if texture is not None:
    colour[mask] = np.round(texturing.sample_texture(texture, interpolated(mesh.visual.uv)))
  elif mesh.visual.kind == 'vertex':
    colour[mask] = np.round(interpolated(mesh.visual.vertex_colors[:, :3].astype(float)))
  else:
    colour[mask] = _MATERIAL
  return View(colour, shaded, depth)


def smoothed(mesh, camera, resolution: int) -> tuple[np.ndarray, np.ndarray]:
  """(colour, shaded) of `view`, uint8 [h, w, 3], with smooth edges."""
  large = view(mesh, camera, resolution * _SUPERSAMPLING)

  def reduced(image):
    shape = (resolution, _SUPERSAMPLING, resolution, _SUPERSAMPLING, 3)
    return np.round(image.reshape(shape).mean((1, 3))).astype(np.uint8)

  return reduced(large.colour), reduced(large.shaded)


def azimuths(model, num: int) -> np.ndarray:
  """Azimuths [num] in radians of a preview: the full circle, or the range of training."""
  if display.goes_round(model):
    return math.radians(40) + 2 * math.pi * np.arange(num) / num
  return display.show_views(model, num)


def _resized(picture: np.ndarray, resolution: int) -> np.ndarray:
  import PIL.Image

  image = PIL.Image.fromarray(picture)
  return np.asarray(image.resize((resolution, resolution), PIL.Image.Resampling.LANCZOS))


def sheet(
  model, w, mesh, resolution: int | None = None, num: int = 6, title: str = ''
) -> np.ndarray:
  """Renderings, the mesh in its colours, and the mesh in light, from the same sides.

  Args:
    model: A `trained.Trained`.
    w: The style or scene [1, ...] that the mesh is of.
    mesh: Its mesh.
    resolution: Pixels on a side of each; None for 160.
    num: Views.
    title: Of the first row.

  Returns:
    uint8 [h, w, 3].
  """
  from jax3dgan import viz

  resolution = resolution or RESOLUTION
  camera = model.orbit(azimuths(model, num))
  # The only one that super-resolution makes, or that a growing generator has come to.
  own = model.generator.resolution and model.resolution
  rendered = viz.to_uint8(model.render(w, camera, own or resolution).image)
  if own not in (None, resolution):
    rendered = np.stack([_resized(picture, resolution) for picture in rendered])
  views = []
  for i in range(num):
    one = type(camera)(camera.cam2world[i : i + 1], camera.intrinsics[i : i + 1])
    views.append(smoothed(mesh, one, resolution))
  colour, shaded = map(np.stack, zip(*views, strict=True))
  about = f'mesh: {len(mesh.vertices):,} vertices, {len(mesh.faces):,} faces'
  return viz.sheet(
    [
      (f'{title}: rendered' if title else 'rendered', viz.grid(rendered, num)),
      (about, viz.grid(colour, num)),
      ('its shape', viz.grid(shaded, num)),
    ]
  )
