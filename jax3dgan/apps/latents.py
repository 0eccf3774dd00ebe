"""Paths between latents and between styles: lerp, slerp, smooth loops, style mixing."""

import math
from collections.abc import Sequence

import numpy as np

from jax3dgan.errors import UserError

PARTS = ('coarse', 'middle', 'fine')  # thirds of the layers, first to last


def lerp(a: np.ndarray, b: np.ndarray, t) -> np.ndarray:
  """Returns a + t·(b − a): a, b of one shape [...], t a number in [0, 1] or [m] for [m, ...]."""
  t = np.asarray(t, np.float64).reshape(*np.shape(t), *[1] * np.ndim(a))
  return (1 - t) * a + t * b


def slerp(a: np.ndarray, b: np.ndarray, t) -> np.ndarray:
  """Returns latents on the arc from a to b (Shoemake, SIGGRAPH 1985).

  Normal latents of many dimensions are close to a sphere, which a straight line would leave:
  the direction turns at a constant rate, the length changes linearly.

  Args:
    a, b: [d], not of opposite directions, between which there is no shortest arc.
    t: A number in [0, 1], or [m].

  Returns:
    [d], or [m, d].
  """
  a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
  length_a, length_b = np.linalg.norm(a), np.linalg.norm(b)
  t = np.asarray(t, np.float64)[..., None]
  if not length_a or not length_b:
    return (1 - t) * a + t * b
  from_a, from_b = a / length_a, b / length_b
  angle = 2 * math.atan2(np.linalg.norm(from_a - from_b), np.linalg.norm(from_a + from_b))
  if math.pi - angle < 1e-6:
    raise UserError('Two latents are opposite: no arc between them is the shortest. Use --space=w.')
  if angle < 1e-6:
    direction = (1 - t) * from_a + t * from_b
  else:
    direction = np.sin((1 - t) * angle) * from_a + np.sin(t * angle) * from_b
    direction = direction / math.sin(angle)
  return ((1 - t) * length_a + t * length_b) * direction


def ease(t) -> np.ndarray:
  """Returns 3t² − 2t³: from 0 to 1 with zero speed at both ends, so that paths join smoothly."""
  t = np.asarray(t, np.float64)
  return t * t * (3 - 2 * t)


def path_positions(num_keys: int, num: int, closed: bool = True) -> tuple[np.ndarray, np.ndarray]:
  """Returns the positions of frames on a path through keys: (index of the last key, fraction).

  Args:
    num_keys: At least one.
    num: Frames.
    closed: Whether the path ends where it began, without repeating that frame; else the last frame
      is the last key.
  """
  segments = num_keys if closed else num_keys - 1
  if not segments:
    return np.zeros(num, int), np.zeros(num)
  position = np.arange(num) * segments / (num if closed else max(num - 1, 1))
  behind = np.minimum(np.floor(position + 1e-9).astype(int), segments - 1)
  return behind, ease(np.clip(position - behind, 0, 1))


def along(keys: np.ndarray, num: int, closed: bool = True, arc: bool = False) -> np.ndarray:
  """Returns the frames of a smooth path through keys, float32 [num, ...].

  Every key is reached exactly, with zero speed.

  Args:
    keys: [k, ...].
    num, closed: See `path_positions`.
    arc: Whether paths are arcs (`slerp`, keys [k, d]) instead of straight lines.
  """
  keys = np.asarray(keys)
  step = slerp if arc else lerp
  behind, share = path_positions(len(keys), num, closed)
  frames = [step(keys[i], keys[(i + 1) % len(keys)], t) for i, t in zip(behind, share, strict=True)]
  return np.stack(frames).astype(np.float32)


def layers_of(text: str | Sequence[int], num_layers: int) -> list[int]:
  """Returns the layers that a user names: 'coarse', 'middle', 'fine', or numbers as '0-2,5'.

  Args:
    text: The name, or the numbers.
    num_layers: How many styles the generator takes (axis 1 of w).

  Raises:
    UserError: No such layer, or too few of them for thirds.
  """
  from jax3dgan.apps import common

  if isinstance(text, str) and text in PARTS:
    thirds = np.array_split(np.arange(num_layers), len(PARTS))
    if not len(thirds[PARTS.index(text)]):
      raise UserError(
        f'The generator has {num_layers} rows of styles, too few for a {text!r} third. Name some '
        f'of 0-{num_layers - 1}.'
      )
    return thirds[PARTS.index(text)].tolist()
  remedy = f'Name some of 0-{num_layers - 1}, or one of {", ".join(PARTS)}.'
  try:
    layers = common.parse_seeds(text) if isinstance(text, str) else list(text)
  except Exception:
    raise UserError(f'{text!r} names no layers. {remedy}') from None
  for layer in layers:
    if not 0 <= layer < num_layers:
      raise UserError(f'There is no layer {layer}: the generator has {num_layers}. {remedy}')
  return sorted(set(layers))


def mix(w: np.ndarray, other: np.ndarray, layers: Sequence[int]) -> np.ndarray:
  """Returns w with some layers' styles of another one (StyleGAN, Sec. 3.1: style mixing).

  Args:
    w, other: [..., n, layers, ...]: axis 1 is the layer that a style goes to, as in every `map`.
    layers: Which of them come from `other`.
  """
  mixed = np.array(np.broadcast_arrays(w, other)[0])
  mixed[:, list(layers)] = np.broadcast_to(other, mixed.shape)[:, list(layers)]
  return mixed
