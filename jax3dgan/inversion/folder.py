"""Inverts the photos of a folder, batch by batch, and leaves off where it was killed."""

import csv
import dataclasses
import hashlib
import io
import json
import math
import pathlib
import time

import jax
import numpy as np
import tqdm

from jax3dgan import cameras, viz
from jax3dgan.apps import provenance
from jax3dgan.cameras import Camera
from jax3dgan.data import images, records
from jax3dgan.errors import UserError
from jax3dgan.inversion import figure, losses, photos, pivotal, poses, quality, results, spaces
from jax3dgan.inversion import search as search_lib

COLUMNS = ('name', 'psnr', 'ssim', 'yaw', 'pitch', 'mse', 'perceptual', 'unlikely', 'seconds')
# Flags that do not decide about a result.
_FREE = (
  'input',
  'out',
  'repeat',
  'app',
  'overwrite',
  'batch',
  'weights_then',
  'lpips',
  'inception',
)
_FREE += ('psi', 'workdir', 'pretrained', 'ema', 'step')  # the weights themselves count


@dataclasses.dataclass
class Job:
  """What all photos of a run share."""

  model: object
  args: object
  out: pathlib.Path
  space: spaces.Space
  perceptual: losses.Perceptual
  options: search_lib.SearchOptions
  find: tuple[str, ...]
  resolution: int
  table: dict | None
  frame: object
  settings: str


def run(model, args, say) -> dict:
  """Inverts what the flags of `apps.invert` name; returns the summary that it writes."""
  out = pathlib.Path(args.out)
  files = photos.names(args.input)
  job = _prepare(model, args, out, files, say)
  out.mkdir(parents=True, exist_ok=True)
  if args.one_identity:
    name = pathlib.Path(args.input).resolve().stem
    rows, left_out = _identity(job, name, files, say)
  else:
    rows, left_out = _each(job, files, say)
  summary = {'photos': rows, 'left_out': left_out}
  for key in ('psnr', 'ssim'):
    values = [row[key] for row in rows]
    summary[f'mean_{key}'] = float(np.mean(values)) if values else None
  _write_summary(out, summary)
  return summary


def _prepare(model, args, out, files, say) -> Job:
  given = args.yaw is not None
  table = None
  if model.has_camera and not given and not args.no_labels:
    table = photos.label_table(args.input, args.labels)
  elif given and not model.has_camera:
    raise UserError(f'{model.name} is a 2D model: its images have no camera. Leave out --yaw.')
  known = given or table is not None
  asked = args.find or ('none' if known else 'yaw,pitch')
  find = () if asked == 'none' else tuple(part.strip() for part in asked.split(','))
  unknown = [part for part in find if part not in poses.NUMBERS]
  if unknown:
    raise UserError(f'--find={asked}: cameras have no {unknown[0]!r}, but {poses.NUMBERS}.')
  perceptual = losses.choose(args.perceptual, args.lpips, args.inception)
  args.perceptual = perceptual.kind  # what `auto` chose, for the record
  space = spaces.create(model, args.space, args.seed)
  options = search_lib.SearchOptions(
    num_steps=args.steps, samples=args.samples, num_starts=args.starts
  )
  if args.learning_rate is not None:
    options = dataclasses.replace(options, learning_rate=args.learning_rate)
  resolution = args.resolution or model.resolution
  say(f'Space {spaces.described(space, args.space)}; perceptual loss: {perceptual.name}.')
  if not model.has_camera:
    camera = 'none, it is a 2D model'
  else:
    camera = 'given' if known else f'the best of {args.starts} sides'
    camera += f', searched: {", ".join(find)}' if find else ''
  say(f'Camera: {camera}.')
  flags = {k: v for k, v in vars(args).items() if k not in _FREE and not callable(v)}
  flags |= {'weights': provenance.fingerprint(model.params), 'resolution': resolution}
  flags['labels'] = (
    None if table is None else _digest(sorted((k, v.tolist()) for k, v in table.items()))
  )
  job = Job(
    model, args, out, space, perceptual, options, find, resolution, table, None, _digest(flags)
  )
  if args.fit_frame:
    if table is None:
      raise UserError('--fit-frame fits the world of labels. Give --labels=FILE.')
    job.frame = _frame(job, files, say)
  return job


def _digest(value) -> str:
  return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def _frame(job, files, say):
  """The data set's frame in the generator's world, fitted to the first photos and kept."""
  from jax3dgan.evaluation import truth

  path = job.out / 'frame.json'
  try:
    kept = json.loads(path.read_text())
    if kept['settings'] == job.settings:
      return truth.Frame(kept['yaw'], kept['mirrored'])
  except (OSError, ValueError, KeyError, TypeError):
    pass
  say('Fitting the frame of the labels to the first four photos ...')
  first = []
  for name, file in files.items():
    try:
      first.append(photos.read(name, file, 16, job.args.crop, job.table, _root(job)))
    except images.ImageError:
      continue  # named later
    if len(first) == 4:
      break
  if not first:
    raise UserError(f'No photo of {job.args.input} can be used to fit a frame.')
  camera = cameras.from_label(np.stack([photo.label for photo in first]))
  camera = jax.tree.map(np.asarray, camera)
  frame, _ = truth.find_frame(job.model, np.stack([p.image for p in first]), camera)
  job.out.mkdir(parents=True, exist_ok=True)
  about = {'settings': job.settings, 'yaw': frame.yaw, 'mirrored': frame.mirrored}
  records.write_atomically(path, json.dumps(about).encode())
  say(f'Frame: turned by {math.degrees(frame.yaw):.0f}°, mirrored: {frame.mirrored}.')
  return frame


def _done(job, name: str, files) -> dict | None:
  """The row of a result that is there and of these photos; None where there is none."""
  path = job.out / f'{name}.npz'
  try:
    record = json.loads(provenance.beside(path).read_text(encoding='utf-8'))
    row, settings = record['row'], record['settings']
    before = sorted(photo['sha256'] for photo in record['photos'])
  except FileNotFoundError:
    return None
  except (OSError, ValueError, KeyError, TypeError):
    return None  # half of something: it is made again
  if settings == job.settings and path.is_file() and before == sorted(map(_sha256, files)):
    return row
  if settings != job.settings and not job.args.overwrite:
    raise UserError(
      f'{path} was made with other settings or weights. Choose another --out, or add --overwrite.'
    )
  return None


def _sha256(path) -> str:
  try:
    with open(path, 'rb') as file:
      return hashlib.file_digest(file, 'sha256').hexdigest()
  except OSError:
    return ''  # named when it is read


def _each(job, files, say):
  """(rows, {name: cause}) of photos one by one, in batches."""
  rows, left_out, todo = {}, {}, []
  for name in files:
    row = _done(job, name, [files[name]])
    if row is None:
      todo.append(name)
    else:
      rows[name] = row
  if rows:
    say(f'{len(rows)} of {len(files)} photos are done already.')
  size = min(job.args.batch, len(files))  # of a run that goes on the same: one program
  extra = 0 if _cameras_known(job) else job.options.start_steps
  each = job.options.num_steps + extra + job.args.tune * size
  total = -(-len(todo) // max(size, 1)) * each
  batch, waiting = [], list(todo)
  with tqdm.tqdm(desc='invert', total=total, unit='step', disable=None) as bar:
    while waiting or batch:
      while waiting and len(batch) < size:
        name = waiting.pop(0)
        photo = _read(job, name, files[name], left_out, say)
        if photo is not None:
          batch.append(photo)
      if batch:
        for row in _batch(job, batch, size, bar.update):
          rows[row['name']] = row
        batch = []
  return [rows[name] for name in files if name in rows], left_out


def _read(job, name, file, left_out, say):
  try:
    photo = photos.read(name, file, job.resolution, job.args.crop, job.table, _root(job))
  except images.ImageError as error:
    left_out[str(file)] = str(error)
    say(f'Left out: {file}: {error}.')
    return None
  if photo.note:
    say(f'{file}: {photo.note}.')
  return photo


def _root(job):
  root = pathlib.Path(job.args.input)
  return root if root.is_dir() else None


def _cameras_known(job) -> bool:
  return job.args.yaw is not None or job.table is not None or not job.model.has_camera


def _cameras(job, batch) -> Camera | None:
  """The cameras [n] that are given."""
  if job.args.yaw is not None:
    pitch = job.args.pitch
    angles = [np.radians(x) for x in (job.args.yaw, pitch) if x is not None]
    if any(len(x) not in (1, len(batch)) for x in angles):
      raise UserError(f'{len(batch)} photos need one --yaw and --pitch, or {len(batch)} of each.')
    angles = [np.broadcast_to(x, (len(batch),)) for x in angles]
    return jax.tree.map(np.asarray, job.model.orbit(*angles))
  if job.table is None:
    return None
  camera = cameras.from_label(np.stack([photo.label for photo in batch]))
  camera = jax.tree.map(np.asarray, camera)
  return camera if job.frame is None else job.frame.camera(camera)


def _pictures(job, batch) -> np.ndarray:
  image = np.stack([photo.image for photo in batch])
  return image if job.frame is None else np.ascontiguousarray(job.frame.image(image))


def _search(job, batch, update, one_identity=False):
  return search_lib.search(
    job.model,
    _pictures(job, batch),
    _cameras(job, batch),
    job.space,
    job.find,
    job.perceptual,
    job.options,
    one_identity,
    job.args.seed,
    update,
  )


def _batch(job, batch, size, update):
  """Inverts up to `size` photos in one go and writes their results; yields their rows."""
  began = time.perf_counter()
  padded = batch + [batch[-1]] * (size - len(batch))
  found = _search(job, padded, update)
  seconds = (time.perf_counter() - began) / len(batch)
  for i, photo in enumerate(batch):
    camera = jax.tree.map(lambda x, i=i: x[i : i + 1], found.camera)
    fallen = {name: values[:, i : i + 1] for name, values in found.losses.items()}
    yield _write(job, photo.name, [photo], found.w[i : i + 1], camera, fallen, seconds, update)


def _identity(job, name, files, say):
  """(rows, {name: cause}) of photos of one object."""
  left_out = {}
  batch = [_read(job, n, file, left_out, say) for n, file in files.items()]
  batch = [photo for photo in batch if photo is not None]
  if not batch:
    return [], left_out
  row = _done(job, name, [photo.path for photo in batch])
  if row is not None:
    say(f'{name} is done already.')
    return [row], left_out
  extra = 0 if _cameras_known(job) else job.options.start_steps * min(len(batch), 2)
  total = job.options.num_steps + extra + job.args.tune
  with tqdm.tqdm(desc='invert', total=total, unit='step', disable=None) as bar:
    began = time.perf_counter()
    found = _search(job, batch, bar.update, one_identity=True)
    seconds = time.perf_counter() - began
    parts = (found.w, found.camera, found.losses, seconds, bar.update)
    return [_write(job, name, batch, *parts)], left_out


def _write(job, name, batch, w, camera, fallen, seconds, update) -> dict:
  """Writes the files of one object, the record last; returns its row of the summary."""
  model, path = job.model, job.out / f'{name}.npz'
  image = _pictures(job, batch)
  shown_by = model
  if job.args.tune:
    options = pivotal.TuneOptions(job.args.tune, samples=job.options.samples)
    parts = (image, w, camera, job.perceptual, options, job.args.seed, update)
    shown_by = pivotal.tune(model, *parts)
    pivotal.save(job.out / f'{name}.tuned', shown_by)
  shown = shown_by.render(w, camera, job.resolution, **_pixels(model))
  views = figure.new_views(model, camera)
  sides = () if views is None else poses.angles(views)[0]
  if views is not None:
    views = shown_by.render(w, views, job.resolution, **_pixels(model))
  psnr, ssim = quality.psnr(shown.image, image), quality.ssim(shown.image, image)
  last = {key: float(values[-1].mean()) for key, values in fallen.items()}
  azimuth, elevation = poses.angles(camera) if model.has_camera else (None, None)
  row = {'name': name, 'psnr': float(psnr.mean()), 'ssim': float(ssim.mean()), **last}
  row['yaw'] = None if azimuth is None else float(azimuth[0])
  row['pitch'] = None if elevation is None else float(elevation[0])
  row['seconds'] = seconds
  title = f'{name}: PSNR {row["psnr"]:.1f} dB, SSIM {row["ssim"]:.2f}'
  if azimuth is not None and len(batch) == 1:
    title += f', yaw {azimuth[0]:.0f}°, pitch {elevation[0]:.0f}°'
  args = argparse_copy(job.args, batch)
  record = provenance.record('invert', args, model)
  record['flags'].pop('psi', None)
  record |= {
    'row': row,
    'settings': job.settings,
    'photos': [
      {'file': str(photo.path), 'sha256': photo.sha256, 'note': photo.note} for photo in batch
    ],
    'camera': np.asarray(camera.label()).tolist() if model.has_camera else None,
    'psnr': psnr.tolist(),
    'ssim': ssim.tolist(),
  }
  picture = figure.compose(shown_by, image, shown, views, title, sides)
  results.save(path, np.asarray(w), camera, fallen, [photo.name for photo in batch])
  viz.save_png(job.out / f'{name}.png', picture, provenance.texts(record))
  text = json.dumps(record, indent=2, ensure_ascii=False) + '\n'
  records.write_atomically(provenance.beside(path), text.encode())
  return row


def _pixels(model) -> dict:
  """Rendering options of pictures that are compared with photos: pixel centres."""
  return {'align_corners': False} if model.has_depth else {}


def argparse_copy(args, batch):
  """The flags that make one photo's files again, whatever folder it came from."""
  import argparse

  flags = dict(vars(args))
  path = pathlib.Path(args.input).expanduser()
  if path.is_dir() and not args.one_identity:
    if args.labels is None and not args.no_labels and (path / 'dataset.json').is_file():
      flags['labels'] = str((path / 'dataset.json').resolve())
    path = batch[0].path
  flags['input'] = str(path.resolve())
  flags['overwrite'] = False
  return argparse.Namespace(**flags)


def _write_summary(out: pathlib.Path, summary: dict) -> None:
  text = json.dumps(summary, indent=2, ensure_ascii=False) + '\n'
  records.write_atomically(out / 'summary.json', text.encode())
  table = io.StringIO()
  writer = csv.DictWriter(table, COLUMNS, lineterminator='\n')
  writer.writeheader()
  for row in summary['photos']:
    writer.writerow({key: f'{v:.5g}' if isinstance(v, float) else v for key, v in row.items()})
  records.write_atomically(out / 'summary.csv', table.getvalue().encode())
