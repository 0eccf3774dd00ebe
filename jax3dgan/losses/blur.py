"""The blur through which a discriminator sees its images in the beginning (Karras et al. 2021,
arXiv 2106.12423, Sec. 3; EG3D, arXiv 2112.07945, supplement)."""

import jax.numpy as jnp

from jax3dgan.nn import precision


def blur_sigma(images_seen, initial: float = 10.0, fade_images: float = 200_000.0):
  """σ in pixels after so many images (may be traced): from `initial` linearly to 0.

  StyleGAN3 and EG3D fade over 200,000 images for a batch of 32, and as many steps for others. The
  Python number 0 where there is no blur.
  """
  if not initial or not fade_images:
    return 0.0
  return initial * jnp.maximum(0.0, 1.0 - images_seen / fade_images)


def gaussian_blur(images, sigma, max_sigma: float = 10.0):
  """Images [b, h, w, c] convolved with 2^−(t/σ)², |t| ≤ ⌊3σ⌋, of sum 1; zeros around the images.

  A product with a band matrix for each axis, so that σ may be traced: shapes do not depend on it.

  Args:
    sigma: in pixels; below 1/3, 0 included, the images stay as they are.
    max_sigma: what sigma is never above.
  """
  half = jnp.floor(3 * jnp.asarray(sigma, jnp.float32))
  # Where the window has only its middle, σ has no effect, but must not divide by zero.
  safe = jnp.maximum(sigma, 0.25)

  def weight(t):
    return jnp.where(jnp.abs(t) <= half, jnp.exp2(-jnp.square(t / safe)), 0.0)

  reach = int(3 * max_sigma)
  total = weight(jnp.arange(-reach, reach + 1)).sum()

  def band(n):
    i = jnp.arange(n)
    return (weight(i[:, None] - i[None]) / total).astype(images.dtype)  # [n, n]

  images = precision.einsum('bhwc,hi->biwc', images, band(images.shape[1]))
  return precision.einsum('bhwc,wj->bhjc', images, band(images.shape[2]))
