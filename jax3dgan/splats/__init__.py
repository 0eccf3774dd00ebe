"""3D Gaussians as files: .ply and .splat for splat viewers, .spz in a tenth of the size, .glb for
everything that reads glTF.

A `Cloud` is in the library's world: x right, y up, z towards the viewer who is in front. Splat
viewers take .ply and .splat with y down and z away from the viewer, as the scenes of COLMAP that
3D Gaussian splatting is trained on are; files of these two are written so, and read back. SPZ and
glTF have the library's own axes.
"""

import pathlib

from jax3dgan import atomic
from jax3dgan.errors import UserError
from jax3dgan.splats import gltf, ply, splat, spz
from jax3dgan.splats.cloud import Cloud, of_gaussians

__all__ = ['ENDINGS', 'Cloud', 'check', 'of_gaussians', 'read', 'write']

_FORMATS = {'.ply': ply, '.splat': splat, '.spz': spz, '.glb': gltf}
ENDINGS = tuple(_FORMATS)


def _format(path):
  ending = pathlib.Path(path).suffix.lower()
  if ending not in _FORMATS:
    raise UserError(f'{path} has no known ending. End it in one of {", ".join(ENDINGS)}.')
  return _FORMATS[ending]


def check(path) -> None:
  """Raises a UserError for a file of no known ending."""
  _format(path)


def write(path, cloud: Cloud) -> None:
  """Writes Gaussians by the file's ending, atomically, the same bytes for the same Gaussians.

  Args:
    path: .ply: all of them, in float32; .splat: positions and scales in float32, colours from
      everywhere the same, opacities and rotations in bytes, the most visible first; .spz: version
      2, 24-bit positions to 1/4096 of a world unit, all else in bytes; .glb: all of them, in
      float32, by the extension KHR_gaussian_splatting, with coloured points for readers without it.

  Raises:
    UserError: Another ending, or numbers that the format does not have.
  """
  path = pathlib.Path(path)
  content = _format(path).dumps(cloud)
  path.parent.mkdir(parents=True, exist_ok=True)
  atomic.write(path, content)


def read(path) -> Cloud:
  """Reads Gaussians that `write` or another program wrote.

  Raises:
    UserError: Another ending, or it holds no Gaussians.
  """
  path = pathlib.Path(path)
  own = _format(path)
  try:
    content = path.read_bytes()
  except OSError as error:
    raise UserError(f'{path} cannot be read: {error.strerror}. Give the path of a file.') from None
  try:
    return own.loads(content)
  except UserError as error:
    raise UserError(f'{path}: {error}') from None
