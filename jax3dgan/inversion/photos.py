"""Photos for an inversion, of any common format, as squares in [−1, 1].

Decoding is that of data sets (`data.images`): EXIF rotation applied, transparency composited on
white, grey, palette, CMYK and 16 bits converted, files with too many pixels refused.
"""

import dataclasses
import hashlib
import io
import json
import os
import pathlib

import numpy as np
from PIL import Image

from jax3dgan import camera_checks, texts
from jax3dgan.data import images, labels, names, sources
from jax3dgan.errors import UserError


@dataclasses.dataclass
class Photo:
  """A photo.

  Attributes:
    name: what its results are called.
    path: its file.
    image: float32 [h, h, 3] in [−1, 1].
    label: [25] of its camera after the crop, or None.
    sha256: of the file, in hex.
    note: how it was changed, as text; '' if it was not.
  """

  name: str
  path: pathlib.Path
  image: np.ndarray
  label: np.ndarray | None
  sha256: str
  note: str = ''


def read(name: str, path, resolution: int, crop: str = 'centre', table=None, root=None) -> Photo:
  """Reads a photo.

  Args:
    name: what to call it.
    path: its file.
    resolution: pixels on a side that it is resized to: exact means if they divide the square's
      size, else Lanczos, also for enlarging.
    crop: see `images.crop_box`.
    table: {name: label [25]} of `label_table`, or None.
    root: the folder that the table's names are relative to; None where it is not known.

  Raises:
    images.ImageError: The file cannot be used, with the cause.
  """
  path = pathlib.Path(path)
  try:
    if not path.is_file():  # also for a pipe, which would block
      raise images.ImageError('no regular file')
    with open(path, 'rb') as file:
      data = file.read(images.MAX_BYTES + 1)
  except OSError as error:
    raise images.ImageError(error.strerror or 'cannot be read') from error
  pixels = images.decode(data)
  height, width = pixels.shape[:2]
  box = images.crop_box(height, width, crop)
  notes = []
  if (width, height) != (box[2], box[2]):
    notes.append(f'{width} x {height} cropped to {box[2]} x {box[2]}')
  if box[2] < resolution:
    left, top, size = box
    square = Image.fromarray(pixels[top : top + size, left : left + size])
    pixels = np.asarray(square.resize((resolution,) * 2, Image.Resampling.LANCZOS))
    notes.append(f'enlarged from {size} to {resolution} pixels')
  else:
    pixels = images.fit(pixels, resolution, crop)
    if box[2] > resolution:
      notes.append(f'shrunk from {box[2]} to {resolution} pixels')
  label = None
  if table is not None:
    label = _label_of(table, path, root)
    label = labels.crop(label, height, width, box)
  image = pixels.astype(np.float32) / 127.5 - 1
  digest = hashlib.sha256(data).hexdigest()
  return Photo(name, path, image, label, digest, ', '.join(notes))


def label_table(path, file=None, say=None) -> dict[str, np.ndarray] | None:
  """The labels of a folder of photos, or of one photo.

  Args:
    path: the photo or folder.
    file: a dataset.json (`{"labels": [[name, [25 numbers]], ...]}`), or a file of nothing but 25
      numbers, as text, JSON or NumPy's npy, for all photos; None for the folder's own
      dataset.json, if there is one.
    say: called with a line about labels whose names are spelled differently.

  Raises:
    UserError: It is neither.
  """
  numbers, content = (None, None) if file is None else _read_labels(file)
  if numbers is None and os.path.isdir(path):
    source = sources.FolderSource(path, labels_file=file)
    for note in source.label_notes if say is not None else ():
      say(note)
    return source.label_table
  if numbers is None:
    return None if file is None else sources.parse_labels(content, str(file))
  if len(numbers) != labels.NUM_NUMBERS or not np.isfinite(numbers).all():
    raise UserError(
      f'--labels={file} has {len(numbers)} numbers. A label has 25 finite ones: cam2world row by '
      'row, then the normalised intrinsics.'
    )
  return {'': np.float32(camera_checks.check_labels(numbers, f'--labels={file}'))}


def _read_labels(file):
  """The numbers of a file of nothing else, or None; and its content."""
  try:
    content = pathlib.Path(file).expanduser().read_bytes()
    if content.startswith(np.lib.format.MAGIC_PREFIX):
      numbers = np.load(io.BytesIO(content), allow_pickle=False)
      return np.asarray(numbers, np.float64).ravel(), content
  except (OSError, ValueError, TypeError) as error:
    remedy = 'Give a dataset.json, or 25 numbers as text or npy.'
    raise UserError(f'--labels={file} cannot be read ({error}). {remedy}') from None
  return _numbers(texts.decode(content, f'--labels={file}')), content


def _numbers(text: str):
  """The numbers of a text of nothing else, or None."""
  try:
    numbers = np.asarray(json.loads(text), np.float64).ravel()
  except (ValueError, TypeError):
    try:
      numbers = np.array(text.replace(',', ' ').split(), np.float64)
    except ValueError:
      return None
  return numbers


def _label_of(table, path, root):
  if '' in table:
    return table['']
  if root is not None:
    fitting = [os.path.relpath(path, root).replace(os.sep, '/')]
  else:  # the longest end of the path that has a label
    parts = path.resolve().parts
    fitting = ['/'.join(parts[i:]) for i in range(1, len(parts))]
  for name in fitting:
    if name in table:
      return table[name]
  # A folder's table has the names of its photos, see `label_table`.
  match = names.match(fitting[:1], table) if root is None else {}
  if match:
    return table[match[fitting[0]]]
  example = f', only of such as {names.readable(next(iter(table)))}' if table else ''
  raise images.ImageError(f'has no label{example}')
