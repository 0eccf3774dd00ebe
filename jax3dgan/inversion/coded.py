"""Photos of faces whose generator follows a face model (`Generator.code_sizes`): the codes are
given, as a network has read them, and the search moves the rest of the style.

A face model's surface is drawn without gradients, so that no search could find its codes. Exp-GAN
(ACCV 2022) fits the codes to a photo first, too.
"""

import jax.numpy as jnp
import numpy as np

from jax3dgan.inversion import descent, search, spaces
from jax3dgan.inversion.descent import Found, SearchOptions
from jax3dgan.trained.expressions import Faces, People

_NUM_STYLES = 1024  # of which the mean and the axes are taken


def space(faces: Faces, identity, expression) -> spaces.Space:
  """The styles of a face with given codes.

  Args:
    faces: of the model.
    identity, expression: [k] and [e]; an identity of fewer numbers than the model's has the first.
  """
  size = faces.sizes['identity']
  identity = np.pad(np.float32(identity), (0, size - len(identity)))
  people = faces.of_seeds(range(_NUM_STYLES))
  people = People(
    people.latent,
    np.broadcast_to(identity, people.identity.shape),
    np.broadcast_to(np.float32(expression), people.expression.shape),
  )
  styles = faces.styles(people, None, 1.0)
  mean = styles.mean(0)
  rows = (styles - mean).reshape(len(styles), -1)
  # Numbers that are the codes do not vary, and are no axes.
  _, values, axes = np.linalg.svd(rows, full_matrices=False)
  kept = values > 1e-3 * values[0]
  axes = values[kept, None] / np.sqrt(len(rows)) * axes[kept]
  return spaces.Space(
    mean=jnp.asarray(mean),
    axes=jnp.asarray(axes, jnp.float32),
    z=jnp.asarray(faces.model.latents([0])[0]),
    spread=jnp.asarray(styles.std(0) * (styles.std(0) > 1e-6)),
    name='w+',
    shared=False,
  )


def find(
  faces: Faces,
  photo,
  identity,
  expression,
  camera=None,
  options: SearchOptions | None = None,
  seed: int = 0,
  callback=None,
) -> Found:
  """The style of a photo [1, h, h, 3] in [−1, 1] with given codes; see `search.search`."""
  return search.search(
    faces.model,
    photo,
    camera,
    space(faces, identity, expression),
    options=options or descent.SearchOptions(),
    seed=seed,
    callback=callback,
  )
