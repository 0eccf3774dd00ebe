"""Attributes of the pictures of seeds: from a table of labels, or measured on renderings.

A table is a CSV file whose first row names its columns: `seed`, then one per attribute.
"""

import csv
import pathlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from jax3dgan import texts
from jax3dgan.errors import UserError


def read_labels(path) -> tuple[list[int], dict[str, np.ndarray]]:
  """Returns (seeds [n], {attribute: values [n]}) of a CSV file with columns seed, attribute, ...

  Raises:
    UserError: No such file, a missing or doubled column, a doubled seed, or a value that is not a
      number.
  """
  path = pathlib.Path(path)
  try:
    text = texts.decode(path.read_bytes(), f'--labels={path}')
  except OSError as error:
    raise UserError(f'--labels={path} cannot be read as a CSV file: {error}.') from None
  rows = [row for row in csv.reader(text.splitlines()) if any(cell.strip() for cell in row)]
  header = [cell.strip() for cell in rows[0]] if rows else []
  if 'seed' not in header or len(header) < 2 or len(set(header)) < len(header) or '' in header:
    raise UserError(
      f'--labels={path}: its first row must name its columns, seed and then one per attribute, '
      f'each once. It is: {",".join(header) or "empty"}.'
    )
  table = np.empty((len(rows) - 1, len(header)))
  for i, row in enumerate(rows[1:]):
    try:
      for j, cell in zip(range(len(header)), row, strict=True):
        table[i, j] = float(cell)
    except ValueError:
      raise UserError(
        f'--labels={path}: row {i + 2}, {",".join(row)!r}, is not {len(header)} numbers. Fix it.'
      ) from None
  at = header.index('seed')
  seeds = table[:, at]
  if not np.isfinite(table).all() or (seeds != np.round(seeds)).any() or (seeds < 0).any():
    raise UserError(f'--labels={path}: seeds are whole numbers from 0, labels finite. Fix the row.')
  if len(set(seeds)) < len(seeds):
    raise UserError(f'--labels={path} has a seed twice. Leave one of the rows out.')
  columns = {name: table[:, i] for i, name in enumerate(header) if i != at}
  return [int(seed) for seed in seeds], columns


def _colours(out) -> np.ndarray:
  """Mean colour [n, 3] in [0, 1] of the object, of the whole image where there is no opacity."""
  image = (np.asarray(out.image, np.float64) + 1) / 2
  if out.opacity is None:
    return image.mean(axis=(1, 2))
  weights = np.asarray(out.opacity, np.float64) > 0.5
  total = np.maximum(weights.sum(axis=(1, 2)), 1)
  return (image * weights[..., None]).sum(axis=(1, 2)) / total[:, None]


def _excess(channel: int) -> Callable:
  def excess(out):
    colours = _colours(out)
    return colours[:, channel] - np.delete(colours, channel, axis=1).mean(axis=1)

  return excess


def _size(out) -> np.ndarray:
  return np.asarray(out.opacity, np.float64).mean(axis=(1, 2))


# Measures of renderings: Rendering of n images → [n].
MEASURES: Mapping[str, Callable] = {
  'brightness': lambda out: _colours(out).mean(axis=1),
  'red': _excess(0),  # excess over the mean of the other two
  'green': _excess(1),
  'blue': _excess(2),
  'size': _size,
}


def measure(
  model, w, names: Sequence[str | Callable], azimuth: float = 0.0, resolution: int | None = None
) -> dict[str, np.ndarray]:
  """Measures the renderings of styles.

  Args:
    model: A `trained.Trained`.
    w: [n, ...] styles.
    names: Of `MEASURES`, or functions Rendering → [n] of your own.
    azimuth: Of the camera, radians.
    resolution: Pixels on a side; None for that of training.

  Returns:
    {name: [n]}, functions by their own names.
  """
  functions = {}
  for name in names:
    if not callable(name) and name not in MEASURES:
      raise UserError(f'No measure is called {name!r}. There are: {", ".join(MEASURES)}.')
    if name == 'size' and not model.has_depth:
      raise UserError(
        f'size is the solid share of the picture, and {model.name} has no field that is solid '
        'anywhere. Leave it out.'
      )
    functions[name.__name__ if callable(name) else name] = (
      name if callable(name) else MEASURES[name]
    )
  out = model.render(w, model.orbit(azimuth), resolution)
  return {name: np.asarray(function(out), np.float64) for name, function in functions.items()}
