"""Inversion: the style whose rendering is a given photo.

`invert` is the search of π-GAN's release, to the digit (`inversion.pigan`). `search.search` is the
one that the app `jax3dgan invert` uses: any generator, the camera given or found too, several
photos of one object, a perceptual loss. `load` reads what the app writes.

  from jax3dgan import inversion

  w, camera = inversion.load('inverted/car.npz')
  model.render(w, camera)
"""

from jax3dgan.inversion.pigan import Inversion, InversionDraws, InversionOptions, invert
from jax3dgan.inversion.results import load

__all__ = ['Inversion', 'InversionDraws', 'InversionOptions', 'invert', 'load']
