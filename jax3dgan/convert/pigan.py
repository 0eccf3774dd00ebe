"""Names and layouts of π-GAN's official weights, and ours: one map for both directions.

Official linear layers are [out, in], convolutions [out, in, h, w] and grids of features
[1, c, d, h, w]; ours are [in, out], [h, w, in, out] and [d, h, w, c].
"""

from collections.abc import Iterator

import numpy as np

# Class names in the files of the release besides PyTorch's own.
CLASSES = (
  'generators.generators.*',
  'siren.siren.*',
  'discriminators.discriminators.*',
  'discriminators.sgdiscriminators.*',
)
# The grid of the variant with one.
EMBEDDING = 'siren.spatial_embeddings'
_MAPPING = 'siren.mapping_network.network.'
Path = tuple[str, ...]


def names(
  num_layers: int = 8, mapping_layers: int = 3, embedding: bool = False
) -> Iterator[tuple[Path, str]]:
  """(path in our tree, official key) of the generator's parameters, in the official order.

  That is the order of `parameters()` in PyTorch, and so of the lists in files of EMAs.
  """
  if embedding:  # PyTorch lists a module's own parameters before those of its layers
    yield ('field', 'spatial_embeddings'), EMBEDDING
  layers = {f'film_{i}': f'siren.network.{i}.layer' for i in range(num_layers)}
  layers |= {
    'density': 'siren.final_layer',
    'colour_film': 'siren.color_layer_sine.layer',
    'colour': 'siren.color_layer_linear.0',
  }
  for ours, official in layers.items():
    yield ('field', f'{ours}_kernel'), f'{official}.weight'
    yield ('field', f'{ours}_bias'), f'{official}.bias'
  for i in range(mapping_layers + 1):
    ours = f'hidden_{i}' if i < mapping_layers else 'out'
    yield ('mapping', ours, 'kernel'), f'{_MAPPING}{2 * i}.weight'
    yield ('mapping', ours, 'bias'), f'{_MAPPING}{2 * i}.bias'


def discriminator_names(keys) -> Iterator[tuple[Path, str]]:
  """(path in our tree, official key) of a discriminator's parameters.

  Args:
    keys: Its official keys, which say whether its convolutions are CoordConvs (one module deeper)
      and which blocks have a shortcut.
  """
  keys = set(keys)
  num_sizes = 0
  while f'fromRGB.{num_sizes}.model.0.weight' in keys:
    num_sizes += 1
  layers = {}
  for i in range(num_sizes):
    size = 2 ** (num_sizes - i)
    layers[f'from_rgb_{size}',] = f'fromRGB.{i}.model.0'
    if size > 2:
      for j in (0, 1):
        plain = f'layers.{i}.network.{2 * j}'
        coords = f'{plain}.conv.weight' in keys
        layers[f'block_{size}', f'conv_{j}'] = f'{plain}.conv' if coords else plain
      if f'layers.{i}.proj.weight' in keys:
        layers[f'block_{size}', 'shortcut'] = f'layers.{i}.proj'
  layers['final',] = 'final_layer'
  for path, official in layers.items():
    yield (*path, 'kernel'), f'{official}.weight'
    yield (*path, 'bias'), f'{official}.bias'


def from_official(arrays, named=None, dtype=np.float32) -> dict:
  """Our parameter tree, of those parameters that `arrays` {official key: array} has.

  Args:
    arrays: Official weights.
    named: Pairs of `names` or `discriminator_names`; None for the generator of the paper.
    dtype: Of the result, whose arrays are copies.
  """
  params = {}
  for path, key in names() if named is None else named:
    if key in arrays:
      node = params
      for part in path[:-1]:
        node = node.setdefault(part, {})
      node[path[-1]] = np.array(to_ours(np.asarray(arrays[key])), dtype, order='C')
  return params


def to_official(params, named=None) -> dict[str, np.ndarray]:
  """{official key: array in the official layout} of our parameters, of those that exist."""
  arrays = {}
  for path, key in names() if named is None else named:
    node = params
    for part in path:
      node = node.get(part, {})
    if not isinstance(node, dict):
      node = np.asarray(node)
      if key == EMBEDDING:
        node = node.transpose(3, 0, 1, 2)[None]
      else:
        node = node.transpose(3, 2, 0, 1) if node.ndim == 4 else node.T
      arrays[key] = np.ascontiguousarray(node)
  return arrays


def to_ours(array: np.ndarray) -> np.ndarray:
  """One official weight, bias or grid in our layout."""
  if array.ndim == 5:
    return array[0].transpose(1, 2, 3, 0)
  return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T
