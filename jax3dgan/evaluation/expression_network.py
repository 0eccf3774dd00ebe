"""The network that reads expressions from two pictures: its numbers, training and application."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jax3dgan import cameras
from jax3dgan.data.builders.ict_faces import expressions
from jax3dgan.evaluation.probe_network import Network, augment
from jax3dgan.morphable import MorphableModel, maps
from jax3dgan.trained.expressions import presets

NUM_IDENTITY = 10  # weights; of later ones a picture of 64² says nothing
_BATCH, _RATE = 64, 1.5e-3
_ROUNDING = 0.3  # pixels of a movement that are as good as none
_SPREAD = 0.05  # standard deviation of an expression's weight at least, as unit of its error
_DIFFERENCE = 3.0  # by which the difference of two pictures is shown larger


@dataclasses.dataclass
class Reading:
  """What pictures [n] show.

  Attributes:
    landmarks: [n, l, 2] of the first picture, in 0..1 (right, down).
    movement: [n, l, 2] from the first to the second.
    identity: [n, 10] weights of the first.
    expression: [n, e] weights of the second.
  """

  landmarks: np.ndarray
  movement: np.ndarray
  identity: np.ndarray
  expression: np.ndarray


class Landmarks:
  """Where a face model's landmarks are in pictures.

  Args:
    morphable: the model, whose landmarks alone are kept.

  Attributes:
    model: of the landmarks.
    presets: {name: weights [e]} of the full-blown expressions that move some of them.
  """

  def __init__(self, morphable: MorphableModel):
    self.model = morphable.of_landmarks()
    self._project = jax.jit(_project)
    moving = np.abs(self.model.expression_basis).max((1, 2)) > 0
    known = presets(self.model.expression_names).items()
    self.presets = {name: weights for name, weights in known if weights[moving].any()}

  def __call__(self, identity, expression, camera) -> np.ndarray:
    """[n, l, 2] in 0..1 (right, down) of codes [n, k] and [n, e] and cameras [n]."""
    codes = (np.asarray(x, np.float32) for x in (identity, expression))
    return np.asarray(self._project(self.model, *codes, camera))

  def of_each(self, identity, expression, camera) -> np.ndarray:
    """[m, n, l, 2] of people [n, k] from cameras [n], each with m expressions [m, n, e]."""
    m, n = expression.shape[:2]
    rows = np.tile(np.arange(n), m)
    camera = jax.tree.map(lambda x: np.asarray(x)[rows], camera)
    found = self(np.asarray(identity)[rows], expression.reshape(m * n, -1), camera)
    return found.reshape(m, n, *found.shape[1:])


def _project(model, identity, expression, camera):
  return maps.project_landmarks(model, model.vertices(identity, expression), camera)


def layout(model: MorphableModel) -> dict[str, int]:
  """{what is read: how many numbers}, in their order."""
  points = 2 * len(model.landmark_corners)
  identity = min(NUM_IDENTITY, len(model.shape_basis))
  return dict(
    landmarks=points, movement=points, identity=identity, expression=len(model.expression_basis)
  )


def network(model: MorphableModel) -> Network:
  return Network(sum(layout(model).values()), places=8, normalised=True)


def template(model: MorphableModel, resolution: int):
  picture = jax.ShapeDtypeStruct((1, resolution, resolution, 6), jnp.float32)
  return jax.eval_shape(network(model).init, jax.random.key(0), picture)


def pairs(first, second):
  """What the network sees of uint8 or float pictures [n, h, w, 3]: [n, h, w, 6]."""
  first, second = (
    x.astype(jnp.float32) / 127.5 - 1 if x.dtype == jnp.uint8 else x for x in (first, second)
  )
  return jnp.concatenate([first, _DIFFERENCE * (second - first)], axis=-1)


def reading(out, spread, model: MorphableModel) -> Reading:
  """Of a network's outputs [n, k], NumPy or JAX."""
  found, start = {}, 0
  for name, count in layout(model).items():
    middle, unit = spread[name]
    found[name] = out[:, start : start + count] * unit + middle
    start += count
  points = (len(out), -1, 2)
  return Reading(
    found['landmarks'].reshape(points),
    found['movement'].reshape(points),
    found['identity'],
    found['expression'],
  )


def fit(made: expressions.Pictures, landmarks: Landmarks, steps: int, seed: int, say):
  """Trains the network on pairs of the pictures of each person, either way round, the same one
  twice among them; (parameters, the units of what is read).

  Errors count in units of the deviations over the pictures, those of a movement by its own size, so
  that small ones are read too. Adam with a cosine schedule; pictures are blurred a little and get
  noise (`probe_network.augment`).
  """
  n, m = made.images.shape[:2]
  resolution = made.images.shape[2]
  true = landmarks.of_each(
    made.identity, np.swapaxes(made.expression, 0, 1), cameras.from_label(made.label)
  )
  points = np.swapaxes(true, 0, 1).reshape(n, m, -1).astype(np.float32)  # [n, m, 2l]
  sizes = layout(landmarks.model)
  spread = _units(points, made, resolution, sizes)
  reader = network(landmarks.model)
  picture = np.zeros((1, resolution, resolution, 6), np.float32)
  params = jax.jit(reader.init)(jax.random.key(seed), picture)
  optimizer = optax.adam(optax.cosine_decay_schedule(_RATE, max(steps, 1)))

  def loss(params, first, second, target, key):
    both = augment(
      jnp.concatenate([x.astype(jnp.float32) / 127.5 - 1 for x in (first, second)], -1), key
    )
    out = reader.apply(params, pairs(both[..., :3], both[..., 3:]))
    total, start = 0.0, 0
    for name, count in sizes.items():
      middle, unit = spread[name]
      wanted = (target[name] - middle) / unit
      error = (out[:, start : start + count] - wanted) ** 2
      if name == 'movement':  # in pixels
        error = error / (jnp.mean(wanted**2, axis=-1, keepdims=True) + _ROUNDING**2)
      total, start = total + error.mean(), start + count
    return total

  @jax.jit
  def step(params, state, first, second, target, key):
    value, gradient = jax.value_and_grad(loss)(params, first, second, target, key)
    updates, state = optimizer.update(gradient, state, params)
    return optax.apply_updates(params, updates), state, value

  state, rng = jax.jit(optimizer.init)(params), np.random.default_rng(seed)
  for i in range(steps):
    who = rng.integers(n, size=_BATCH)
    a, b = rng.integers(m, size=(2, _BATCH))
    target = dict(
      landmarks=points[who, a],
      movement=points[who, b] - points[who, a],
      identity=made.identity[who, : sizes['identity']],
      expression=made.expression[who, b],
    )
    key = jax.random.key(rng.integers(2**31))
    params, state, value = step(
      params, state, made.images[who, a], made.images[who, b], target, key
    )
    if (i + 1) % 250 == 0:
      say(f'expression reader: step {i + 1:,} of {steps:,}, error {float(value):.3f}')
  return params, spread


def _units(points, made, resolution, sizes):
  """{what is read: (middle, unit)} [k] each; a movement's unit is a pixel."""
  points, codes = points.reshape(-1, points.shape[-1]), made.expression
  codes = codes.reshape(-1, codes.shape[-1])
  count, still = sizes['identity'], np.zeros(sizes['movement'], np.float32)
  spread = dict(
    landmarks=(points.mean(0), np.maximum(points.std(0), 1e-3)),
    movement=(still, still + np.float32(1 / resolution)),
    identity=(made.identity[:, :count].mean(0), np.maximum(made.identity[:, :count].std(0), 1e-3)),
    expression=(codes.mean(0), np.maximum(codes.std(0), _SPREAD)),
  )
  return {k: [np.asarray(x, np.float32) for x in pair] for k, pair in spread.items()}
