"""Figures of expressions: where landmarks are and how they move, against what a face model says.

Of arrays alone. Movements are of landmarks [..., l, 2], in shares of the picture's width, from a
neutral face to one with an expression of the same person from the same camera; `true` is of the
face model's mesh, `read` is what a network reads from two pictures.
"""

from collections.abc import Sequence

import numpy as np

from jax3dgan.errors import UserError

EYES = 36, 45  # the outer corners, of 68 landmarks
STILL_PIXELS = 0.15  # a landmark that moves less is to stay
_TINY = 1e-300


def gain(read, true) -> np.ndarray:
  """Σ read·true / Σ |true|² over all but the first axis, [k, ...] → [k]: 1 obeys, 0 ignores."""
  return _sums(read, true) / np.maximum(_sums(true, true), _TINY)


def correlation(read, true) -> np.ndarray:
  """Σ read·true / √(Σ |read|² Σ |true|²) over all but the first axis: how like the movements are,
  whatever their size. 0 where nothing was read."""
  size = np.sqrt(_sums(read, read) * _sums(true, true))
  return np.where(size > 0, _sums(read, true) / np.maximum(size, _TINY), 0.0)


def _sums(a, b):
  return (np.asarray(a, np.float64) * b).reshape(len(a), -1).sum(1)


def movement(read, true, resolution: int, names: Sequence[str]) -> dict[str, float]:
  """Whether faces move as their expressions say.

  Args:
    read, true: [p, n, l, 2] of p expressions and n people.
    resolution: pixels on a side, for what is in pixels.
    names: of the expressions.

  Returns:
    For each name 'gain/NAME', 'correlation/NAME', 'pixels/NAME' (root mean square of the true
    movement), 'wrong/NAME' (mean gain on the movements of the other expressions) and
    'recognised/NAME' (share of the people whose movement is most like the right one, of all p);
    'gain', 'correlation', 'wrong' and 'recognised', over all; 'still_pixels', root mean square of
    what is read at landmarks that stay.

  Raises:
    UserError: fewer than two expressions, or one that moves nothing.
  """
  read, true = np.asarray(read, np.float64), np.asarray(true, np.float64)
  p = len(names)
  if read.shape != true.shape or len(true) != p or p < 2:
    raise UserError(
      f'Movements {read.shape} and {true.shape} of {p} expressions do not fit. Give two or more '
      'expressions, and as many movements.'
    )
  moved = resolution * np.linalg.norm(true, axis=-1)  # [p, n, l]
  pixels = np.sqrt((moved**2).mean((1, 2)))
  if pixels.min() < 1e-9:
    raise UserError(f'{names[int(pixels.argmin())]} moves no landmark. Leave it out.')
  like = np.stack(
    [[correlation(of_one, other) for other in true] for of_one in read]
  )  # [p, p, n]: of what is read of the first, with the second
  right = like.argmax(1) == np.arange(p)[:, None]  # [p, n]
  wrong = np.stack([[gain(r[None], t[None])[0] for t in true] for r in read])
  wrong = (wrong.sum(1) - wrong.diagonal()) / (p - 1)
  of_each = {
    'gain': gain(read, true),
    'correlation': correlation(read, true),
    'pixels': pixels,
    'wrong': wrong,
    'recognised': right.mean(1),
  }
  values = {
    f'{figure}/{name}': float(value)
    for figure, row in of_each.items()
    for name, value in zip(names, row, strict=True)
  }
  values['gain'] = float(gain(read[None], true[None])[0])
  values['correlation'] = float(correlation(read[None], true[None])[0])
  values['wrong'] = float(wrong.mean())
  values['recognised'] = float(right.mean())
  still = moved < STILL_PIXELS
  if still.any():
    size = resolution * np.linalg.norm(read, axis=-1)[still]
    values['still_pixels'] = float(np.sqrt((size**2).mean()))
  return values


def placement(read, true) -> float:
  """Mean distance of landmarks [..., 68, 2], in distances between the outer corners of the eyes."""
  read, true = np.asarray(read, np.float64), np.asarray(true, np.float64)
  eyes = np.linalg.norm(true[..., EYES[0], :] - true[..., EYES[1], :], axis=-1)
  error = np.linalg.norm(read - true, axis=-1).mean(-1)
  return float((error / eyes).mean())


def outside(images, region) -> float:
  """Mean change, of 255, of the pixels that neither the neutral face nor the moved one covers.

  Args:
    images: uint8 [1 + p, n, h, w, 3], the neutral faces first.
    region: bool [1 + p, n, h, w], which pixels the face model's region covers.
  """
  total = count = 0
  first = np.asarray(images[0], np.float64)
  for image, covered in zip(images[1:], region[1:], strict=True):  # one by one, for memory
    away = ~(covered | region[0])
    total += np.abs(image - first).mean(-1)[away].sum()
    count += away.sum()
  return float(total / max(count, 1))


def region_colours(images, region) -> np.ndarray:
  """Mean colours [n, 1 + p, 3] in [0, 1] of what the region covers; arguments as `outside`'s."""
  colours = []
  for image, covered in zip(images, region, strict=True):
    total = np.maximum(covered.sum((1, 2)), 1)[:, None]
    colours.append((image * covered[..., None] / 255.0).sum((1, 2)) / total)
  return np.stack(colours, axis=1)
