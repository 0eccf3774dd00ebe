"""Depth and mask against ground truth, where a data set has it.

Of arrays, per image, over the pixels that are solid in the rendering and in the true mask:
  depth/absolute   mean |Δ distance|, world units, nothing aligned
  depth/scaled     RMSE after a least-squares scale
  depth/aligned    RMSE after a least-squares scale (not negative) and shift
  depth/z_mse      MSE after both are brought to mean 0 and deviation 1, as EG3D's papers compare
                   depth with another network's; 0 perfect, 1 a constant, 2 unrelated, 4 inverted
  depth/measured   share of the images with at least 8 such pixels; the others are left out
  mask/iou         solid and in the mask / solid or in the mask

A GAN's samples have no truth. `measure_by_inversion` finds the styles whose renderings are given
photos of known cameras, and compares with the truth from that camera and from a second
one whose photo was not used: a flat relief can be right from the first, but not from the second.

A generator that was trained without the poses of its photos has its own world, whose frame is
fitted to the first photos: see `inversion.frames`.

If super-resolution makes pictures of one size only, other sizes are rendered without it.
"""

import math
from collections.abc import Sequence

import jax
import numpy as np

from jax3dgan import cameras, viz
from jax3dgan.data import images
from jax3dgan.errors import UserError
from jax3dgan.evaluation.results import Result
from jax3dgan.inversion import frames
from jax3dgan.rendering import depth_maps

_MIN_PIXELS = 8


def align(depth: np.ndarray, true: np.ndarray, shift: bool = True) -> np.ndarray:
  """Returns depth [n] times a least-squares scale, plus a shift, fitted to the true [n].

  With a shift the scale is at least 0: an inverted depth must not be corrected.
  """
  depth, true = np.asarray(depth, np.float64), np.asarray(true, np.float64)
  if not shift:
    return depth * (np.dot(depth, true) / max(np.dot(depth, depth), 1e-12))
  centred = depth - depth.mean()
  scale = np.dot(centred, true - true.mean()) / max(np.dot(centred, centred), 1e-12)
  return max(scale, 0.0) * centred + true.mean()


def z_normalised(depth: np.ndarray) -> np.ndarray:
  """Returns depth [n] with mean 0 and deviation 1; zeros of a constant (up to rounding)."""
  centred = np.asarray(depth, np.float64) - np.mean(depth)
  deviation = centred.std()
  return centred / deviation if deviation > 1e-9 else np.zeros_like(centred)


def depth_errors(distance, solid, true_depth, true_mask) -> dict[str, float]:
  """Figures of renderings against the truth; means over images.

  Args:
    distance, solid: [n, h, w] of `depth_maps.surface`.
    true_depth: [n, h, w] Euclidean distance along the same rays; anything outside the mask.
    true_mask: [n, h, w] bool.

  Raises:
    UserError: Shapes that differ, or a true depth in the mask that is not finite.
  """
  shapes = {np.shape(x) for x in (distance, solid, true_depth, true_mask)}
  if len(shapes) > 1 or len(np.shape(distance)) != 3:
    raise UserError(f'Depths and masks of shapes {shapes} do not fit. Give all four as [n, h, w].')
  if not np.isfinite(np.asarray(true_depth)[true_mask]).all():
    raise UserError('The true depth is not finite in its mask. Take those pixels out of the mask.')
  rows, ious = [], []
  for depth, mask, true, true_solid in zip(distance, solid, true_depth, true_mask, strict=True):
    if (mask | true_solid).any():
      ious.append((mask & true_solid).sum() / (mask | true_solid).sum())
    both = mask & true_solid
    if both.sum() < _MIN_PIXELS:
      continue
    a, b = depth[both].astype(np.float64), true[both].astype(np.float64)
    rows.append(
      (
        np.abs(a - b).mean(),
        np.sqrt(np.mean((align(a, b, shift=False) - b) ** 2)),
        np.sqrt(np.mean((align(a, b) - b) ** 2)),
        np.mean((z_normalised(a) - z_normalised(b)) ** 2),
      )
    )
  means = np.mean(rows, axis=0) if rows else np.full(4, np.nan)
  names = ('absolute', 'scaled', 'aligned', 'z_mse')
  values = {f'depth/{name}': float(mean) for name, mean in zip(names, means, strict=True)}
  values['depth/measured'] = len(rows) / max(len(distance), 1)
  values['mask/iou'] = float(np.mean(ious)) if ious else float('nan')
  return values


def toys_examples(num_images: int = 8) -> list[dict]:
  """The first images of the toys' split 'test' with their truth, rendered again.

  Returns:
    dicts of image (uint8 [64, 64, 3]), label [25], depth, mask [64, 64], and second, a dict of the
    same of another camera.
  """
  from jax3dgan.data.builders.toys import generate  # compiles a renderer: imported when needed

  return [
    {
      'image': images.decode(example['image']),
      'label': example['label'],
      **generate.truth(example['extras']),
    }
    for example in generate.examples('test', num_images)
  ]


def psnr(image: np.ndarray, true: np.ndarray) -> np.ndarray:
  """Peak signal-to-noise ratio [n] in dB of images [n, ...] in [−1, 1]."""
  error = np.mean((np.asarray(image, np.float64) - true) ** 2, axis=tuple(range(1, image.ndim)))
  return 10 * np.log10(4 / np.maximum(error, 1e-12))


def measure_by_inversion(
  model,
  examples: Sequence[dict],
  num_steps: int = 100,
  seed: int = 0,
  frame: frames.Frame | None = None,
  frame_steps: int = 30,
  resolution: int | None = None,
  say=None,
) -> Result:
  """Inverts photos with a truth, and compares; see the head of this file.

  Besides the figures above, of the photo's camera ('depth/…', 'mask/iou') and of the second one
  ('second/depth/…', 'second/mask/iou'):
    inversion/psnr, second/psnr   of the images at the resolution of the inversion, dB
    second/psnr_average           of the average style from the second camera: the value for the
                                  pose alone
    frame/yaw_degrees, frame/mirrored

  Args:
    model: A `trained.Trained`.
    examples: see `toys_examples`.
    num_steps: of the inversions.
    seed: of their noise.
    frame: None fits one to the first four photos.
    frame_steps: see `frames.find_frame`.
    resolution: of the inversion; None for that of training. The photos' must be a multiple.
    say: called with a line on what is being done.
  """
  say = say or (lambda line: None)
  views = [examples, [example['second'] for example in examples]]
  resolution, size = resolution or model.resolution, examples[0]['image'].shape[0]
  if size % resolution:
    raise UserError(
      f'Photos of {size}² do not shrink to {resolution}² in whole pixels. '
      f'Set a resolution that divides {size}.'
    )
  labels = [np.stack([example['label'] for example in view]) for view in views]
  photos = [_photos(view, resolution) for view in views]
  if frame is None:
    say('fitting the frame')
    small = frames.search_resolution(model, math.gcd(size, 16))
    first = jax.tree.map(np.asarray, cameras.from_label(labels[0][:4]))
    frame, _ = frames.find_frame(model, _photos(examples[:4], small), first, frame_steps, small)
  poses = [frame.camera(cameras.from_label(label)) for label in labels]
  say('inverting')
  found = frames.invert(
    model, frame.image(photos[0]), poses[0], resolution, num_steps, jax.random.key(seed)
  )
  say('comparing')
  drawn, detailed = frames.at_resolution(model, resolution), frames.at_resolution(model, size)
  values, columns = {'frame/yaw_degrees': math.degrees(frame.yaw)}, []
  values['frame/mirrored'] = float(frame.mirrored)
  for k, prefix in enumerate(('', 'second/')):
    out = drawn.render(found.w, poses[k], resolution, align_corners=False)
    rendered = frame.image(out.image)
    values[f'{prefix or "inversion/"}psnr'] = float(psnr(rendered, photos[k]).mean())
    fine = detailed.render(found.w, poses[k], size, align_corners=False)
    distance, solid = depth_maps.surface(fine, model.options(size))
    distance, solid = frame.image(distance), frame.image(solid)
    depth = np.stack([example['depth'] for example in views[k]])
    mask = np.stack([example['mask'] for example in views[k]])
    errors = depth_errors(distance, solid, depth, mask)
    values |= {f'{prefix}{name}': value for name, value in errors.items()}
    columns.append((photos[k], rendered, depth, mask, distance, solid))
  average = np.asarray(model.average_w)[None]
  out = drawn.render(average, poses[1], resolution, align_corners=False)
  values['second/psnr_average'] = float(psnr(frame.image(out.image), photos[1]).mean())
  options = model.options(size)
  of_search, of_views = (
    (
      f', {frames.NUM_SAMPLES} samples per ray',
      f', {options.num_coarse}+{options.num_fine} samples',
    )
    if model.has_field
    else ('', '')
  )
  text = (
    f'{len(examples)} photos with known cameras inverted at {resolution}², {num_steps} steps from '
    f'the average style{of_search}, seed {seed}; compared at {size}²{of_views}; solid where '
    f'opacity > {depth_maps.SOLID}'
  )
  return Result(values, text, _sheet(columns, values))


def _photos(view, resolution):
  """Photos [n, h, h, 3] in [−1, 1], shrunk by means over whole pixels."""
  pictures = [
    images.box_downscale(example['image'], example['image'].shape[0] // resolution)
    for example in view
  ]
  return np.stack(pictures).astype(np.float32) / 127.5 - 1


def _sheet(columns, values, num_shown=6):
  tiles = []
  for i in range(min(num_shown, len(columns[0][0]))):
    for photo, rendered, depth, mask, distance, solid in columns:
      limits = viz.depth_range(depth[i], mask[i])
      true = viz.colour_depth(np.where(mask[i], depth[i], 0), mask[i], limits)
      rendered_depth = viz.colour_depth(distance[i], solid[i], limits)
      masks = np.full((*mask[i].shape, 3), 255, np.uint8)
      for which, colour in (
        (mask[i] & solid[i], (90, 170, 110)),
        (mask[i] & ~solid[i], (80, 110, 200)),
        (~mask[i] & solid[i], (200, 80, 70)),
      ):
        masks[which] = colour
      factor = depth.shape[1] // photo.shape[1]
      pictures = [viz.enlarge(viz.to_uint8(x[i]), factor) for x in (photo, rendered)]
      tiles += [*pictures, true, rendered_depth, masks]
  factor = max(96 // tiles[0].shape[0], 1)
  tiles = [viz.enlarge(tile, factor) for tile in tiles]
  title = (
    f'PSNR {values["inversion/psnr"]:.1f}, second view {values["second/psnr"]:.1f} dB; depth RMSE '
    f'aligned {values["depth/aligned"]:.4f}, second {values["second/depth/aligned"]:.4f}; '
    f'mask IoU {values["mask/iou"]:.2f}, second {values["second/mask/iou"]:.2f}'
  )
  legend = (
    'photo | found | true depth | depth | masks: both green, missing blue, too much red'
    '; first camera, then the second'
  )
  picture = viz.grid(np.stack(tiles), columns=10)
  return viz.sheet([(title, np.full((1, 1, 3), 255, np.uint8)), (legend, picture)])
