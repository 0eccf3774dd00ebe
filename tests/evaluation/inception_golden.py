"""Images and weights by formulas, and what pytorch-fid's network makes of them.

  PYTHONPATH=. python -m tests.evaluation.inception_golden

writes tests/data/inception/pytorch_fid.npz with PyTorch, torchvision and pytorch-fid; tests need
the file only. The features of the real weights are made where ../shared has these.
"""

import pathlib
import sys

import numpy as np

from jax3dgan.feature_networks import inception_layers, inception_weights

_TESTS = pathlib.Path(__file__).resolve().parent.parent
GOLDEN = _TESTS / 'data' / 'inception' / 'pytorch_fid.npz'
REAL = (
  _TESTS.parent.parent / 'shared' / 'data' / 'inception' / 'inception_2015_12_05_to_mixed7_768d.npz'
)
SIZE = 139  # the smallest whose last blocks have a pixel that is not at the border


def images(size: int = 64) -> np.ndarray:
  """uint8 [4, size, size, 3]: noise, waves, a board of squares, a ramp with a disc."""
  rng = np.random.default_rng(20151205)
  y, x = np.meshgrid(*2 * [np.arange(size) / size], indexing='ij')
  channel = np.arange(3)
  waves = 0.5 + 0.5 * np.sin(2 * np.pi * (x[..., None] * (1 + channel) + 3 * y[..., None]))
  board = ((np.floor(x * 8) + np.floor(y * 8)) % 2)[..., None] * [1.0, 0.7, 0.2]
  disc = ((x - 0.4) ** 2 + (y - 0.6) ** 2 < 0.07)[..., None]
  ramp = np.where(disc, [0.9, 0.5, 0.1], np.stack([x, y, 1 - x], axis=-1))
  pictures = np.stack([np.clip(picture, 0, 1) for picture in (waves, board, ramp)])
  noise = rng.integers(0, 256, (1, size, size, 3), dtype=np.uint8)
  return np.concatenate([noise, np.round(pictures * 255).astype(np.uint8)])


def random_state(dims: int = 2048) -> dict[str, np.ndarray]:
  """A state dict as pytorch-fid's, with random weights.

  The i-th layer of `layers(dims)` draws from default_rng([2048, i]): the kernel in HWIO, normal
  with variance 2 / fan-in; scale and variance from U(0.5, 1.5); bias and mean, normal × 0.1.
  """
  state = {}
  for i, (name, layer) in enumerate(inception_layers.layers(dims).items()):
    rng, n = np.random.default_rng([2048, i]), layer.features
    kernel = rng.standard_normal(layer.shape, np.float32)
    kernel *= np.float32((2 / np.prod(layer.shape[:3])) ** 0.5)
    torch_name = inception_layers.TORCH_NAMES[name]
    state[f'{torch_name}.conv.weight'] = kernel.transpose(3, 2, 0, 1)
    for part in ('weight', 'running_var'):
      state[f'{torch_name}.bn.{part}'] = rng.uniform(0.5, 1.5, n).astype(np.float32)
    for part in ('bias', 'running_mean'):
      state[f'{torch_name}.bn.{part}'] = 0.1 * rng.standard_normal(n, np.float32)
  return state


def main():
  """Writes the file."""
  sys.path.insert(0, str(_TESTS.parent))
  import torch
  from torch.nn import functional as F

  from benchmarks import inception as benchmark

  def channels_first(x):
    return torch.from_numpy(x).permute(0, 3, 1, 2).float() / 255

  arrays = {}
  with torch.no_grad():
    network = benchmark.pytorch_fid(random_state(), 2048, resize_input=False)
    small = channels_first(images(SIZE)[1:3])
    arrays['random/pool3'] = network(small)[0][:, :, 0, 0].numpy()
    for name, shape in {'larger': (5, 7), 'smaller': (23, 16)}.items():
      x = channels_first(images(32)[:1, : shape[0], : shape[1]])
      x = F.interpolate(x, size=(11, 11), mode='bilinear', align_corners=False)
      arrays[f'resized/{name}'] = (2 * x - 1).permute(0, 2, 3, 1).numpy()
    if REAL.exists():
      weights = inception_weights.load(REAL)
      network = benchmark.pytorch_fid(benchmark.torch_state(weights), 768)
      arrays['real/mixed_7'] = network(channels_first(images()))[0].mean((2, 3)).numpy()
      wide = channels_first(images(160)[:, 20:120])
      arrays['real/mixed_7_wide'] = network(wide)[0].mean((2, 3)).numpy()
      x = F.interpolate(channels_first(images()[1:2]), size=(299, 299), mode='bilinear')
      pooled = network.blocks[0](2 * x - 1)  # [1, 64, 73, 73]
      arrays['real/pool'] = pooled[:, ::4, ::12, ::12].permute(0, 2, 3, 1).numpy()
  GOLDEN.parent.mkdir(parents=True, exist_ok=True)
  np.savez_compressed(GOLDEN, **arrays)
  print({name: array.shape for name, array in arrays.items()}, GOLDEN.stat().st_size)


if __name__ == '__main__':
  main()
