"""Edits: directions in the space of styles, found without labels or from them.

  from jax3dgan import editing, trained

  model = trained.load(pretrained='toys')
  found = editing.pca(model, count=10)
  w = model.map(model.latents([0]))
  image = model.render(found.apply(w, {'pca0': 2.0}), model.orbit(0.0)).image
  found.save('directions.npz')  # editing.Directions.load('directions.npz')

`pca` (GANSpace) and `sefa` need no labels; `probe` fits one direction to each labelled
attribute (InterFaceGAN). `drift` measures whether an edit changes the pose.
"""

from jax3dgan.editing import objects
from jax3dgan.editing.directions import NUM_STYLES, Directions
from jax3dgan.editing.labels import MEASURES, measure, read_labels
from jax3dgan.editing.pca import pca
from jax3dgan.editing.pose_drift import Drift, drift
from jax3dgan.editing.probe import probe
from jax3dgan.editing.sefa import sefa

__all__ = [
  'MEASURES',
  'NUM_STYLES',
  'Directions',
  'Drift',
  'drift',
  'measure',
  'objects',
  'pca',
  'probe',
  'read_labels',
  'sefa',
]
