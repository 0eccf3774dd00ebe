"""Prepares a data set: images of any kind become TFRecord shards of one resolution, and an index.

  python -m jax3dgan.data.prepare --source=DIR --out=DIR --resolution=64

`--source` is a folder (searched at any depth), a zip (with EG3D's dataset.json, its labels are
kept), a pattern of TFRecord files ('shards/*.tfrecord'), a TFDS name ('tfds:celeb_a', fetched at
need) or a scene with known cameras: the folder, tar or zip of a NeRF data set (transforms.json,
transforms_train.json) or of COLMAP (sparse/0). A scene's shards have labels, and each of its splits
gets a folder of its own below --out unless --split names one; see docs/posed_data.md.

Images are cropped to a square and resized with an antialiasing filter (Lanczos).
`--resize=nearest` picks pixels instead, aliased as by pi-GAN's release; then prepare at the size of
training, since smaller ones are made of shards by means. `--crop` is centre (the largest square),
celeba (the default of tfds:celeb_a: pi-GAN resizes the shorter side to 320 and keeps the middle
256, which is the middle 142 of 178 x 218), a fraction of the shorter side, or LEFT,TOP,SIZE in
pixels; labels follow the crop. `--mirror` adds each image mirrored, its label too.
`--masks` keeps what is transparent in an image as its mask; the image itself is on white.
`--align=face` finds the largest face of each photo, cuts it out as FFHQ's are, upright, and writes
its camera; `--align=head` leaves room for the whole head. Photos without a face are left out. See
docs/own_faces.md.

A killed run continues where it stopped: run the same command again. Finished shards are checked by
their sha256 and kept; one that is half written has another name. An image that is unreadable,
truncated, too small or, where others have one, without a label, is left out and named in
report.json; more than a tenth of them is an error, or than --max-left-out. --enlarge takes small
images all the same. Images that have changed since their shards were made are an error. The shards
do not depend on the number of workers.
`--out` is a local folder; copy it to a bucket afterwards.
"""

import contextlib
import dataclasses
import os
import sys

import numpy as np
import tqdm

from jax3dgan import programs
from jax3dgan.data import (
  label_files,
  names,
  posed,
  prepare_flags,
  records,
  sources,
  unfinished,
  workers,
)
from jax3dgan.data.posed import flags as posed_flags
from jax3dgan.data.prepare_flags import ICT, Options
from jax3dgan.errors import UserError

_TFDS = 'tfds:'


def prepare(
  source,
  out,
  options: Options,
  *,
  labels_file=None,
  split='train',
  num_workers=None,
  scene_options=None,
  files=None,
  max_left_out=unfinished.MAX_SKIPPED,
  align=None,
):
  """Prepares a data set.

  Args:
    source: folder, zip, pattern of TFRecord files, 'tfds:NAME', or a scene.
    out: folder to make or to continue.
    options: Options.
    labels_file: path of a dataset.json; by default the source's own.
    split: of a TFDS data set or a scene.
    num_workers: number of processes; by default one for each core.
    scene_options: posed.Options where the source is a scene with cameras; None where it is none.
    files: the TFRecord files of 'tfds:NAME', where they are known.
    max_left_out: the share of the images that may be left out.
    align: 'face' or 'head': photos are of faces, see `faces.source`; None for other images.

  Returns:
    the index, a dict.

  Raises:
    UserError: for anything the user can mend.
  """
  _refuse_same_folder(source, out)
  if source.startswith(_TFDS) and files is None:
    from jax3dgan.data.builders import tfds_files

    files = tfds_files.tfrecord_files(source, split, resolution=options.resolution)
  opener = (source, labels_file if options.use_labels else False, files)
  about = {records.MASKS: True} if options.masks else {}
  if scene_options is not None:
    scene = posed.PosedSource(source, split, scene_options)
    opener, about = (scene,), {**about, 'scene': scene.about}
  if align is not None:
    from jax3dgan.data.faces.source import AlignedFaces

    faces = AlignedFaces((source, False, files), align)
    opener, about = (faces,), {**about, 'faces': faces.settings}
  opened = sources.open_source(*opener)
  for line in opened.notes:
    print(f'note: {line}', file=sys.stderr)
  for line in label_files.oddities(opened) if options.use_labels else ():
    print(f'warning: {line}', file=sys.stderr)
  settings = {
    **dataclasses.asdict(options),
    'files': len(opened),
    'fingerprint': sources.fingerprint(opened),
    'version': records.VERSION,
    **({'scene': scene.settings} if 'scene' in about else {}),
    **({'faces': about['faces']} if 'faces' in about else {}),
  }
  with unfinished.explained(out), unfinished.locked(out):
    all_names = [names.readable(opened.describe(i)) for i in range(len(opened))]
    stamps = [opened.stamp(i) for i in range(len(opened))]
    key = unfinished.claim(out, settings, all_names)
    shards = _plan(len(opened), options)
    done = {i: unfinished.finished(out, i, key) for i in range(len(shards))}
    done = {i: sidecar for i, sidecar in done.items() if sidecar}
    unfinished.check_contents(out, opened, shards, done, stamps)
    todo = [i for i in range(len(shards)) if i not in done]
    if done:
      print(f'{len(done)} of {len(shards)} shards are finished already.', file=sys.stderr)
    tasks = [(j, opened.describe(j)) for i in todo for j in shards[i]]
    start = len(opened) - len(tasks)
    bar = tqdm.tqdm(total=len(opened), initial=start, desc='prepare', unit='img', mininterval=0.5)
    with bar, contextlib.closing(workers.run(opener, options, tasks, num_workers)) as results:
      for i in todo:
        prepared = [next(results) for _ in unfinished.ticking(shards[i], bar)]
        done[i] = unfinished.write_shard(out, i, key, prepared, [stamps[j] for j in shards[i]])
        skipped = unfinished.left_out(done)
        bar.set_postfix(left_out=len(skipped))
        if len(skipped) > max_left_out * len(opened):
          break
    unfinished.write_report(out, unfinished.left_out(done), len(opened), max_left_out)
    return _finish(out, done, opened, options, {'source': source, **about})


def _refuse_same_folder(source, out):
  """UserError where shards would lie among the files that they are made of."""
  folder = source if os.path.isdir(source) else os.path.dirname(source)
  if os.path.exists(out) and os.path.isdir(folder) and os.path.samefile(folder, out):
    if folder == source or '.tfrecord' in os.path.basename(source):
      raise UserError(f'--out={out} is the folder of the source. Choose another --out.')


def render_faces(
  source, out, resolution, *, split='train', num_images=None, num_workers=None, masks=False
):
  """Renders faces of a face model into a folder, see `builders.ict_faces`; returns the index."""
  from jax3dgan.data.builders.ict_faces import generate

  parsed = generate.parse(source).with_masks(masks)
  generate.provenance(parsed, split)  # Before a folder is made: whether the model is there.
  if os.path.exists(os.path.join(out, unfinished.SETTINGS)):
    raise UserError(f'{out} holds another data set. Choose another --out, or delete it.')
  if os.path.exists(os.path.join(out, records.INDEX)):
    if records.read_index(out).get('source') != 'ict_faces':
      raise UserError(f'{out} holds another data set. Choose another --out, or delete it.')
  with unfinished.explained(out), unfinished.locked(out):
    return generate.write(parsed, out, resolution, split, num_images, num_workers)


def _plan(count, options: Options):
  """The numbers of the images of each shard: fixed beforehand, so that shards are independent."""
  size = max(1, options.shard_size // (2 if options.mirror else 1))
  return [range(i, min(i + size, count)) for i in range(0, count, size)]


def _finish(out, done, opened, options, about):
  sidecars = [done[i] for i in sorted(done)]
  entries = [sidecar['shard'] for sidecar in sidecars if sidecar['shard']]
  total = sum(np.array(sidecar['label_sums']) for sidecar in sidecars)
  skipped = unfinished.left_out(done)
  extra = {
    **about,
    'options': dataclasses.asdict(options),
    'report': {
      'images': len(opened),
      'left_out': len(skipped),
      'causes': unfinished.causes(skipped),
    },
  }
  return records.write_index(out, entries, total, options.resolution, extra)


def main(argv=None):
  """Runs the command line; returns the exit status."""
  try:
    args, options = prepare_flags.parse(programs.arguments(argv), __doc__)
    out = args.out
    if args.source.startswith(ICT):
      scene_options = posed_flags.options(args)
      posed_flags.refuse(args.source, scene_options)
      index = render_faces(
        args.source,
        out,
        options.resolution,
        split=args.split or 'train',
        num_images=args.num_images,
        num_workers=args.workers,
        masks=options.masks,
      )
      _print_result(args.out, index)
    else:
      _prepare_splits(args, out, options)
  except UserError as error:
    print(f'error: {error}', file=sys.stderr)
    return 1
  except KeyboardInterrupt:
    print('Interrupted. Finished shards are kept: the same command goes on.', file=sys.stderr)
    return 130
  return 0


def _prepare_splits(args, out, options):
  """Prepares the source; of a scene with several splits each."""
  source = args.source
  labels_file = args.labels if options.use_labels else None
  scene_options = posed_flags.options(args)
  # Photos that are aligned get cameras of their own.
  labels = 'none' if args.align else args.labels
  splits = posed_flags.outputs(source, out, args.split, scene_options, labels)
  if splits is None:
    posed_flags.refuse(source, scene_options)
    splits, scene_options = {args.split or 'train': out}, None
  elif options.masks:
    raise UserError('Scenes are prepared on one ground, see --background. Leave out --masks.')
  for split, folder in splits.items():
    index = prepare(
      source,
      folder,
      options,
      labels_file=labels_file,
      split=split,
      num_workers=args.workers,
      scene_options=scene_options,
      max_left_out=unfinished.MAX_SKIPPED if args.max_left_out is None else args.max_left_out,
      align=args.align,
    )
    _print_result(folder, index)


def _print_result(out, index):
  left_out = index['report']['left_out']
  size, cameras = index['resolution'], 'with cameras' if index['labels'] else 'without labels'
  print(f'{out}: {index["count"]} images of {size} pixels, {left_out} left out, {cameras}.')
  if 'scene' in index:
    print(posed_flags.summary(index['scene']))


if __name__ == '__main__':
  sys.exit(main())
