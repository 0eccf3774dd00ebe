"""The weights of the FID Inception, from the common files.

None come with the package. Supported are pytorch-fid's own file, without PyTorch and without
running anything in it, and npz files with the names of TensorFlow's graph.
"""

import dataclasses
import hashlib
import os
import pathlib
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from jax3dgan.convert import modules, torchfile
from jax3dgan.devices import compilation
from jax3dgan.errors import UserError
from jax3dgan.feature_networks import inception_layers
from jax3dgan.feature_networks.inception_layers import TORCH_NAMES

VARIABLE = 'JAX3DGAN_INCEPTION'
OFFICIAL = 'pt_inception-2015-12-05-6726825d.pth'
_GET = f"Get pytorch-fid's {OFFICIAL}"
EPSILON = 1e-3  # of the graph's and pytorch-fid's batch norm
_MAX_BYTES = 2**30  # the network has 96 MB


@dataclasses.dataclass(frozen=True, eq=False)
class Weights:
  """The parameters of `inception.Inception(dims)`.

  Attributes:
    params: {layer: {'kernel': float32 [kh, kw, c_in, c_out], 'bias': float32 [c_out]}}.
    dims: Length of the features that they give: 2048 or 768.
    fingerprint: SHA-256 of the parameters, in hex: the same for the same numbers from any file.
    kind: The file's: 'pytorch-fid' or 'npz'.
    path: The file.
  """

  params: Mapping[str, Any]
  dims: int
  fingerprint: str
  kind: str
  path: str


def find() -> pathlib.Path:
  """The file in $JAX3DGAN_INCEPTION, or the one in the cache's folder `inception`.

  Raises:
    UserError: There is none, or several in the folder.
  """
  if named := os.environ.get(VARIABLE):
    return pathlib.Path(named).expanduser()
  folder = compilation.cache_root() / 'inception'
  found = []
  if folder.is_dir():
    found = [p for p in sorted(folder.iterdir()) if p.is_file() and not p.name.startswith('.')]
  official = [p for p in found if p.name == OFFICIAL]
  if len(found) > 1 and not official:
    names = ', '.join(p.name for p in found[:4])
    raise UserError(f'{folder} has several files ({names}). Set {VARIABLE} to the one to use.')
  if not found:
    raise UserError(
      f'The weights of the Inception network are missing, which FID and KID need. {_GET} and name '
      f'it (--config.eval.inception=FILE, or {VARIABLE}), or put it into {folder}.'
    )
  return (official or found)[0]


def load(path: str | os.PathLike = '', dims: int = 0) -> Weights:
  """Reads the weights of the FID Inception.

  Args:
    path: pytorch-fid's pt_inception-2015-12-05-6726825d.pth; or an npz with `<layer>/w` (HWIO) and
      `<layer>/b`, batch norm folded, or with the graph's own `<layer>/conv2d_params` and
      `<layer>/batchnorm/beta`, `gamma`, `moving_mean`, `moving_variance`. Layers are called as in
      the graph ('mixed_1/tower/conv_1', '_' for '/' too). '' reads $JAX3DGAN_INCEPTION, then
      into the cache's folder `inception`.
    dims: 2048 or 768; 0 takes the largest that the file has.

  Raises:
    UserError: The file is missing, damaged or of another network.
  """
  if dims not in (0, *inception_layers.LAST_BLOCK):
    raise UserError(f'No features of the Inception have {dims} dimensions. Choose 2048 or 768.')
  path = pathlib.Path(path).expanduser() if str(path) else find()
  if path.is_dir():
    raise UserError(f'{path} is a folder. Give the file of the Inception weights: {OFFICIAL}.')
  if not path.exists():
    raise UserError(f'{path} does not exist. {_GET} and give its path, or set {VARIABLE} to it.')
  kind, arrays = ('npz', _npz(path)) if _is_npz(path) else ('pytorch-fid', _torch(path))
  parts_of = _npz_parts if kind == 'npz' else _torch_parts
  parts = {name: parts_of(arrays, name) for name in TORCH_NAMES}
  have = [d for d in (2048, 768) if all(parts[name] for name in _last_block(d))]
  missing = [name for name in inception_layers.layers(have[0] if have else 768) if not parts[name]]
  if missing:
    raise UserError(
      f'{path} is not the FID Inception: {len(missing)} of its layers are missing, the first of '
      f'them {missing[0]}. {_GET}.'
    )
  if dims and dims > have[0]:
    raise UserError(
      f'{path} gives {have[0]} features and not {dims}: its last blocks are missing. {_GET}, or '
      f'ask for dims={have[0]}, whose FID is another scale.'
    )
  dims = dims or have[0]
  table = inception_layers.layers(dims)
  params = {name: _folded(path, layer, parts[name]) for name, layer in table.items()}
  digest = hashlib.sha256()
  for name, layer in params.items():
    digest.update(name.encode())
    for array in layer.values():
      digest.update(array.data)
  return Weights(params, dims, digest.hexdigest(), kind, str(path))


def _last_block(dims: int) -> list[str]:
  """Names of the layers of the last block; a file with these should have all before."""
  block = inception_layers.LAST_BLOCK[dims]
  return [f'{block}_{name}' for name in inception_layers.BLOCKS[block]]


def _is_npz(path) -> bool:
  try:
    if path.suffix == '.npz' or not zipfile.is_zipfile(path):
      return path.suffix == '.npz'
    with zipfile.ZipFile(path) as archive:
      return any(name.endswith('.npy') for name in archive.namelist())
  except OSError as error:
    raise UserError(f'{path} cannot be read: {error.strerror}. Give the path of a file.') from None
  except (zipfile.BadZipFile, ValueError):
    return False  # the reader of torch files says what is wrong with it


def _npz(path) -> dict[str, np.ndarray]:
  """{name with '_' for '/' before the last part: array}."""
  try:
    with zipfile.ZipFile(path) as archive:
      if sum(entry.file_size for entry in archive.infolist()) > _MAX_BYTES:
        raise UserError(f'{path} is far larger than the FID Inception. {_GET}.')
    with np.load(path, allow_pickle=False) as file:
      return {_plain(name): file[name] for name in file.files}
  except UserError:
    raise
  except Exception as error:  # zipfile, zlib and NumPy raise a dozen kinds on a damaged file
    what = ' '.join(str(error).split())[:100]
    raise UserError(
      f'{path} is damaged or no npz file ({type(error).__name__}: {what}). Copy it again.'
    ) from None


def _plain(name: str) -> str:
  """'mixed/tower/conv/batchnorm/beta' as 'mixed_tower_conv/beta'."""
  layer, _, part = name.rpartition('/')
  return f'{layer.removesuffix("/batchnorm").replace("/", "_")}/{part}'


def _torch(path) -> dict[str, np.ndarray]:
  tree = torchfile.read(path)
  try:
    arrays = modules.state_dict(tree)
  except UserError as error:
    raise UserError(f'{path} is not the FID Inception. {error} {_GET}.') from None
  classes = arrays.get('fc.weight', np.zeros((1008, 0))).shape[:1]
  if classes == (1000,) or any(name.startswith('AuxLogits.') for name in arrays):
    raise UserError(
      f"{path} is torchvision's Inception v3, another network whose figures are no FID. {_GET}."
    )
  return arrays


def _npz_parts(arrays, name):
  """The arrays of a layer in an npz, kernels HWIO; None if one is missing."""
  folded = {'kernel': f'{name}/w', 'bias': f'{name}/b'}
  batch_norm = {
    'kernel': f'{name}/conv2d_params',
    'bias': f'{name}/beta',
    'mean': f'{name}/moving_mean',
    'variance': f'{name}/moving_variance',
  }
  for keys in (folded, batch_norm):
    if all(key in arrays for key in keys.values()):
      if keys is batch_norm and f'{name}/gamma' in arrays:
        keys['scale'] = f'{name}/gamma'
      return {part: (key, arrays[key]) for part, key in keys.items()}
  return None


def _torch_parts(arrays, name):
  """The same of pytorch-fid's state dict, whose kernels are OIHW."""
  keys = {
    'kernel': 'conv.weight',
    'bias': 'bn.bias',
    'mean': 'bn.running_mean',
    'variance': 'bn.running_var',
    'scale': 'bn.weight',
  }
  keys = {part: f'{TORCH_NAMES[name]}.{key}' for part, key in keys.items()}
  if not all(key in arrays for key in keys.values()):
    return None
  parts = {part: (key, arrays[key]) for part, key in keys.items()}
  key, kernel = parts['kernel']
  return parts | {'kernel': (key, kernel.transpose(2, 3, 1, 0) if kernel.ndim == 4 else kernel)}


def _folded(path, layer, parts) -> dict[str, np.ndarray]:
  """A layer's kernel and bias, batch norm folded in float64."""
  values = {}
  for part, (key, array) in parts.items():
    shape = layer.shape if part == 'kernel' else (layer.features,)
    if array.shape != shape:
      raise UserError(
        f'{path}: {key} has the shape {array.shape} where the FID Inception has {shape}. {_GET}.'
      )
    if array.dtype.kind not in 'fV' or array.dtype.names:  # 'V': bfloat16
      raise UserError(f'{path}: {key} is of the type {array.dtype} and not of floats. {_GET}.')
    values[part] = array.astype(np.float64)
    if not np.isfinite(values[part]).all():
      raise UserError(f'{path}: {key} has values that are no finite numbers. {_GET} again.')
  kernel, bias = values['kernel'], values['bias']
  if 'variance' in values:
    if (values['variance'] < 0).any():
      raise UserError(f'{path}: {parts["variance"][0]} has negative values. {_GET} again.')
    scale = values.get('scale', 1.0) / np.sqrt(values['variance'] + EPSILON)
    kernel, bias = kernel * scale, bias - values['mean'] * scale
  return {
    'kernel': np.ascontiguousarray(kernel, np.float32),
    'bias': np.ascontiguousarray(bias, np.float32),
  }
