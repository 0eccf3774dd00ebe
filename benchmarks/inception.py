"""The FID Inception here and pytorch-fid's: do they agree, and which is faster?

  python -m benchmarks.inception --weights=FILE --images=ZIP [--num=512] [--fid=2000]

Needs `pip install torch torchvision pytorch-fid`. Both networks get the same weights and images.
Prints how far the features are apart, FID between two disjoint halves of --fid images each by
either's features, and images per second on this machine: the two take turns in one process, with
the same number of threads, and the median of the rounds counts.
"""

import argparse
import io
import statistics
import sys
import time
import types
import zipfile

import jax
import numpy as np
from PIL import Image

from jax3dgan.evaluation import features
from jax3dgan.feature_networks import inception_layers, inception_weights


def pytorch_fid(state, dims, resize_input=True):
  """pytorch-fid's network with the weights of a state dict {name: array}; nothing is downloaded."""
  # torchvision wants its compiled operators when it is imported, which the network does not use.
  sys.modules.setdefault(
    'torchvision._meta_registrations', types.ModuleType('torchvision._meta_registrations')
  )
  import torch
  from pytorch_fid import inception as theirs

  def load(module, given, **_):
    own = module.state_dict()
    absent = [k for k in own if k not in given and not k.endswith('num_batches_tracked')]
    unused = ('fc.',) if dims == 2048 else ('fc.', 'Mixed_7')
    assert all(name.startswith(unused) for name in absent), absent
    return original(module, given, strict=False)

  tensors = {k: torch.from_numpy(np.array(v, order='C')) for k, v in state.items()}
  original, download = torch.nn.Module.load_state_dict, theirs.load_state_dict_from_url
  try:
    torch.nn.Module.load_state_dict = load
    theirs.load_state_dict_from_url = lambda *_, **__: tensors
    block = theirs.InceptionV3.BLOCK_INDEX_BY_DIM[dims]
    return theirs.InceptionV3([block], resize_input=resize_input).eval()
  finally:
    torch.nn.Module.load_state_dict, theirs.load_state_dict_from_url = original, download


def torch_state(weights):
  """`Weights` as pytorch-fid's state dict, with a batch norm that does nothing but add the bias."""
  state = {}
  for name, layer in weights.params.items():
    torch_name, ones = inception_layers.TORCH_NAMES[name], np.ones_like(layer['bias'])
    state[f'{torch_name}.conv.weight'] = layer['kernel'].transpose(3, 2, 0, 1)
    state[f'{torch_name}.bn.weight'] = ones
    state[f'{torch_name}.bn.bias'] = layer['bias']
    state[f'{torch_name}.bn.running_mean'] = 0 * ones
    state[f'{torch_name}.bn.running_var'] = (1 - inception_weights.EPSILON) * ones
  return state


def read_images(path, num):
  """The first `num` images of a zip, uint8 [n, h, w, 3]."""
  with zipfile.ZipFile(path) as archive:
    names = [n for n in sorted(archive.namelist()) if n.endswith(('.jpg', '.jpeg', '.png'))]
    pictures = (Image.open(io.BytesIO(archive.read(n))).convert('RGB') for n in names[:num])
    return np.stack([np.asarray(picture) for picture in pictures])


def frechet_distance(a, b):
  """FID of features [n, d] and [m, d] (Heusel et al. 2017, equation 6), float64."""
  a, b = a.astype(np.float64), b.astype(np.float64)
  first, second = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
  values, vectors = np.linalg.eigh(first)
  root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
  # The traces of √(ΣaΣb) and of √(√Σa Σb √Σa) are equal, and the latter is symmetric.
  cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ second @ root), 0)).sum()
  difference = a.mean(0) - b.mean(0)
  return difference @ difference + np.trace(first) + np.trace(second) - 2 * cross


def main():
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--weights', default='', help='file of the Inception weights')
  parser.add_argument('--images', required=True, help='zip of images of one size')
  parser.add_argument('--num', type=int, default=512, help='images to compare features of')
  parser.add_argument('--fid', type=int, default=2000, help='images in either half; 0 for no FID')
  parser.add_argument('--batch_sizes', default='8,32,64')
  parser.add_argument('--rounds', type=int, default=7)
  args = parser.parse_args()
  import torch

  weights = inception_weights.load(args.weights)
  network = pytorch_fid(torch_state(weights), weights.dims)
  images = read_images(args.images, max(args.num, 2 * args.fid))

  @torch.inference_mode()
  def torch_features(images, batch_size):
    found = []
    for i in range(0, len(images), batch_size):
      x = torch.from_numpy(images[i : i + batch_size]).permute(0, 3, 1, 2).float() / 255
      found.append(network(x)[0].mean((2, 3)).numpy())
    return np.concatenate(found)

  print(
    f'{weights.dims} features, images {images.shape[1:]}, {jax.default_backend()}, jax '
    f'{jax.__version__}, torch {torch.__version__} with {torch.get_num_threads()} threads'
  )
  for batch_size in map(int, args.batch_sizes.split(',')):
    extract = features.FeatureExtractor(weights, batch_size=batch_size)
    part = images[: max(32, batch_size)]
    ways = {
      'here': lambda part=part, extract=extract: list(extract([part])),
      'pytorch-fid': lambda part=part, n=batch_size: torch_features(part, n),
    }
    rates = {name: [] for name in ways}
    for turn in range(args.rounds + 1):
      for name, way in ways.items():
        start = time.perf_counter()
        way()
        if turn:  # the first compiles
          rates[name].append(len(part) / (time.perf_counter() - start))
    ours, theirs = (statistics.median(rates[name]) for name in ways)
    print(
      f'batch {batch_size}: {ours:.1f} images/s here, {theirs:.1f} pytorch-fid: '
      f'{ours / theirs:.2f} times (ranges {min(rates["here"]):.1f} to {max(rates["here"]):.1f}, '
      f'{min(rates["pytorch-fid"]):.1f} to {max(rates["pytorch-fid"]):.1f})',
      flush=True,
    )
  extract = features.FeatureExtractor(weights)
  num = max(args.num, 2 * args.fid)
  ours = np.concatenate(list(extract([images[:num]])))
  theirs = torch_features(images[:num], 16)
  difference = np.abs(ours - theirs)
  relative = np.linalg.norm(ours - theirs, axis=1) / np.linalg.norm(theirs, axis=1)
  print(
    f'{num} images: largest difference {difference.max():.1e} of features up to '
    f'{theirs.max():.2f}; worst image {relative.max():.1e} relative (2-norm)'
  )
  if args.fid:
    halves = slice(0, args.fid), slice(args.fid, 2 * args.fid)
    here, there = (frechet_distance(f[halves[0]], f[halves[1]]) for f in (ours, theirs))
    print(
      f'FID-{weights.dims}, {args.fid} against {args.fid}: {here:.6f} here, {there:.6f} '
      f'pytorch-fid, {abs(here / there - 1):.1e} relative'
    )


if __name__ == '__main__':
  main()
