"""Non-flatness score (3DGP, Skorokhodov et al., ICLR 2023, arXiv 2303.01416, Sec. 4): is there any
depth in the depth maps?

The depth map of the frontal view is clamped to [near, far] and its histogram of 64 bins over that
range is taken as a distribution; the score is the exponential of its entropy: the effective
number of bins, from 1 for a plane that faces the camera to 64.

  nfs         mean over latents; every pixel counts, as in the paper. Transmitted light (a
              share 1 − Σ w) has the depth `far`: with a white background, empty pixels have it
  nfs_solid   the same over the solid pixels alone, which does not change with the object's size in
              the image; a latent without any is left out
  nfs_solid/measured   share of the latents with solid pixels

Fog is not flat: an untrained field's expected depth varies too, and scores high in `nfs`.
"""

import numpy as np

from jax3dgan import viz
from jax3dgan.evaluation import geometry3d
from jax3dgan.evaluation.results import Result
from jax3dgan.rendering import depth_maps

_SHOWN = 8


def measure(
  model, num_latents: int = 256, seed: int = 0, psi=1.0, resolution=None, say=None
) -> Result:
  """Measures a `trained.Trained`; see `reprojection.measure` for the arguments."""
  options = model.options(resolution)
  near, far = options.near, options.far
  seeds = geometry3d.seeds_from(num_latents, seed)
  azimuths = np.zeros((num_latents, 1))
  rows, shown = [], []
  for _, out, _ in geometry3d.render_views(model, seeds, azimuths, psi, resolution, say):
    full, distance, solid = (x[0] for x in depth_maps.with_background(out, options))
    rows.append([depth_maps.non_flatness(depth, near, far) for depth in (full, distance[solid])])
    if len(shown) < _SHOWN:
      shown.append((full, depth_maps.histogram(full, near, far), *rows[-1]))
  scores = np.array(rows)
  with_solid = np.isfinite(scores[:, 1])
  values = {
    'nfs': float(scores[:, 0].mean()),
    'nfs_solid': float(scores[with_solid, 1].mean()) if with_solid.any() else float('nan'),
    'nfs_solid/measured': float(with_solid.mean()),
  }
  extra = f'{depth_maps.NUM_BINS} bins of [{near:g}, {far:g}], empty pixels at far'
  text = geometry3d.protocol(model, options, seeds, psi, 'frontal view', extra)
  return Result(values, text, _sheet(shown, values, near, far))


def _sheet(shown, values, near, far):
  factor = max(128 // shown[0][0].shape[-1], 1)
  side = shown[0][0].shape[-1] * factor
  tiles = []
  for full, shares, score_all, score_solid in shown:
    picture = viz.enlarge(viz.colour_depth(full, limits=(near, far)), factor)
    caption = f'{score_all:.1f}, solid {score_solid:.1f}'
    tiles.append(viz.sheet([(caption, picture), ('', bars(shares, side))]))
  height, width = (max(tile.shape[i] for tile in tiles) for i in range(2))
  tiles = [
    np.pad(
      tile,
      [(0, height - tile.shape[0]), (0, width - tile.shape[1]), (0, 0)],
      constant_values=255,
    )
    for tile in tiles
  ]
  title = (
    f'Non-flatness: {values["nfs"]:.2f} of {depth_maps.NUM_BINS}, '
    f'solid pixels {values["nfs_solid"]:.2f}. '
    'Depth, near light; histogram, near at the left, bars to the fullest but the last'
  )
  return viz.sheet([(title, viz.grid(np.stack(tiles), columns=4))])


def bars(shares: np.ndarray, width: int, height: int = 48) -> np.ndarray:
  """Returns uint8 [height, width, 3] of a histogram; the last bin, the background's, is cut off."""
  top = max(shares[:-1].max(), 1e-12)
  column = np.minimum(np.arange(width) * len(shares) // width, len(shares) - 1)
  filled = np.minimum(shares[column] / top, 1) * height  # [width]
  is_bar = np.arange(height)[::-1, None] < filled
  return np.where(is_bar[..., None], np.uint8([67, 76, 148]), np.uint8([240, 240, 240]))
