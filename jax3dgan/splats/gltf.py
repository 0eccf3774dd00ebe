"""GLB files with the extension KHR_gaussian_splatting (Khronos, ratified): linear scales, opacities
in [0, 1], rotations (x, y, z, w), spherical harmonics coefficient by coefficient. `COLOR_0` is for
readers without the extension, which show coloured points."""

import numpy as np

from jax3dgan.errors import UserError
from jax3dgan.harmonics import COUNTS
from jax3dgan.meshes.gltf import Glb, to_linear
from jax3dgan.splats.cloud import Cloud, cloud

_NAME = 'KHR_gaussian_splatting'
_SETTINGS = {
  'kernel': 'ellipse',
  'colorSpace': 'srgb_rec709_display',
  'projection': 'perspective',
  'sortingMethod': 'cameraDistance',
}
_POINTS, _FLOAT = 0, 5126


def _harmonics(degree: int) -> list[str]:
  """Names of the coefficients, in order."""
  return [f'{_NAME}:SH_DEGREE_{of}_COEF_{i}' for of in range(degree + 1) for i in range(2 * of + 1)]


def dumps(own: Cloud) -> bytes:
  """The file."""
  glb = Glb()
  shown = np.concatenate([to_linear(own.colours), own.opacities[:, None]], axis=1)
  attributes = {
    'POSITION': glb.add(own.means, limits=True),
    'COLOR_0': glb.add(shown),
    f'{_NAME}:ROTATION': glb.add(own.quaternions[:, [1, 2, 3, 0]]),
    f'{_NAME}:SCALE': glb.add(own.scales),
    f'{_NAME}:OPACITY': glb.add(own.opacities),
  }
  for i, name in enumerate(_harmonics(own.degree)):
    attributes[name] = glb.add(own.harmonics[:, i])
  primitive = {'mode': _POINTS, 'attributes': attributes, 'extensions': {_NAME: _SETTINGS}}
  glb.tree['meshes'] = [{'name': 'gaussians', 'primitives': [primitive]}]
  glb.tree['nodes'] = [{'name': 'gaussians', 'mesh': 0}]
  glb.tree['scenes'] = [{'nodes': [0]}]
  glb.tree['extensionsUsed'] = [_NAME]
  return glb.to_bytes()


def loads(content: bytes) -> Cloud:
  """The Gaussians of a file's first primitive with the extension; UserError for none."""
  try:
    glb = Glb(content)
    primitives = [p for mesh in glb.tree.get('meshes', ()) for p in mesh['primitives']]
    found = next((p for p in primitives if _NAME in p.get('extensions', {})), None)
    if found is None:
      raise UserError(f'it has nothing of {_NAME}. Give a GLB file with Gaussians.')
    attributes = found['attributes']
    values = {name: _values(glb, accessor) for name, accessor in attributes.items()}
    k = sum(name.startswith(f'{_NAME}:SH_') for name in values)
    names = _harmonics(COUNTS.index(k))
    return cloud(
      values['POSITION'],
      values[f'{_NAME}:SCALE'],
      values[f'{_NAME}:ROTATION'][:, [3, 0, 1, 2]],
      values[f'{_NAME}:OPACITY'][:, 0],
      np.stack([values[name] for name in names], axis=1),
    )
  except (LookupError, ValueError, TypeError) as error:
    raise UserError(f'it is no GLB file that can be read ({error!r}). Write it again.') from None


def _values(glb: Glb, index: int) -> np.ndarray:
  """[n, c] of a plain accessor of float numbers."""
  accessor = glb.tree['accessors'][index]
  if accessor['componentType'] != _FLOAT or accessor.get('sparse'):
    raise UserError('its attributes are compressed. Write it with float numbers.')
  view = glb.tree['bufferViews'][accessor['bufferView']]
  width = {'SCALAR': 1, 'VEC3': 3, 'VEC4': 4}[accessor['type']]
  start = view.get('byteOffset', 0) + accessor.get('byteOffset', 0)
  count = accessor['count'] * width
  return np.frombuffer(bytes(glb.data), '<f4', count, start).reshape(-1, width)
