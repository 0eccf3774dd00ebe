"""StyleNeRF's NeRF-path regularisation (Gu et al., ICLR 2022, arXiv 2110.08985, Sec. 3.3): an image
is compared with colours that are made for single samples along rays, and composited last."""

import jax.numpy as jnp


def pixel_grid(offsets, resolution: int, num_pixels: int):
  """Pixels of a grid at random places.

  Args:
    offsets: [b, 2] uniforms in [0, 1), columns then rows.
    resolution: of the image.
    num_pixels: n, pixels along each axis; divides the resolution.

  Returns:
    (index [b, n²] of the pixels, row by row; uv [b, n², 2] their normalised centres, u right, v
    down).
  """
  pace = resolution // num_pixels
  first = jnp.floor(offsets * pace).astype(jnp.int32)  # [b, 2]
  steps = pace * jnp.arange(num_pixels)
  columns, rows = first[:, :1] + steps, first[:, 1:] + steps  # [b, n]
  rows, columns = (
    x.reshape(-1, num_pixels**2)
    for x in jnp.broadcast_arrays(rows[:, :, None], columns[:, None, :])
  )
  uv = (jnp.stack([columns, rows], axis=-1) + 0.5) / resolution
  return rows * resolution + columns, uv


def nerf_path_loss(image, colours, index):
  """2·mean over pixels of Σ_rgb (image − colours)², [b].

  Args:
    image: [b, h, w, 3].
    colours: [b, n, 3] of the pixels `index` [b, n].
  """
  pixels = jnp.take_along_axis(image.reshape(image.shape[0], -1, 3), index[..., None], axis=1)
  return 2 * jnp.mean(jnp.sum(jnp.square(pixels - colours), axis=-1), axis=-1)
