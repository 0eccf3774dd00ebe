"""Arrays from official code (pi-GAN's, EG3D's): loading, comparing with them, and a table of what
was compared (`pytest --parity`)."""

import dataclasses
import functools
import pathlib
import re

import numpy as np
import pytest

_TESTS = pathlib.Path(__file__).resolve().parent
_SHARED = _TESTS.parent.parent / 'shared' / 'goldens'
_FOLDERS = (
  _TESTS / 'data' / 'pigan',
  _TESTS / 'data' / 'style',
  _TESTS / 'data' / 'eg3d',
  _TESTS / 'data' / 'eg3d_d',
  _TESTS / 'data' / 'stylenerf',
  _TESTS / 'data' / 'stylesdf',
  _TESTS / 'data' / 'hologan',
  _SHARED / 'pigan',
  _SHARED / 'eg3d',
  _SHARED / 'style',
  _SHARED / 'hologan',
  # Of other papers the name says the folder: 'graf/sampling'.
  _TESTS / 'data',
  _SHARED,
)
# What stands in for files that are too large to lie in tests/data.
_PARTS = {
  'generator_small': 'generator_tiny',
  'generator_small_extra': 'generator_tiny',
  'train_step_small': 'train_step_tiny',
  'stylenerf_D': 'stylenerf_D_tiny',
  'stylesdf_full': 'stylesdf_full_tiny',
  'stylenerf_eval': 'stylenerf_eval_tiny',
  'stylenerf_functions': 'stylenerf_functions_tiny',
  'stylenerf_train_a06': 'stylenerf_train_a06_tiny',
  'hologan_64_small': 'hologan_64_tiny',
  'graf/discriminator': 'graf/discriminator_tiny',
  'graf/train_step': 'graf/train_step_tiny',
  'gaussians/raster_square': 'gaussians/raster_square_tiny',
  'gaussians/raster_edge': 'gaussians/raster_edge_tiny',
  'gaussians/gghead_consistent': 'gaussians/gghead_consistent_tiny',
}
FILES = (
  'generator_small',
  'generator_small_extra',
  'camera',
  'volume_edge_cases',
  'ProgressiveDiscriminator_small',
  'ProgressiveEncoderDiscriminator_small',
  'CCSEncoderDiscriminator_small',
  'StridedDiscriminator_small',
  'train_step_small',
  'inverse_render_small',
  'extract_grid',
  'stylesdf_stage1',
  'stylesdf_full',
  'stylesdf_camera_mesh',
  'stylenerf_eval',
  'stylenerf_functions',
  'stylenerf_train_a1',
  'stylenerf_train_a06',
  'hologan_ops',
  'hologan_64_small',
  'hologan_128_small',
  'graf/generator',
  'graf/generator_variants',
  'graf/sampling',
  'graf/discriminator',
  'graf/train_step',
  'giraffe/scene',
  'giraffe/generator',
  'giraffe/variants',
  'giraffe/discriminator',
  'giraffe/train_step',
  'gaussians/raster_square',
  'gaussians/raster_wide',
  'gaussians/raster_edge',
  'gaussians/gghead_consistent',
  'gaussians/gghead_released',
  'expgan/mesh_raster_camera',
  'expgan/G_small_train',
  'expgan/G_small_eval',
  'expgan/D_small',
  'expgan/losses',
  'expgan/loss_grads',
)
# Arrays that the official code was given; all others are its results.
_INPUTS = re.compile(
  r'(^|/)((param|param_before|image)/|draw_|h_stddev)'
  r'|^(z|z_d|z_g|real|config_json|gt|noise_\w+|voxel_\w+|fixed/pitch_yaw)$'
  r'|^([gd]\..*|z2|t_rand|\w+_randn?|pl_noise_raw|trunc_z|locations|resolution)$'
  r'|^(G\..*|z_\w+_bg|cam_mode|draw\d+\..*|alpha|reg_full|mapping_w_avg_before)$'
  r'|^(up\.[xw]|up\..*\.(weight|bias|w_avg|resample_filter)|\w+pose\.draw.*|pdf\.draw.*)$'
  r'|^(outside\.(o|d|depth)|pdf\.(bins|weights)|pe\.x|warp\.(in|di)|dens\.(raw|volsdf_in))$'
  r'|^(pdf/(bins|weights|u)|integ/(rgb_sigma|z|noise_n)|grid/(grid|points))$'
  r'|/p/|^p/|^(draw|in)/|^[gd]/(decoder|background_generator|neural_renderer|blocks|conv_out)\.|/(draw|range|val)_\w+$|^(nr|blur)/x$|^compose/(sigma|feat)$'
  r'|^existence/probs_2_to_5$|^(rot_z/value|slerp/(z[12]|t))$|/x(_8x8_repeat_to_size)?$'
  r'|^(view|(t[23]d_|c2d_|adain/|inorm/|sn/|xf)\w*/?(x|w|b|u|seed|scale|bias|offset|voxels|view))$'
  r'|(^|/)[gpd]/((pts|views|feature|alpha|rgb)_linears?|main)\.|(^|/)draw/|/keep_bit$|/x_flat$'
  r'|^(config|pose|real_patch_flat|\w_step/noise_std|ortho/size_hw|radius/range_u_v_r|sphere/[uv])$'
  r'|^((in|cot)\..*|out\.near_threshold)$'
  r'|^(model/(?!face_region_(faces|uv)$).*|(fake|real)/(shape|exp|pose|cam|bbox)|pose_override_rvec)$'
  r'|^(draw\d_(normal|uniform)|noise_std)$|^(real_image|mean_w|c2w_real)$|^G[AB]/(step|full)$'
  r'|^[DG][AB]/draw\d_(normal|uniform)$|^D(256|64)/param/'
  r'|^(eval/z_swapped_app|patch/images|rmsprop/(p0|grads)|noise/std_resumed_at_60000|.*/iteration)$'
)


class _Arrays(dict):
  """Arrays by name; asking a part of a file for what the whole would have skips the test."""

  def __missing__(self, key):
    pytest.skip(f'{key} is in none of the golden files that are here')


@functools.cache
def _path(name: str) -> pathlib.Path | None:
  paths = (folder / f'{name}.npz' for folder in _FOLDERS)
  return next((path for path in paths if path.exists()), None)


@functools.cache
def _read(path: pathlib.Path) -> dict[str, np.ndarray]:
  with np.load(path, allow_pickle=False) as file:
    return dict(file)


def load(name: str, whole: bool = False) -> dict[str, np.ndarray]:
  """Returns the arrays of `<name>.npz` by their names; skips the test where the file is not there.

  Args:
    name: The file's name without its ending, for example 'volume_edge_cases'.
    whole: Take no part of it instead (generator_tiny for generator_small and
      generator_small_extra, train_step_tiny for train_step_small).

  The small files lie in tests/data/pigan and tests/data/style; the large ones are looked for in
  ../shared/goldens, beside the repository.
  """
  if path := _path(name):
    return dict(_read(path))
  if not whole and name in _PARTS:
    return _Arrays(_read(_path(_PARTS[name])))
  pytest.skip(f'golden arrays {name}.npz are neither in {" nor in ".join(map(str, _FOLDERS))}')


def state_dict(name: str, network: str) -> dict[str, np.ndarray]:
  """The weights of one network of a file, '<network>.<weight>', by their own names; skips the test
  where the file has none of it."""
  prefix, arrays = f'{network}.', load(name)
  weights = {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
  if not weights:
    pytest.skip(f'{prefix}* of {name}.npz are in none of the golden files that are here')
  return weights


@dataclasses.dataclass(frozen=True)
class Comparison:
  """One array of the official code and ours: the worst error, absolute or relative."""

  file: str
  key: str
  dtype: str
  error: float
  kind: str
  tolerance: float

  @property
  def share(self) -> float:
    """The error beside what is allowed; nothing is allowed where numbers are only moved."""
    return self.error / (self.tolerance or 1e-30)


COMPARISONS: list[Comparison] = []


def compare(
  file: str,
  key: str,
  actual,
  *,
  atol: float | None = None,
  relative: float | None = None,
  dtype=None,
  where=True,
) -> None:
  """Asserts that `actual` is the golden array, and records how near it is for `pytest --parity`.

  Args:
    file, key: The golden array, see `load`.
    actual: Ours, in the same shape and layout.
    atol: Largest absolute difference that passes.
    relative: Instead: the largest difference that passes, as a share of the golden array's largest
      entry (the rounding of a sum scales with that).
    dtype: What ours was computed in; None for actual's own type.
    where: Mask of the entries to compare, which broadcasts to the array.
  """
  expected, actual = load(file)[key], np.asarray(actual)
  dtype = np.dtype(dtype or actual.dtype).name
  assert actual.shape == expected.shape, f'{file} {key}: {actual.shape} {expected.shape}'
  (kind, tolerance) = ('absolute', atol) if relative is None else ('relative', relative)
  difference = np.abs(actual.astype(np.float64) - expected)
  # The mask must not hide NaN, which is no agreement anywhere.
  error = float(np.max(difference, where=where | np.isnan(difference), initial=0))
  if kind == 'relative':
    error /= float(np.abs(expected).max()) or 1.0  # zeros have no scale
  COMPARISONS.append(Comparison(file, key, dtype, error, kind, tolerance))
  assert error <= tolerance, f'{file} {key} in {dtype}: {kind} error {error:.2e} > {tolerance:.1e}'


def outputs(file: str) -> set[str]:
  """The names of the official code's results in a file; empty where the file is not there."""
  path = _path(file)
  return {key for key in _read(path) if not _INPUTS.search(key)} if path else set()


def _groups() -> dict[str, tuple[str, set[str]]]:
  """{label of a table's row: (file, names of results)}; official float64 is a row of its own."""
  groups = {}
  for file in FILES:
    names = outputs(file) | {c.key for c in COMPARISONS if c.file == file}
    double = {name for name in names if name.startswith('f64/')}
    if double:
      groups[f'{file}, `f64/`'] = (file, double)
    groups[file] = (file, names - double)
  return groups


def _dtypes(file: str) -> tuple[str, ...]:
  """What a file is compared in: single precision alone where only float32 is promised."""
  if file.startswith('graf'):
    return ('float64',)
  return (
    ('float32',)
    if file.startswith(('style', 'hologan', 'gaussians/gghead'))
    else ('float64', 'float32')
  )


def table() -> str:
  """The comparisons so far as a markdown table, one row for each file and type.

  Shown are the absolute and the relative error that are largest beside what is allowed ('of').
  """
  rows = [
    '| file | dtype | arrays compared | absolute error | in | relative error | in |',
    '|---|---|---|---|---|---|---|',
  ]
  for label, (file, names) in _groups().items():
    for dtype in _dtypes(file):
      done = [c for c in COMPARISONS if (c.file, c.dtype) == (file, dtype) and c.key in names]
      count = f'{len({c.key for c in done})} of {len(names)}' if names else 'file not here'
      cells = [label, dtype, count]
      for kind in ('absolute', 'relative'):
        found = [c for c in done if c.kind == kind]
        worst = max(found, key=lambda c: c.share, default=None)
        error = f'{worst.error:.1e} of {worst.tolerance:.1e}' if worst else '–'
        cells += [error, f'`{worst.key}`' if worst else '']
      rows.append(f'| {" | ".join(cells)} |')
  return '\n'.join(rows)


def missing() -> list[str]:
  """'file dtype: names' of golden results that nothing has been compared with."""
  lines = []
  for file in FILES:
    for dtype in _dtypes(file):
      done = {c.key for c in COMPARISONS if (c.file, c.dtype) == (file, dtype)}
      if left := sorted(outputs(file) - done):
        names = ', '.join(left[:4]) + (f' and {len(left) - 4} more' if len(left) > 4 else '')
        lines.append(f'{file} {dtype}: {names}')
  return lines
