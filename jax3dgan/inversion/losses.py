"""Distances of images: mean squares, an image pyramid, and perceptual distances.

Every distance is [b], of images [b, h, w, 3] in [−1, 1]. The perceptual one depends on the
available weights (`choose`):

* `lpips`: Zhang et al. 2018, *The Unreasonable Effectiveness of Deep Features as a Perceptual
  Metric*, of a VGG-16: see `feature_networks.lpips`;
* `inception`: the same distance of the first layers of the Inception network that FID uses, all
  channels with equal weights;
* `pyramid`: no network: squared differences, and those of neighbours (gradients), on a pyramid of
  images of half the size each. Edges and large shapes count, not only pixels.
"""

import os

import flax.struct
import jax
import jax.numpy as jnp

from jax3dgan.errors import UserError
from jax3dgan.feature_networks import lpips

KINDS = ('auto', 'lpips', 'inception', 'pyramid', 'none')
VARIABLE = 'JAX3DGAN_LPIPS'
# The first layers of the Inception detect edges and textures, for which these sizes are enough, at
# a twentieth of the cost of 299².
_INCEPTION_SIZE = 96
_INCEPTION_LAYERS = ('conv', 'conv_1', 'conv_2', 'conv_3', 'conv_4')
_SEEN = ('conv_2', 'conv_4')
_SMALLEST = 4  # pixels on a side of the pyramid's top


def mse(a, b):
  """Mean squared difference."""
  return jnp.mean((a - b) ** 2, axis=(1, 2, 3))


def halved(x):
  """Means over squares of 2 × 2 pixels; an odd last row or column is left out."""
  h, w = x.shape[1] // 2, x.shape[2] // 2
  x = x[:, : 2 * h, : 2 * w]
  return x.reshape(x.shape[0], h, 2, w, 2, x.shape[3]).mean((2, 4))


def pyramid(a, b):
  """Mean over the levels of squared differences of pixels and of gradients."""
  difference, total, levels = a - b, 0.0, 0
  while min(difference.shape[1:3]) >= _SMALLEST:
    down, across = jnp.diff(difference, axis=1), jnp.diff(difference, axis=2)
    terms = (difference, down, across)
    total += sum(jnp.mean(x**2, axis=(1, 2, 3)) for x in terms)
    difference, levels = halved(difference), levels + 1
  return total / max(levels, 1)


@flax.struct.dataclass
class Perceptual:
  """A perceptual distance.

  Attributes:
    weights: the network's parameters, a pytree; None for the pyramid.
    kind: one of `KINDS` but 'auto'.
    name: a description.
  """

  weights: object = None
  kind: str = flax.struct.field(pytree_node=False, default='pyramid')
  name: str = flax.struct.field(pytree_node=False, default='image pyramid')

  def features(self, image):
    """The features of a photo, which are computed once."""
    if self.kind == 'lpips':
      return lpips.features(self.weights, image)
    if self.kind == 'inception':
      return _inception(self.weights, image)
    return image

  def distance(self, image, target):
    """Distances [b] of images to photos whose `features` are given."""
    if self.kind == 'lpips':
      return lpips.distance(self.weights, lpips.features(self.weights, image), target)
    if self.kind == 'inception':
      pairs = zip(_inception(self.weights, image), target, strict=True)
      return sum(jnp.mean(jnp.sum((a - b) ** 2, axis=-1), axis=(1, 2)) for a, b in pairs)
    if self.kind == 'pyramid':
      return pyramid(image, target)
    return jnp.zeros(image.shape[0], image.dtype)


PYRAMID = Perceptual()


def _inception(params, image):
  """Normalised maps of two layers."""
  from jax3dgan.feature_networks import inception, inception_layers

  x = inception.preprocess(image, _INCEPTION_SIZE)
  table, maps = inception_layers.layers(768), []
  for name in _INCEPTION_LAYERS:
    layer, weights = table[name], params[name]
    x = jax.lax.conv_general_dilated(
      x,
      weights['kernel'],
      (layer.stride, layer.stride),
      'SAME' if layer.same else 'VALID',
      dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
      precision=jax.lax.Precision.HIGHEST,
    )
    x = jax.nn.relu(x + weights['bias'])
    if name in _SEEN:
      maps.append(lpips.normalised(x))
    if name == 'conv_2':
      x = inception.max_pool(x)
  return maps


def choose(kind: str = 'auto', lpips_file: str = '', inception_file: str = '') -> Perceptual:
  """The perceptual distance for the available weights.

  Args:
    kind: one of `KINDS`; 'auto' takes LPIPS where its weights are named, else the Inception where
      its are, else the pyramid.
    lpips_file: see `lpips.load`; '' reads $JAX3DGAN_LPIPS.
    inception_file: see `feature_networks.inception_weights.load`; '' reads $JAX3DGAN_INCEPTION.

  Raises:
    UserError: Weights that are asked for are missing or are those of another network.
  """
  if kind not in KINDS:
    raise UserError(f"No perceptual loss is called '{kind}'. Choose one of {', '.join(KINDS)}.")
  from jax3dgan.feature_networks import inception_weights

  lpips_file = lpips_file or os.environ.get(VARIABLE, '')
  has_inception = inception_file or os.environ.get(inception_weights.VARIABLE)
  if kind == 'auto':
    kind = 'lpips' if lpips_file else 'inception' if has_inception else 'pyramid'
  if kind == 'lpips':
    if not lpips_file:
      raise UserError(
        f'LPIPS needs its weights. Name the file with --lpips=FILE or {VARIABLE}, or leave out '
        '--perceptual=lpips.'
      )
    return Perceptual(lpips.load(lpips_file), kind, 'LPIPS (VGG-16)')
  if kind == 'inception':
    params = inception_weights.load(inception_file, dims=768).params
    params = {name: dict(params[name]) for name in _INCEPTION_LAYERS}
    return Perceptual(jax.tree.map(jnp.asarray, params), kind, 'first layers of the Inception')
  name = 'image pyramid (no weights of LPIPS or the Inception are given)'
  return Perceptual(None, kind, 'none' if kind == 'none' else name)
