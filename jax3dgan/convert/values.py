"""What the safe reader gives instead of things that would have to be run."""

import dataclasses
from typing import Any

HOSTILE = 'No release writes that: do not use this file.'
DAMAGED = 'The file is damaged: download it again.'


class Inert:
  """What stands for something that was not run. Compared and hashed by identity."""

  __slots__ = ()


@dataclasses.dataclass(eq=False, slots=True)
class Global(Inert):
  """A name that a pickle mentions."""

  module: str
  name: str

  def __str__(self):
    return f'{self.module}.{self.name}'


@dataclasses.dataclass(eq=False, slots=True, repr=False)
class Object(Inert):
  """An instance that was not made.

  Attributes:
    cls: Its class.
    args: What its constructor would have been called with.
    state: What its attributes would have been set from, mostly a dict; None without.
    items: What would have been put into it as into a dict or list; None without.
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
    if state is None and len(self.args) == 1 and isinstance(self.args[0], Object):
      # As StyleGAN's persistent classes are written: one argument with the state beside the source.
      items = self.args[0].items
      state = items.get('state') if isinstance(items, dict) else None
    if isinstance(state, tuple) and len(state) == 2:  # (attributes, slots)
      state = state[0]
    return state if isinstance(state, dict) else {}


def show(value) -> str:
  """What a file says, for an error: on one line, short, printable anywhere."""
  if isinstance(value, str | bytes):
    text = ascii(value[:80])
  else:
    text = repr(value) if isinstance(value, int | float) else f'<{type(value).__name__}>'
  return text if len(text) <= 80 else f'{text[:77]}...'
