"""A machine for pickles that builds data and calls nothing.

A pickle is a program: its opcodes import names and call them. This machine knows all opcodes that
`pickle` writes, but a name stays a name (`Global`), and a call is either one of a few constructors
given by a `Policy` or becomes a record of the call (`Object`). Any other name is refused, called or
not. Time and memory are bounded by the file's own size and by the numbers below.
"""

import dataclasses
import math
import pickletools
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from jax3dgan.convert.opcodes import OPCODES, STOP
from jax3dgan.convert.values import (
  DAMAGED,
  HOSTILE,
  Global,
  Inert,
  Object,
  Stateful,
  fault,
  show,
)
from jax3dgan.errors import UserError

# A generator takes 10,000 opcodes, and an opcode of a byte can cost 200 bytes of memory.
_MAX_OPCODES = 1_000_000
_MAX_MARKS = 1_000  # open brackets at a time
_MAX_LINE = 4_096
# Integers up to this have different hashes; larger ones, and tuples, can be chosen so that a dict
# degenerates to a list.
_MAX_KEY = 2**60


@dataclasses.dataclass(frozen=True)
class Policy:
  """Which names a pickle may mention.

  Attributes:
    constructors: (module, name) → function(machine, args), which makes the value.
    classes: names that become `Object`s when called: 'siren.siren.*' allows every name of a module,
      'torch.nn.modules.**' of the modules below too.
  """

  constructors: Mapping[tuple[str, str], Callable]
  classes: tuple[str, ...] = ()

  def allows(self, module: str, name: str) -> bool:
    """Whether the name may be mentioned."""
    if (module, name) in self.constructors:
      return True
    if not name.isidentifier() or not all(part.isidentifier() for part in module.split('.')):
      return False
    full = f'{module}.{name}'
    return any(_pattern(known).fullmatch(full) for known in self.classes)


def _pattern(known: str) -> re.Pattern:
  # `re` keeps what it compiled.
  text = re.escape(known).replace(r'\*\*', r'[\w.]+').replace(r'\*', r'\w+')
  return re.compile(text, re.ASCII)


@dataclasses.dataclass
class Budget:
  """The resources that one file may use, including its inner pickles.

  Attributes:
    view_bytes: size of all its tensors, each on its own.
    opcodes: the number that is left.
  """

  view_bytes: int
  opcodes: int = _MAX_OPCODES


class Machine:
  """Reads one pickle or several consecutive ones.

  Args:
    data: bytes or a mmap.
    where: what to call the data in errors.
    policy: which names it may mention.
    budget: shared by the pickles of a file.
    persistent_load: function(machine, id) for references to data outside of the pickle.
    start, end: the range of the pickles in the data; None for its end.
  """

  def __init__(self, data, where, policy, budget, persistent_load=None, start=0, end=None):
    self.data, self.pos, self.start = data, start, start
    self.end = len(data) if end is None else end
    self.where, self.policy, self.budget = where, policy, budget
    self.persistent_load = persistent_load
    self.at = start
    self.globals = {}
    self.restart()

  def error(self, what: str, remedy: str = DAMAGED) -> UserError:
    """The error to raise, with the position."""
    return UserError(f'{self.where}, byte {self.at - self.start}: {what}. {remedy}')

  def run(self) -> Any:
    """The value; `pos` is then after the pickle."""
    while True:
      self.at = self.pos
      (code,) = self.take(1)
      self.spend(1)
      if code not in OPCODES:
        raise self._no_opcode(code)
      argument, act = OPCODES[code]
      try:
        if argument is None:
          act(self)
        else:
          act(self, argument(self))
      except IndexError:
        raise self.error('an opcode takes more than the stack holds') from None
      if code == STOP:
        return self._result()

  def restart(self):
    """Prepares for another pickle, after the one that was read."""
    self.stack, self.marks, self.memo = [], [], {}

  def skip(self, size: int):
    """Skips existing bytes."""
    if self.pos + size > self.end:
      raise self.error(f'{size:,} bytes are wanted and {self.end - self.pos:,} are left')
    self.pos += size

  def spend(self, opcodes: int):
    """Counts opcodes, or work that costs as much."""
    self.budget.opcodes -= opcodes
    if self.budget.opcodes < 0:
      raise self.error(f'more than {_MAX_OPCODES:,} opcodes', HOSTILE)

  def _no_opcode(self, code):
    known = pickletools.code2op.get(chr(code))
    if known is None:
      return self.error(f'{show(bytes([code]))} is no opcode of a pickle')
    return self.error(f'the opcode {known.name} is not allowed', HOSTILE)

  def _result(self):
    if len(self.stack) != 1 or self.marks:
      raise self.error('the pickle stops in the middle of a value')
    wrong = fault(self.stack[0])
    if wrong:
      raise self.error(wrong, HOSTILE)
    return self.stack[0]

  # Reading.

  def take(self, size: int) -> bytes:
    """The next bytes."""
    first, self.pos = self.pos, self.pos + size
    if self.pos > self.end:
      raise self.error('the file ends in the middle of a pickle')
    return self.data[first : self.pos]

  def line(self, encoding: str = 'utf-8') -> str:
    """The rest of a line."""
    found = self.data.find(b'\n', self.pos, min(self.end, self.pos + _MAX_LINE))
    if found < 0:
      raise self.error('a line does not end')
    text = self.take(found - self.pos)
    self.pos += 1
    return self.decode(text, encoding)

  def decode(self, text: bytes, encoding: str) -> str:
    """The text."""
    try:
      return text.decode(encoding)
    except UnicodeDecodeError:
      raise self.error(f'{show(text)} is no text in {encoding}') from None

  # The stack.

  def push(self, value):
    """Puts a value on the stack."""
    self.stack.append(value)

  def mark(self):
    """Opens a bracket."""
    if len(self.marks) >= _MAX_MARKS:
      raise self.error(f'more than {_MAX_MARKS:,} values that are not finished', HOSTILE)
    self.marks.append(self.stack)
    self.stack = []

  def pop_mark(self) -> list:
    """Closes a bracket; returns its contents."""
    items, self.stack = self.stack, self.marks.pop()
    return items

  def put(self, index: int):
    """Stores the top of the stack in the memo."""
    if not 0 <= index <= _MAX_OPCODES:
      raise self.error(f'the memo has no place {index}', HOSTILE)
    self.memo[index] = self.stack[-1]

  def get(self, index: int):
    """Pushes a value of the memo."""
    if index not in self.memo:
      raise self.error(f'place {index} of the memo is empty')
    self.push(self.memo[index])

  # Values.

  def key(self, key):
    """The key of a dict or member of a set, checked: no file can make hashing it slow."""
    if isinstance(key, str | bytes | Inert) or key is None:
      return key
    if isinstance(key, int | float) and (abs(key) <= _MAX_KEY or math.isinf(key)):
      return key
    raise self.error(f'{show(key)} as the key of a dict', HOSTILE)

  def set_items(self, target, items: list):
    """target[items[0]] = items[1], and so on."""
    if len(items) % 2:
      raise self.error('a key without a value')
    if isinstance(target, Object):
      target.items = {} if target.items is None else target.items
      target = target.items
    if not isinstance(target, dict):
      raise self.error(f'items of a {show(target)}', HOSTILE)
    for key, value in zip(items[::2], items[1::2], strict=True):
      target[self.key(key)] = value

  def append(self, target, items: list):
    """Adds items to a list or a subclass."""
    if isinstance(target, Object):
      target.items = [] if target.items is None else target.items
      target = target.items
    if not isinstance(target, list):
      raise self.error(f'elements of a {show(target)}', HOSTILE)
    target.extend(items)

  def find(self, module: str, name: str) -> Global:
    """The name, if it is allowed."""
    found = self.globals.get((module, name))
    if found is None:
      if not self.policy.allows(module, name):
        full = show(f'{module}.{name}')
        raise self.error(f'the pickle wants {full}, which is not allowed and was not run', HOSTILE)
      found = self.globals[module, name] = Global(module, name)
    return found

  def make(self, function, args):
    """The result of calling a name."""
    if not isinstance(function, Global) or not isinstance(args, tuple):
      raise self.error('a call of what is no name', HOSTILE)
    constructor = self.policy.constructors.get((function.module, function.name))
    return Object(function, args) if constructor is None else constructor(self, args)

  def build(self):
    """Sets attributes."""
    state, target = self.stack.pop(), self.stack[-1]
    if isinstance(target, Object):
      if target.state is not None:
        raise self.error(f'a second state of {target!r}', HOSTILE)
      target.state = state
    elif isinstance(target, Stateful):
      target.set_state(self, state)
    elif not isinstance(target, OrderedDict):  # whose attributes say nothing, as `_metadata`
      raise self.error(f'attributes of a {show(target)}', HOSTILE)

  def persistent(self):
    """Resolves a reference to data outside of the pickle."""
    if self.persistent_load is None:
      raise self.error('a reference to outside of the pickle', HOSTILE)
    self.push(self.persistent_load(self, self.stack.pop()))
