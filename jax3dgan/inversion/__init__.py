"""Inversion: the style whose rendering is a given photo.

`invert` is the search of π-GAN's release, with the same numbers (`inversion.pigan`).
`search.search` is the one of the app `jax3dgan invert`: any generator, the camera given or
searched, several photos of one object, a perceptual loss. `load` reads the app's results.

  from jax3dgan import inversion

  w, camera = inversion.load('inverted/car.npz')
  model.render(w, camera)
"""

from jax3dgan.inversion.pigan import Inversion, InversionDraws, InversionOptions, invert
from jax3dgan.inversion.results import load

__all__ = ['Inversion', 'InversionDraws', 'InversionOptions', 'invert', 'load']
