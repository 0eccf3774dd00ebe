"""The files of one inverted object, and the summary of all."""

import argparse
import csv
import io
import pathlib

import jax
import numpy as np

from jax3dgan import atomic, json_text, viz
from jax3dgan.inversion import figure, jobs, pivotal, poses, quality, results
from jax3dgan.runs import provenance

COLUMNS = ('name', 'psnr', 'ssim', 'yaw', 'pitch', 'mse', 'perceptual', 'unlikely', 'seconds')


def write(job, name, batch, w, camera, losses, seconds, update) -> dict:
  """Writes the files of one object, the record last; returns its row of the summary."""
  model, path = job.model, job.out / f'{name}.npz'
  image = jobs.pictures(job, batch)
  tuned = model
  if job.args.tune:
    options = pivotal.TuneOptions(job.args.tune, samples=job.options.samples)
    arguments = (image, w, camera, job.perceptual, options, job.args.seed, update)
    _check_finite(job, w, *jax.tree.leaves(camera))  # before steps that cannot mend them
    tuned = pivotal.tune(model, *arguments)
  shown = tuned.render(w, camera, job.resolution, **_pixels(model))
  last = [values[-1] for values in losses.values()]
  _check_finite(job, w, shown.image, *jax.tree.leaves(camera), *last)

  if job.args.tune:
    pivotal.save(job.out / f'{name}.tuned', tuned)
  views = figure.new_views(model, camera)
  sides = () if views is None else poses.angles(views)[0]
  if views is not None:
    views = tuned.render(w, views, job.resolution, **_pixels(model))
  psnr, ssim = quality.psnr(shown.image, image), quality.ssim(shown.image, image)
  last = {key: float(values[-1].mean()) for key, values in losses.items()}
  azimuth, elevation = poses.angles(camera) if model.has_camera else (None, None)
  row = {'name': name, 'psnr': float(psnr.mean()), 'ssim': float(ssim.mean()), **last}
  row['yaw'] = None if azimuth is None else float(azimuth[0])
  row['pitch'] = None if elevation is None else float(elevation[0])
  row['seconds'] = seconds
  title = f'{name}: PSNR {row["psnr"]:.1f} dB, SSIM {row["ssim"]:.2f}'
  if azimuth is not None and len(batch) == 1:
    title += f', yaw {round(float(azimuth[0]))}°, pitch {elevation[0]:.0f}°'
  args = _flags_of(job.args, batch)
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
  picture = figure.compose(tuned, image, shown, views, title, sides)
  results.save(path, np.asarray(w), camera, losses, [photo.name for photo in batch])
  viz.save_png(job.out / f'{name}.png', picture, provenance.texts(record))
  text = json_text.dumps(record)
  atomic.write(provenance.beside(path), text.encode())
  return row


def _check_finite(job, *arrays) -> None:
  if not all(np.isfinite(array).all() for array in arrays):
    rate = 'set a smaller --learning-rate'
    if job.table is None:
      raise results.NoResult(f'the search ended in numbers that are not finite: {rate}')
    raise results.NoResult(
      f'the search ended in numbers that are not finite: check that the label is a camera that '
      f'looks at the object, leave out the labels (--no-labels), or {rate}'
    )


def _pixels(model) -> dict:
  """Rendering options of pictures that are compared with photos: pixel centres."""
  return {'align_corners': False} if model.has_depth else {}


def _flags_of(args, batch):
  """The flags that make one photo's files again, whatever folder it came from."""
  flags = dict(vars(args))
  path = pathlib.Path(args.input).expanduser()
  if path.is_dir() and not args.one_identity:
    if args.labels is None and not args.no_labels and (path / 'dataset.json').is_file():
      flags['labels'] = str((path / 'dataset.json').resolve())
    path = batch[0].path
  flags['input'] = str(path.resolve())
  flags['overwrite'] = False
  return argparse.Namespace(**flags)


def write_summary(out: pathlib.Path, summary: dict) -> None:
  text = json_text.dumps(summary)
  atomic.write(out / 'summary.json', text.encode())
  table = io.StringIO()
  writer = csv.DictWriter(table, COLUMNS, lineterminator='\n')
  writer.writeheader()
  for row in summary['photos']:
    writer.writerow({key: f'{v:.5g}' if isinstance(v, float) else v for key, v in row.items()})
  atomic.write(out / 'summary.csv', json_text.encodable(table.getvalue()).encode())
