"""EG3D's dataset.json: labels by the names of images, and which image a name means."""

import numpy as np

from jax3dgan import camera_checks, texts
from jax3dgan.data import images, names
from jax3dgan.errors import UserError

LABELS_FILE = 'dataset.json'
_SHOWN = 2  # names in a message
# Labels of records that are read before the work begins, to warn of odd ones.
_CHECKED = 64
_WITHOUT = 'set --labels=none'


def load_labels(path, without=_WITHOUT):
  """The labels of a dataset.json, see `parse_labels`; None without one."""
  if path is None:
    return None
  try:
    with open(path, 'rb') as file:
      return parse_labels(file.read(), path, without)
  except OSError as error:
    raise UserError(
      f'The labels {path} cannot be read ({error.strerror}). Name a dataset.json.'
    ) from error


def parse_labels(content, where, without=_WITHOUT):
  """Parses EG3D's dataset.json: {"labels": [[name, [25 numbers]], ...]}, or null.

  Args:
    content: bytes of the file.
    where: its name, for messages.
    without: what to do in order to go without labels, for messages.

  Returns:
    dict of name -> float32 [25], or None where there are no labels.

  Raises:
    UserError: where it is of another form, or a label is no camera.
  """
  document = texts.parse_json(content, where)
  try:
    pairs = document['labels']
    if not pairs:  # null, or an empty list
      return None
    pairs = list(pairs.items() if isinstance(pairs, dict) else pairs)
    table = {str(name).replace('\\', '/'): label for name, label in pairs}
  except (ValueError, TypeError, KeyError) as error:
    raise UserError(
      f'{where} is not of the form {{"labels": [[name, [25 numbers]], ...]}}. Mend or remove it.'
    ) from error
  if table and all(isinstance(label, int) for label in table.values()):
    raise UserError(
      f'{where} has classes (whole numbers) as labels, not the 25 numbers of cameras. Remove '
      f'it, or {without}.'
    )
  result = {}
  for name, label in table.items():
    try:
      label = np.array(label, np.float64)
    except (ValueError, TypeError, OverflowError):
      label = np.zeros(0)
    if label.shape != (camera_checks.NUM_NUMBERS,) or not np.isfinite(label).all():
      raise UserError(
        f'{where}: the label of {name} is not {camera_checks.NUM_NUMBERS} finite numbers '
        f'(cam2world row by row, then intrinsics). Mend it, or {without}.'
      )
    result[name] = label
  _check(result, where, without)
  return {name: label.astype(np.float32) for name, label in result.items()}


def _check(table, where, without):
  """UserError where one is no camera; all together first, which is quick."""
  if not table:
    return
  try:
    camera_checks.check_labels(np.stack(list(table.values())))
  except UserError:
    for name, label in table.items():
      try:
        camera_checks.check_labels(label, f'{where}: the label of {name}')
      except UserError as error:
        raise UserError(f'{error} Or {without}.') from error
    raise


class Labels:
  """The labels of a data set, by the names of its images.

  Args:
    image_names: of the data set.
    tables: list of (folder, where, table): of each dataset.json its folder below the data set's
      ('' for the top), its name for messages, and its `parse_labels`, which may be None.

  Attributes:
    table: dict of the image's name -> label; None without any labels.
    notes: lines on names that are spelled in another way.

  Raises:
    UserError: where a file has labels, and none is of an image.
  """

  def __init__(self, image_names, tables):
    tables = [entry for entry in tables if entry[2] is not None]
    self.table = {} if tables else None
    self.notes = []
    self._where = ', '.join(str(where) for _, where, _ in tables)
    self._example = next((name for *_, table in tables for name in table), None)
    for folder, where, table in sorted(tables, key=lambda entry: entry[0].count('/')):
      prefix = f'{folder}/' if folder else ''
      below = {name[len(prefix) :]: name for name in image_names if name.startswith(prefix)}
      if table.keys() >= below.keys():
        found = {name: name for name in below}
      else:
        found = names.match(below, table)
      if table and below and not found:
        raise UserError(
          f'{where} has labels of {len(table)} images, such as {_some(table)}, but of none that is '
          f'here, such as {_some(below)}. Write these names into it, or leave the labels out with '
          '--labels=none.'
        )
      other = [(a, b) for a, b in found.items() if a != b]
      if other:
        a, b = other[0]
        self.notes.append(
          f'{len(other)} labels of {where} are of images with another spelling, such as {b} of '
          f'{names.readable(a)}.'
        )
      self.table |= {below[name]: table[entry] for name, entry in found.items()}

  def find(self, name):
    """The label of an image; None without labels; ImageError where only this one has none."""
    if self.table is None:
      return None
    if name not in self.table:
      has = f'; it has such as {self._example}' if self._example else ''
      raise images.ImageError(f'has no label (in {self._where}{has})')
    return self.table[name]


def _some(table):
  return ', '.join(names.readable(name) for name in list(table)[:_SHOWN])


def oddities(source) -> list[str]:
  """What is odd about the cameras of a source (see `sources`), a line each.

  Of a scene its `cameras`; of labels in records some that are read.
  """
  if not source.labelled:
    return []
  if (found := getattr(source, 'cameras', None)) is None:
    if source.label_table is not None:
      found = list(source.label_table.values())
    else:
      chosen = np.unique(np.linspace(0, len(source) - 1, _CHECKED).astype(int)).tolist()
      found = [label for i in chosen if (label := _label_of(source, i)) is not None]
  return camera_checks.oddities(np.stack(found)) if len(found) else []


def _label_of(source, i):
  try:
    return source.read(i).label
  except images.ImageError:
    return None
