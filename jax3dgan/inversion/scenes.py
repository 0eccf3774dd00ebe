"""Scenes of several objects (GIRAFFE): where their styles are searched, and from which poses.

A style has a row of each object, its codes and its pose, and the background's
(`generators.giraffe_scene.Layout`). Codes are a latent's own numbers, so that z, w and w+ are one
space. What is searched are the codes, and the sizes, places and turns that differ in training, each
in units of its standard deviation there. Which objects are there is a yes or no without a gradient:
it stays as it is at the start.

Objects of the same pose and the same codes would have the same gradients and stay the same, and
there are local minima for every turn, so that a search begins with several scenes of random poses,
whether the camera is known or not.
"""

from statistics import NormalDist

import jax.numpy as jnp
import numpy as np


def fields(model, styles: np.ndarray) -> dict:
  """The fields of the `spaces.Space` of a `trained.Trained` with an `object_layout`.

  Args:
    styles: [n, objects + 1, width] of random latents.
  """
  layout = model.generator.object_layout
  # What is always the same has a deviation of rounding alone.
  spread = np.where(np.ptp(styles, axis=0) > 0, styles.std(0), 0)
  shape = (layout.num_objects + 1, layout.width)
  presence = np.zeros(shape, bool)
  presence[:-1, 2 * layout.latent_dim + 7] = True
  rows = np.flatnonzero(spread)
  axes = np.zeros((len(rows), spread.size), np.float32)
  # A unit of presence is all of it, so that what is away is so without rounding.
  axes[np.arange(len(rows)), rows] = np.where(presence, 1, spread).ravel()[rows]
  mean = jnp.asarray(model.average_w)
  return dict(
    mean=mean,
    axes=jnp.asarray(axes),
    z=jnp.zeros((model.generator.z_dim,), mean.dtype),
    spread=jnp.asarray(np.where(presence, 0, spread)),
    name='w+',
    shared=False,
    moved=jnp.asarray(~presence.ravel()[rows]),
  )


def starts(model, space, num: int, seed: int = 0) -> jnp.ndarray:
  """Coordinates [num, k] of scenes of average codes and random poses, of which each number has
  `num` equal parts of its range in turn (a Latin hypercube): one object has `num` even turns,
  several are not in one place."""
  layout = model.generator.object_layout
  size = model.generator.z_dim - layout.num_codes
  random = np.random.default_rng(seed)
  ranks = np.stack([random.permutation(num) for _ in range(size)], axis=1)  # [num, size]
  within = 0.5 if layout.num_objects == 1 else random.uniform(size=ranks.shape)
  normals = np.vectorize(NormalDist().inv_cdf)((ranks + within) / num)
  codes = np.zeros((num, layout.num_codes))
  z = np.concatenate([codes, normals], axis=1).astype(np.float32)
  offset = (np.asarray(model.map(z, psi=1)) - np.asarray(space.mean)).reshape(num, -1)
  axes = np.asarray(space.axes)  # of one number each
  return jnp.asarray(offset[:, axes.argmax(1)] / axes.max(1))


def described(model, space) -> str:
  """What the numbers of the space are, for people."""
  layout = model.generator.object_layout
  names = ['codes']
  first = 2 * layout.latent_dim
  moves = np.asarray(space.spread)[:-1].any(0)
  for name, columns in (('sizes', (0, 3)), ('places', (3, 6)), ('turns', (6, 7))):
    if moves[first + columns[0] : first + columns[1]].any():
      names.append(name)
  what = ' and '.join([', '.join(names[:-1]), names[-1]] if len(names) > 1 else names)
  objects = 'an object' if layout.num_objects == 1 else f'{layout.num_objects} objects'
  text = f'{what} of {objects}' + (' and the background' if layout.background_dim else '')
  if not np.asarray(space.moved).all():
    text += '; which of them are there stays as at the start'
  return text
