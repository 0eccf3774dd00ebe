"""Pictures that this package writes, which are no photos where they lie among photos."""

import re
from collections.abc import Iterable

_CHECKPOINT = re.compile(r'(.*/)?checkpoints/.')
_OF_A_RUN = re.compile(r'(.*/)?(?:samples\.png|samples/[^/]+\.png|eval/.+\.png)')


def own_pictures(files: Iterable[str]) -> set[str]:
  """The pictures of trainings, evaluations and inversions among files.

  A workdir is a folder with `config.json` and `checkpoints/`; the picture NAME.png of an inversion
  has NAME.npz and NAME.npz.json beside it.

  Args:
    files: paths of all files below a folder, with '/'.
  """
  files = set(files)
  runs = {match[1] or '' for match in map(_CHECKPOINT.match, files) if match}
  runs = {run for run in runs if f'{run}config.json' in files}
  return {file for file in files if file.endswith('.png') and _is_own(file, files, runs)}


def _is_own(file, files, runs):
  stem = file.removesuffix('.png')
  if f'{stem}.npz' in files and f'{stem}.npz.json' in files:
    return True
  match = _OF_A_RUN.fullmatch(file) if runs else None
  return match is not None and (match[1] or '') in runs
