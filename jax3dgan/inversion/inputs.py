"""Which photos an inversion reads, and names for its results that replace no other file."""

import collections
import hashlib
import json
import os
import pathlib
import re

from jax3dgan.data import images, sources
from jax3dgan.errors import UserError
from jax3dgan.inversion import results
from jax3dgan.runs import provenance

# Of a name's bytes: file systems take 255, and the endings and a temporary name need room.
_LONGEST = 200


def names(path, out=None, say=None) -> dict[str, pathlib.Path]:
  """{name: file} of a photo or of the photos of a folder at any depth, in the files' order.

  Args:
    path: the photo or folder.
    out: the folder of the results; what lies there, or is such a result, is no photo.
    say: called with a line about what is left out.

  Raises:
    UserError: There is no photo.
  """
  path = pathlib.Path(path)
  if path.is_file():
    return {_shortened(path.stem, path.name): path}
  if not path.is_dir():
    raise UserError(f'--input={path} does not exist. Give a photo, or a folder of photos.')
  source = sources.FolderSource(path, labels_file=False)
  for note in source.notes if say is not None else ():
    say(note)
  listed = [source.describe(i) for i in range(len(source))]
  # Photos below a folder of results may be read; results below the folder of photos are none.
  own = out if out is not None and _is_below(out, path) else None
  files = [file for file in listed if own is None or not _is_below(path / file, own)]
  if say is not None and len(files) < len(listed):
    say(f'{len(listed) - len(files)} pictures in {out} are no photos: left out.')
  if not files:
    raise UserError(f'{path} has no photo ({", ".join(images.EXTENSIONS)}). Give another folder.')
  return dict(zip(_names(files), (path / file for file in files), strict=True))


def _names(files: list[str]) -> list[str]:
  """A name for each file, without its folders' slashes and, where that is enough, its ending."""
  stems = [re.sub(r'\.[^.]*$', '', file).replace('/', '__') for file in files]
  whole = [file.replace('/', '__').replace('.', '_') for file in files]
  chosen = _replaced(stems, whole)  # of car.png and car.jpg neither is called 'car'
  hashed = [f'{name}-{_hash(file)}' for name, file in zip(chosen, files, strict=True)]
  chosen = _replaced(chosen, hashed)  # of a/b.png and a__b.png
  return [_shortened(name, file) for name, file in zip(chosen, files, strict=True)]


def _replaced(given: list[str], others: list[str]) -> list[str]:
  """The names with another one for each that is there twice, also to a disk that ignores case."""
  counts = collections.Counter(name.casefold() for name in given)
  return [
    other if counts[name.casefold()] > 1 else name
    for name, other in zip(given, others, strict=True)
  ]


def _hash(file: str) -> str:
  return hashlib.sha256(os.fsencode(file)).hexdigest()[:8]


def _shortened(name: str, file: str) -> str:
  if len(os.fsencode(name)) <= _LONGEST:
    return name
  return f'{os.fsencode(name)[:_LONGEST].decode("utf-8", "ignore")}-{_hash(file)}'


def _is_below(path, folder) -> bool:
  folder = pathlib.Path(os.path.realpath(folder))
  return folder in pathlib.Path(os.path.realpath(path)).parents


def is_result(picture: pathlib.Path) -> bool:
  """Whether a file is the picture of an inversion, by what lies beside it."""
  arrays = picture.with_suffix('.npz')
  return picture.suffix == '.png' and provenance.beside(arrays).is_file() and arrays.is_file()


def check_free(path, out, files, chosen, tuned: bool = False, workdir=None) -> None:
  """Raises a UserError if results would replace photos, or files that no inversion wrote.

  Args:
    path: the photo or folder that is read.
    out: the folder of the results.
    files: the photos.
    chosen: the results' names.
    tuned: whether workdirs of tuned weights are written, too.
    workdir: that of the model, if it has one.
  """
  path, out = pathlib.Path(path), pathlib.Path(out)
  if path.is_dir() and os.path.realpath(path) == os.path.realpath(out):
    raise UserError(
      f'--out={out} is the folder of the photos. Choose another one, such as '
      f'--out={out / "inverted"}.'
    )
  if not out.exists():
    return
  if not out.is_dir():
    raise UserError(f'--out={out} is a file. Choose a folder.')
  summary = out / 'summary.json'
  if summary.exists() and not _is_summary(summary):
    raise UserError(f'{summary} is of something else and would be replaced. Choose another --out.')
  photos = {os.path.realpath(file) for file in files}
  for name in chosen:
    picture, arrays = out / f'{name}.png', out / f'{name}.npz'
    if os.path.realpath(picture) in photos:
      raise UserError(f'The result of {picture} would replace this photo. Choose another --out.')
    if picture.exists() and not (is_result(picture) or _has_record(picture)):
      raise UserError(
        f'{picture} is a picture that jax3dgan invert did not write, and its result would replace '
        'it. Choose another --out.'
      )
    if arrays.exists() and not picture.exists() and not _is_loadable(arrays):
      raise UserError(
        f'{arrays} is a file that jax3dgan invert did not write, and its result would replace it. '
        'Choose another --out.'
      )
    if tuned:
      _check_tuned(out / f'{name}.tuned', picture, workdir)


def _check_tuned(folder, picture, workdir) -> None:
  if workdir is not None and os.path.realpath(workdir) == os.path.realpath(folder):
    raise UserError(f'{folder} is the model itself and would be replaced. Choose another --out.')
  if folder.exists() and not is_result(picture):
    raise UserError(
      f'{folder} is a folder that jax3dgan invert did not write, and tuned weights would replace '
      'it. Choose another --out.'
    )


def _is_summary(path) -> bool:
  try:
    return 'left_out' in json.loads(path.read_text(encoding='utf-8'))
  except (OSError, ValueError, TypeError):
    return False


def _has_record(picture) -> bool:
  try:
    return provenance.read(picture)['app'] == 'invert'
  except UserError:
    return False


def _is_loadable(arrays) -> bool:
  try:
    results.load(arrays)
  except UserError:
    return False
  return True
