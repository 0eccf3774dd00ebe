"""How near a reconstruction is to its photo: PSNR and SSIM."""

import numpy as np

from jax3dgan.losses.ssim import DEVIATION, K1, K2, RADIUS


def psnr(image, true) -> np.ndarray:
  """Peak signal-to-noise ratio [n] in dB of images [n, h, w, c] in [−1, 1]."""
  difference = np.asarray(image, np.float64) - np.asarray(true, np.float64)
  error = np.mean(difference**2, axis=tuple(range(1, difference.ndim)))
  return 10 * np.log10(4 / np.maximum(error, 1e-12))


def ssim(image, true) -> np.ndarray:
  """Structural similarity [n] of images [n, h, w, c] in [−1, 1], of each channel, then the mean.

  Wang et al., *Image Quality Assessment: From Error Visibility to Structural Similarity*, IEEE TIP
  2004, Eq. 13, as published values are computed: of the images brought to [0, 1] (its luminance
  term depends on where black is), a range of 1, K1 .01, K2 .03, the Gaussian window of 11 pixels
  with deviation 1.5; only pixels whose window lies inside of the image count. Images smaller than
  the window are compared whole.
  """
  from scipy import ndimage

  a, b = ((np.asarray(x, np.float64) + 1) / 2 for x in (image, true))
  c1, c2 = K1**2, K2**2

  def mean(x):
    for axis in (1, 2):
      x = ndimage.gaussian_filter1d(x, DEVIATION, axis=axis, radius=RADIUS)
    return x

  mean_a, mean_b = mean(a), mean(b)
  variance_a, variance_b = mean(a * a) - mean_a**2, mean(b * b) - mean_b**2
  covariance = mean(a * b) - mean_a * mean_b
  top = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
  bottom = (mean_a**2 + mean_b**2 + c1) * (variance_a + variance_b + c2)
  values = top / bottom
  if min(values.shape[1:3]) > 2 * RADIUS:
    values = values[:, RADIUS:-RADIUS, RADIUS:-RADIUS]
  return values.mean((1, 2, 3))
