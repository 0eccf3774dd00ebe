"""A sheet of samples: a grid of seeds, some of them from several sides, their depth maps."""

import math
from collections.abc import Sequence

import numpy as np

from jax3dgan.errors import UserError
from jax3dgan.pictures import display, maps, paths
from jax3dgan.runs import provenance

_NUM_TURNED = 4  # seeds that are shown from several sides
_COLUMNS = 8  # of the grid
_MAX_COLUMNS = 12  # of the views from several sides, where there are more than two kinds


def write(
  model,
  path,
  seeds: Sequence[int] = tuple(range(16)),
  psi: float | None = None,
  yaws: Sequence[float] | None = None,
  resolution: int | None = None,
  depth: bool = False,
  record: dict | None = None,
  **more,
) -> None:
  """Writes the sheet.

  Args:
    model: A `trained.Trained`.
    path: The PNG file.
    seeds: The grid's; the first four are shown from several sides too.
    psi: Truncation; None takes the config's.
    yaws: Azimuths in degrees, 0 in front; None for five that suit the pose prior, or none where
      the generator has no camera, or another sweep is asked for; () for none.
    resolution: Pixels on a side; None for that of training.
    depth: Whether to add the depth map to each view.
    record: How it was made, to be kept in the file; see `provenance`.
    **more: See `sheet`.
  """
  from jax3dgan import viz

  psi = model.config.display.truncation_psi if psi is None else psi
  image = sheet(model, seeds, psi, yaws, resolution, depth, **more)
  about = {'model': model.name, 'step': model.step, 'seeds': list(seeds), 'psi': psi}
  about = {key: str(value) for key, value in about.items()}
  viz.save_png(path, image, about | (provenance.texts(record) if record else {}))


def sheet(
  model,
  seeds,
  psi,
  yaws=None,
  resolution=None,
  depth=False,
  pitches=None,
  psis=None,
  pitch=None,
  show=('colour',),
  w=None,
) -> np.ndarray:
  """Returns the sheet that `write` writes, uint8 [h, w, 3].

  Args:
    model, seeds, psi, yaws, resolution, depth: See `write`.
    pitches: Elevations in degrees above the horizon, of the first four seeds.
    psis: Truncations, of the first four seeds, with the average (psi 0) wherever it is asked for.
    pitch: Elevation in degrees of all other pictures; None for the middle of the pose prior.
    show: What of each view, of `display.KINDS`.
    w: [n, ...] styles of the objects, in place of those of the seeds and psi.
  """
  from jax3dgan import viz

  display.check_kinds(model, kinds := display.with_depth(show, depth))
  for value in (psi, *(psis or ())):
    display.check_numbers(value, resolution)
  views = cameras_of(model, yaws, pitches, pitch, default=psis is None)
  if w is None:
    z = model.latents(seeds)
    w, title = np.asarray(model.map(z, psi)), f', truncation {psi:g}'
  elif psis:
    raise UserError('Styles of a file have no latents to truncate. Leave out --psis, or --w.')
  else:
    title = ''
  turned = w[:_NUM_TURNED]
  # ([m, ...] styles, views [n], title): all rendered together, so that there is one compilation
  # and full batches.
  front = views.pop('grid')
  title = f'{model.name}, step {model.step:,}{title}'
  blocks = [(w[:, None], front, title)]
  for title, path in views.items():
    if len(turned) and len(path):
      blocks.append((np.repeat(turned[:, None], len(path), 1), path, title))
  if psis:
    styles = np.stack([np.asarray(model.map(z[:_NUM_TURNED], p)) for p in psis], axis=1)
    title = 'truncation ' + ', '.join(f'{p:g}' for p in psis)
    blocks.append((styles, front[np.zeros(len(psis), int)], title))
  rendered = _render(model, blocks, resolution, kinds)
  sides = len(blocks) > 1  # of some seeds: then the grid shows colours only
  rows = []
  for i, ((_, _, title), block) in enumerate(zip(blocks, rendered, strict=True)):
    shown = kinds if i or not sides else tuple(k for k in kinds if k == 'colour')
    if shown:
      rows += _rows(model, block, title, shown, len(w))
  factor = display.enlargement(resolution or model.resolution)
  return viz.sheet([(title, viz.grid(viz.enlarge(tiles, factor), n)) for title, tiles, n in rows])


def cameras_of(model, yaws=None, pitches=None, pitch=None, default=True) -> dict[str, paths.Path]:
  """Returns the cameras of a sheet by its titles: 'grid', [1], and those of the sweeps.

  Args:
    model: A `trained.Trained`.
    yaws, pitches, pitch: See `sheet`.
    default: Whether there are yaws where nothing else is asked for.
  """
  if yaws is not None and len(yaws):
    display.check_camera(model, 'Leave out --yaws.')
  if pitches or pitch is not None:
    display.check_camera(model, 'Leave out --pitch and --pitches.')
  display.check_pitch([*(pitches or ()), *(() if pitch is None else (pitch,))])
  if yaws is None:
    default = default and model.has_camera and not pitches
    azimuths = display.show_views(model, 5 if default else 0)
  else:
    azimuths = np.radians(np.asarray(yaws, np.float64))
  elevation = None if pitch is None else math.radians(pitch)
  front = display.show_azimuth(model)
  views = {'grid': paths.fixed(model, front, elevation)}
  names = ', '.join(f'{math.degrees(a):.0f}°' for a in azimuths)
  views[f'the same seed from {names}'] = paths.fixed(model, azimuths, elevation)
  if pitches:
    names = ', '.join(f'{p:g}°' for p in pitches)
    views[f'from {names} above the horizon'] = paths.fixed(
      model, np.full(len(pitches), front), np.radians(pitches)
    )
  return views


def _render(model, blocks, resolution, kinds):
  """Views [m, n] of each of the blocks."""
  import jax

  # The product instead of −1: the styles of a single scene have no elements.
  every_w = np.concatenate([w.reshape(w.shape[0] * w.shape[1], *w.shape[2:]) for w, _, _ in blocks])
  every_camera = []
  for w, path, _ in blocks:
    camera, m = path.camera(model), len(w)
    every_camera.append(jax.tree.map(lambda x, m=m: np.tile(x, (m, 1, 1)), camera))
  camera = jax.tree.map(lambda *leaves: np.concatenate(leaves), *every_camera)
  views = maps.render_pairs(model, every_w, camera, resolution, kinds)
  start = 0
  for w, _, _ in blocks:
    m, n = w.shape[:2]
    yield views[start : start + m * n].reshape(m, n)
    start += m * n


def _rows(model, views, title, kinds, num_seeds):
  """(title, tiles, columns) of views [m, n]: one picture of many seeds, or views of some."""
  limits = maps.depth_limits(model, views) if 'depth' in kinds else None
  pictures = {kind: maps.picture(model, views, kind, limits) for kind in kinds}
  m, n = next(iter(pictures.values())).shape[:2]
  if n == 1:  # a grid for each kind
    for i, (kind, tiles) in enumerate(pictures.items()):
      name = '' if kind == 'colour' else maps.TITLES[kind]
      heading = title if not i and not name else f'{title}; {name}' if not i else name
      yield heading, tiles[:, 0], min(num_seeds, _COLUMNS)
    return
  names = [maps.TITLES[kind] for kind in kinds if kind != 'colour']
  heading = '; '.join([title, *names])
  tiles = np.stack(list(pictures.values()), axis=1)  # [m, kinds, n, h, w, 3]
  # The kinds are beside each other, or below each other if that is too wide.
  columns = n * len(kinds) if len(kinds) <= 2 or n * len(kinds) <= _MAX_COLUMNS else n
  yield heading, tiles.reshape(-1, *tiles.shape[3:]), columns
