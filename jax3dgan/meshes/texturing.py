"""Colours of a surface from the field: at the vertices, or baked into a texture."""

import numpy as np

from jax3dgan.errors import UserError
from jax3dgan.meshes import rasterizer, surfaces
from jax3dgan.pictures import display

DIRECTIONS = ('auto', 'normal', 'front', 'mean')
_MARGIN = 1.5  # texels, what a bilinear sample reaches
_CHUNK = 2**14  # points of the surface in one query
# Where colours are gathered around the surface, in steps of the grid from the outside inwards.
_BAND_OFFSETS = np.linspace(-0.5, 2.0, 6)


def colours_of(model, features) -> np.ndarray:
  """Colours [..., 3] in [0, 1] among the features [..., c] that `query` gives.

  The generator's `colours_of` says which.
  """
  if features.shape[-1] < 3:
    raise UserError(
      f'The field of {model.name} has {features.shape[-1]} features, no colours. Set --no-colour.'
    )
  colours = model.generator.colours_of(features)
  return np.clip(np.nan_to_num(np.asarray(colours, np.float32)), 0, 1)


def painter(model, scene, step: float, directions: str = 'auto'):
  """Returns `paint(points [m, 3], normals [m, 3])` → colours [m, 3] in [0, 1].

  The colours of the field are integrated over a thin band around the surface, with the weights of
  the renderer, so that a mesh has the colours of its renderings. For a signed distance the colour
  is that at the surface.

  Args:
    model: A `trained.Trained` with a field.
    scene: Leaves [1, ...].
    step: Of the grid, world units.
    directions: The view directions. 'normal': perpendicular to the surface; 'front': all (0, 0,
      −1); 'mean': the mean over the cameras of training that see the point; 'auto': 'normal' if
      those go all the way round, otherwise 'mean'. A model that was trained with a fixed view
      direction always gets that one.
  """
  from jax3dgan.rendering import compositing

  if directions not in DIRECTIONS:
    raise UserError(f'No directions are called {directions!r}. Set one of {", ".join(DIRECTIONS)}.')
  render = model.config.render
  if directions == 'auto':
    directions = 'normal' if display.goes_round(model) else 'mean'
  if render.lock_view_direction:
    directions = 'front'
  is_sdf = model.generator.field_kind == 'sdf'
  offsets = np.float32([0.0] if is_sdf else _BAND_OFFSETS * step)

  def gather(points, normals, views):
    at = points[:, None] - offsets[:, None] * normals[:, None]  # [m, s, 3]
    views = np.broadcast_to(views[:, None], at.shape)
    raw, features = model.query(
      scene, at.reshape(1, -1, 3), views.reshape(1, -1, 3), chunk=_CHUNK * len(offsets)
    )
    colours = colours_of(model, features).reshape(*at.shape[:2], 3)
    if is_sdf:
      return colours[:, 0]
    sigma = np.asarray(compositing.activate_density(raw.reshape(at.shape[:2]), render.density))
    alpha = -np.expm1(-sigma * (offsets[1] - offsets[0]))
    passed = np.cumprod(1 - alpha, axis=1)
    weights = alpha * np.concatenate([np.ones_like(passed[:, :1]), passed[:, :-1]], axis=1)
    # Transmitted light gets the colour of the last sample: behind a surface there is more of it.
    weights[:, -1] += passed[:, -1]
    return (weights[..., None] * colours).sum(1)

  def paint(points, normals):
    points, normals = np.float32(points), np.float32(normals)
    if directions == 'normal':
      return gather(points, normals, -normals)
    if directions == 'front':
      return gather(points, normals, np.broadcast_to(np.float32([0, 0, -1]), points.shape))
    total, weight = np.zeros_like(points), np.full((len(points), 1), 1e-6, np.float32)
    for eye in _camera_positions(model):
      views = points - eye
      views /= np.linalg.norm(views, axis=-1, keepdims=True)
      facing = np.maximum(-(views * normals).sum(-1, keepdims=True), 0) + 1e-6
      total += facing * gather(points, normals, views)
      weight += facing
    return total / weight

  return paint


def _camera_positions(model) -> np.ndarray:
  """Positions [e, 3] of cameras at the limits and in the middle of the pose prior."""
  num = 8 if display.goes_round(model) else 5
  azimuth = np.linspace(-1, 1, num) * model.yaw_half_range * (1 - 1 / num)
  return np.asarray(model.orbit(azimuth).origin)


def with_vertex_colours(mesh, paint, progress: bool = False):
  """Returns the mesh with the colours of its vertices."""
  colours = _paint_all(paint, mesh.vertices, mesh.vertex_normals, 'colours', progress)
  normals = mesh.vertex_normals
  mesh.visual.vertex_colors = _bytes(colours)
  mesh.vertex_normals = normals
  return mesh


def _bytes(colours) -> np.ndarray:
  return np.round(np.clip(colours, 0, 1) * 255).astype(np.uint8)


def _paint_all(paint, points, normals, what: str, progress: bool) -> np.ndarray:
  import tqdm

  colours = np.empty((len(points), 3), np.float32)
  size = min(_CHUNK, 1 << (len(points) - 1).bit_length())  # few shapes to compile
  bar = tqdm.tqdm(desc=what, total=len(points), unit='point', unit_scale=True, disable=not progress)
  with bar:
    for start in range(0, len(points), size):
      rows = np.minimum(np.arange(start, start + size), len(points) - 1)  # one shape for all
      part = paint(np.asarray(points)[rows], np.asarray(normals)[rows])[: len(points) - start]
      colours[start : start + size] = part
      bar.update(len(part))
  return colours


def unwrap(mesh):
  """Unwraps the faces into a square (xatlas).

  Returns:
    (index of the vertex [u], faces [f, 3], uv [u, 2] in [0, 1], v upwards): vertices on seams
    occur several times.
  """
  xatlas = surfaces.require('xatlas')
  atlas = xatlas.Atlas()
  atlas.add_mesh(np.float32(mesh.vertices), np.uint32(mesh.faces), np.float32(mesh.vertex_normals))
  chart, pack = xatlas.ChartOptions(), xatlas.PackOptions()
  # Charts may be elongated and bent: fewer seams, and less time.
  chart.roundness_weight = chart.straightness_weight = chart.normal_seam_weight = 0.0
  pack.padding = 2
  pack.bilinear = True
  atlas.generate(chart, pack)
  index, faces, uv = atlas[0]
  return index.astype(np.int64), faces.astype(np.int64), np.clip(uv, 0, 1).astype(np.float64)


def texel_points(mesh, size: int, margin: float = 0.0):
  """Surface points of the texels.

  Args:
    mesh: A mesh with uv (see `unwrap`).
    size: Texels on a side.
    margin: Texels beyond a chart's edge that are included, on the extensions of its triangles,
      since a bilinear sample at the edge uses them.

  Returns:
    Mask [size, size] of the texels that have one, from the top row down, and for those in the
    mask's order points [m, 3] and unit normals [m, 3].
  """
  from scipy import ndimage

  corners = mesh.visual.uv[mesh.faces] * [1, -1] + [0, 1]  # v upwards, rows downwards
  face, bary = rasterizer.rasterize(corners * size, size, size)
  mask = face >= 0
  if margin and mask.any():
    away, (row, column) = ndimage.distance_transform_edt(~mask, return_indices=True)
    beyond = (away > 0) & (away <= margin)
    face[beyond] = face[row[beyond], column[beyond]]
    y, x = np.nonzero(beyond)
    centres = np.stack([x + 0.5, y + 0.5], axis=-1)
    # At most the size of the triangle: the extension of a sliver would be far away.
    outer = rasterizer.barycentric(corners[face[beyond]] * size, centres)
    outer[:, 1:] = np.clip(outer[:, 1:], -1, 1)
    outer[:, 0] = 1 - outer[:, 1:].sum(-1)
    bary[beyond] = outer
    mask = face >= 0
  triangles = mesh.faces[face[mask]]
  weights = bary[mask][..., None]
  points = (mesh.vertices[triangles] * weights).sum(1)
  normals = (mesh.vertex_normals[triangles] * weights).sum(1)
  normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-12)
  return mask, points, normals


def dilate(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
  """Fills the texels outside of the mask with the nearest colour: seams stay invisible, also in
  downscaled copies of the texture."""
  from scipy import ndimage

  row, column = ndimage.distance_transform_edt(~mask, return_distances=False, return_indices=True)
  return image[row, column]


def baked(mesh, paint, size: int, progress: bool = False):
  """Returns the mesh with a texture of size² texels, its seams cut.

  Raises:
    UserError: A size below 1, or one at which no texel has a surface point.
  """
  from PIL import Image

  trimesh = surfaces.require('trimesh')
  if not 8 <= size <= 2**14:
    raise UserError(f'A texture of {size}² texels is too small. Set --texture=1024.')
  index, faces, uv = unwrap(mesh)
  visual = trimesh.visual.TextureVisuals(uv=uv)
  cut = trimesh.Trimesh(mesh.vertices[index], faces, process=False, visual=visual)
  cut.vertex_normals = mesh.vertex_normals[index]
  cut.metadata.update(mesh.metadata)
  mask, points, normals = texel_points(cut, size, _MARGIN)
  if not mask.any():
    raise UserError(
      f'A texture of {size}² texels is too small for this mesh. Set --texture={2 * size}.'
    )
  image = np.zeros((size, size, 3), np.uint8)
  image[mask] = _bytes(_paint_all(paint, points, normals, 'texture', progress))
  image = Image.fromarray(dilate(image, mask))
  material = trimesh.visual.material.PBRMaterial(
    name='surface', baseColorTexture=image, metallicFactor=0.0, roughnessFactor=1.0
  )
  cut.visual = trimesh.visual.TextureVisuals(uv=uv, material=material)
  cut.vertex_normals = mesh.vertex_normals[index]
  return cut


def texture_of(mesh):
  """The texture [h, w, 3] uint8 of a mesh, or None."""
  material = getattr(mesh.visual, 'material', None)
  image = getattr(material, 'baseColorTexture', None) or getattr(material, 'image', None)
  return None if image is None else np.asarray(image.convert('RGB'))


def sample_texture(texture: np.ndarray, uv: np.ndarray) -> np.ndarray:
  """Colours [m, 3] in 0 to 255 of a texture at uv [m, 2] (v upwards), bilinear."""
  height, width = texture.shape[:2]
  x, y = uv[:, 0] * width - 0.5, (1 - uv[:, 1]) * height - 0.5
  x, y = np.clip(x, 0, width - 1), np.clip(y, 0, height - 1)
  left, top = np.floor(x).astype(int), np.floor(y).astype(int)
  right, bottom = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
  fx, fy = (x - left)[:, None], (y - top)[:, None]
  above = texture[top, left] * (1 - fx) + texture[top, right] * fx
  below = texture[bottom, left] * (1 - fx) + texture[bottom, right] * fx
  return above * (1 - fy) + below * fy
