"""Inverts the photos of a folder, batch by batch, and continues where it was killed."""

import json
import math
import pathlib
import time

import jax
import numpy as np
import tqdm

from jax3dgan.data import images, records
from jax3dgan.errors import UserError
from jax3dgan.inversion import inputs, jobs, photos, results, writing
from jax3dgan.inversion import search as search_lib
from jax3dgan.runs import provenance


def run(model, args, say) -> dict:
  """Inverts the photos of the flags of `apps.invert`; returns the summary that it writes."""
  model.check_latents()
  out = pathlib.Path(args.out)
  files = inputs.names(args.input, out, say)
  one = pathlib.Path(args.input).resolve().stem
  chosen = [one] if args.one_identity else list(files)
  inputs.check_free(args.input, out, files.values(), chosen, args.tune > 0, args.workdir)
  job = jobs.prepare(model, args, out, files, say)
  out.mkdir(parents=True, exist_ok=True)
  if args.one_identity:
    rows, skipped, without = _identity(job, one, files, say)
  else:
    rows, skipped, without = _each(job, files, say)
  # Of what was searched for in vain nothing is kept: the same command tries it again.
  summary = {'photos': rows, 'left_out': skipped, 'no_result': without}
  for key in ('psnr', 'ssim'):
    values = [row[key] for row in rows]
    summary[f'mean_{key}'] = float(np.mean(values)) if values else None
  writing.write_summary(out, summary)
  return summary


def _done(job, name: str, files) -> dict | None:
  """The row of an existing result of these photos; None if there is none."""
  path = job.out / f'{name}.npz'
  try:
    record = json.loads(provenance.beside(path).read_text(encoding='utf-8'))
    row, settings = record['row'], record['settings']
    before = sorted(photo['sha256'] for photo in record['photos'])
    if not all(math.isfinite(row[key]) for key in ('psnr', 'ssim')):
      return None  # of a version that kept results without numbers
  except FileNotFoundError:
    return None
  except (OSError, ValueError, KeyError, TypeError):
    return None  # incomplete: it is made again
  if settings == job.settings and path.is_file() and before == sorted(map(_sha256, files)):
    return row
  if settings != job.settings and not job.args.overwrite:
    raise UserError(
      f'{path} was made with other settings or weights. Choose another --out, or add --overwrite.'
    )
  return None


def _sha256(path) -> str:
  try:
    return records.sha256(path)
  except OSError:
    return ''  # reported when it is read


def _each(job, files, say):
  """(rows, left out, no result: {file: cause}) of photos one by one, in batches."""
  rows, skipped, without, todo = {}, {}, {}, []
  for name in files:
    row = _done(job, name, [files[name]])
    if row is None:
      todo.append(name)
    else:
      rows[name] = row
  if rows:
    say(f'{len(rows)} of {len(files)} photos are done already.')
  size = min(job.args.batch, len(files))  # the same in a continued run: one program
  each = job.options.num_steps + jobs.start_steps(job) + job.args.tune * size
  total = -(-len(todo) // max(size, 1)) * each
  batch, waiting = [], list(todo)
  with tqdm.tqdm(desc='invert', total=total, unit='step', disable=None) as bar:
    while waiting or batch:
      while waiting and len(batch) < size:
        name = waiting.pop(0)
        photo = _read(job, name, files[name], skipped, say)
        if photo is not None:
          batch.append(photo)
      if batch:
        for row in _batch(job, batch, size, bar.update, without, say):
          rows[row['name']] = row
        batch = []
  return [rows[name] for name in files if name in rows], skipped, without


def _read(job, name, file, skipped, say):
  try:
    photo = photos.read(name, file, job.resolution, job.args.crop, job.table, jobs.root(job))
  except images.ImageError as error:
    skipped[str(file)] = str(error)
    say(f'Left out: {file}: {error}.')
    return None
  if photo.note:
    say(f'{file}: {photo.note}.')
  return photo


def _search(job, batch, update, one_identity=False):
  return search_lib.search(
    job.model,
    jobs.pictures(job, batch),
    jobs.given_cameras(job, batch),
    job.space,
    job.find,
    job.perceptual,
    job.options,
    one_identity,
    job.args.seed,
    update,
  )


def _batch(job, batch, size, update, without, say):
  """Inverts up to `size` photos in one go and writes their results; yields their rows."""
  began = time.perf_counter()
  padded = batch + [batch[-1]] * (size - len(batch))
  found = _search(job, padded, update)
  seconds = (time.perf_counter() - began) / len(batch)
  for i, photo in enumerate(batch):
    camera = jax.tree.map(lambda x, i=i: x[i : i + 1], found.camera)
    losses = {name: values[:, i : i + 1] for name, values in found.losses.items()}
    arguments = (found.w[i : i + 1], camera, losses, seconds, update)
    row = _written(job, photo.name, [photo], arguments, without, say)
    if row is not None:
      yield row


def _written(job, name, batch, arguments, without, say):
  """The row of a result that is written; None if there is none, which is added to `without`."""
  try:
    return writing.write(job, name, batch, *arguments)
  except results.NoResult as cause:
    for photo in batch:
      without[str(photo.path)] = str(cause)
      say(f'No result: {photo.path}: {cause}.')
    return None


def _identity(job, name, files, say):
  """(rows, left out, no result: {file: cause}) of photos of one object."""
  skipped, without = {}, {}
  batch = [_read(job, n, file, skipped, say) for n, file in files.items()]
  batch = [photo for photo in batch if photo is not None]
  if not batch:
    return [], skipped, without
  row = _done(job, name, [photo.path for photo in batch])
  if row is not None:
    say(f'{name} is done already.')
    return [row], skipped, without
  total = job.options.num_steps + jobs.start_steps(job, len(batch)) + job.args.tune
  with tqdm.tqdm(desc='invert', total=total, unit='step', disable=None) as bar:
    began = time.perf_counter()
    found = _search(job, batch, bar.update, one_identity=True)
    seconds = time.perf_counter() - began
    arguments = (found.w, found.camera, found.losses, seconds, bar.update)
    row = _written(job, name, batch, arguments, without, say)
    return [] if row is None else [row], skipped, without
