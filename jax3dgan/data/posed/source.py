"""The photos of a scene with their labels: as a source for `prepare`, or in memory."""

import dataclasses
import json

import numpy as np

from jax3dgan.data import images, labels
from jax3dgan.data.posed import distortion
from jax3dgan.data.posed.framing import Framing
from jax3dgan.data.posed.scene import Options, Scene
from jax3dgan.data.records import Record
from jax3dgan.errors import UserError

_MAX_LEFT_OUT = 0.1  # as `unfinished.MAX_SKIPPED`: more is no accident


class PosedSource:
  """The photos of one split, see `sources`. It can be pickled, for other processes.

  Args:
    path: folder, .tar or .zip.
    split: 'train', 'val' or 'test'.
    options: `scene.Options`.

  Attributes:
    about: what the index is to say of the scene, a dict.
    settings: what decides on the photos and labels beside the files, a dict as of JSON.
    cameras: float64 [n, 25], the poses with intrinsics of unlimited width.
    label_table: dict of name -> what the label of a photo is made of, for the fingerprint.
  """

  labelled = True
  notes = ()  # the scene's are printed before

  def __init__(self, path, split='train', options=None):
    scene = Scene(path, options)
    self._frames = scene.frames(split)
    self._files = scene.files
    self._background = scene.options.background
    self._poses = scene.framing.pose(np.stack([frame.cam2world for frame in self._frames]))
    # Of unlimited width: the intrinsics are known when a photo is read.
    wide = np.diag([1e-6, 1e-6, 1.0]) + np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])
    self.cameras = np.stack([np.concatenate([p.ravel(), wide.ravel()]) for p in self._poses])
    self.framing = scene.framing
    self.about = scene.about(split)
    self.settings = json.loads(json.dumps({'split': split, **dataclasses.asdict(scene.options)}))
    self.label_table = {
      frame.name: np.concatenate([pose.ravel(), frame.lens.numbers()])
      for frame, pose in zip(self._frames, self._poses, strict=True)
    }

  def __len__(self):
    return len(self._frames)

  def describe(self, i):
    return self._frames[i].name

  def size(self, i):
    """Bytes of photo i, 0 where it is missing."""
    return self._files.sizes.get(self._frames[i].path, 0)

  def stamp(self, i):
    """A text that changes whenever photo i does, and sometimes without."""
    return self._files.stamp(self._frames[i].path)

  def read(self, i):
    """Record i: the photo, undistorted and on the background, and the label of all of it."""
    image, label = self.decode(i)
    return Record(images.encode_ppm(image), label, self.describe(i))

  def decode(self, i):
    """(image uint8 [h, w, 3], label float32 [25]) of photo i; ImageError where it has none."""
    frame = self._frames[i]
    if not frame.path:
      raise images.ImageError('missing')
    data = self._files.read(frame.path, images.MAX_BYTES + 1)
    image = images.decode(data, self._background, upright=False)
    intrinsics = frame.lens.intrinsics(*image.shape[:2])
    if frame.lens.distortion:
      image, intrinsics = distortion.undistort(image, intrinsics, frame.lens.distortion)
    label = np.concatenate([self._poses[i].ravel(), intrinsics.ravel()])
    return image, label.astype(np.float32)


@dataclasses.dataclass(frozen=True)
class Views:
  """Views of a scene, in memory.

  Attributes:
    images: uint8 [n, r, r, 3]; without a resolution a list of uint8 [h, w, 3].
    labels: float32 [n, 25], of `images`.
    names: list of n, in order: r_2 before r_10.
    framing: `framing.Framing`.
    left_out: dict of name -> cause of photos that cannot be used.
  """

  images: np.ndarray | list[np.ndarray]
  labels: np.ndarray
  names: list[str]
  framing: Framing
  left_out: dict[str, str]


def load(
  path,
  split='train',
  background='white',
  resolution=None,
  max_left_out=_MAX_LEFT_OUT,
  **options,
) -> Views:
  """Reads the views of a split into memory.

  Args:
    path: folder, .tar or .zip of a scene.
    split: 'train', 'val' or 'test'.
    background: 'white' or 'black'.
    resolution: photos are cropped to the centred square and resized to this many pixels, as by
      `prepare`; None for all of them as they are, of whatever sizes.
    max_left_out: the share of the photos that may be left out.
    options: others of `scene.Options`: framing, scale, centre, up, hold_out.

  Raises:
    UserError: where the scene cannot be read, or too many of its photos.
  """
  source = PosedSource(path, split, Options(background=background, **options))
  pictures, kept, names, left_out = [], [], [], {}
  for i in range(len(source)):
    try:
      image, label = source.decode(i)
      if resolution is not None:
        label = labels.crop(label, *image.shape[:2], images.crop_box(*image.shape[:2]))
        image = images.crop_and_resize(image, resolution)
    except images.ImageError as error:
      left_out[source.describe(i)] = str(error)
      continue
    pictures.append(image)
    kept.append(label)
    names.append(source.describe(i))
  if len(left_out) > max_left_out * len(source) or not names:
    name, cause = next(iter(left_out.items()))
    raise UserError(
      f'{len(left_out)} of {len(source)} photos of {path} cannot be used, such as {name}: {cause}. '
      'Mend them, leave their frames out, or give a larger max_left_out.'
    )
  pictures = pictures if resolution is None else np.stack(pictures)
  return Views(pictures, np.stack(kept), names, source.framing, left_out)
