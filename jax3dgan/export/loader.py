"""Runs a generator that `jax3dgan export` wrote: needs jax, flatbuffers and numpy, nothing else.

model = Model('toys.zip')
w = model.map(np.random.default_rng(0).standard_normal((3, model.about['z_dim'])))  # [3, ...]
out = model.synthesize(w, *orbit(model, azimuth=[-0.5, 0, 0.5]))  # image [3, h, w, 3] in [-1, 1]
"""

import io
import json
import zipfile

import jax
import numpy as np
from jax import export


class Model:
  def __init__(self, path, platform=None):
    platform = platform or {'gpu': 'cuda'}.get(jax.default_backend(), jax.default_backend())
    with zipfile.ZipFile(path) as file:
      self.about = json.loads(file.read('about.json'))
      with np.load(io.BytesIO(file.read('weights.npz'))) as weights:
        self.weights = jax.device_put(dict(weights))
      self._map, self._synthesize = (
        jax.jit(export.deserialize(bytearray(file.read(f'{name}.{platform}'))).call)
        for name in ('map', 'synthesize')
      )

  def map(self, z, psi=None):  # [b, z_dim], truncation, 1 for none -> w [b, ...]
    psi = self.about['psi'] if psi is None else psi
    return self._map(self.weights, np.asarray(z, np.float32), np.float32(psi))

  def synthesize(self, w, *camera):  # cam2world [b, 4, 4], intrinsics [b, 3, 3] -> dict of arrays
    camera = [np.asarray(x, np.float32) for x in camera]
    return self._synthesize(self.weights, np.asarray(w, np.float32), *camera)


def orbit(model, azimuth, elevation=None):  # radians, 0 in front, upwards -> cam2world, intrinsics
  about = model.about['camera']
  elevation = about['elevation'] if elevation is None else elevation
  a, e = np.broadcast_arrays(np.atleast_1d(azimuth), elevation)
  forward = -np.stack([np.cos(e) * np.sin(a), np.sin(e), np.cos(e) * np.cos(a)], axis=-1)
  right = np.stack([np.cos(a), 0 * a, -np.sin(a)], axis=-1)
  axes = [right, np.cross(forward, right), forward, -about['radius'] * forward]
  last = np.broadcast_to([0.0, 0, 0, 1], (len(a), 1, 4))
  cam2world = np.concatenate([np.stack(axes, axis=-1), last], axis=1)
  return cam2world, np.broadcast_to(about['intrinsics'], (len(a), 3, 3))
