"""LPIPS: the distance of deep features (Zhang et al., CVPR 2018, arXiv 1801.03924), of a VGG-16.

No weights come with the package. Supported, without PyTorch and without executing anything in them,
are torchvision's `vgg16-….pth` and the linear heads of LPIPS's release (`vgg.pth`, version 0.1), as
two files; or one file (pth or npz) with both, such as the state dict of the release's module.
"""

import os
import pathlib
import re
import zipfile

import jax
import jax.numpy as jnp
import numpy as np

from jax3dgan.convert import modules, torchfile
from jax3dgan.errors import UserError
from jax3dgan.nn import precision

# Per channel of images in [−1, 1], as in the release.
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
# Indices of the convolutions in VGG-16's list of layers; there is a pool before each block except
# the first, and the last activation of each block is used.
BLOCKS = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))
_EPSILON = 1e-10
_MAX_BYTES = 2**30  # VGG-16 has 528 MB with its classifier
_GET = "Give torchvision's vgg16 and LPIPS's vgg.pth, as --lpips=VGG16.pth,HEADS.pth"


def normalised(x):
  """Unit vectors along the last axis."""
  # The square root has no gradient at zero, where a pixel has no active feature.
  return x / (jnp.sqrt(jnp.sum(x**2, axis=-1, keepdims=True) + _EPSILON**2) + _EPSILON)


def features(weights, image) -> list[jax.Array]:
  """Normalised maps [b, h', w', c] of the five blocks, of images [b, h, w, 3] in [−1, 1]."""
  x = (image - jnp.array(SHIFT, image.dtype)) / jnp.array(SCALE, image.dtype)
  maps = []
  for i, block in enumerate(BLOCKS):
    if i:
      h, w = x.shape[1] // 2, x.shape[2] // 2
      x = x[:, : 2 * h, : 2 * w].reshape(x.shape[0], h, 2, w, 2, x.shape[3]).max((2, 4))
    for place in block:
      layer = weights[f'conv_{place}']
      x = jax.lax.conv_general_dilated(
        x,
        layer['kernel'],
        (1, 1),
        'SAME',
        dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
        precision=jax.lax.Precision.HIGHEST,
      )
      x = jax.nn.relu(x + layer['bias'])
    maps.append(normalised(x))
  return maps


def distance(weights, a, b) -> jax.Array:
  """LPIPS [n] of the `features` of two batches of images."""
  total = 0.0
  for i, (x, y) in enumerate(zip(a, b, strict=True)):
    total += jnp.mean(
      precision.einsum('bhwc,c->bhw', (x - y) ** 2, weights[f'head_{i}']), axis=(1, 2)
    )
  return total


def load(paths: str) -> dict:
  """Reads the weights: {'conv_0': {'kernel' HWIO, 'bias'}, ..., 'head_0': [c], ...}.

  Args:
    paths: one file, or two separated by a comma.

  Raises:
    UserError: A file is missing, or of another network.
  """
  arrays = {}
  for path in str(paths).split(','):
    arrays |= _read(pathlib.Path(os.path.expanduser(path.strip())))
  found = {}
  for name, value in arrays.items():
    value = np.asarray(value, np.float32)
    head = re.search(r'lin(\d)\.(?:model\.)?(?:\d\.)?weight$', name)
    layer = re.search(r'(?:features|slice\d)\.(\d+)\.(weight|bias)$', name)
    if head:
      found[f'head_{head[1]}'] = value.reshape(-1)
    elif layer:
      parts = found.setdefault(f'conv_{layer[1]}', {})
      parts['kernel' if layer[2] == 'weight' else 'bias'] = (
        value.transpose(2, 3, 1, 0) if layer[2] == 'weight' and value.ndim == 4 else value
      )
  return jax.tree.map(jnp.asarray, _checked(found, paths))


def _checked(found, paths):
  """The needed arrays of `found`, with checked shapes."""
  needed, channels = {}, 3
  for i, block in enumerate(BLOCKS):
    for place in block:
      layer = found.get(f'conv_{place}', {})
      kernel, bias = layer.get('kernel'), layer.get('bias')
      if kernel is None or bias is None:
        raise UserError(f'{paths}: the layer features.{place} of VGG-16 is missing. {_GET}.')
      if kernel.shape[:3] != (3, 3, channels) or bias.shape != kernel.shape[3:]:
        raise UserError(f'{paths}: features.{place} has the shape {kernel.shape}. {_GET}.')
      needed[f'conv_{place}'] = {'kernel': kernel, 'bias': bias}
      channels = kernel.shape[3]
    head = found.get(f'head_{i}')
    if head is None or head.shape != (channels,):
      raise UserError(
        f'{paths}: the linear head lin{i} for {channels} channels is missing. {_GET}.'
      )
    needed[f'head_{i}'] = head
  return needed


def _read(path) -> dict[str, np.ndarray]:
  if not path.is_file():
    raise UserError(f'{path} does not exist. {_GET}.')
  if path.suffix != '.npz':
    return modules.state_dict(torchfile.read(path))
  try:
    with zipfile.ZipFile(path) as archive:
      if sum(entry.file_size for entry in archive.infolist()) > _MAX_BYTES:
        raise UserError(f'{path} is far larger than VGG-16. {_GET}.')
    with np.load(path, allow_pickle=False) as file:
      return {name: file[name] for name in file.files}
  except UserError:
    raise
  except Exception as error:  # zipfile, zlib and NumPy raise a dozen kinds on a damaged file
    raise UserError(f'{path} is damaged or no npz file ({type(error).__name__}). {_GET}.') from None
