"""Directions from labels: the normals of linear probes (InterFaceGAN: Shen et al., CVPR 2020)."""

from collections.abc import Mapping, Sequence

import numpy as np

from jax3dgan.editing.directions import Directions, Styles
from jax3dgan.errors import UserError

MIN_ROWS = 16


def probe(
  model, seeds: Sequence[int], labels: Mapping[str, Sequence[float]], conditional: bool = False
) -> Directions:
  """Fits one direction to each attribute.

  An attribute with two values gets a logistic regression, any other a ridge regression, of the
  styles (not truncated); the direction is the normal of the regression, towards larger values. Its
  accuracy is measured on a quarter of the seeds, with a first regression that was fitted to the
  others; the returned direction is fitted to all.

  Args:
    model: A `trained.Trained`.
    seeds: [n], see `Trained.latents`.
    labels: {attribute: values [n]}.
    conditional: Each direction orthogonal to all the others (Sec. 3.3 there), so that it does not
      change their attributes.

  Returns:
    Directions by the attributes' names; `report` has 'accuracy' and 'chance' (the share of the more
    frequent value), or 'r2', on the seeds held out.

  Raises:
    UserError: Too few seeds, or labels that do not fit them or are all equal.
  """
  if len(seeds) < MIN_ROWS:
    raise UserError(f'A probe needs {MIN_ROWS} seeds or more, not {len(seeds)}. Label more.')
  if not labels:
    raise UserError('There is no attribute to find a direction for. Give at least one.')
  styles = Styles(model.map(model.latents(seeds), psi=1))
  # In the rows' own span: as many dimensions as seeds at most, and the same regressions.
  _, size, axes = np.linalg.svd(styles.rows, full_matrices=False)
  axes = axes[size > 1e-6 * size[0]]
  x = styles.rows @ axes.T
  order = np.random.default_rng(0).permutation(len(seeds))
  test, fitted = order[: len(seeds) // 4], order[len(seeds) // 4 :]
  normals, report = {}, {}
  for name, values in labels.items():
    y = np.asarray(values, np.float64)
    if y.shape != (len(seeds),) or not np.isfinite(y).all():
      raise UserError(f'The labels of {name} are not {len(seeds)} finite numbers. Fix them.')
    report[name] = _held_out(name, x, y, fitted, test)
    normals[name] = _normal(x, y) @ axes
  vectors = styles.vectors(np.stack(list(normals.values())))
  source = f'linear probes of {len(seeds):,} seeds'
  found = Directions(tuple(normals), vectors, styles.scales(vectors), source, report)
  if not conditional or len(found) < 2:
    return found
  rows = []
  for name in found.names:
    rows.append(found.orthogonal([n for n in found.names if n != name]).select([name]).vectors[0])
  vectors = np.stack(rows)
  source = f'{source}, each orthogonal to the others'
  return Directions(found.names, vectors, styles.scales(vectors), source, report)


def _two_values(y) -> bool:
  return len(np.unique(y)) == 2


def _normal(x, y) -> np.ndarray:
  """The normal [d] of a regression of y [n] on x [n, d], towards larger values."""
  from jax3dgan.evaluation import pose_direction

  x = x - x.mean(axis=0)
  if _two_values(y):
    return pose_direction.boundary(x, y == y.max())
  return pose_direction.ridge(x, (y - y.mean())[:, None])[:, 0]


def _held_out(name, x, y, fitted, test) -> dict[str, float]:
  if len(np.unique(y[fitted])) < 2 or len(np.unique(y[test])) < 2:
    raise UserError(
      f'{name} is the same for (nearly) all seeds: there is no direction to learn. '
      'Label more seeds of both kinds, or leave the column out.'
    )
  normal = _normal(x[fitted], y[fitted])
  along = (x - x[fitted].mean(axis=0)) @ normal
  if _two_values(y):
    high = y == y.max()
    # Between the means of the two sides, of those fitted.
    middle = (along[fitted][high[fitted]].mean() + along[fitted][~high[fitted]].mean()) / 2
    share = high[test].mean()
    return {
      'accuracy': float(((along[test] > middle) == high[test]).mean()),
      'chance': float(max(share, 1 - share)),
    }
  estimate = along[test] + y[fitted].mean()
  residual = ((y[test] - estimate) ** 2).sum()
  return {'r2': float(1 - residual / ((y[test] - y[test].mean()) ** 2).sum())}
