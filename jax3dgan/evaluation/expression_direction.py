"""The best linear expression direction of a generator that was told no expressions (EG3D).

The expression is read from generated pictures (`expression_reader`) and regressed on the styles;
the regression's normal is the direction, and styles are moved along it until the regression says
that the preset is full-blown, but by `MOST` standard deviations at most. No picture is inverted for
it. What is measured is what `expression` measures of a generator with expressions, as the baseline
that such a generator has to beat.

A generated person's face model is not known: the true movement is that of the identity that is read
from its picture.
"""

from typing import NamedTuple

import jax
import numpy as np

from jax3dgan import viz
from jax3dgan.errors import UserError
from jax3dgan.evaluation import expression, pose, pose_direction, probes
from jax3dgan.evaluation.expression_reader import Reader
from jax3dgan.evaluation.results import Result

MOST = 3.0  # standard deviations of the styles
NUM_FITTED = 1024  # people that directions are fitted to


def strengths(weights, presets) -> np.ndarray:
  """How much of each preset [p, e] is in weights [n, e] of expression, [n, p], by least squares."""
  presets = np.asarray(presets, np.float64)
  return np.asarray(weights, np.float64) @ np.linalg.pinv(presets)


class Fitted(NamedTuple):
  """What styles are moved by for each of p presets.

  Attributes:
    offsets: [p, ...] from a style to the one of the full preset, as the regression has it.
    deviations: [p] their lengths in standard deviations of the styles along them.
    r2: [p] of the regression, on a quarter of the people that was held out.
  """

  offsets: np.ndarray
  deviations: np.ndarray
  r2: np.ndarray


def fit(model, reader: Reader, seeds, render=None) -> Fitted:
  """The directions, by ridge regression of the strengths that are read on the styles.

  Args:
    model: a `trained.Trained`.
    seeds: of the people, from other numbers than those that are measured.
    render: styles, cameras → uint8 pictures; None for the model's.
  """
  render = render or (lambda w, camera: viz.to_uint8(model.render(w, camera).image))
  w = np.asarray(model.map(model.latents(seeds), psi=1), np.float32)
  camera, _ = pose.prior_cameras(model, len(seeds), int(seeds[0]))
  camera = jax.tree.map(np.asarray, camera)
  read = strengths(reader(render(w, camera)).expression, np.stack([*reader.presets.values()]))
  rows = w.reshape(len(w), -1).astype(np.float64)
  rows = rows - rows.mean(0)
  # In the rows' own span: as many dimensions as people at most, and the same regression.
  _, size, axes = np.linalg.svd(rows, full_matrices=False)
  axes = axes[size > 1e-6 * size[0]]
  x, held = rows @ axes.T, np.arange(len(rows)) % 4 == 3
  y = read - read[~held].mean(0)
  first = pose_direction.ridge(x[~held] - x[~held].mean(0), y[~held])
  r2 = probes.r_squared(y[held], (x[held] - x[~held].mean(0)) @ first)
  normals = pose_direction.ridge(x, read - read.mean(0))  # [d, p]
  square = np.maximum((normals**2).sum(0), 1e-300)
  offsets = (normals / square).T @ axes
  spread = (x @ normals).std(0) / np.sqrt(square)
  deviations = 1 / np.sqrt(square) / np.maximum(spread, 1e-300)
  return Fitted(offsets.reshape(-1, *w.shape[1:]).astype(np.float32), deviations, r2)


def measure(
  model, reader: Reader, num_latents: int = 64, seed: int = 0, psi: float | None = 1.0, say=None
) -> Result:
  """Measures the directions; see the head of this file and `expression.measure`."""
  if model.generator.code_sizes:
    raise UserError(f'{model.name} is told expressions: they are measured, not directions.')
  model.check_latents()
  fitted = range(seed + num_latents, seed + num_latents + NUM_FITTED)
  found = fit(model, reader, fitted)
  w = np.asarray(model.map(model.latents(range(seed, seed + num_latents)), psi), np.float32)
  camera, _ = pose.prior_cameras(model, num_latents, seed)
  camera = jax.tree.map(np.asarray, camera)
  steps = np.minimum(found.deviations, MOST)
  shares = (steps / found.deviations).astype(np.float32)
  pictures = []
  for i in range(len(steps) + 1):
    moved = w + shares[i - 1] * found.offsets[i - 1] if i else w
    pictures.append(viz.to_uint8(model.render(moved, camera).image))
    if say:
      say((i + 1) * num_latents // (len(steps) + 1))
  pictures = np.stack(pictures)
  told = expression.told_expressions(reader, num_latents)
  shape = len(reader.landmarks.model.shape_basis)
  people = reader(pictures[0]).identity
  people = np.pad(people, ((0, 0), (0, shape - people.shape[1])))
  true = reader.landmarks.of_each(people, told, camera)
  values = expression.of_pictures(reader, pictures, true)
  # The face is not the mesh's: where landmarks are says nothing.
  values = {key: value for key, value in values.items() if 'placement' not in key}
  for name, size, r2 in zip(reader.presets, steps, found.r2, strict=True):
    if name in reader.readable:
      values[f'expression/r2/{name}'] = float(r2)
      values[f'expression/deviations/{name}'] = float(size)
  text = (
    f'the best linear direction of each preset in the styles, fitted to {NUM_FITTED:,} people, by '
    f'{MOST:g} standard deviations at most; {num_latents} people, seed {seed}'
  )
  return Result(
    values, expression.protocol(reader, text), expression.sheet(pictures, reader, values)
  )
