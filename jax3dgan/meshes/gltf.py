"""Parts of a GLB file that trimesh does not write: linear colours, an animated camera.

glTF 2.0 (Khronos): a binary file of a JSON chunk and one of numbers. Cameras look along their −z,
y up, in a world with y up.
"""

import json
import struct

import numpy as np

from jax3dgan import json_text

_JSON, _BIN = 0x4E4F534A, 0x004E4942
_FLOAT = 5126
_TYPES = {(): 'SCALAR', (3,): 'VEC3', (4,): 'VEC4'}


class Glb:
  """A GLB file that can be added to.

  Attributes:
    tree: Its JSON chunk.
    data: Its numbers.
  """

  def __init__(self, content: bytes | None = None):
    self.tree = {'asset': {'version': '2.0', 'generator': 'jax3dgan'}}
    self.tree |= {'scene': 0, 'scenes': [{'nodes': []}], 'nodes': []}
    self.data = bytearray()
    if content is None:
      return
    magic, version, _ = struct.unpack_from('<4sII', content)
    if magic != b'glTF' or version != 2:
      raise ValueError('not a GLB file of version 2')
    at = 12
    while at < len(content):
      length, kind = struct.unpack_from('<II', content, at)
      chunk = content[at + 8 : at + 8 + length]
      if kind == _JSON:
        self.tree = json.loads(chunk)
      elif kind == _BIN:
        self.data = bytearray(chunk)
      at += 8 + length

  def add(self, values: np.ndarray, limits: bool = False) -> int:
    """Adds an array [n], [n, 3] or [n, 4] as float32; returns its accessor."""
    values = np.ascontiguousarray(values, '<f4')
    self.data += bytes(-len(self.data) % 4)
    views = self.tree.setdefault('bufferViews', [])
    views.append({'buffer': 0, 'byteOffset': len(self.data), 'byteLength': values.nbytes})
    self.data += values.tobytes()
    accessor = {
      'bufferView': len(views) - 1,
      'componentType': _FLOAT,
      'count': len(values),
      'type': _TYPES[values.shape[1:]],
    }
    if limits:
      ends = {'min': values.min(axis=0), 'max': values.max(axis=0)}
      accessor |= {name: np.atleast_1d(end).tolist() for name, end in ends.items()}
    accessors = self.tree.setdefault('accessors', [])
    accessors.append(accessor)
    return len(accessors) - 1

  def colour(self, colours: np.ndarray) -> None:
    """Sets the colours [v, 3] of the vertices of the first mesh, sRGB in [0, 1]; glTF stores them
    linear. The material is matt and double-sided."""
    primitive = self.tree['meshes'][0]['primitives'][0]
    primitive['attributes']['COLOR_0'] = self.add(to_linear(colours))
    self.tree['materials'] = [
      {
        'name': 'surface',
        'doubleSided': True,
        'pbrMetallicRoughness': {'metallicFactor': 0.0, 'roughnessFactor': 1.0},
      }
    ]
    primitive['material'] = 0

  def film(self, cam2world: np.ndarray, yfov: float, aspect: float, fps: float) -> None:
    """Adds an animated camera.

    Args:
      cam2world: [n, 4, 4] in glTF's axes (x right, y up, looking along −z), one each frame.
      yfov: Full vertical field of view, radians.
      aspect: Width by height of the image.
      fps: Frames per second.
    """
    tree = self.tree
    tree.setdefault('cameras', []).append(
      {
        'name': 'camera',
        'type': 'perspective',
        'perspective': {'yfov': yfov, 'aspectRatio': aspect, 'znear': 0.01, 'zfar': 100.0},
      }
    )
    turns, places = quaternions(cam2world[:, :3, :3]), cam2world[:, :3, 3]
    node = {'name': 'camera', 'camera': len(tree['cameras']) - 1}
    node |= {'rotation': np.float32(turns[0]).tolist()}
    node |= {'translation': np.float32(places[0]).tolist()}
    tree['nodes'].append(node)
    index = len(tree['nodes']) - 1
    tree['scenes'][tree.get('scene', 0)].setdefault('nodes', []).append(index)
    if len(cam2world) < 2:
      return
    time = self.add(np.arange(len(cam2world)) / fps, limits=True)
    samplers, channels = [], []
    for path, values in (('rotation', turns), ('translation', places)):
      samplers.append({'input': time, 'interpolation': 'LINEAR', 'output': self.add(values)})
      target = {'node': index, 'path': path}
      channels.append({'sampler': len(samplers) - 1, 'target': target})
    tree.setdefault('animations', []).append(
      {'name': 'camera', 'samplers': samplers, 'channels': channels}
    )

  def to_bytes(self) -> bytes:
    """The file."""
    data = bytes(self.data) + bytes(-len(self.data) % 4)
    if data:
      self.tree['buffers'] = [{'byteLength': len(data)}]
    text = json_text.dumps(self.tree, None, separators=(',', ':')).encode()
    text += b' ' * (-len(text) % 4)
    chunks = struct.pack('<II', len(text), _JSON) + text
    if data:
      chunks += struct.pack('<II', len(data), _BIN) + data
    return struct.pack('<4sII', b'glTF', 2, 12 + len(chunks)) + chunks


def to_linear(colours) -> np.ndarray:
  """Linear colours of sRGB ones (IEC 61966-2-1), both in [0, 1]."""
  colours = np.asarray(colours, np.float64)
  return np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)


def to_srgb(linear) -> np.ndarray:
  """The inverse of `to_linear`."""
  linear = np.asarray(linear, np.float64)
  return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)


def quaternions(rotations: np.ndarray) -> np.ndarray:
  """Unit quaternions [n, 4] (x, y, z, w) of rotations [n, 3, 3], with signs for which
  the camera takes the shortest rotation between two frames."""
  from scipy.spatial.transform import Rotation

  out = Rotation.from_matrix(rotations).as_quat()
  for i in range(1, len(out)):
    if out[i] @ out[i - 1] < 0:
      out[i] = -out[i]
  return out
