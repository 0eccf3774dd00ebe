"""The small official EG3D's state dicts and arrays; skips where they are not here."""

import goldens

_PARTS = ('mapping', 'backbone_lo', 'backbone_hi', 'sr')


def generator():
  files = [goldens.load(f'G_small_weights_{part}') for part in _PARTS]
  return {name: value for file in files for name, value in file.items()}


def discriminator():
  return goldens.load('D_small_weights')


def load(*names):
  return [goldens.load(name) for name in names]
