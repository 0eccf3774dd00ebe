"""Structural similarity as a loss: Wang et al., *Image Quality Assessment: From Error Visibility to
Structural Similarity*, IEEE TIP 2004; as a metric it is `inversion.quality.ssim`."""

import functools

import jax.numpy as jnp
import numpy as np

from jax3dgan.nn import precision

# Of the window of Wang et al. 2004, Sec. III-B: 11 × 11 pixels, deviation 1.5; K1 and K2 there.
DEVIATION, RADIUS = 1.5, 5
K1, K2 = 0.01, 0.03


@functools.cache
def _means(size: int) -> np.ndarray:
  """[m, size]: the mean in each window along an axis; all windows that lie inside of it, or, where
  none does, one around each pixel."""
  from scipy import ndimage

  means = ndimage.gaussian_filter1d(np.eye(size), DEVIATION, axis=0, radius=RADIUS).astype(
    np.float32
  )
  inside = size > 2 * RADIUS
  return means[RADIUS:-RADIUS] if inside else means


def ssim(image, true):
  """Structural similarity [b] of images [b, h, w, c] in [0, 1], the mean over channels and windows:
  Eq. 13 with the Gaussian window."""
  c = image.shape[-1]
  x = jnp.concatenate([image, true, image * image, true * true, image * true], axis=-1)
  x = precision.einsum('bhwc,ih->biwc', x, _means(x.shape[1]))
  x = precision.einsum('bhwc,iw->bhic', x, _means(x.shape[2]))
  mean_a, mean_b, square_a, square_b, product = (x[..., i * c : (i + 1) * c] for i in range(5))
  squares, means = mean_a**2 + mean_b**2, mean_a * mean_b
  c1, c2 = K1**2, K2**2
  top = (2 * means + c1) * (2 * (product - means) + c2)
  bottom = (squares + c1) * (square_a + square_b - squares + c2)
  return jnp.mean(top / bottom, axis=(1, 2, 3))
