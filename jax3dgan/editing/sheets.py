"""Pictures of edits: a sheet that shows whether the pose stays, the frames of a video."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from jax3dgan.pictures import display

STRENGTHS = (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0)
_OUTLINE = np.array([230, 0, 150], np.uint8)
_LETTERS = 11  # height of the captions, pixels


def sheet(
  model,
  w,
  directions,
  strengths: Sequence[float] = STRENGTHS,
  layers: tuple[int, int] | None = None,
  azimuth: float | None = None,
  resolution: int | None = None,
  progress: bool = False,
  labels: Sequence[str] | None = None,
) -> tuple[np.ndarray, list[dict]]:
  """Shows each direction in a row, rendered from one fixed camera.

  The outline of the unedited picture of the row is drawn on each. Below each picture is how far the
  object has turned (by its density, see `editing.drift`), how much of the silhouette is the same,
  and how far the colours have changed.

  Args:
    model: A `trained.Trained`.
    w: [n, ...] styles; each has a row for each direction.
    directions: `editing.Directions`.
    strengths: Of the columns, standard deviations.
    layers: (first, last) that are edited; None for all.
    azimuth: Of the camera, radians; None for one that shows an object well.
    resolution: Pixels on a side; None for that of training.
    progress: Whether to show a bar.
    labels: What to call each of w; None for their numbers.

  Returns:
    uint8 [h, w, 3], and what was measured in each row: {'direction', 'of', 'strengths', 'azimuth',
    'iou', ...}, see `editing.Drift`.
  """
  import tqdm

  from jax3dgan import editing, viz

  w = np.asarray(w, np.float32)
  labels = [str(i) for i in range(len(w))] if labels is None else labels
  strengths = np.asarray(strengths, np.float32)
  azimuth = display.show_azimuth(model) if azimuth is None else azimuth
  camera = model.orbit(azimuth)
  # Compared with the unedited one, which is among them or is rendered besides.
  every = strengths if (strengths == 0).any() else np.append(strengths, 0.0)
  reference = int(np.flatnonzero(every == 0)[0])
  shown = slice(len(strengths))
  rows, measured = [], []
  todo = [(name, i) for name in directions.names for i in range(len(w))]
  for name, i in tqdm.tqdm(todo, desc='edit', unit='row', disable=not progress):
    moved = np.concatenate([directions.apply(w[i : i + 1], {name: s}, layers) for s in every])
    scene = model.prepare(moved)
    out = model.render(scene, camera, resolution)
    change = editing.drift(model, scene, out, reference)
    values = {k: v[shown] for k, v in dataclasses.asdict(change).items()}
    measured.append({'direction': name, 'of': labels[i], 'strengths': strengths} | values)
    tiles = _tiles(model, out, reference)[shown]
    captions = [_caption(values, j, strengths[j] == 0) for j in range(len(strengths))]
    pictures = viz.grid(tiles, len(tiles))
    rows.append((_title(model, measured[-1]), np.concatenate([pictures, _line(captions, tiles)])))
  header = _line([f'{s:+g} sd' if s else '0' for s in strengths], tiles)
  where = '' if layers is None else f', layers {layers[0]}-{layers[1]} edited'
  title = f'{model.name}, step {model.step:,}; {directions.source}{where}; the camera stands still'
  return viz.sheet([(title, header), *rows]), measured


def _tiles(model, out, reference: int) -> np.ndarray:
  """Enlarged pictures uint8 [n, h, w, 3], the outline of one of them drawn on all."""
  from PIL import Image

  from jax3dgan import viz

  resolution = out.image.shape[1]
  factor = display.enlargement(resolution)
  tiles = viz.enlarge(viz.to_uint8(out.image), factor)
  if out.opacity is None or model.options().last_back:
    return tiles
  size = (resolution * factor,) * 2
  soft = Image.fromarray(np.asarray(out.opacity[reference], np.float32)).resize(
    size, Image.Resampling.BILINEAR
  )
  inside = np.asarray(soft) > 0.5
  padded = np.pad(inside, 1, 'edge')
  core = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
  tiles[:, inside & ~core] = _OUTLINE
  return tiles


def _caption(values, j: int, neutral: bool) -> str:
  if neutral:
    return 'unedited'
  parts = []
  if np.isfinite(values['azimuth'][j]):
    turned = round(values['azimuth'][j], 1) + 0.0  # no −0.0
    parts.append(f'{turned:+.1f}°')
  if np.isfinite(values['iou'][j]):
    parts.append(f'IoU {values["iou"][j]:.2f}')
  parts.append(f'rgb {values["colour"][j]:.0f}')
  return '  '.join(parts)


def _title(model, row) -> str:
  parts = []
  if np.isfinite(row['azimuth']).any():
    parts.append(f'turns by at most {np.nanmax(np.abs(row["azimuth"])):.1f}°')
  elif model.has_field:
    parts.append('no direction to measure (round from above)')
  if np.isfinite(row['iou']).any():
    parts.append(f'silhouette IoU at least {np.nanmin(row["iou"]):.2f}')
  parts.append(f'colours change by up to {row["colour"].max():.0f} of 255')
  if not model.has_field:
    parts.append('no field: its turning is not measured')
  return f'{row["direction"]} of {row["of"]}: {", ".join(parts)}'


def _line(texts: Sequence[str], tiles) -> np.ndarray:
  """One line of text below each tile of a row, uint8 [h, w, 3]."""
  from PIL import Image, ImageDraw, ImageFont

  width = tiles.shape[2]
  canvas = Image.new('RGB', (len(texts) * (width + 2) - 2, _LETTERS + 6), 'white')
  draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(_LETTERS)
  for i, text in enumerate(texts):
    x = i * (width + 2) + (width - font.getlength(text)) / 2
    draw.text((x, 1), text, fill=(40, 40, 40), font=font)
  return np.asarray(canvas)


def frames(
  model, w, directions, num: int, extent: float, layers=None, azimuth=None, resolution=None
):
  """Yields the pictures of a loop from 0 to `extent`, to −`extent` and back, uint8 [h, w, 3].

  One column for each direction, one row for each style; see `sheet`.
  """
  from jax3dgan import viz

  w = np.asarray(w, np.float32)
  camera = model.orbit(display.show_azimuth(model) if azimuth is None else azimuth)
  strengths = extent * np.sin(2 * math.pi * np.arange(num) / num)
  # The loop passes each strength twice: rendered once.
  unique, index = np.unique(np.round(strengths, 9), return_inverse=True)
  pictures = []
  for strength in unique:
    moved = np.stack([directions.apply(w, {n: strength}, layers) for n in directions.names], axis=1)
    out = model.render(moved.reshape(-1, *w.shape[1:]), camera, resolution)
    tiles = viz.enlarge(viz.to_uint8(out.image), display.enlargement(out.image.shape[1]))
    names = _line([f'{name} {strength + 0:+.1f} sd' for name in directions.names], tiles)
    pictures.append(np.concatenate([names, viz.grid(tiles, len(directions))]))
  yield from (pictures[i] for i in index)


def summary(rows: Sequence[dict]) -> dict[str, dict[str, float]]:
  """Returns, of the rows of `sheet`, what each direction changes, over all styles and strengths.

  {direction: {'azimuth': mean size in degrees, 'iou': mean, 'colour': mean of 255}}, the unedited
  pictures left out; what cannot be measured is missing.
  """
  out = {}
  for name in dict.fromkeys(row['direction'] for row in rows):
    own_rows = [row for row in rows if row['direction'] == name]
    edited = np.concatenate([row['strengths'] for row in own_rows]) != 0
    figures = {}
    for key in ('azimuth', 'iou', 'colour'):
      values = np.abs(np.concatenate([row[key] for row in own_rows])[edited])
      if np.isfinite(values).any():
        figures[key] = float(np.nanmean(values))
    out[name] = figures
  return out
