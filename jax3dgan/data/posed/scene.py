"""A scene: found in a folder or an archive, read, framed, and divided into splits."""

import dataclasses
import os
import posixpath

from jax3dgan.data.posed import colmap, framing, transforms
from jax3dgan.data.posed.files import Files
from jax3dgan.errors import UserError

BACKGROUNDS = ('white', 'black')
_LABELS_FILE = 'dataset.json'  # EG3D's labels: then it is a data set of images
_ARCHIVES = ('.tar', '.zip')
# A folder of more is no collection of scenes, and asking in each for files takes time.
_MAX_FOLDERS = 100


@dataclasses.dataclass(frozen=True)
class Options:
  """How a scene is read.

  Attributes:
    background: 'white' or 'black', what transparent pixels are composited on.
    framing: 'auto' or 'none', see `framing`.
    scale: units of the library's world for one of the file's; None to choose.
    centre: (x, y, z) in the file's world that becomes the origin; None to choose.
    up: the axis of the file's world that points upwards, 'x' to '-z'; 'auto' for the format's.
    hold_out: n: every n-th view is of the split 'test', the others of 'train'. 0 for none.
  """

  background: str = 'white'
  framing: str = 'auto'
  scale: float | None = None
  centre: tuple[float, float, float] | None = None
  up: str = 'auto'
  hold_out: int = 0

  def __post_init__(self):
    if self.background not in BACKGROUNDS:
      raise UserError(f'The background is {self.background}. Set it to white or black.')
    if self.framing not in framing.MODES:
      raise UserError(f'The framing is {self.framing}. Set it to {" or ".join(framing.MODES)}.')
    if self.up not in framing.UPS:
      raise UserError(f'Up is {self.up}. Set it to one of {", ".join(framing.UPS)}.')
    if self.scale is not None and not 0 < self.scale < float('inf'):
      raise UserError(f'The scale is {self.scale:g}. Set it above 0.')
    if self.hold_out < 0 or self.hold_out == 1:
      raise UserError(f'hold_out is {self.hold_out}. Set it to 2 or more, or to 0 for no view.')


class Scene:
  """A scene, opened.

  Args:
    path: folder, .tar or .zip.
    options: Options.

  Attributes:
    files: its `files.Files`.
    capture: its `frames.Capture`.
    framing: its `framing.Framing`: one for all splits, of the cameras of 'train' (those held out
      of it, too).
    splits: dict of split -> list of `frames.Frame`.

  Raises:
    UserError: where it is none, or cannot be read.
  """

  def __init__(self, path, options=None):
    self.options = options = options or Options()
    self.files = Files(os.path.expanduser(os.fspath(path)))
    folder = _locate(self.files, path)
    if folder is None:
      raise UserError(
        f'{path} is no scene with cameras: it has neither {transforms.FILE}, '
        f'{transforms.SPLIT_FILES["train"]} nor sparse/0/cameras.bin. Name another folder.'
      )
    reader = transforms if transforms.is_here(self.files, folder) else colmap
    self.capture = reader.read(self.files, folder)
    self.splits = _divide(self.capture.splits, options.hold_out)
    self.framing = framing.find(
      self.capture, options.framing, options.scale, options.centre, options.up
    )

  def frames(self, split):
    """The frames of a split; UserError where there is none."""
    if split not in self.splits:
      remedy = 'set --split to one of these'
      if split == 'test':
        remedy = 'hold some views out with --hold-out=8, in the split train too'
      raise UserError(
        f'{self.files.path} has no split {split}, only {", ".join(self.splits)}: {remedy}.'
      )
    return self.splits[split]

  def about(self, split):
    """What the index of prepared shards says of the scene, a dict."""
    return {
      'format': self.capture.format,
      'split': split,
      'options': dataclasses.asdict(self.options),
      'framing': self.framing.as_dict(),
      'notes': list(self.capture.notes),
    }


def is_scene(path):
  """Whether a path is a scene with cameras: a folder, .tar or .zip with a format's files.

  A folder or zip with EG3D's dataset.json is none.

  Raises:
    UserError: where it holds several scenes, or is an archive that cannot be read.
  """
  path = os.path.expanduser(os.fspath(path))
  if os.path.isdir(path):
    view = _Glance(path)
  elif os.path.isfile(path) and path.lower().endswith(_ARCHIVES):
    view = Files(path)
  else:
    return False
  if _LABELS_FILE in view or (folder := _locate(view, path)) is None:
    return False
  return posixpath.join(folder, _LABELS_FILE) not in view


class _Glance:
  """As `Files`, of a folder, for a few questions: the folder is not searched."""

  def __init__(self, path):
    self._path = path

  def __contains__(self, name):
    return os.path.isfile(os.path.join(self._path, name))

  def folders(self, parent=''):
    try:
      with os.scandir(os.path.join(self._path, parent)) as entries:
        return sorted(e.name for e in entries if e.is_dir() and not e.name.startswith('.'))
    except OSError:
      return []


def _locate(files, path):
  """The folder of the scene: the top or the one below it that is a scene; None without any."""
  is_here = lambda folder: transforms.is_here(files, folder) or bool(colmap.find(files, folder))  # noqa: E731
  if is_here(''):
    return ''
  below = files.folders()
  if len(below) > _MAX_FOLDERS:
    return None
  found = [folder for folder in below if is_here(folder)]
  if found and len(below) > 1:
    raise UserError(
      f'{path} has folders beside one another, of which {", ".join(found[:5])} are scenes. Name '
      'the folder of one scene (unpacked), or take them for photos alone with --labels=none.'
    )
  return found[0] if found else None


def _divide(splits, hold_out):
  if not hold_out:
    return splits
  if 'test' in splits:
    raise UserError('This scene has views for the split test already. Leave --hold-out out.')
  frames = splits.get('train') or next(iter(splits.values()))
  if len(frames) < 2:
    raise UserError(f'Of {len(frames)} view none can be held out. Leave --hold-out out.')
  train = [frame for i, frame in enumerate(frames) if i % hold_out]
  return {**splits, 'train': train, 'test': frames[::hold_out]}
