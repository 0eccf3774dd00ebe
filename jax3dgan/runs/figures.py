"""The figures of a training: those of the terminal's line, and summary.json."""

import pathlib
import resource

import jax
import numpy as np

from jax3dgan import json_text

# Names on the terminal's line.
_SHORT = {
  'D': 'discriminator/adversarial',
  'G': 'generator/adversarial',
  'R1': 'discriminator/r1',
  'PSNR': 'generator/psnr',
  'Gaussians': 'gaussians/alive',
  'without a slot': 'gaussians/without_slot',
}


def short_names(means) -> dict[str, float]:
  """The figures of the terminal's line, of the means of the metrics that there are."""
  return {short: means[name] for short, name in _SHORT.items() if name in means}


def summary(config, timings, step, images_seen, rates, mesh) -> dict:
  """The contents of summary.json."""
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
  return {
    'steps': step,
    'images_seen': images_seen,
    'images_per_second': float(np.median(rates)) if rates else None,
    'seconds': {name: round(value, 3) for name, value in timings.seconds.items()},
    'seconds_total': round(timings.total, 1),
    'peak_memory_mib': round(peak),
    'devices': mesh.size,
    'device_kind': mesh.devices.flat[0].device_kind,
    'jax': jax.__version__,
    'seed': config.seed,
  }


def write_summary(workdir, values: dict) -> None:
  """Writes summary.json; on process 0."""
  if jax.process_index() == 0:
    (pathlib.Path(workdir) / 'summary.json').write_text(json_text.dumps(values), encoding='utf-8')
