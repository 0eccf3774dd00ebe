"""The files of an inversion: NAME.npz has the style and the camera, and how the loss fell.

  from jax3dgan import inversion

  w, camera = inversion.load('inverted/car.npz')

Arrays of the file: `w` [1, ...], `label` [n, 25] (cam2world and intrinsics of each photo, see
`cameras.from_label`), `names` [n] of the photos, `losses/NAME` [num_steps, n].
"""

import io
import pathlib

import numpy as np

from jax3dgan import atomic
from jax3dgan.cameras import Camera
from jax3dgan.errors import UserError


class NoResult(Exception):
  """An inversion whose numbers are not finite, with the cause and the remedy."""


def save(path, w, camera: Camera, losses: dict[str, np.ndarray], names: list[str]) -> None:
  """Writes a result, whole or not at all.

  Args:
    path: NAME.npz.
    w: [1, ...] the style.
    camera: [n] of its photos.
    losses: {name: [num_steps, n]}.
    names: [n] of the photos.
  """
  label = np.concatenate(
    [np.reshape(camera.cam2world, (-1, 16)), np.reshape(camera.intrinsics, (-1, 9))], axis=1
  )
  file = io.BytesIO()
  arrays = {f'losses/{name}': np.float32(values) for name, values in losses.items()}
  np.savez_compressed(
    file, w=np.float32(w), label=np.float32(label), names=np.array(names), **arrays
  )
  atomic.write(path, file.getvalue())


def load(path) -> tuple[np.ndarray, Camera]:
  """Returns the style w [1, ...] and the cameras [n] of its photos that a file has.

  Raises:
    UserError: There is no such file, or it is none of `jax3dgan invert`.
  """
  path = pathlib.Path(path)
  try:
    with np.load(path, allow_pickle=False) as file:
      w, label = file['w'], file['label']
  except FileNotFoundError:
    raise UserError(f'{path}: there is no such file. Make it with jax3dgan invert.') from None
  except Exception as error:  # zipfile, zlib and NumPy raise a dozen kinds on a damaged file
    raise UserError(
      f'{path} is no result of jax3dgan invert ({type(error).__name__}). Give its NAME.npz.'
    ) from None
  right = w.ndim >= 2 and len(w) == 1 and label.ndim == 2 and label.shape[1] == 25
  if not (right and np.isfinite(w).all() and np.isfinite(label).all()):
    raise UserError(f'{path} has no style and cameras of finite numbers. Make it again.')
  return w, Camera(label[:, :16].reshape(-1, 4, 4), label[:, 16:].reshape(-1, 3, 3))
