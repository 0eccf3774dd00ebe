"""Patches of images (GRAF, Schwarz et al., NeurIPS 2020, arXiv 2007.02442, Sec. 3.2): a grid of few
pixels, spread over a part of an image of any scale and at any place.

A patch is the rectangle that its pixels stand for, so that it is a camera (`cameras.crop`), and
photos are cropped as fakes are. Pixels are points of the image: those of photos are interpolated
without a filter, as those of fakes are single rays.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jax3dgan.cameras import Camera, crop
from jax3dgan.nn import precision

FIRST_SCALE = 0.9  # the least scale of patches at first, where it falls


class Patches(NamedTuple):
  """Squares in the normalised coordinates of images (u right, v down), [b] each.

  Attributes:
    left, top: of the upper left corners.
    side: of the squares; above 1 where the outermost pixels of a patch are those of the image.
  """

  left: jax.Array
  top: jax.Array
  side: jax.Array


def least_scale(images_seen, least: float, largest: float, decay: float, every: int):
  """The least scale of patches after so many images (may be traced).

  max(least, largest·exp(−decay·n)) with n steps of `every` images, but at most .9; `least` from the
  beginning with a decay of 0. GRAF's: from .25 or .125 on, 8,000 images each.
  """
  if not decay:
    return jnp.asarray(least, jnp.float32)
  falling = largest * jnp.exp(-decay * jnp.floor_divide(images_seen, every))
  return jnp.minimum(FIRST_SCALE, jnp.maximum(least, falling))


def draw(keys):
  """Scales [b] in [0, 1) and places [b, 2] in [−1, 1) of patches, of per-example keys [b]."""
  numbers = jax.vmap(lambda key: jax.random.uniform(key, (3,)))(keys)
  return numbers[:, 0], 2 * numbers[:, 1:] - 1


def place(scale, offset, patch_size: int, image_size: int) -> Patches:
  """The patches of a scale and a place.

  Args:
    scale: [b] share of the distance between the outermost pixels of an image that is between those
      of its patch.
    offset: [b, 2] places in [−1, 1], to the right and down: ±1 at the border of the image.
    patch_size, image_size: pixels on a side, 2 or more.
  """
  pace = scale * (image_size - 1) / (patch_size - 1)  # pixels of the image between two of the patch
  first = 0.5 * (1 - scale[:, None]) * (1 + offset) * (image_size - 1)
  corner = (first + 0.5 - 0.5 * pace[:, None]) / image_size
  return Patches(corner[:, 0], corner[:, 1], patch_size * pace / image_size)


def cameras_of(camera: Camera, patches: Patches) -> Camera:
  """The cameras [b] whose images are patches of those of cameras [b]."""
  return crop(camera, patches.left, patches.top, patches.side, patches.side)


def photos_of(images, patches: Patches, patch_size: int):
  """Patches [b, p, p, c] of images [b, h, w, c], interpolated between pixels."""
  ticks = (jnp.arange(patch_size, dtype=images.dtype) + 0.5) / patch_size

  def weights(first, size):
    at = (first[:, None] + ticks * patches.side[:, None]) * size - 0.5  # [b, p] pixels
    at = jnp.clip(at, 0, size - 1)
    return jax.nn.relu(1 - jnp.abs(at[..., None] - jnp.arange(size, dtype=images.dtype)))

  rows, columns = (
    weights(first, size)
    for first, size in ((patches.top, images.shape[1]), (patches.left, images.shape[2]))
  )
  rows = precision.einsum('bph,bhwc->bpwc', rows, images)
  return precision.einsum('bqw,bpwc->bpqc', columns, rows)
