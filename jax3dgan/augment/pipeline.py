"""The augmentations 'bgc' of ADA: blits of pixels, geometry, colours (arXiv 2006.06676, App. B).

Each kind is applied to an image with probability p, independently. All geometric ones together are
one resampling, all of colour one matrix; both are differentiable in the images to any order.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp

from jax3dgan.augment import colour, geometry
from jax3dgan.errors import UserError
from jax3dgan.nn.resample import resize_bilinear


@dataclasses.dataclass(frozen=True)
class Augmentations:
  """The transformations and their ranges.

  Attributes:
    xflip, rotate90, xint, scale, rotate, aniso, xfrac, brightness, contrast, lumaflip, hue,
      saturation: factors on p for each, 0 for none.
    xint_max: largest translation by whole pixels, as a share of the size.
    scale_std, aniso_std: log₂ standard deviations of the factors.
    rotate_max: largest angle, as a share of π.
    xfrac_std: standard deviation of the translation, as a share of the size.
    brightness_std, contrast_std, saturation_std: standard deviations, the latter two of log₂.
    hue_max: largest angle, as a share of π.
  """

  xflip: float = 1.0
  rotate90: float = 1.0
  xint: float = 1.0
  scale: float = 1.0
  rotate: float = 1.0
  aniso: float = 1.0
  xfrac: float = 1.0
  brightness: float = 1.0
  contrast: float = 1.0
  lumaflip: float = 1.0
  hue: float = 1.0
  saturation: float = 1.0
  xint_max: float = 0.125
  scale_std: float = 0.2
  rotate_max: float = 1.0
  aniso_std: float = 0.2
  xfrac_std: float = 0.125
  brightness_std: float = 0.2
  contrast_std: float = 0.5
  hue_max: float = 1.0
  saturation_std: float = 1.0


# Of one image, see `_draw`.
_NUM_UNIFORMS, _NUM_NORMALS = 21, 7


def _draw(key, p, size, options):
  """One image's (pixel_matrix, matrix, moves, colours) for p; size (height, width)."""
  height, width = size
  # Two calls for all numbers: each call of Threefry is a program of its own to compile.
  for_uniforms, for_normals = jax.random.split(key)
  uniforms = iter(jnp.unstack(jax.random.uniform(for_uniforms, (_NUM_UNIFORMS,))))
  normals = iter(jnp.unstack(jax.random.normal(for_normals, (_NUM_NORMALS,))))

  def chance(factor):
    return next(uniforms) < factor * p

  def either():
    return next(uniforms) < 0.5

  def normal():
    return next(normals)

  def uniform():
    return 2 * next(uniforms) - 1

  def choose(active, value, neutral):
    return jnp.where(active, value, neutral)

  # Pixels to pixels.
  flip = chance(options.xflip) & either()
  pixel_matrix = geometry.scale(choose(flip, -1.0, 1.0), 1.0)
  turns = choose(chance(options.rotate90), (4 * next(uniforms)).astype(jnp.int32), 0)
  pixel_matrix = geometry.quarter_turns(turns) @ pixel_matrix
  shift = choose(chance(options.xint), options.xint_max * jnp.stack([uniform(), uniform()]), 0.0)
  shift = jnp.round(shift * jnp.array([width, height]))
  pixel_matrix = geometry.translate(shift[0], shift[1]) @ pixel_matrix

  # General geometry. Two rotations, about an anisotropic scaling, each with such a probability
  # that there is one at all with p.
  rotation = 1 - jnp.sqrt(1 - jnp.clip(options.rotate * p, 0.0, 1.0))
  is_scaled, is_stretched, is_shifted = (
    chance(factor) for factor in (options.scale, options.aniso, options.xfrac)
  )
  before, after = (next(uniforms) < rotation for _ in range(2))
  s = choose(is_scaled, jnp.exp2(options.scale_std * normal()), 1.0)
  matrix = geometry.scale(s, s)
  angles = [options.rotate_max * math.pi * uniform() for _ in range(2)]
  matrix = geometry.rotate(choose(before, angles[0], 0.0)) @ matrix
  s = choose(is_stretched, jnp.exp2(options.aniso_std * normal()), 1.0)
  matrix = geometry.scale(s, 1 / s) @ matrix
  matrix = geometry.rotate(choose(after, angles[1], 0.0)) @ matrix
  shift = choose(is_shifted, options.xfrac_std * jnp.stack([normal(), normal()]), 0.0)
  matrix = geometry.translate(shift[0] * width, shift[1] * height) @ matrix
  moves = is_scaled | before | is_stretched | after | is_shifted

  # Colours.
  colours = colour.brightness(
    choose(chance(options.brightness), options.brightness_std * normal(), 0.0)
  )
  c = choose(chance(options.contrast), jnp.exp2(options.contrast_std * normal()), 1.0)
  colours = colour.contrast(c) @ colours
  flip = chance(options.lumaflip) & either()
  colours = colour.luma_flip(choose(flip, 1.0, 0.0)) @ colours
  theta = choose(chance(options.hue), options.hue_max * math.pi * uniform(), 0.0)
  colours = colour.hue(theta) @ colours
  s = choose(chance(options.saturation), jnp.exp2(options.saturation_std * normal()), 1.0)
  return pixel_matrix, matrix, moves, colour.saturation(s) @ colours


def draw(keys, p, size: tuple[int, int], options: Augmentations = Augmentations()):
  """The transformations of each image: pixel_matrix, matrix [b, 3, 3], moves [b] (whether `matrix`
  is more than the identity), colours [b, 4, 4]; from per-example keys [b], for images of (height,
  width).
  """
  with jax.default_matmul_precision('highest'):
    return jax.vmap(lambda key: _draw(key, p, size, options))(keys)


def augment(keys, images, p, options: Augmentations = Augmentations()):
  """Images [b, h, w, 3n], h = w, each augmented, with the same transformation for all its triples
  of channels.

  Args:
    keys: per-example keys [b].
    p: probability of each kind of transformation, a scalar that may be traced. At 0 the result is
      the images, bit for bit.
    options: which kinds there are.
  """
  _, h, w, c = images.shape
  if h != w or c % 3:
    raise UserError(f'Augmentation takes square RGB images, not {h}x{w}x{c}. Crop them.')
  pixel_matrix, matrix, moves, colours = draw(keys, p, (h, w), options)
  images = geometry.transform(images, pixel_matrix, matrix, moves)
  changed = jnp.any(colours != jnp.eye(4), axis=(1, 2))[:, None, None, None]
  return jnp.where(changed, colour.apply(images, colours), images)


def augment_pair(keys, image, raw, p, options: Augmentations = Augmentations()):
  """A dual discriminator's pair (EG3D), image [b, r, r, 3] and raw [b, n, n, 3], with equal
  augmentation.

  The raw image is resized to the size of the other one, augmented, and resized back.
  """
  size, n = image.shape[1], raw.shape[1]
  both = jnp.concatenate([image, resize_bilinear(raw, size)], axis=-1)
  both = augment(keys, both, p, options)
  return both[..., :3], resize_bilinear(both[..., 3:], n)
