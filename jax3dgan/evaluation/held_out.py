"""Views of a scene that were held out of its training, as NeRF and its successors are measured.

  held_out/psnr       mean over the views of the peak signal-to-noise ratio, dB
  held_out/ssim       mean structural similarity (Wang et al. 2004), see `inversion.quality`
  held_out/psnr_min   of the worst view
  held_out/views      how many there are

Of single scenes alone: a generative model knows no photo's object.
"""

import pathlib

import numpy as np

from jax3dgan import cameras, viz
from jax3dgan.data import pipeline
from jax3dgan.errors import UserError
from jax3dgan.evaluation.results import Result
from jax3dgan.inversion import quality

SPLITS = ('test', 'val')  # the first that there is
_SHOWN = 6


def open_views(data_config, resolution: int):
  """The data set of the held-out views beside a config's photos of training.

  Args:
    data_config: `config.data`, of which `split` is ignored.
    resolution: of the images, pixels on a side.

  Raises:
    UserError: there are none, or they cannot be read.
  """
  data = data_config.copy_and_resolve_references()
  for split in SPLITS:
    with data.unlocked():
      data.update(split=split, loader='arrays', on_device=False, flip=False, max_skipped=0)
    try:
      dataset = pipeline.open_dataset(data, resolution)
    except UserError:
      if pathlib.Path(data.source, split).is_dir():
        raise  # it is there, and something else is wrong
      continue
    # A folder without splits is the same for each of them.
    if dataset.scene.get('split') == split and dataset.labelled:
      return dataset
  raise UserError(
    f'{data.source} has no held-out views. Prepare the scene with --hold-out=8 and name the folder '
    'of all its splits (--config.data.source=DIR), or leave held_out out of --config.eval.metrics.'
  )


def check(model) -> None:
  """UserError for a model that has latents."""
  if model.generator.z_dim:
    raise UserError(
      f'{model.name} makes many objects, and no held-out photo is of one of them. Leave held_out '
      'out of --config.eval.metrics.'
    )


def measure(model, dataset, say=None) -> Result:
  """Measures a `trained.Trained` of a single scene, see `check`.

  Args:
    dataset: of `open_views`, at the model's resolution.
    say: gets the number of views done.
  """
  images, labels = (
    np.stack(x) for x in zip(*(dataset[i] for i in range(len(dataset))), strict=True)
  )
  photos = images.astype(np.float32) / 127.5 - 1
  w = model.map(model.latents([0]), psi=1)
  rendered, done = [], 0
  for out in model.render_batches(w, cameras.from_label(labels), dataset.resolution):
    rendered.append(np.clip(out.image, -1, 1))
    done += len(out.image)
    if say is not None:
      say(done)
  rendered = np.concatenate(rendered)
  psnr, ssim = quality.psnr(rendered, photos), quality.ssim(rendered, photos)
  values = {
    'held_out/psnr': float(psnr.mean()),
    'held_out/ssim': float(ssim.mean()),
    'held_out/psnr_min': float(psnr.min()),
    'held_out/views': float(len(psnr)),
  }
  protocol = f'{len(psnr)} views of the split {dataset.scene["split"]}, {dataset.resolution}²'
  if model.has_field:
    options = model.options(dataset.resolution)
    protocol += f', {options.num_coarse} + {options.num_fine} samples a ray'
  return Result(values, protocol, _sheet(photos, rendered, psnr, values))


def _sheet(photos, rendered, psnr, values) -> np.ndarray:
  """Photo, rendering and error of views from the worst to the best."""
  order = np.argsort(psnr)
  shown = order[np.linspace(0, len(order) - 1, min(_SHOWN, len(order))).round().astype(int)]
  factor = max(128 // photos.shape[1], 1)
  rows = []
  for i in shown:
    error = np.abs(rendered[i] - photos[i]).mean(-1) / 2
    tiles = [viz.to_uint8(photos[i]), viz.to_uint8(rendered[i]), viz.colour_ramp(error / 0.25)]
    rows.append(np.stack([viz.enlarge(tile, factor) for tile in tiles]))
  title = (
    f'Held-out views, PSNR {values["held_out/psnr"]:.2f} dB, SSIM {values["held_out/ssim"]:.3f}; '
    'from the worst to the best: photo, rendering, error (a quarter is light)'
  )
  tiles = np.concatenate(rows)
  return viz.sheet([(title, viz.grid(tiles, columns=6 if len(rows) > 1 else 3))])
