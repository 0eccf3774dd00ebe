"""Photos of faces as a source for `prepare`: aligned, with the labels of their cameras."""

import hashlib

import numpy as np

from jax3dgan.data import images, sources
from jax3dgan.data.faces import detector, pose, warp, weights
from jax3dgan.data.records import Record

VERSION = 1  # To be raised with every change of what is found, so that no data set mixes them.
_MOST_OUTSIDE = 0.3  # of a square, that may lie beyond the photo
_MOST_ERROR = 0.06  # of the landmarks, in widths of the square: others are no face, or hidden


def aligned(image, align: str = 'face') -> pose.Fit:
  """The camera and the square of the largest face of a photo uint8 [h, w, 3].

  Args:
    align: 'face' for FFHQ's square, 'head' for one with room for all of a head.

  Raises:
    ImageError: there is no face, it is too near the border, or landmarks do not fit a face.
  """
  points = detector.landmarks(image)
  if points is None:
    raise images.ImageError('no face is found')
  fit = pose.fit(points)
  if fit.error > _MOST_ERROR:
    raise images.ImageError(f'the landmarks fit no face ({fit.error:.1%} of the width)')
  fit = fit.cropped(pose.WIDTHS[align])
  outside = fit.square.outside(*image.shape[:2])
  if outside > _MOST_OUTSIDE:
    raise images.ImageError(f'the face is too near the border ({outside:.0%} would be missing)')
  return fit


class AlignedFaces:
  """The photos of another source, see `sources`, cut and labelled. It can be pickled.

  Args:
    opener: arguments of `sources.open_source`, labels left out.
    align: see `aligned`.

  Attributes:
    settings: what decides on the pictures beside the files, a dict as of JSON.
  """

  labelled = True
  label_table = None  # no file has them
  cameras = np.zeros((0, 25))  # to look for oddities in: all are of one kind

  def __init__(self, opener, align: str):
    self._arguments = opener, align
    self._source, self._align = sources.open_source(*opener), align
    digest = hashlib.sha256(b''.join(p.read_bytes() for p in weights.paths().values()))
    self.settings = {'align': align, 'version': VERSION, 'weights': digest.hexdigest()[:16]}
    self.notes = self._source.notes

  def __reduce__(self):
    return AlignedFaces, self._arguments

  def __len__(self):
    return len(self._source)

  def describe(self, i):
    return self._source.describe(i)

  def size(self, i):
    return self._source.size(i)

  def stamp(self, i):
    return self._source.stamp(i)

  def read(self, i):
    """Record i: the square, at the photo's own resolution, and its label."""
    record = self._source.read(i)
    image = images.decode(record.image)
    fit = aligned(image, self._align)
    square = warp.cut(image, fit.square, max(1, round(fit.square.size)), mirrored=True)
    return Record(images.encode_ppm(square), fit.label, record.key)
