"""Principal components of the styles (GANSpace: Härkönen et al., NeurIPS 2020, Sec. 3.1)."""

import numpy as np

from jax3dgan.editing.directions import NUM_STYLES, Directions, sample_styles, with_sign
from jax3dgan.errors import UserError


def pca(model, num: int = NUM_STYLES, seed: int = 0, count: int = 10) -> Directions:
  """Finds the directions of largest variance of the styles of random latents.

  Args:
    model: A `trained.Trained`.
    num: Latents.
    seed: Of the latents.
    count: Directions, at most as many as there are dimensions.

  Returns:
    Directions 'pca0', 'pca1', ..., widest first; scales are the components' standard deviations,
    `report` has the share of the variance of each.
  """
  styles = sample_styles(model, num, seed)
  axes, variances = components(styles.rows, count)
  names = [f'pca{i}' for i in range(len(axes))]
  total = (styles.rows**2).sum() / len(styles.rows)
  report = {name: {'variance': float(v / total)} for name, v in zip(names, variances, strict=True)}
  source = f'PCA of {num:,} styles, seed {seed}'
  vectors = styles.vectors(axes)
  return Directions(names, vectors, styles.scales(vectors), source, report)


def components(rows: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
  """Returns the principal axes [k, d] and variances [k] of centred rows [n, d].

  k is `count`, or the rank where that is less. Exact: by the smaller one of the two Gram matrices.
  """
  if count < 1:
    raise UserError(f'{count} directions are too few. Set --count to at least 1.')
  n, d = rows.shape
  if d <= n:
    values, axes = np.linalg.eigh(rows.T @ rows)
    axes = axes.T
  else:
    values, left = np.linalg.eigh(rows @ rows.T)
    axes = (rows.T @ left).T / np.sqrt(np.maximum(values, 1e-300))[:, None]
  largest = values[::-1]
  k = min(count, int((largest > 1e-10 * max(largest[0], 1e-300)).sum()))
  return with_sign(axes[::-1][:k]), largest[:k] / n
