"""From a generator's field to a mesh: the cube, the level, the grid, the surface, its normals.

  from jax3dgan import trained
  from jax3dgan.meshes import meshing

  model = trained.load(pretrained='toys')
  w = model.map(model.latents([0]))
  mesh = meshing.extract(model, w, resolution=128)  # a trimesh.Trimesh in world units
  mesh.export('mesh.ply')

It uses `query` of the generator, and these attributes if it has them: `field_kind`,
'density' (the default) or 'sdf' (signed distance, negative inside), and `colours_of(features)`, the
colours in [0, 1] among the features that `query` returns (the first three, by default).
"""

import math

import jax
import numpy as np

from jax3dgan import generators
from jax3dgan.errors import UserError
from jax3dgan.meshes import fusion, mesh_normals, surfaces, texturing
from jax3dgan.rendering import compositing, grid, rays

_SLAB_POINTS = 2**21  # values of the grid that are in memory at a time, about
_COARSE = 32  # points of a grid on a side: fewer can miss an object
# Of `default_level`: cameras, rays on a side of each, steps along a ray; and the share of opaque
# rays below which it uses `interval_level`.
_LEVEL_VIEWS, _LEVEL_RAYS, _LEVEL_STEPS, _LEVEL_MIN_SHARE = 6, 24, 96, 0.005


def check(model) -> None:
  """UserError for a model without any surface, neither a field nor depth, or with parallel rays."""
  if model.generator.parallel_rays:
    raise UserError(
      f'{model.name} has parallel rays, and meshes are made of what is seen from a place. Give a '
      'model whose rays are those of cameras.'
    )
  if not fusion.is_needed(model):
    field_kind(model)


def field_kind(model) -> str:
  """'density' or 'sdf': what the first output of the generator's `query` is.

  Raises:
    UserError: It has no field.
  """
  if not model.has_field:
    raise UserError(f'{model.name} has no field, so no surface. Take a model with a field.')
  kind = model.generator.field_kind
  if kind not in ('density', 'sdf'):
    raise UserError(f"{model.name} has a field of kind '{kind}'. Known are density and sdf.")
  return kind


def default_cube(model) -> float:
  """Side of the cube around the origin that is visible in training, world units.

  It extends as far as the samples of a ray through the middle, and to the sides as far as a camera
  sees at the distance of the origin; where rays are sampled in a cube alone, no further than it.
  """
  render = model.config.render
  side = render.radius * math.tan(math.radians(render.fov_degrees) / 2)
  cube = 2 * max(render.far - render.radius, render.radius - render.near, side)
  return min(cube, render.box) if render.box else cube


def interval_level(model) -> float:
  """The raw density that absorbs half of the light between two samples of training.

  1 − exp(−σδ) = ½ over their distance δ, so σ = ln 2 / δ, and from σ back through the activation of
  the density. For π-GAN's faces that is 31.8; its authors take about 30.
  """
  render = model.config.render
  sigma = math.log(2) * max(render.num_coarse - 1, 1) / (render.far - render.near)
  if render.density == 'softplus' and sigma < 30:  # beyond, they agree
    return math.log(math.expm1(sigma))
  return sigma


def default_level(model, scene) -> float:
  """The raw density (or signed distance) that counts as surface: where rays become opaque.

  Rays of the cameras of training are followed through the field in small steps. Of the rays whose
  transmittance falls to one half, 95 % have met a density of this level by then: a higher level
  would cut off visible parts, a lower one would cover them with transparent ones. If almost no ray
  becomes so opaque, it is `interval_level`. A signed distance has its surface at 0.
  """
  if field_kind(model) == 'sdf':
    return 0.0
  render = model.config.render
  azimuth = np.linspace(-1, 1, _LEVEL_VIEWS, endpoint=False) + 1 / _LEVEL_VIEWS
  camera = model.orbit(azimuth * model.yaw_half_range)
  lines = jax.jit(rays.camera_rays, static_argnums=1)(camera, _LEVEL_RAYS)
  depths = np.linspace(render.near, render.far, _LEVEL_STEPS, dtype=np.float32)
  origins, directions = (np.asarray(x).reshape(-1, 1, 3) for x in (lines.origins, lines.directions))
  points = origins + depths[:, None] * directions  # [r, s, 3]
  raw = model.query(scene, points.reshape(1, -1, 3))[0].reshape(points.shape[:2])
  sigma = np.asarray(compositing.activate_density(raw, render.density), np.float64)
  absorbed = np.cumsum(sigma * (depths[1] - depths[0]), axis=1)
  opaque = absorbed[:, -1] > math.log(2)
  if opaque.mean() < _LEVEL_MIN_SHARE:
    return interval_level(model)
  half = np.argmax(absorbed[opaque] > math.log(2), axis=1)
  largest = np.maximum.accumulate(raw[opaque], axis=1)[np.arange(len(half)), half]
  return float(np.percentile(largest, 5))


def opacity_of(model, level: float) -> float:
  """The share of the light that a raw density absorbs on the whole of a ray, from near to far."""
  render = model.config.render
  sigma = float(compositing.activate_density(np.float32(level), render.density))
  return 1 - math.exp(-max(sigma, 0) * (render.far - render.near))


def scene_of(model, w):
  """Returns the scene [1, ...] of one style [1, ...] or [...]; of a scene [1, ...], itself."""
  shape = model.w_shape
  if not isinstance(w, generators.Scene):
    w = w[None] if w.shape == shape else w
    if w.shape[1:] == shape:
      if w.shape[0] != 1:
        raise UserError(f'A mesh is of one style, these are {w.shape[0]}. Give w[i : i + 1].')
      return model.prepare(w)
  return w


def extract(
  model,
  w,
  resolution: int = 128,
  level: float | None = None,
  *,
  cube: float | None = None,
  keep: str | float = 'largest',
  close: bool = True,
  normals: str = 'field',
  colours: str | None = 'auto',
  texture: int | None = None,
  chunk: int | None = None,
  progress: bool = False,
  frustum=None,
):
  """The surface of one style as a mesh.

  Args:
    model: A `trained.Trained` with a field, or with depth (`fusion`), whose normals are the mesh's.
    w: One style, [1, ...] or [...], or a scene with leaves [1, ...] (see `Trained.prepare`).
    resolution: n, points of the grid on a side.
    level: Raw density (or signed distance) of the surface; None for `default_level`.
    cube: Side of the cube around the origin, world units; None for `default_cube`.
    keep: 'largest' connected part, 'all', or the least share of the whole area, 0 to 1.
    close: Whether the cube's faces close a surface that reaches them.
    normals: 'field', from the field's gradient, or 'mesh', from the faces.
    colours: View directions for the colours, see `texturing.surface_colours`; None for none.
    texture: Texels on a side of a baked texture; None for colours at the vertices.
    chunk: Points of the grid in one query; None for a default that depends on the platform.
    progress: Whether to show bars.
    frustum: A `frustum.Frustum` that the grid fills instead of a cube.

  Returns:
    A closed `trimesh.Trimesh` in world units (y up, front +z), normals outwards. Its `metadata`
    are `level`, `cube` (None with a frustum), `resolution`, the number of connected `parts` and of
    those that were `kept`, and `at_border`, the share of its area on the cube's faces.

  Raises:
    UserError: No field, no surface at this level, or a package is missing.
  """
  trimesh = surfaces.require('trimesh', 'skimage')[0]
  check(model)
  if resolution < 2:
    raise UserError(f'A grid of {resolution} points on a side is too small. Set --resolution=128.')
  cube = default_cube(model) if cube is None or frustum else float(cube)
  if not (math.isfinite(cube) and cube > 0):
    raise UserError(f'A cube of side {cube:g} is empty. Set --cube={default_cube(model):g}.')
  scene = scene_of(model, w)
  if fusion.is_needed(model):
    model, normals = fusion.of_depth(model, cube / (resolution - 1)), 'mesh'
    scene = model.prepare(scene)
  sign = -1.0 if field_kind(model) == 'sdf' else 1.0
  automatic = level is None
  level = default_level(model, scene) if automatic else float(level)
  if not math.isfinite(level):
    raise UserError(f'{level} is no level. Leave out --level, or set a number.')
  extremes = [np.inf, -np.inf]

  def slabs():
    if frustum:
      every = frustum.slabs(model, scene, resolution, progress)
    else:
      every = grid_slabs(model, scene, resolution, cube, chunk, progress)
    for values in every:
      extremes[0] = min(extremes[0], float(values.min()))
      extremes[1] = max(extremes[1], float(values.max()))
      if not np.isfinite(extremes).all():
        raise UserError(
          f'The field of {model.name} is not finite everywhere. Take an earlier checkpoint.'
        )
      yield sign * (values - level)

  vertices, faces = surfaces.marching_cubes(slabs(), close)
  low, high = extremes
  # Closed, a distance without a surface would be the cube. A density may fill it.
  solid = sign < 0 and level > high
  if not len(faces) or solid:
    if automatic and resolution < _COARSE:  # the level is one that rays meet
      raise UserError(
        f'A grid of {resolution} points on a side has no surface: all of them are on one side of '
        f'the level {level:.4g}, and what is between them is missed. Set --resolution=128.'
      )
    usual = level if automatic else default_level(model, scene)
    raise UserError(_no_surface(level, usual, None if frustum else cube, sign, *extremes))
  vertices, faces, parts, kept = surfaces.keep_components(vertices, faces, keep)
  if not len(faces):
    raise UserError(f'None of {parts} parts has {keep:g} of the area. Set --keep=largest.')
  border = ((vertices < 0.5) | (vertices > resolution - 1.5))[faces].all(1).any(-1)
  area = surfaces.areas(vertices, faces)
  units, step = vertices / (resolution - 1), cube / (resolution - 1)
  vertices = frustum.world(units) if frustum else cube * units - cube / 2
  vertices = vertices.astype(np.float32)
  mesh = trimesh.Trimesh(vertices, faces, process=False)
  smooth = mesh_normals.of_faces(mesh.vertices, mesh.faces)
  if normals == 'field':
    smooth = mesh_normals.of_field(model, scene, vertices, smooth, sign, progress)
  mesh.vertex_normals = smooth
  mesh.metadata.update(
    level=level,
    cube=None if frustum else cube,
    resolution=resolution,
    parts=parts,
    kept=kept,
    at_border=float(area[border].sum() / area.sum()),
    opacity=1.0 if sign < 0 else opacity_of(model, level),
  )
  if colours is not None:
    paint = texturing.painter(model, scene, step, colours)
    if texture:
      mesh = texturing.baked(mesh, paint, texture, progress)
    else:
      mesh = texturing.with_vertex_colours(mesh, paint, progress)
  return mesh


def _no_surface(level, usual, cube, sign, low, high) -> str:
  name = 'signed distance' if sign < 0 else 'density'
  where = f'cube of side {cube:g}' if cube else 'frustum'
  numbers = f'between {low:.4g} and {high:.4g} in the {where}'
  if (high < level) if sign > 0 else (low > level):
    end, value = ('exceeds', high) if sign > 0 else ('falls below', low)
    return (
      f'The {name} never {end} {level:.4g}: its extreme is {value:.4g} ({numbers}). '
      f'{_remedy(level, usual, sign, low, high)}.'
    )
  larger = ', or a larger --cube' if cube else ''
  return (
    f'All of the {"cube" if cube else "frustum"} is inside: the {name} is {numbers}, the level '
    f'{level:.4g}. {_remedy(level, usual, sign, low, high)}{larger}.'
  )


def _remedy(level, usual, sign, low, high) -> str:
  if level != usual and low < usual < high:
    return f'Leave out --level, which is then {usual:.4g}'
  if sign > 0 and high > max(low, 0):  # a density that absorbs something
    return f'Try --level={(max(low, 0) + high) / 2:.3g}'
  return 'Take a checkpoint that has been trained longer, or another seed'


def grid_slabs(model, scene, resolution: int, cube: float, chunk=None, progress: bool = False):
  """Yields the raw field on the grid, some planes along x at a time, [p, n, n] float32.

  Args:
    model: A `trained.Trained` with a field.
    scene: Leaves [1, ...].
    resolution: n.
    cube: Side, world units.
    chunk: Points in one query; None for a default by platform: on a CPU what fits its caches.
    progress: Whether to show a bar.
  """
  import tqdm

  chunk = chunk or (2**12 if jax.default_backend() == 'cpu' else 2**18)
  count = min(max(_SLAB_POINTS // resolution**2, 1), resolution)
  with tqdm.tqdm(
    desc='field', total=resolution**3, unit='point', unit_scale=True, disable=not progress
  ) as bar:
    for first in range(0, resolution, count):
      values = grid.query_planes(
        model.generator, model.variables, scene, first, count, resolution, cube, chunk
      )
      values = np.asarray(values)[: resolution - first]
      yield values
      bar.update(values.size)
