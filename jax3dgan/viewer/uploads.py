"""Photos uploaded by a browser, with limits on their size."""

import io

import numpy as np
from PIL import Image

from jax3dgan.data import images
from jax3dgan.errors import UserError

MAX_BYTES = 20 * 2**20
MAX_PIXELS = 50_000_000
_FORMATS = ('PNG', 'JPEG', 'WEBP')
_REMEDY = 'Choose a PNG, JPEG or WebP file'


def read_photo(name: str, data: bytes, resolution: int) -> np.ndarray:
  """Decodes an upload, upright and on white where it is transparent, and crops its middle square.

  Args:
    name: The file's name, for messages.
    data: Its bytes.
    resolution: Pixels on a side of the result.

  Returns:
    float32 [1, resolution, resolution, 3] in [−1, 1].

  Raises:
    UserError: Not a PNG, JPEG or WebP file; damaged; too large, in bytes or pixels; too small.
  """
  name = _short(name)
  if len(data) > MAX_BYTES:
    raise UserError(f'{name} has more than {MAX_BYTES >> 20} MiB. {_REMEDY} of less.')
  try:
    with Image.open(io.BytesIO(data), formats=_FORMATS) as header:
      width, height = header.size
      header.verify()  # checksums, before the pixels
  except (Image.DecompressionBombError, Image.DecompressionBombWarning):
    width = height = MAX_PIXELS
  except Exception:  # Pillow's plugins raise many kinds of errors
    raise UserError(f'{name} is no picture that can be read. {_REMEDY}.') from None
  if width * height > MAX_PIXELS:
    raise UserError(
      f'{name} has more than {MAX_PIXELS // 1_000_000} million pixels. Make it smaller.'
    )
  try:
    picture = images.crop_and_resize(images.decode(data), resolution)
  except images.ImageError as error:
    raise UserError(f'{name} cannot be used: {error}. {_REMEDY}, whole and large enough.') from None
  return np.float32(picture)[None] / 127.5 - 1


def _short(name: str) -> str:
  name = ''.join(c for c in name if c.isprintable()).rpartition('/')[2]
  return name if len(name) <= 40 else f'{name[:36]}…'


class BoundedTransfers(dict):
  """The unfinished uploads of a browser, by transfer, with a limit on their size.

  viser stores the chunks of a file until the last one, without a limit. This dict replaces viser's:
  it refuses a file whose announced size is too large, and drops one that exceeds the limit later.

  Args:
    refused: Called with the name of a file, once.
    max_bytes: The limit.
  """

  def __init__(self, refused, max_bytes: int = MAX_BYTES):
    super().__init__()
    self._refused = refused
    self._max_bytes = max_bytes

  def __setitem__(self, transfer, state):
    if state['total_bytes'] > self._max_bytes:
      self._refused(state['filename'])
    else:
      super().__setitem__(transfer, state)

  def __contains__(self, transfer):
    state = self.get(transfer)
    if state is not None and state['transferred_bytes'] > self._max_bytes:
      del self[transfer]
      self._refused(state['filename'])
    return super().__contains__(transfer)


def bound_transfers(client, refused) -> None:
  """Limits the uploads of a viser client; see `BoundedTransfers`."""
  # Where a later viser has no such dict, the whole file is measured once it is there.
  if isinstance(getattr(client.gui, '_current_file_upload_states', None), dict):
    client.gui._current_file_upload_states = BoundedTransfers(refused)
