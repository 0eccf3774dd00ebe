"""NeRF's network in NumPy, in double precision, with nerf-pytorch's names and layouts."""

import numpy as np


def weights(seed=0, hidden=8, layers=3, colour=4, points=3, directions=2, skip=0, include=True):
  """{name: array} of one network as nerf-pytorch names them, [out, in]; `skip` is a layer."""
  draw = np.random.default_rng(seed)
  sizes = [3 * (2 * n + include) for n in (points, directions)]
  shapes = {'layer1': (hidden, sizes[0])}
  for i in range(1, layers):
    shapes[f'layers_xyz.{i - 1}'] = (hidden, hidden + (sizes[0] if i == skip else 0))
  shapes |= {'fc_alpha': (1, hidden), 'fc_feat': (hidden, hidden)}
  shapes |= {'layers_dir.0': (colour, hidden + sizes[1]), 'fc_rgb': (3, colour)}
  arrays = {}
  for name, (fan_out, fan_in) in shapes.items():
    arrays[f'{name}.weight'] = draw.normal(size=(fan_out, fan_in)) * (2 / fan_in) ** 0.5
    arrays[f'{name}.bias'] = 0.1 * draw.normal(size=fan_out)
  return {name: array.astype(np.float32) for name, array in arrays.items()}


def encode(x, num, include=True):
  """x [..., 3] → (x, sin x, cos x, sin 2x, cos 2x, ...)."""
  parts = [x] if include else []
  for i in range(num):
    parts += [np.sin(2**i * x), np.cos(2**i * x)]
  return np.concatenate(parts, axis=-1)


def field(arrays, points, directions, num_points=3, num_directions=2, skip=0, include=True):
  """Raw density [n] and colour [n, 3] at points [n, 3] from directions [n, 3].

  As nerf-pytorch's FlexibleNeRFModel: no ReLU after the first layer, one after fc_feat.
  """
  layer = lambda name, x: x @ arrays[f'{name}.weight'].T.astype(float) + arrays[f'{name}.bias']  # noqa: E731
  relu = lambda x: np.maximum(x, 0)  # noqa: E731
  encoded = encode(points, num_points, include)
  x, i = layer('layer1', encoded), 1
  while f'layers_xyz.{i - 1}.weight' in arrays:
    # The features come first there.
    x = np.concatenate([x, encoded], axis=-1) if i == skip else x
    x, i = relu(layer(f'layers_xyz.{i - 1}', x)), i + 1
  feature = relu(layer('fc_feat', x))
  view = np.concatenate([feature, encode(directions, num_directions, include)], axis=-1)
  rgb = layer('fc_rgb', relu(layer('layers_dir.0', view)))
  return layer('fc_alpha', x)[..., 0], 1 / (1 + np.exp(-rgb))
