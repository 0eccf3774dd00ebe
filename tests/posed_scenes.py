"""Small scenes with known cameras, written in each format."""

import json
import math
import struct

import numpy as np
from scipy.spatial.transform import Rotation

from jax3dgan.data import images

# Of the binary files, by COLMAP's documentation.
_NUMBERS = {
  'SIMPLE_PINHOLE': 0,
  'PINHOLE': 1,
  'SIMPLE_RADIAL': 2,
  'RADIAL': 3,
  'OPENCV': 4,
  'OPENCV_FISHEYE': 5,
  'FULL_OPENCV': 6,
  'FOV': 7,
}


def poses(count=5, target=(0.0, 0.0, 0.0), distance=4.0, arc=2 * math.pi, elevation=0.4):
  """cam2world [n, 4, 4] with OpenCV axes, in a world with z up, that look at a target."""
  result = []
  for i in range(count):
    azimuth = 0.3 + arc * i / count
    direction = np.array(
      [
        math.cos(elevation) * math.cos(azimuth),
        math.cos(elevation) * math.sin(azimuth),
        math.sin(elevation),
      ]
    )
    right = np.cross(-direction, [0, 0, 1])
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([right, np.cross(-direction, right), -direction], axis=1)
    pose[:3, 3] = np.array(target) + distance * direction
    result.append(pose)
  return np.array(result)


def photo(i, height=16, width=16):
  """uint8 [h, w, 3] of noise."""
  return np.random.default_rng(i).integers(0, 256, (height, width, 3), dtype=np.uint8)


def write_photos(folder, count, height=16, width=16):
  """Writes photos img_0.png, ..."""
  folder.mkdir(parents=True, exist_ok=True)
  for i in range(count):
    (folder / f'img_{i}.png').write_bytes(images.encode_png(photo(i, height, width)))


def opengl(pose):
  """The matrix of transforms.json of one with OpenCV axes, as lists."""
  return (pose @ np.diag([1.0, -1.0, -1.0, 1.0])).tolist()


def write_transforms(folder, rig, name='transforms.json', photos='images', ext='.png', **entries):
  """Writes a transforms file; `entries` are those of the whole file."""
  frames = [
    {'file_path': f'./{photos}/img_{i}{ext}', 'transform_matrix': opengl(pose)}
    for i, pose in enumerate(rig)
  ]
  folder.mkdir(parents=True, exist_ok=True)
  document = {**entries, 'frames': entries.get('frames', frames)}
  (folder / name).write_text(json.dumps(document))
  return folder


def write_colmap(folder, rig, parameters, model='PINHOLE', size=(16, 16), points=(), binary=True):
  """Writes sparse/0; size is (width, height). All photos are of one camera, number 3."""
  model_folder = folder / 'sparse' / '0'
  model_folder.mkdir(parents=True, exist_ok=True)
  world2cam = np.linalg.inv(rig)
  quaternions = Rotation.from_matrix(world2cam[:, :3, :3]).as_quat()[:, [3, 0, 1, 2]]
  views = [(quaternions[i], m[:3, 3], f'img_{i}.png') for i, m in enumerate(world2cam)]
  views = views[::-1]  # by number, which is in no order of names
  if binary:
    header = struct.pack('<Q', 1)
    camera = struct.pack('<iiQQ', 3, _NUMBERS[model], *size) + np.array(parameters).tobytes()
    (model_folder / 'cameras.bin').write_bytes(header + camera)
    data = struct.pack('<Q', len(views))
    for i, (q, t, name) in enumerate(views):
      data += struct.pack('<i7di', i + 1, *q, *t, 3) + name.encode() + b'\0'
      data += struct.pack('<Q', i) + struct.pack('<ddq', 1.0, 2.0, -1) * i
    (model_folder / 'images.bin').write_bytes(data)
    data = struct.pack('<Q', len(points))
    for i, point in enumerate(points):
      data += struct.pack('<Q3d3Bd', i, *point, 1, 2, 3, 0.5)
      data += struct.pack('<Q', 2) + struct.pack('<ii', 1, 0) * 2
    (model_folder / 'points3D.bin').write_bytes(data)
    return folder
  words = lambda *values: ' '.join(repr(v) if isinstance(v, float) else str(v) for v in values)  # noqa: E731
  lines = ['# Camera list', words(3, model, *size, *map(float, parameters))]
  (model_folder / 'cameras.txt').write_text('\n'.join(lines) + '\n')
  lines = ['# Image list', '# Number of images']
  for i, (q, t, name) in enumerate(views):
    lines += [words(i + 1, *map(float, q), *map(float, t), 3, name), '1.0 2.0 -1 ' * i]
  (model_folder / 'images.txt').write_text('\n'.join(lines) + '\n')
  lines = [words(i, *map(float, p), 1, 2, 3, 0.5, 1, 0) for i, p in enumerate(points)]
  (model_folder / 'points3D.txt').write_text('\n'.join(['# Points', *lines]) + '\n')
  return folder
