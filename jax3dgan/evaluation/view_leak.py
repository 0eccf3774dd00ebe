"""View-direction leak: does the geometry change with the camera that is looking?

Three ways by which it can. A mapping network that takes the camera (EG3D's pose conditioning) may
give the same z another shape for another camera label; a field that takes the view direction may
give the same point another density; Gaussians may have colours that depend on it.

Mapping: the same z is mapped with several labels and rendered from one fixed camera.
  view_leak/style         RMS difference of the styles from those of the first label, relative to
                          their RMS; 0 where `map` takes no notice of the label
  view_leak/depth         mean |Δ surface distance| in sample bins, over pixels solid in both
  view_leak/opacity_iou   solid in both / solid in either; 1 without a leak
Field: points on the surfaces are queried from several directions.
  view_leak/density       mean |Δ raw density| / mean |raw density|; must be 0
  view_leak/colour        mean |Δ colour| of [0, 1]; shading that moves with the camera. 0 where the
                          rendering locks the direction
Gaussians: those of the labels' styles are compared, and their colours from the labels' cameras.
  view_leak/gaussians     largest |Δ| of means, scales, rotations, opacities and coefficients; 0
                          where no camera reaches the generator
  view_leak/colour        as of a field, of all Gaussians
All compare with the first label or direction, that of the fixed camera.
"""

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jax3dgan import viz
from jax3dgan.evaluation import geometry3d
from jax3dgan.evaluation.results import Result
from jax3dgan.rendering import depth_maps, splatting_projection

_NUM_POINTS = 256  # of each latent's surface
_SHOWN = 4


def geometry_leak(render: Callable, labels: Sequence, unit: float = 1.0) -> dict[str, float]:
  """Sums of the changes of depth and opacity with the label; see `geometry_values`.

  Args:
    render: label → (surface distance [n, h, w], solid [n, h, w]), from one camera, same latents.
    labels: The first is what the others are compared with.
    unit: World units that count as one.

  Returns:
    Sums to be added up: 'change', 'both', 'either'.
  """
  distance, solid = render(labels[0])
  sums = {'change': 0.0, 'both': 0, 'either': 0}
  for label in labels[1:]:
    other_distance, other_solid = render(label)
    both = solid & other_solid
    sums['change'] += float(np.abs(np.where(both, other_distance - distance, 0.0)).sum()) / unit
    sums['both'] += int(both.sum())
    sums['either'] += int((solid | other_solid).sum())
  return sums


def geometry_values(sums: dict[str, float]) -> dict[str, float]:
  """'depth' and 'opacity_iou' from the sums over all views; NaN if no pixel counts."""
  return {
    'depth': sums['change'] / sums['both'] if sums['both'] else float('nan'),
    'opacity_iou': sums['both'] / sums['either'] if sums['either'] else float('nan'),
  }


def field_leak(query: Callable, points: np.ndarray, directions: np.ndarray) -> dict[str, float]:
  """The change of density and colour with the view direction.

  Args:
    query: (points [..., n, 3], unit directions [..., n, 3]) → raw density [..., n], colour
      [..., n, 3] in [0, 1].
    points: [..., n, 3].
    directions: [d, ..., n, 3]; the first are what the others are compared with.

  Returns:
    'density': mean |Δ| relative to the mean |density|; 'colour': mean |Δ|.
  """
  density, colour = (np.asarray(x, np.float64) for x in query(points, directions[0]))
  changes = []
  for other in directions[1:]:
    new_density, new_colour = query(points, other)
    changes.append((np.abs(new_density - density).mean(), np.abs(new_colour - colour).mean()))
  density_change, colour_change = np.mean(changes, axis=0)
  return {
    'density': float(density_change / max(np.abs(density).mean(), 1e-12)),
    'colour': float(colour_change),
  }


def gaussians_leak(each: Sequence, cameras) -> dict[str, float]:
  """The change of 3D Gaussians with the label, and of their colours with the camera.

  Args:
    each: `Gaussians` [b, n] of each label; the first are what the others are compared with.
    cameras: Of the labels, `Camera` [l].

  Returns:
    'gaussians': largest |Δ|; 'colour': mean |Δ| of [0, 1] of the first ones' colours.
  """

  def change(a, b):
    return float(np.abs(np.subtract(a, b, dtype=np.float64)).max())

  largest = [max(jax.tree.leaves(jax.tree.map(change, other, each[0]))) for other in each[1:]]
  colours = []
  for i in range(len(each)):
    camera = jax.tree.map(lambda x, i=i: x[i : i + 1], cameras)
    seen = splatting_projection.seen_colours(each[0], camera)
    colours.append(np.clip(np.asarray(seen, np.float64), 0, 1))
  return {
    'gaussians': max(largest),
    'colour': float(np.mean([np.abs(x - colours[0]).mean() for x in colours[1:]])),
  }


def surface_points(distance, solid, camera, options, rng) -> np.ndarray:
  """Points [n, 256, 3] drawn from the solid pixels of views [n, h, w] of cameras [n].

  A view without solid pixels gives points in the middle of the rays instead.
  """
  middle = (options.near + options.far) / 2
  distance = np.where(solid, distance, middle)
  points = geometry3d.world_points(camera, distance, options.align_corners)
  chosen = []
  for own, mask in zip(points, solid, strict=True):
    pool = own[mask] if mask.any() else own.reshape(-1, 3)
    chosen.append(pool[rng.integers(len(pool), size=_NUM_POINTS)])
  return np.stack(chosen)


def measure(
  model, num_latents: int = 64, seed: int = 0, psi=1.0, resolution=None, say=None
) -> Result:
  """Measures a `trained.Trained`; see `reprojection.measure` for the arguments."""
  options = model.options(resolution)
  seeds = geometry3d.seeds_from(num_latents, seed)
  angle = min(model.yaw_half_range, math.pi / 2)
  labels = model.orbit(angle * np.array([0, -1, 1]))
  fixed = jax.tree.map(lambda x: x[:1], labels)
  chunk = min(num_latents, max(16 * 64**2 // options.resolution**2, 1))
  styles, query = _programs(model, options, psi)
  rng = np.random.default_rng(seed)
  sums, field, splats, style, shown = {}, [], [], [], []
  for start in range(0, num_latents, chunk):
    rows = np.minimum(np.arange(start, start + chunk), num_latents - 1)
    z, own = model.latents([seeds[i] for i in rows]), slice(num_latents - start)
    each = [styles(z, np.asarray(label)) for label in labels.label()]
    views = []

    def render(w, own=own, views=views):
      out = jax.tree.map(lambda x: x[own], model.render(w, fixed, resolution))
      views.append(depth_maps.surface(out, options))
      return views[-1]

    leak = geometry_leak(render, each, geometry3d.sample_bin(options))
    sums = {name: sums.get(name, 0) + value for name, value in leak.items()}
    style += [(_rms(w - each[0], own), _rms(each[0], own)) for w in each[1:]]
    distance, solid = views[0]
    if query is not None:
      camera = jax.tree.map(lambda x, own=distance: np.repeat(x, len(own), axis=0), fixed)
      points = surface_points(distance, solid, camera, options, rng)
      origins = np.asarray(labels.origin, np.float64)[:, None, None]
      directions = points - origins
      directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
      # The program is compiled for the whole chunk: the last latent pads it.
      pad = np.minimum(np.arange(chunk), len(points) - 1)
      leak = field_leak(
        lambda x, d, w=each[0]: query(w, np.float32(x), np.float32(d)),
        points[pad],
        directions[:, pad],
      )
      field.append((leak['density'], leak['colour'], len(points)))
    if model.generator.has_gaussians:
      of_labels = [
        jax.tree.map(lambda x, own=own: np.asarray(x)[own], model.gaussians(w)) for w in each
      ]
      leak = gaussians_leak(of_labels, labels)
      splats.append((leak['gaussians'], leak['colour'], len(distance)))
    if not shown:
      shown = [tuple((d[i], s[i]) for d, s in views) for i in range(min(_SHOWN, len(distance)))]
    if say is not None:
      say(min(start + chunk, num_latents))
  style = np.array(style)
  values = {
    'style': float(np.sqrt((style[:, 0] ** 2).sum() / max((style[:, 1] ** 2).sum(), 1e-12)))
  }
  values |= geometry_values(sums)
  if field:
    table = np.array(field)
    mean = np.average(table[:, :2], axis=0, weights=table[:, 2])
    values |= {'density': float(mean[0]), 'colour': float(mean[1])}
  if splats:
    table = np.array(splats)
    colour = np.average(table[:, 1], weights=table[:, 2])
    values |= {'gaussians': float(table[:, 0].max()), 'colour': float(colour)}
  values = {f'view_leak/{name}': value for name, value in values.items()}
  locked = 'view direction locked to the front' if options.lock_view_direction else ''
  views = f'labels and directions at azimuths 0, ±{angle:.3g} rad, rendered from the front'
  text = geometry3d.protocol(model, options, seeds, psi, views, locked)
  return Result(values, text, _sheet(shown, values, geometry3d.sample_bin(options)))


def _programs(model, options, psi):
  """(z, label) → styles, and (styles, points, directions) → density, colour (None without one)."""
  psi = model.config.display.truncation_psi if psi is None else psi
  average = None if psi == 1 else model.average_w
  variables = model.variables

  @jax.jit
  def styles(z, label):
    label = jnp.broadcast_to(label, (len(z), len(label)))
    inputs = {} if average is None else {'truncation_psi': psi, 'average_w': average}
    return model.generator.apply(variables, z, label, method='map', **inputs)

  @jax.jit
  def query(w, points, directions):
    if options.lock_view_direction:  # what the rendering asks is what counts for the colour
      front = jnp.broadcast_to(jnp.array([0.0, 0.0, -1.0]), directions.shape)
      density = model.generator.apply(variables, w, points, directions, method='query')[0]
      return density, model.generator.apply(variables, w, points, front, method='query')[1]
    return model.generator.apply(variables, w, points, directions, method='query')

  return styles, query if model.has_field else None


def _rms(w, own):
  return float(np.sqrt(np.mean(np.square(np.asarray(w, np.float64)[own]))))


def _sheet(shown, values, unit):
  factor = max(128 // shown[0][0][0].shape[-1], 1)
  tiles = []
  for views in shown:
    distances, solids = (np.stack(x) for x in zip(*views, strict=True))
    depths = list(viz.colour_depth(distances, solids, viz.depth_range(distances, solids)))
    for distance, solid in zip(distances[1:], solids[1:], strict=True):
      change = viz.colour_ramp(np.abs(distance - distances[0]) / unit)
      change[~(solid & solids[0])] = 255
      change[solid ^ solids[0]] = (200, 80, 70)
      depths.append(change)
    tiles += [viz.enlarge(tile, factor) for tile in depths]
  title = ', '.join(f'{name.split("/")[1]} {value:.3g}' for name, value in values.items())
  legend = 'depth by three labels | changes of the 2nd and 3rd, a bin light, solid in one only red'
  return viz.sheet(
    [
      (f'View leak: {title}', np.full((1, 1, 3), 255, np.uint8)),
      (legend, viz.grid(np.stack(tiles), columns=len(shown[0]) * 2 - 1)),
    ]
  )
