"""Closed-form factorisation of a generator's first step (SeFa: Shen & Zhou, CVPR 2021, Sec. 3.2).

The directions n of a latent along which a layer's output A·n grows most: eigenvectors of AᵀA. What
A is depends on where the styles enter:

* StyleGAN2 and what is built on it: the affine maps of w, one per layer, stacked. The directions
  live in w, the same in all its layers. A StyleSDF with a decoder is moved in the decoder's styles;
  without one, in the renderer's style, which has one layer.
* π-GAN: the last layer of the mapping network, which takes its hidden features to all frequencies
  and phases. The directions live in the features; as that layer is affine, moving the features by n
  moves the styles by A·n exactly, which is the vector of the direction.
"""

import re

import jax
import numpy as np

from jax3dgan.editing.directions import NUM_STYLES, Directions, layer_mask, sample_styles, with_sign
from jax3dgan.errors import UserError

_AFFINE = re.compile(r'(?:.*/)?b(\d+)/(conv0|conv1|torgb)(?:/conv)?/affine/kernel')


def sefa(
  model,
  count: int = 10,
  layers: tuple[int, int] | None = None,
  num: int = NUM_STYLES,
  seed: int = 0,
) -> Directions:
  """Finds the directions that the weights amplify most.

  Args:
    model: A `trained.Trained`.
    count: Directions.
    layers: (first, last), both included: the layers whose weights are used; None for all.
    num, seed: Latents for the scales.

  Returns:
    Directions 'sefa0', 'sefa1', ..., strongest first; `report` has each one's share of ‖A‖².

  Raises:
    UserError: The generator has no such weights, or layers take codes of their own.
  """
  if count < 1:
    raise UserError(f'{count} directions are too few. Set --count to at least 1.')
  styles = sample_styles(model, num, seed)
  flat = {
    jax.tree_util.keystr(path, simple=True, separator='/'): np.asarray(leaf, np.float64)
    for path, leaf in jax.tree_util.tree_leaves_with_path(model.params)
  }
  affine = model.generator.style_rows() or {
    name: _layer(m) for name in flat if (m := _AFFINE.fullmatch(name))
  }
  if affine:
    if layers is not None:
      layer_mask(styles.shape, layers)  # UserError for layers that are not there
    used = set(affine.values()) if layers is None else set(range(layers[0], layers[1] + 1))
    used &= set(affine.values())
    if len(styles.shape) == 2 and len(used) > 1 and not model.rows_are_alike(used):
      raise UserError(
        f'{model.name}: rows {", ".join(map(str, sorted(used)))} of its styles are codes of their '
        f'own, and one direction does not say all of them. Set --layers={min(used)}, or another.'
      )
    rows = styles.shape if len(styles.shape) == 2 else (1, *styles.shape)
    vectors, values = _of_affine(flat, affine, rows, layers)
  elif flat.get('mapping/out/kernel', np.zeros(0)).size and len(styles.shape) == 3:
    vectors, values = _of_film(flat['mapping/out/kernel'], styles.shape, layers)
  else:
    raise UserError(
      f'{model.name}: SeFa does not know which weights of this generator act on styles. Use pca.'
    )
  k = min(count, int((values > 1e-10 * values[0]).sum()))
  names = [f'sefa{i}' for i in range(k)]
  vectors = with_sign(vectors[:k].reshape(k, -1))
  vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).reshape(k, *styles.shape)
  share = values / values.sum()
  report = {name: {'share': float(share[i])} for i, name in enumerate(names)}
  where = 'all layers' if layers is None else f'layers {layers[0]}-{layers[1]}'
  return Directions(names, vectors, styles.scales(vectors), f'SeFa of {where}', report)


def _of_affine(flat, affine, shape, layers):
  """Vectors [d, l, d] and eigenvalues [d] of affine maps by the row that they take, of styles
  [l, d]; 0 in rows that no map takes."""
  mask = np.ones(shape[0]) if layers is None else layer_mask(shape, layers).ravel()
  kernels = [flat[name] for name, row in affine.items() if mask[row]]
  if not kernels:
    raise UserError(f'Layers {layers[0]}-{layers[1]} have no weights for styles. Set more of them.')
  if any(kernel.shape[0] != shape[-1] for kernel in kernels):
    raise UserError('SeFa: the affine maps are not of the styles that the model has. Use pca.')
  gram = sum(kernel @ kernel.T for kernel in kernels)  # AᵀA, [d, d]
  values, axes = np.linalg.eigh(gram)
  axes = axes.T[::-1]
  taken = np.isin(np.arange(shape[0]), list(affine.values()))
  return axes[:, None] * taken[:, None], values[::-1]


def _layer(match) -> int:
  """The style that a layer of a block takes: conv0 and conv1 of 4·2ⁱ, and to-RGB, which shares the
  next block's first."""
  block = (int(match[1]) // 4).bit_length() - 1
  first = max(2 * block - 1, 0)
  return first + {'conv0': 0, 'conv1': min(block, 1), 'torgb': min(block, 1) + 1}[match[2]]


def _of_film(kernel, shape, layers):
  """Vectors [k, n, 2, h] and eigenvalues of π-GAN's last mapping layer [features, 2·n·h]."""
  num, _, width = shape
  # The layer's outputs are all frequencies, then all phases.
  maps = np.moveaxis(kernel.reshape(-1, 2, num, width), 1, 2).reshape(len(kernel), -1)
  mask = np.ones(num) if layers is None else layer_mask(shape, layers).ravel()
  selected = maps * np.repeat(mask, 2 * width)
  values, axes = np.linalg.eigh(selected @ selected.T)  # AᵀA over the features
  return (axes.T[::-1] @ maps).reshape(-1, *shape), values[::-1]
