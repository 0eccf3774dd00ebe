"""Multi-view depth consistency: do the surfaces from two views coincide? (StyleSDF, Or-El et
al., CVPR 2022, arXiv 2112.11427, Sec. 4.)

The depth maps of the middle view and of a side view 0.4 rad away (less for a narrower pose prior)
are turned into clouds of points in the world; the figure is the Chamfer distance between them, as
the mean of both directions, in units of the sample bin (far − near) / num_coarse:

  chamfer/median       median over the points of the distance to the other cloud's nearest point,
                       robust against surfaces that only one view shows
  chamfer/mean         mean instead of the median
  chamfer/median_all, chamfer/mean_all   the same with every solid point
  chamfer/spacing      median distance of a cloud's points from the nearest one of the same cloud:
    in
                       two samplings of one surface, nearest points are about half of it apart
  chamfer/visible      share of the solid points that the first two count
  chamfer/measured     share of the latents with points in both views

The first two count points that are visible in the other view: inside its image, not on an edge of
its depth, and not hidden. A point is hidden if it is more than one bin behind the other's surface:
an inconsistency of up to a bin is measured completely, a larger one decreases `visible` and
increases the unrestricted figures.
Each is a mean over latents.
"""

import numpy as np
from scipy import spatial

from jax3dgan import viz
from jax3dgan.cameras import Camera
from jax3dgan.evaluation import geometry3d
from jax3dgan.evaluation.results import Result
from jax3dgan.rendering import depth_maps

_SHOWN = 4
_NAMES = ('median', 'mean', 'median_all', 'mean_all', 'spacing', 'visible')


def nearest_distances(points: np.ndarray, others: np.ndarray) -> np.ndarray:
  """Distance [n] of each of points [n, 3] from the nearest of others [m, 3]."""
  return spatial.KDTree(others).query(points)[0]


def chamfer(points: np.ndarray, others: np.ndarray) -> dict[str, float]:
  """Chamfer distance of two clouds [n, 3] and [m, 3]: 'median' and 'mean' of both directions.

  NaN where a cloud is empty.
  """
  if not len(points) or not len(others):
    return {'median': float('nan'), 'mean': float('nan')}
  both = (nearest_distances(points, others), nearest_distances(others, points))
  return {
    'median': float(np.mean([np.median(x) for x in both])),
    'mean': float(np.mean([np.mean(x) for x in both])),
  }


def spacing(points: np.ndarray) -> float:
  """Median distance of the points [n, 3] of a cloud from their nearest neighbour in it."""
  if len(points) < 2:
    return float('nan')
  return float(np.median(spatial.KDTree(points).query(points, k=2)[0][:, 1]))


def compare(distance, solid, camera, tolerance, align_corners=False):
  """Compares the depth maps of two views of one scene.

  Args:
    distance, solid: [2, h, w] surface distance, and whether there is a surface.
    camera: [2].
    tolerance: how far behind the other's surface a point is hidden, world units.
    align_corners: see `rays.pixel_grid`.

  Returns:
    ({'median', 'mean', 'median_all', 'mean_all', 'spacing' in world units, 'visible'}, nearest
    distances [2, h, w] in world units between the unrestricted clouds, NaN where nothing is
    solid, and visible [2, h, w]).
  """
  swap = np.array([1, 0])
  other = Camera(np.asarray(camera.cam2world)[swap], np.asarray(camera.intrinsics)[swap])
  image = np.zeros((*distance.shape, 1))  # of a warp only the masks matter here
  warped = geometry3d.warp(
    (image, distance[swap], solid[swap], other), (distance, solid, camera), tolerance, align_corners
  )
  points = geometry3d.world_points(camera, np.where(solid, distance, 0.0), align_corners)
  visible = chamfer(*(points[i][warped.valid[i]] for i in range(2)))
  clouds = [points[i][solid[i]] for i in range(2)]
  full = chamfer(*clouds)
  maps = np.full(distance.shape, np.nan)
  if all(len(cloud) for cloud in clouds):
    for i in range(2):
      maps[i][solid[i]] = nearest_distances(clouds[i], clouds[1 - i])
  figures = {
    **visible,
    **{f'{name}_all': value for name, value in full.items()},
    'spacing': float(np.mean([spacing(cloud) for cloud in clouds])),
    'visible': float(warped.valid.sum() / max(solid.sum(), 1)),
  }
  return figures, maps, warped.valid


def measure(
  model, num_latents: int = 256, seed: int = 0, psi=1.0, resolution=None, say=None
) -> Result:
  """Measures a `trained.Trained`; see `reprojection.measure` for the arguments."""
  options = model.options(resolution)
  seeds = geometry3d.seeds_from(num_latents, seed)
  side = 2 * geometry3d.azimuth_step(model)
  azimuths = geometry3d.base_azimuth(model, seeds)[:, None] + side * np.array([0, 1])
  unit = geometry3d.sample_bin(options)
  rows, shown = [], []
  for _, out, camera in geometry3d.render_views(model, seeds, azimuths, psi, resolution, say):
    distance, solid = depth_maps.surface(out, options)
    figures, maps, visible = compare(distance, solid, camera, unit, options.align_corners)
    rows.append([figures[name] for name in _NAMES])
    if len(shown) < _SHOWN:
      shown.append((distance, solid, maps / unit, visible))
  table = np.array(rows)
  table[:, :5] /= unit
  measured = np.isfinite(table[:, :5])
  values = {}
  for i, name in enumerate(_NAMES):
    column = table[:, i][np.isfinite(table[:, i])]
    values[f'chamfer/{name}'] = float(column.mean()) if len(column) else float('nan')
  values['chamfer/measured'] = float(measured[:, 0].mean())
  views = f'{geometry3d.middle_view(model)} against {side:.2g} rad to the side'
  extra = f'unit: sample bin {unit:.4g}; hidden: a bin behind'
  text = geometry3d.protocol(model, options, seeds, psi, views, extra)
  return Result(values, text, _sheet(shown, values))


def _sheet(shown, values):
  factor = max(128 // shown[0][0].shape[-1], 1)
  tiles = []
  for distance, solid, maps, visible in shown:
    depths = viz.colour_depth(distance, solid, viz.depth_range(distance, solid))
    errors = viz.colour_ramp(maps)  # one bin is light
    errors[~solid] = 255
    errors[solid & ~visible] = (
      errors[solid & ~visible] // 2 + 100
    )  # paler: visible in one view only
    tiles += [depths[0], depths[1], errors[0], errors[1]]
  picture = viz.grid(np.stack([viz.enlarge(tile, factor) for tile in tiles]), columns=4)
  title = (
    f'Chamfer in sample bins: median {values["chamfer/median"]:.3f}, '
    f'mean {values["chamfer/mean"]:.3f} (spacing {values["chamfer/spacing"]:.3f})'
  )
  legend = (
    'middle depth | side depth | distance to the other cloud of each, a bin light, hidden pale'
  )
  return viz.sheet([(title, np.full((1, 1, 3), 255, np.uint8)), (legend, picture)])
