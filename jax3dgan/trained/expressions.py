"""Expressions of faces that follow the codes of a face model (Exp-GAN): names, styles, curves.

An expression is a row of weights of the face model. A word for one is a preset of the rendered
faces ('smile'), or a weight's name, of both sides where it has two ('jawOpen', 'mouthSmile_L').
"""

import functools
import json
import math
import pathlib
from typing import NamedTuple

import jax
import numpy as np

from jax3dgan.data import rendered_faces
from jax3dgan.data.builders.ict_faces import looks
from jax3dgan.errors import UserError

NEUTRAL = 'neutral'
JAW = ('jawX', 'jawY', 'jawZ')  # the first opens it
_EXAMPLE = 'smile,jawOpen:0.7,smile+browDown:0.5'
_CURVE = '{"seconds": 3, "jawOpen": [[0, 0], [1.5, 0.8], [3, 0]]}'


class People(NamedTuple):
  """What makes faces of some people, beside their expressions.

  Attributes:
    latent: [n, d]; None where the styles themselves are given.
    identity: [n, k].
    expression: [n, e] of their own.
    w: [n, ...] styles, in place of latents.
  """

  latent: np.ndarray | None
  identity: np.ndarray
  expression: np.ndarray
  w: np.ndarray | None = None

  def rows(self, index) -> 'People':
    """Some of them, or some repeatedly."""
    return People(*(None if x is None else x[index] for x in self))


class Faces:
  """People with any expression, of a `trained.Trained`.

  Attributes:
    model: the model.
    names: of the weights of expression.
    sizes: `Generator.code_sizes`.

  Raises:
    UserError: it was trained without a face model.
  """

  def __init__(self, model):
    self.model, self.sizes = model, model.generator.code_sizes
    if not self.sizes:
      raise UserError(
        f'{model.name} has no expressions: it was trained without a face model. Give a model that '
        'has them (docs/expression.md).'
      )
    self.names = names_of(model.config, self.sizes['expression'])

  def of_seeds(self, seeds) -> People:
    """The people of seeds [n], with the expressions that these have."""
    return People(*map(np.asarray, self._latents(self.model.variables, self.model.latents(seeds))))

  def of_styles(self, w) -> People:
    """The people of styles [n, ...], as of inverted photos."""
    identity, expression = self.model.generator.codes(np.asarray(w))
    return People(None, np.asarray(identity), np.asarray(expression), np.asarray(w))

  def styles(self, people: People, expression=None, psi: float | None = None) -> np.ndarray:
    """Styles w [n, ...] of people with expressions [n, e], None for their own.

    Args:
      psi: truncation, see `Trained.map`; styles that are given stay as they are.
    """
    expression = people.expression if expression is None else expression
    expression = np.broadcast_to(np.asarray(expression, np.float32), people.expression.shape)
    if people.w is not None:
      return np.asarray(self.model.generator.with_codes(people.w, expression=expression))
    psi = self.model.config.display.truncation_psi if psi is None else psi
    average = None if psi == 1 else self.model.average_w
    codes = (people.latent, people.identity, expression)
    return np.asarray(self._map(self.model.variables, *codes, psi, average))

  def told(self, strengths) -> np.ndarray:
    """Weights [e] of ((word, strength), ...), added up."""
    weights = np.zeros(len(self.names), np.float32)
    for word, strength in strengths:
      weights += np.float32(strength) * one(word, self.names)
    return weights

  @functools.cached_property
  def _latents(self):
    generator = self.model.generator
    return jax.jit(lambda variables, z: generator.apply(variables, z, method='latents'))

  @functools.cached_property
  def _map(self):
    generator = self.model.generator

    def styles(variables, latent, identity, expression, psi, average):
      inputs = {} if average is None else {'truncation_psi': psi, 'average_w': average}
      return generator.apply(variables, latent, identity, expression, method='map_codes', **inputs)

    return jax.jit(styles)


def names_of(config, count: int) -> tuple[str, ...]:
  """Names of a model's weights of expression: those of the rendered faces, or else by number; the
  last three of a jaw are its rotation vector's, radians (`JAW`)."""
  if count == len(looks.EXPRESSION_NAMES) and rendered_faces.are(config.data.source):
    return looks.EXPRESSION_NAMES
  jaw = JAW if config.model.get('jaw') else ()
  return (*(f'expression{i}' for i in range(count - len(jaw))), *jaw)


def presets(names) -> dict[str, np.ndarray]:
  """{preset: weights [e]} of the rendered faces' presets that a model with these names has."""
  found = {key: looks.weights_of(names, of) for key, of in looks.PRESETS.items()}
  return {key: weights for key, weights in found.items() if weights.any()}


def parse(text: str, names) -> dict[str, np.ndarray]:
  """{word: weights [e]} of 'smile,jawOpen:0.7,smile+browDown:0.5'.

  A word may have a strength, 1 without, and several together make one expression with '+'.

  Raises:
    UserError: no such word, or a strength that is not a number.
  """
  found = {}
  for word in filter(None, (part.strip() for part in text.split(','))):
    weights = np.zeros(len(names), np.float32)
    for part in word.split('+'):
      name, _, strength = (x.strip() for x in part.partition(':'))
      weights += _strength(strength, part) * one(name, names)
    found[word] = weights
  if not found:
    raise UserError(f'{text!r} names no expression. Give some such as {_EXAMPLE}.')
  return found


def _strength(text: str, part: str) -> np.float32:
  try:
    value = float(text) if text else 1.0
  except ValueError:
    value = math.nan
  if not math.isfinite(value):
    raise UserError(f'{part!r} has a strength that is no number. Give some such as {_EXAMPLE}.')
  return np.float32(value)


def one(name: str, names) -> np.ndarray:
  """The full-blown weights [e] of a word.

  Raises:
    UserError: there is no such word.
  """
  weights = np.zeros(len(names), np.float32)
  if name == NEUTRAL:
    return weights
  known = presets(names)
  if name in known:
    return known[name]
  sides = [i for i, n in enumerate(names) if n in (name, f'{name}_L', f'{name}_R')]
  if not any(n.endswith(('_L', '_R')) for n in names):  # else jawLeft and jawRight are movements
    sides = sides or [i for i, n in enumerate(names) if n in (f'{name}Left', f'{name}Right')]
  if not sides:
    raise UserError(
      f'No expression is called {name!r}. There are {", ".join((NEUTRAL, *known))}, and these '
      f'weights: {", ".join(names)}.'
    )
  weights[sides] = 1
  return weights


def curve(path, names, fps: float) -> np.ndarray:
  """Weights [frames, e] of a JSON file of curves: {word: [[second, strength], ...]}, linear between
  points and constant beyond; 'seconds' is how long it lasts, by default to the last point.

  Raises:
    UserError: the file cannot be read, or is no such curves.
  """
  try:
    curves = json.loads(pathlib.Path(path).read_text(encoding='utf-8'))
  except (OSError, ValueError) as error:
    raise UserError(f'{path} cannot be read as JSON: {error}. Give one such as {_CURVE}.') from None
  if not isinstance(curves, dict) or not set(curves) - {'seconds'}:
    raise UserError(f'{path} has no curves. Give a JSON file such as {_CURVE}.')
  seconds = curves.pop('seconds', None)
  points = {name: _points(path, name, value) for name, value in curves.items()}
  seconds = max(p[-1, 0] for p in points.values()) if seconds is None else seconds
  if not isinstance(seconds, int | float) or not 0 < seconds <= 3600:
    raise UserError(f'{path} lasts {seconds!r} seconds. Set "seconds" to a number up to 3600.')
  times = np.arange(max(round(seconds * fps), 1)) / fps
  total = np.zeros((len(times), len(names)), np.float32)
  for name, value in points.items():
    strength = np.interp(times, value[:, 0], value[:, 1]).astype(np.float32)
    total += strength[:, None] * one(name, names)
  return total


def _points(path, name, value) -> np.ndarray:
  try:
    points = np.asarray(value, np.float64)
  except (ValueError, TypeError):
    points = np.zeros(0)
  if points.ndim != 2 or points.shape[1:] != (2,) or not np.isfinite(points).all():
    raise UserError(f'{path}: {name} is no list of [second, strength]. Write it as in {_CURVE}.')
  if (np.diff(points[:, 0]) <= 0).any() or not len(points):
    raise UserError(f'{path}: the seconds of {name} do not ascend. Sort its points.')
  return points
