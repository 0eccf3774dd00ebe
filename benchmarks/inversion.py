"""Inversion of held-out toys: PSNR and SSIM of the photo and of a view that was not used.

  python -m benchmarks.inversion                        # camera found by the search
  python -m benchmarks.inversion --camera=given         # the data set's, its frame fitted once
  python -m benchmarks.inversion --procedure=pigan --steps=700 --camera=given
  python -m benchmarks.inversion --speed                # seconds of a step at batch 1 and 4

The toys are the first of the split `test`, which has a second view of each. The pretrained model
was trained without poses, so its world is rotated against the data set's: with a given camera the
turn is fitted to four of the photos (`frames.find_frame`); for a found camera the second view
follows from the relative motion of the two labels.
"""

import argparse
import dataclasses
import math
import time

import jax
import numpy as np

from jax3dgan import cameras, inversion, programs, trained, viz
from jax3dgan.data import images
from jax3dgan.devices import compilation
from jax3dgan.evaluation import truth
from jax3dgan.inversion import frames, losses, pivotal, poses, quality, search, spaces


def photos(examples, resolution: int) -> np.ndarray:
  """[n, h, h, 3] in [−1, 1]."""
  return np.stack([images.fit(x['image'], resolution) for x in examples]) / np.float32(127.5) - 1


def options(args) -> search.SearchOptions:
  """The search's, with the flags that are given."""
  names = [field.name for field in dataclasses.fields(search.SearchOptions)]
  given = {name: getattr(args, name) for name in names if getattr(args, name, None) is not None}
  return search.SearchOptions(**given)


def invert(model, image, camera, args, space, perceptual):
  """(w [n, ...], cameras [n]) of photos [n, h, h, 3], by the procedure that the flags name."""
  if args.procedure == 'pigan':
    view = search.render_options(model, image.shape[1], options(args).samples)
    parts = (model.generator, model.variables, image, camera, model.average_w)
    found = inversion.invert(*parts, jax.random.key(args.seed), view, options(args).num_steps)
    return found.w, camera
  find = (
    () if camera is not None and not args.find else tuple((args.find or 'yaw,pitch').split(','))
  )
  found = search.search(
    model, image, camera, space, find, perceptual, options(args), seed=args.seed
  )
  return found.w, found.camera


def quality_run(model, args) -> dict:
  """Prints and returns the means of PSNR and SSIM."""
  resolution = args.resolution or model.resolution
  examples = truth.toys_examples(args.num)
  views = [examples, [x['second'] for x in examples]]
  image = [photos(view, resolution) for view in views]
  label = [jax.tree.map(np.asarray, cameras.from_label(np.stack([x['label'] for x in view])))
           for view in views]  # fmt: skip
  frame = frames.Frame()
  if args.camera == 'given':
    four = jax.tree.map(lambda x: x[:4], label[0])
    frame, _ = frames.find_frame(model, photos(examples[:4], 16), four)
    print(f'frame: turned by {math.degrees(frame.yaw):.0f}°, mirrored: {frame.mirrored}')
  space = spaces.create(model, args.space)
  perceptual = losses.choose(args.perceptual, inception_file=args.inception)
  rendered, seconds = ([], []), []
  for start in range(0, args.num, args.batch):
    rows = np.minimum(np.arange(start, start + args.batch), args.num - 1)
    count = min(args.num - start, args.batch)
    first, second = (jax.tree.map(lambda x, r=rows: x[r], camera) for camera in label)
    picture = np.ascontiguousarray(frame.image(image[0][rows]))
    given = frame.camera(first) if args.camera == 'given' else None
    began = time.perf_counter()
    w, camera = invert(model, picture, given, args, space, perceptual)
    jax.block_until_ready(w)
    seconds.append((time.perf_counter() - began) / count)
    other = frame.camera(second) if given is not None else poses.follow(camera, first, second)
    for i in range(count):
      w_i, own = w[i : i + 1], jax.tree.map(lambda x, i=i: x[i : i + 1], (camera, other))
      drawn_by = model
      if args.tune:
        tuning = pivotal.TuneOptions(num_steps=args.tune)
        drawn_by = pivotal.tune(model, picture[i : i + 1], w_i, own[0], perceptual, tuning)
      for k, view in enumerate(own):
        out = drawn_by.render(w_i, view, resolution, align_corners=False)
        rendered[k].append(frame.image(out.image)[0])
  rendered = [np.stack(part) for part in rendered]
  values = {}
  for k, name in enumerate(('input', 'new view')):
    psnr, ssim = quality.psnr(rendered[k], image[k]), quality.ssim(rendered[k], image[k])
    values[name] = (psnr.mean(), ssim.mean())
    print(
      f'{name}: PSNR {psnr.mean():.2f} dB (median {np.median(psnr):.2f}), SSIM {ssim.mean():.3f}'
    )
  steady = np.median(seconds[1:] or seconds)
  print(f'{steady:.2f} s a photo (median of batches of {args.batch} after the first)')
  if args.out:
    tiles = np.stack([image[0], rendered[0], image[1], rendered[1]], axis=1)
    factor = max(64 // resolution, 1)
    tiles = viz.enlarge(viz.to_uint8(tiles.reshape(-1, *tiles.shape[2:])), factor)
    names = 'photo | reconstruction | photo from another side, not used | rendering from there'
    viz.save_png(args.out, viz.sheet([(names, viz.grid(tiles, 8 if args.num > 4 else 4))]))
  return values


def speed(model, args) -> None:
  """Prints the seconds of a step."""
  resolution = args.resolution or model.resolution
  perceptual = losses.choose(args.perceptual, inception_file=args.inception)
  space = spaces.create(model, args.space)
  every = dataclasses.replace(options(args), num_steps=20)
  for batch in (1, 4):
    image = np.zeros((batch, resolution, resolution, 3), np.float32)
    for samples in (12, 24):
      run = dataclasses.replace(every, samples=samples)
      for find in ((), ('yaw', 'pitch')):
        times = []
        for _ in range(4):
          began = time.perf_counter()
          parts = (model, image, model.orbit(0.0), space, find, perceptual, run)
          jax.block_until_ready(search.search(*parts).w)
          times.append((time.perf_counter() - began) / run.num_steps)
        what = 'style and camera' if find else 'style'
        print(
          f'{resolution}², batch {batch}, {samples} samples, {what}: '
          f'{1e3 * min(times[1:]):.1f} ms a step'
        )


def main(argv=None) -> None:
  """The program."""
  flags = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  flags.add_argument('--pretrained', default='toys')
  flags.add_argument('--workdir')
  flags.add_argument('--resolution', type=int)
  flags.add_argument('--num', type=int, default=20)
  flags.add_argument('--batch', type=int, default=4)
  flags.add_argument('--camera', choices=('given', 'found'), default='found')
  flags.add_argument('--find', help='what of a given camera to search too')
  flags.add_argument('--procedure', choices=('search', 'pigan'), default='search')
  flags.add_argument('--space', default='w+')
  flags.add_argument('--perceptual', default='pyramid', choices=losses.KINDS)
  flags.add_argument('--inception', default='')
  flags.add_argument('--tune', type=int, default=0, help='steps of pivotal tuning')
  flags.add_argument('--seed', type=int, default=0)
  flags.add_argument('--speed', action='store_true')
  flags.add_argument('--out', help='PNG of the photos and renderings')
  flags.add_argument('--steps', type=int, dest='num_steps')
  flags.add_argument('--starts', type=int, dest='num_starts')
  for name, kind in (('samples', int), ('start_steps', int), ('learning_rate', float)):
    flags.add_argument(f'--{name.replace("_", "-")}', type=kind)
  for name in ('noise', 'unlikely', 'perceptual_weight', 'pose_rate'):
    flags.add_argument(f'--{name.replace("_", "-")}', type=float)
  args = flags.parse_args(programs.arguments(argv))
  if args.procedure == 'pigan' and args.camera == 'found':
    flags.error("π-GAN's procedure needs --camera=given")
  compilation.use_cache()
  model = trained.load(args.workdir, None if args.workdir else args.pretrained)
  (speed if args.speed else quality_run)(model, args)


if __name__ == '__main__':
  main()
