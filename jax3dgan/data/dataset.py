"""A data set: images of one size, by their number; others stand in for those that are damaged."""

import dataclasses
from typing import Any

import numpy as np

from jax3dgan.data import codes as codes_lib
from jax3dgan.data import images, labels, reading, records, sources
from jax3dgan.data import skips as skips_lib


@dataclasses.dataclass(frozen=True)
class Dataset:
  """Images of one size, in the order of their names.

  Attributes:
    name: what the config calls it.
    source: has `read(i) -> records.Record` and `describe(i)`.
    resolution: size of the images in pixels.
    crop: see `images.crop_box`; prepared shards are never cropped again.
    labelled: whether there are labels.
    masks: whether images have a fourth channel, the opacity of what is in front of the ground.
    flip: whether images are mirrored at random, labels with them.
    loader: 'arrays' or 'tfdata'.
    on_device: whether to keep it on the device (`arrays.resident`).
    same_order: whether every epoch reads the images in the same order.
    read_threads: how many records are read at the same time.
    first: only so many images, the first in the order of names; 0 for all.
    skips: the images found to be damaged, which others replace; by default none yet.
    codes: the numbers of each image beside its pixels; by default its label alone.
  """

  name: str
  source: Any
  resolution: int
  crop: str = 'centre'
  labelled: bool = False
  masks: bool = False
  flip: bool = False
  loader: str = 'arrays'
  on_device: bool = False
  same_order: bool = False
  read_threads: int = dataclasses.field(default_factory=reading.num_workers)
  first: int = 0
  skips: skips_lib.Skips | None = None
  codes: codes_lib.Codes | None = None

  def __post_init__(self):
    if self.skips is None:
      object.__setattr__(self, 'skips', skips_lib.Skips(len(self)))
    if self.codes is None:
      object.__setattr__(self, 'codes', codes_lib.Codes(labelled=self.labelled))

  def __len__(self):
    return min(self.first or len(self.source), len(self.source))

  @property
  def channels(self) -> int:
    """Of the images: 3, or 4 with masks."""
    return 4 if self.masks else 3

  @property
  def scene(self) -> dict:
    """What the index says of a scene with known cameras, see `posed.Scene.about`; {} without."""
    return getattr(self.source, 'index', {}).get('scene') or {}

  def __getitem__(self, i):
    """(image uint8 [h, w, c], label float32 [25] or None) number i, never mirrored; with codes, the
    label is their row (`codes.Codes`).

    A damaged image is replaced by another one, see `skips`.
    """
    return self.skips.usable(i, self.decode)

  def example(self, i, record):
    """As [i], of a record that was read in advance.

    Args:
      i: number of the image.
      record: a finished Future of `record(i)`, which may have failed.
    """
    first = [record]

    def decode(j):
      # Only once: where it failed, the next try has to read again.
      return self.decode(j, first.pop().result() if first and j == i else None)

    return self.skips.usable(i, decode)

  def record(self, i):
    """Record i, with a label where the data has labels; a UserError where it cannot be used."""
    try:
      record = self.source.read(i)
    except sources.UnreachableImageError as error:
      raise skips_lib.UnreachableError(
        f'{self.source.describe(i)} of {self.name} cannot be read: {error}. '
        'Bring the file or its disk back, then run the same command.'
      ) from error
    except images.ImageError as error:
      raise self.unusable(i, error) from error
    if self.labelled and (record.label is None or len(record.label) != labels.NUM_NUMBERS):
      raise self.unusable(i, 'it has no label')
    return record

  def row(self, i):
    """The numbers of prepared image i itself (`codes.Codes.row`), without its pixels."""
    record = self.record(i)
    try:
      return self.codes.row(record.label, record.features)
    except images.ImageError as error:
      raise self.unusable(i, error) from error

  def decode(self, i, record=None):
    """As [i], of its record if it is given; a UserError where image i itself cannot be used."""
    record = self.record(i) if record is None else record
    try:
      image = images.decode(record.image)
      if self.masks:
        opacity = images.decode(record.features.get(records.OPACITY, b''))
        image = np.concatenate([image, opacity[..., :1]], axis=-1)
      stored = getattr(self.source, 'resolution', None)
      if stored and image.shape[:2] != (stored, stored):
        raise images.ImageError('its size is not that of the index')
      label = record.label
      if label is not None:
        label = labels.crop(label, *image.shape[:2], images.crop_box(*image.shape[:2], self.crop))
      row = self.codes.row(label, record.features)
      return images.fit(image, self.resolution, self.crop), row
    except images.OutOfMemoryError as error:  # this says nothing of the image
      raise skips_lib.UnreachableError(
        f'{self.source.describe(i)} of {self.name} cannot be decoded: {error}. '
        'Free some memory, or give the program more, then run the same command.'
      ) from error
    except images.ImageError as error:
      raise self.unusable(i, error) from error

  def unusable(self, i, cause):
    """The error of image i that cannot be used."""
    return skips_lib.DamagedError(f'{self.source.describe(i)} of {self.name}: {cause}.')
