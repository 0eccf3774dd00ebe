"""Placeholders that the safe reader returns instead of objects that need executed code."""

import dataclasses
from typing import Any

HOSTILE = 'No release writes that: do not use this file.'
DAMAGED = 'The file is damaged: download it again.'
_MAX_NESTING = 1_000  # walking a deeper tree takes more stack than Python has
_MAX_PRINTED = 10_000_000  # values, where lists share lists


class Inert:
  """A placeholder for something that was not executed. Compared and hashed by identity."""

  __slots__ = ()


@dataclasses.dataclass(eq=False, slots=True)
class Global(Inert):
  """A name in a pickle."""

  module: str
  name: str

  def __str__(self):
    return f'{self.module}.{self.name}'


@dataclasses.dataclass(eq=False, slots=True, repr=False)
class Bytes(Inert):
  """A long sequence of bytes, left in the file.

  Attributes:
    buffer: That contains it, usually the file itself.
    start, size: Its first byte there, and its length.
  """

  buffer: Any
  start: int
  size: int

  def __len__(self):
    return self.size

  def __repr__(self):
    return f'<{self.size:,} bytes>'

  def tobytes(self) -> bytes:
    """A copy."""
    return self.buffer[self.start : self.start + self.size]


class Stateful(Inert):
  """What takes a state, as an `Object` does, but checks it: `set_state(machine, state)`."""

  __slots__ = ()


@dataclasses.dataclass(eq=False, slots=True, repr=False)
class Object(Inert):
  """An instance that was not created.

  Attributes:
    cls: Its class.
    args: The arguments of its constructor.
    state: The state for its attributes, usually a dict; None without.
    items: The items that would be added to it as to a dict or list; None without.
  """

  cls: Global
  args: tuple
  state: Any = None
  items: Any = None

  def __repr__(self):  # short: the tree below may refer to one thing a million times
    return f'<{self.cls}, not made>'

  def attributes(self) -> dict:
    """The attributes by their names; empty without any."""
    state = self.state
    if isinstance(state, tuple) and len(state) == 2:  # (attributes, slots)
      state = state[0]
    return state if isinstance(state, dict) else {}


def show(value) -> str:
  """A value of a file for an error message: one short printable line."""
  if isinstance(value, str | bytes):
    text = ascii(value[:80])
  else:
    text = repr(value) if isinstance(value, int | float) else f'<{type(value).__name__}>'
  return text if len(text) <= 80 else f'{text[:77]}...'


def fault(tree) -> str | None:
  """The reason that a tree cannot be walked or printed, found without recursion; None if it can.

  Containers that are in themselves, that are nested too deep, or that share parts so often that
  printing them would not end. An `Object` prints as its name, so nesting is counted again in it.
  """
  printed = {}  # by id; None on the way down
  roots, visited = [(tree, 0)], set()
  while roots:
    stack = [(*roots.pop(), False)]
    while stack:
      value, depth, left = stack.pop()
      if isinstance(value, Object):
        if id(value) not in visited:
          visited.add(id(value))
          roots += [(part, depth + 1) for part in (value.args, value.state, value.items)]
        continue
      if not isinstance(value, dict | list | tuple):
        continue
      children = value.values() if isinstance(value, dict) else value
      if left:
        size = 1 + sum(printed.get(id(child)) or _leaf_size(child) for child in children)
        if size > _MAX_PRINTED:
          return 'lists that share lists without end'
        printed[id(value)] = size
      elif id(value) not in printed:
        if depth > _MAX_NESTING:
          return f'values nested more than {_MAX_NESTING:,} deep'
        printed[id(value)] = None
        stack.append((value, depth, True))
        stack.extend((child, depth + 1, False) for child in children)
      elif printed[id(value)] is None:
        return f'a {show(value)} inside of itself'
  return None


def _leaf_size(value) -> int:
  return 1 + len(value) // 64 if isinstance(value, str | bytes | set | frozenset) else 1
