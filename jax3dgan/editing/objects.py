"""Scenes of several objects (GIRAFFE): objects moved, turned, added, taken away, exchanged.

Poses are numbers of the styles (`generators.giraffe_scene.Layout`), so an edit of a scene is an
edit of styles. Objects are counted from 1.
"""

import dataclasses
import math

import numpy as np

from jax3dgan.editing.directions import Directions
from jax3dgan.errors import UserError
from jax3dgan.generators.giraffe_scene import Poses, needs_objects

BACKGROUND = 'background'
_NUMBERS = ('x', 'y', 'z', 'turn', 'size', 'seed')
_WORDS = ('away', 'there', 'alone')
_EXAMPLE = '"1:x=0.1,turn=90; 2:away; background:seed=5"'


@dataclasses.dataclass(frozen=True)
class Edit:
  """What is done to one object, or to the background (number 0).

  Attributes:
    number: from 1; 0 for the background.
    x, y, z: world units that it is moved by.
    turn: degrees that it is turned by, counter-clockwise from above.
    size: factor on its size.
    seed: of the latent whose codes it gets; None for its own.
    presence: 1 to add it, 0 to take it away; None as it is.
    alone: whether all other objects are taken away.
    text: as it was given.
  """

  number: int
  x: float = 0.0
  y: float = 0.0
  z: float = 0.0
  turn: float = 0.0
  size: float = 1.0
  seed: int | None = None
  presence: float | None = None
  alone: bool = False
  text: str = ''


def check(model) -> None:
  """UserError for a model without objects."""
  needs_objects(model.generator, model.name)


def parse(text: str) -> list[Edit]:
  """Returns the edits of '1:x=0.1,turn=90; 2:away; background:seed=5'.

  Raises:
    UserError: It is no such list.
  """
  edits = [_parse_one(part.strip()) for part in text.split(';') if part.strip()]
  if not edits:
    raise UserError(f'{text!r} says no edit. Give some such as {_EXAMPLE}.')
  return edits


def _parse_one(text: str) -> Edit:
  of, _, what = text.partition(':')
  of = of.strip()
  if of != BACKGROUND and not (of.isdecimal() and int(of)):
    raise UserError(f'{of!r} is no object. Give its number, from 1 on, or {BACKGROUND}.')
  number, fields = 0 if of == BACKGROUND else int(of), {}
  for part in filter(None, (p.strip() for p in what.split(','))):
    key, _, value = (p.strip() for p in part.partition('='))
    if key in _WORDS and part == key:
      found = dict(presence=float(key != 'away')) | (dict(alone=True) if key == 'alone' else {})
    elif key in _NUMBERS and _number(value) is not None:
      found = {key: _number(value)}
    else:
      numbers = ', '.join(f'{name}=NUMBER' for name in _NUMBERS)
      raise UserError(
        f'{part!r} is no edit of an object. There are {numbers}, {", ".join(_WORDS)}: {_EXAMPLE}.'
      )
    if fields.keys() & found.keys():
      raise UserError(
        f'{part!r} is a second word on the same in {text!r}. Say each once, or make it an edit of '
        'its own, after a semicolon.'
      )
    fields |= found
  if not fields:
    raise UserError(f'{text!r} says nothing of what to do. Give some such as {_EXAMPLE}.')
  if not number and (wrong := fields.keys() & {'x', 'y', 'z', 'size', 'alone'}):
    raise UserError(f'The background has no {min(wrong)}. It may be turned, exchanged or away.')
  if fields.get('size', 1.0) <= 0:
    raise UserError(
      f'A size of {fields["size"]:g} is no factor above 0. Give one such as 0.8, or away.'
    )
  if (seed := fields.get('seed')) is not None:
    if seed < 0 or seed != int(seed):
      raise UserError(f'A seed of {seed:g} is no whole number from 0.')
    fields['seed'] = int(seed)
  return Edit(number, text=text, **fields)


def _number(text: str) -> float | None:
  try:
    value = float(text)
  except ValueError:
    return None
  return value if math.isfinite(value) else None


def apply(model, w, edits, psi: float | None = None) -> np.ndarray:
  """Edits styles.

  Args:
    model: A `trained.Trained` with objects.
    w: [n, objects + 1, width] styles.
    edits: Of `parse`, one after another.
    psi: Truncation of the codes of other seeds; None takes the config's.

  Returns:
    float32 of the same shape.

  Raises:
    UserError: No such object or background, or one that gets larger than the model's.
  """
  check(model)
  layout = model.generator.object_layout
  w = np.array(w, np.float32)
  for edit in edits:
    if edit.number > layout.num_objects:
      raise UserError(
        f'There is no object {edit.number}: scenes of {model.name} have {layout.num_objects} at '
        f'most. Give a number from 1 to {layout.num_objects}.'
      )
    if not (edit.number or layout.background_dim):
      raise UserError(
        f'Scenes of {model.name} have no background. Give the number of an object, from 1 to '
        f'{layout.num_objects}.'
      )
    objects, background, poses = layout.split(w)
    objects, background, poses = np.array(objects), np.array(background), _copies(poses)
    if edit.seed is not None:
      other = np.asarray(model.map(model.latents([edit.seed]), psi))
      others, behind, _ = layout.split(other)
      if edit.number:
        objects[:, edit.number - 1] = others[:, edit.number - 1]
      else:
        background[:] = behind
    if edit.number:
      _move(model, poses, edit)
    else:
      poses.background_turn[:] += math.radians(edit.turn)
      if edit.presence is not None:
        poses.background_presence[:] = edit.presence
    w = np.asarray(layout.join(objects, background, poses), np.float32)
  return w


def without_effect(model, w, edit: Edit) -> list[int]:
  """Which scenes of styles w an edit leaves as they look: what it changes is away in them."""
  if edit.presence is not None:
    return []
  poses = model.generator.object_layout.split(w)[2]
  present = poses.presence[:, edit.number - 1] if edit.number else poses.background_presence
  return [int(i) for i in np.flatnonzero(np.asarray(present) == 0)]


def _copies(poses: Poses) -> Poses:
  fields = {f.name: np.array(getattr(poses, f.name)) for f in dataclasses.fields(poses)}
  return Poses(**fields)


def _move(model, poses: Poses, edit: Edit) -> None:
  i = edit.number - 1
  poses.position[:, i] += np.float32([edit.x, edit.y, edit.z])
  poses.turn[:, i] += math.radians(edit.turn)
  poses.size[:, i] *= edit.size
  largest = tuple(model.generator.size_max)
  if edit.size != 1 and (poses.size[:, i] > np.float32(largest) * 1.0001).any():
    raise UserError(
      f'Object {edit.number} would be larger than those of {model.name}, whose half sizes are '
      f'{largest} at most. Give a smaller size.'
    )
  if edit.alone:
    poses.presence[:] = 0
  if edit.presence is not None:
    poses.presence[:, i] = edit.presence


def turning(model, w, number: int, frames: int) -> np.ndarray:
  """Styles [frames, ...] of a scene w [1, ...] in which one object, without the others, turns
  about itself, all the way round."""
  turns = np.arange(frames) * 360 / frames
  alone = Edit(number, alone=True, presence=1.0)
  return np.concatenate(
    [apply(model, w, [alone, Edit(number, turn=float(turn))]) for turn in turns]
  )


def directions(model) -> Directions:
  """Directions of each object's place (x and z), turn, size and presence, and of the background's
  codes and presence.

  A strength is a deviation of the distribution in training; 3 of presence add or take away, and 3
  of the background's codes make another one.
  """
  check(model)
  generator = model.generator
  layout = generator.object_layout
  shape = (layout.num_objects + 1, layout.width)
  spread = np.float32(generator.position_max) - np.float32(generator.position_min)
  spread = np.where(spread > 0, spread, 2 * np.float32(generator.size_max)) / math.sqrt(12)
  sizes = (np.float32(generator.size_max) - np.float32(generator.size_min)) / math.sqrt(12)
  around = math.radians(abs(generator.turns[1] - generator.turns[0])) or math.pi
  first = 2 * layout.latent_dim
  columns = {'x': (first + 3, spread[0]), 'z': (first + 5, spread[2])}
  columns |= {'turn': (first + 6, around / math.sqrt(12)), 'there': (first + 7, 1 / 3)}
  if sizes.any():
    columns['size'] = (slice(first, first + 3), sizes)
  places = {
    f'object{i + 1} {name}': (i, column, scale)
    for i in range(layout.num_objects)
    for name, (column, scale) in columns.items()
  }
  if codes := 2 * layout.background_dim:
    other = np.random.default_rng(0).standard_normal(codes).astype(np.float32)
    places[f'{BACKGROUND} look'] = (layout.num_objects, slice(codes), other / 2)
    places[f'{BACKGROUND} there'] = (layout.num_objects, codes + 1, 1 / 3)
  vectors, scales = np.zeros((len(places), *shape), np.float32), []
  for vector, (row, column, by) in zip(vectors, places.values(), strict=True):
    scales.append(float(np.linalg.norm(by)))
    vector[row, column] = np.float32(by) / scales[-1]
  return Directions(tuple(places), vectors, np.float32(scales), 'poses of the objects')
