"""Codes of images: what a record has beside its camera label, as the weights of a face model.

A loader keeps label and codes of an image in one row of numbers, which is mirrored as a whole, and
gives them apart under their names.
"""

import dataclasses
from collections.abc import Mapping

import jax
import numpy as np

from jax3dgan.data import images, labels, reading, skips
from jax3dgan.errors import UserError


@dataclasses.dataclass(frozen=True)
class Codes:
  """The numbers of an image's row: its label, where there are labels, and then its codes.

  Attributes:
    sizes: {name: how many numbers} of the codes.
    labelled: whether a row begins with a label.
    mirrors: {name: (order, sign)} of a mirrored image's codes, code[order] · sign; None where that
      is not known: such images are never mirrored.
  """

  sizes: Mapping[str, int] = dataclasses.field(default_factory=dict)
  labelled: bool = True
  mirrors: Mapping[str, tuple[np.ndarray, np.ndarray]] | None = None

  @property
  def parts(self) -> dict[str, int]:
    """{name: how many numbers} of a row."""
    return {**({'label': labels.NUM_NUMBERS} if self.labelled else {}), **self.sizes}

  @property
  def size(self) -> int:
    """How many numbers a row has."""
    return sum(self.parts.values())

  def row(self, label, features):
    """float32 [size] of a record's label and features; None where there is nothing.

    Raises:
      ImageError: a code is not there, or of another size.
    """
    found = [] if label is None else [np.asarray(label, np.float32)]
    for name, size in self.sizes.items():
      code = features.get(name, ())
      if isinstance(code, bytes) or np.shape(code) != (size,) or not np.isfinite(code).all():
        raise images.ImageError(f"it has no {size} finite numbers '{name}'")
      found.append(np.asarray(code, np.float32))
    return np.concatenate(found) if found else None

  def split(self, rows) -> dict:
    """{name: [..., k]} of rows [..., size], NumPy or JAX."""
    ends = np.cumsum(list(self.parts.values())).tolist()
    names = self.parts.items()
    return {name: rows[..., end - k : end] for (name, k), end in zip(names, ends, strict=True)}

  def mirror(self, rows):
    """The rows [..., size] of mirrored images, NumPy or JAX."""
    if not self.sizes:
      return labels.mirror(rows)
    xp = np if isinstance(rows, np.ndarray) else jax.numpy
    parts = self.split(rows)
    mirrors = self.mirrors or {}
    found = [labels.mirror(parts['label'])] if self.labelled else []
    for name in self.sizes:
      order, sign = mirrors[name]
      # Of the rows' own rank: JAX may be set to refuse the promotion of ranks.
      found.append(parts[name][..., order] * sign.reshape((1,) * (rows.ndim - 1) + (-1,)))
    return xp.concatenate(found, axis=-1)


def of_source(source, sizes: Mapping[str, int], flip: bool, name: str) -> Codes:
  """The codes that a data set's records have.

  Args:
    source: has `read(i)`, `labelled`, and an `index` where it is prepared.
    sizes: {name: how many numbers} of the codes that are wanted.
    flip: whether images are mirrored.
    name: of the data set.

  Raises:
    UserError: its records have no such codes, or it is not known how they are mirrored.
  """
  if not sizes:
    return Codes(labelled=source.labelled)
  mirrors = _mirrors(source)
  codes = Codes(dict(sizes), source.labelled, mirrors)
  try:
    first = source.read(0)
    codes.row(first.label, first.features)
  except skips.DamagedError:
    pass  # another stands in for it, which is asked when it is read
  except images.ImageError as error:
    raise UserError(
      f'{name} has no codes, as {source.describe(0)} shows: {error}. Use data whose records have '
      'them, as rendered faces (docs/faces.md).'
    ) from error
  known = {key: len(order) for key, (order, _) in (mirrors or {}).items()}
  if flip and any(known.get(key) != size for key, size in sizes.items()):
    raise UserError(
      f'It is not known how the codes {", ".join(sizes)} of {name} are mirrored. Set '
      '--config.data.flip=False.'
    )
  return codes


def _mirrors(source):
  if getattr(source, 'index', {}).get('source') != 'ict_faces':
    return None
  from jax3dgan.data.builders.ict_faces import mirror

  return mirror.CODES


def table(dataset) -> np.ndarray:
  """The rows [n, size] of a whole data set, in its order; a damaged record's is the one that stands
  in for it.

  Raises:
    UserError: as `Dataset.record`.
  """
  numbers = ([(i,)] for i in range(len(dataset)))

  def row(i):
    return dataset.skips.usable(i, dataset.row)

  with reading.threads(dataset.read_threads, 'codes') as readers:
    found = reading.in_order(
      readers, row, numbers, reading.num_ahead(1, dataset.read_threads), dataset.skips.stops
    )
    return np.stack([rows[0] for rows in found])
