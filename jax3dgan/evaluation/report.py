"""The files of an evaluation: metrics.json, an image sheet for each metric, a plot over steps.

In the workdir: `eval/STEP/metrics.json` and `eval/STEP/METRIC.png`, `eval/metrics.png` over all
steps that were evaluated, and TensorBoard's scalars and images under `eval/`.
"""

import dataclasses
import hashlib
import json
import pathlib
import subprocess
from collections.abc import Mapping

import jax
import numpy as np

import jax3dgan
from jax3dgan import config_json, json_text, viz
from jax3dgan.errors import UserError
from jax3dgan.evaluation.results import Result

FOLDER = 'eval'
FILE = 'metrics.json'
# The figures in the plot, by the beginnings of their names; the others explain them, and are in
# metrics.json and TensorBoard only.
HEADLINES = (
  'FID-',
  'KID-',
  'precision-',
  'recall-',
  'reprojection/mse',
  'reprojection/valid',
  'chamfer/median',
  'nfs_solid',
  'view_leak/depth',
  'mask/iou',
  'depth/aligned',
  'second/psnr',
  'held_out/psnr',
  'pose/error_degrees_aligned',
  'pose/frame_spread_degrees',
  'identity/ratio_above_floor',
  'identity/latent_share',
)
_NOT_HEADLINES = ('/standard_error', '/measured', '_all', '_average')
_PACKAGE = pathlib.Path(jax3dgan.__file__).parent


def config_hash(config) -> str:
  """The first 16 hexadecimal digits of the SHA-256 of a config's canonical JSON."""
  text = json.dumps(config_json.plain(config), sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()[:16]


def commit() -> str:
  """The Git commit of the package's source, with '+' appended if files were changed; or ''."""

  def git(*args):
    command = ['git', '-C', str(_PACKAGE), *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout

  try:
    # Only where the package itself is under version control, not in an environment below a clone.
    if not git('ls-files', '__init__.py').strip():
      return ''
    changed = git('status', '--porcelain', '--untracked-files=no').strip()
    return git('rev-parse', 'HEAD').strip() + ('+' if changed else '')
  except (OSError, subprocess.SubprocessError):
    return ''


def record(model, config, results: Mapping[str, Result], seconds: Mapping[str, float]) -> dict:
  """The content of metrics.json: first the figures, then how they were measured."""
  values, protocols, skipped = {}, {}, {}
  for name, result in results.items():
    if result.skipped:
      skipped[name] = result.skipped
      continue
    values |= {key: _number(value) for key, value in result.values.items()}
    protocols[name] = result.protocol
  return {
    'model': model.name,
    'step': int(model.step),
    'metrics': values,
    'protocols': protocols,
    'skipped': skipped,
    'seed': config.eval.seed,
    'version': jax3dgan.__version__,
    'commit': commit(),
    'config_hash': config_hash(config),
    'data': config_json.plain(config.data),
    'eval': config_json.plain(config.eval),
    'devices': f'{jax.device_count()} × {jax.devices()[0].device_kind}',
    'jax': jax.__version__,
    'seconds': {name: round(value, 1) for name, value in seconds.items()},
  }


def _number(value) -> float | None:
  value = float(value)
  return value if np.isfinite(value) else None  # JSON has no NaN


def _shown(value) -> str:
  return 'not measurable' if _number(value) is None else f'{value:.5g}'


def checked(name: str, result: Result) -> Result:
  """Returns a result; UserError if none of its figures is a number."""
  if result.values and all(_number(value) is None for value in result.values.values()):
    raise UserError(
      f'No figure of {name} is a number: nothing is solid, or the pictures are not finite. Render '
      f'samples to look at them, or leave {name} out of --config.eval.metrics.'
    )
  return result


def write(workdir, about: dict, results: Mapping[str, Result], writer=None) -> pathlib.Path:
  """Writes the files of one evaluation, the record last; returns its folder.

  Args:
    workdir: Of the run.
    about: From `record`.
    results: By the metric's name, with their sheets.
    writer: See `jax3dgan.runs.writers`; None for no events.
  """
  step = about['step']
  root = pathlib.Path(workdir) / FOLDER
  folder = root / f'{step:08d}'
  folder.mkdir(parents=True, exist_ok=True)
  sheets = {name: result.sheet for name, result in results.items() if result.sheet is not None}
  for name, sheet in sheets.items():
    viz.save_png(folder / f'{name}.png', sheet, {'protocol': results[name].protocol})
  text = json_text.dumps(about)
  temporary = folder / f'.{FILE}'
  temporary.write_text(text, encoding='utf-8')
  temporary.replace(folder / FILE)
  plot(root / 'metrics.png', history(workdir))
  if writer is not None:
    numbers = {f'eval/{k}': v for k, v in about['metrics'].items() if v is not None}
    writer.write_scalars(step, numbers)
    writer.write_images(step, {f'eval/{name}': sheet[None] for name, sheet in sheets.items()})
    writer.flush()
  return folder


def history(workdir) -> list[dict]:
  """The records of all evaluations of a run, by step; a damaged one is left out."""
  records = []
  for path in sorted((pathlib.Path(workdir) / FOLDER).glob(f'*/{FILE}')):
    try:
      records.append(json.loads(path.read_text(encoding='utf-8')))
    except ValueError:
      continue
  return sorted(records, key=lambda record: record['step'])


def plot(path, records: list[dict]) -> None:
  """Draws the headlines over the steps, as small multiples; one evaluation alone gives points."""
  from matplotlib.backends.backend_agg import FigureCanvasAgg
  from matplotlib.figure import Figure

  series = {}
  for about in records:
    for name, value in about['metrics'].items():
      shown = name.startswith(HEADLINES) and not name.endswith(_NOT_HEADLINES)
      if shown and value is not None:
        series.setdefault(name, []).append((about['step'], value))
  if not series:
    return
  columns = min(4, len(series))
  rows = -(-len(series) // columns)
  figure = Figure(figsize=(3.2 * columns, 2.3 * rows), layout='constrained')
  FigureCanvasAgg(figure)
  for i, (name, points) in enumerate(series.items()):
    axes = figure.add_subplot(rows, columns, i + 1)
    axes.plot(*zip(*points, strict=True), marker='o', markersize=3, linewidth=1.2, color='#2b6a99')
    axes.set_title(name, fontsize=9)
    axes.tick_params(labelsize=7)
    axes.grid(alpha=0.25)
    axes.margins(y=0.15)
  figure.supxlabel('step', fontsize=8)
  figure.savefig(path, dpi=110)


def table(about: dict, results: Mapping[str, Result]) -> str:
  """The figures for the terminal, each metric under its protocol."""
  lines = [f'{about["model"]}, step {about["step"]:,}']
  for name, result in results.items():
    if result.skipped:
      lines.append(f'\n{name}: not measured. {result.skipped}')
      continue
    lines.append(f'\n{name} ({result.protocol})')
    width = max(map(len, result.values), default=0)
    lines += [f'  {key:{width}}  {_shown(value)}' for key, value in result.values.items()]
  return '\n'.join(lines)


def skipped(reason: str) -> Result:
  """A result without values, with the reason."""
  return dataclasses.replace(Result({}), skipped=reason)
