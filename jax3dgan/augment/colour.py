"""Colours as homogeneous vectors (r, g, b, 1) and their transformations as 4x4 matrices
(arXiv 2006.06676, App. B). Colours are in [−1, 1]; brightness 0 is middle grey."""

import jax.numpy as jnp
import numpy as np

from jax3dgan.nn import precision

# The axis of greys, and the projection on it.
_LUMA = np.array([1.0, 1.0, 1.0, 0.0]) / np.sqrt(3)
_ON_LUMA = np.outer(_LUMA, _LUMA).astype(np.float32)
_EYE = np.eye(4, dtype=np.float32)


def brightness(b):
  """Adds b to all channels: b [...] → [..., 4, 4]."""
  to_last = np.zeros((4, 4), np.float32)
  to_last[:3, 3] = 1
  return _EYE + jnp.asarray(b)[..., None, None] * to_last


def contrast(c):
  """Multiplies all channels by c."""
  return jnp.asarray(c)[..., None, None] * np.diag([1.0, 1, 1, 0]).astype(np.float32) + np.diag(
    [0.0, 0, 0, 1]
  ).astype(np.float32)


def luma_flip(i):
  """Inverts the luma but not hue and saturation where i is 1; the identity where it is 0."""
  return _EYE - 2 * jnp.asarray(i)[..., None, None] * _ON_LUMA


def hue(theta):
  """Rotates colours by theta about the axis of greys (Rodrigues' formula)."""
  theta = jnp.asarray(theta)[..., None, None]
  cross = np.zeros((4, 4), np.float32)
  cross[:3, :3] = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
  rgb = np.diag([1.0, 1, 1, 0]).astype(np.float32)
  turned = jnp.cos(theta) * (rgb - _ON_LUMA) + jnp.sin(theta) * cross + _ON_LUMA
  return turned + (_EYE - rgb)


def saturation(s):
  """Multiplies the distance from grey by s."""
  rgb = np.diag([1.0, 1, 1, 0]).astype(np.float32)
  return _ON_LUMA + jnp.asarray(s)[..., None, None] * (rgb - _ON_LUMA) + (_EYE - rgb)


def apply(images, matrix):
  """Images [b, h, w, 3n] with each triple of channels under its image's matrix [b, 4, 4]."""
  b, h, w, c = images.shape
  x = images.reshape(b, h, w, c // 3, 3)
  x = precision.einsum('bhwnc,bdc->bhwnd', x, matrix[:, :3, :3].astype(x.dtype))
  x = x + matrix[:, None, None, None, :3, 3].astype(x.dtype)
  return x.reshape(images.shape)
