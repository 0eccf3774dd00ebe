"""A scene of a few photos with known cameras, prepared: a folder with the splits train and test."""

import math

import posed_scenes

from jax3dgan.data import prepare

SIZE = 16


def prepare_scene(folder):
  """Writes and prepares nine views of noise; six of them are of the split train."""
  raw, out = folder / 'raw', folder / 'data'
  posed_scenes.write_photos(raw / 'images', 9, SIZE, SIZE)
  posed_scenes.write_transforms(raw, posed_scenes.poses(9), camera_angle_x=math.radians(40))
  flags = [f'--source={raw}', f'--out={out}', f'--resolution={SIZE}', '--hold-out=3']
  assert prepare.main([*flags, '--workers=1']) == 0
  return out
