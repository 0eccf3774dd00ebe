"""Reads a compiled program: FLOPs of its products and bytes of its collectives, for one device.

  program = hlo.read(jax.jit(step).lower(...).compile().as_text())
  program.flops, program.collectives

XLA's cost analysis counts the body of a loop once; here it is counted for each iteration, if XLA
knows their number. Products that a backend has replaced by library calls (`program.calls`, on GPUs)
are not counted: read FLOPs in a CPU's program.
"""

import collections
import dataclasses
import math
import re

from jax3dgan.tools import flops as flops_lib

# Bytes of an element; tokens and opaque values have none.
_BITS = re.compile(r'[a-z]+?(\d+)')
_KINDS = (
  'all-reduce',
  'all-gather',
  'reduce-scatter',
  'all-to-all',
  'collective-permute',
  'collective-broadcast',
  'ragged-all-to-all',
)
_HEADER = re.compile(r'^(ENTRY )?%?([\w.\-]+) \(.*\) -> .* \{$')
_INSTRUCTION = re.compile(r'^\s+(?:ROOT )?%?([\w.\-]+) = (.*)$')
_ARRAY = re.compile(r'\b([a-z]+\d*\w*)\[([\d,]*)\]')
# Operations that run a computation once; others (reduce, sort, scatter) apply it to numbers.
_CALLERS = ('call', 'fusion', 'async-start', 'custom-call')

Array = tuple[str, tuple[int, ...]]


@dataclasses.dataclass(frozen=True)
class Collective:
  """An exchange between devices.

  Attributes:
    kind: 'all-reduce', 'all-gather', ...
    bytes: of the whole array: the result of an all-gather, the input of others.
    group: number of devices that take part.
    count: number of executions in a step.
    dtypes: element types, and how many arrays of each.
    name: JAX's op_name of its source; '' if XLA has dropped it.
  """

  kind: str
  bytes: int
  group: int
  count: int
  dtypes: dict[str, int]
  name: str

  @property
  def sent(self) -> float:
    """Bytes that a device sends for all its executions in a ring."""
    share = (self.group - 1) / self.group
    return self.count * self.bytes * share * (2 if self.kind == 'all-reduce' else 1)


@dataclasses.dataclass(frozen=True)
class Program:
  """The work of one device in a compiled program.

  Attributes:
    flops: of its products, a multiply-add as two.
    collectives: those of more than one device.
    calls: targets of custom calls, with their counts.
    unknown_loops: loops with products or collectives whose length XLA does not know; counted once.
  """

  flops: int
  collectives: tuple[Collective, ...]
  calls: dict[str, int]
  unknown_loops: int

  def bytes(self, kind: str) -> int:
    """Bytes of all collectives of a kind, see `Collective.bytes`."""
    return sum(c.bytes * c.count for c in self.collectives if c.kind == kind)


@dataclasses.dataclass(frozen=True)
class _Instruction:
  opcode: str
  arrays: tuple[Array, ...]
  operands: tuple[str, ...]
  rest: str  # the attributes


def _closing(text: str, start: int) -> int:
  """Index after the bracket that closes the one at `start`."""
  depth = 0
  for match in re.finditer(r'[()]', text[start:]):
    depth += 1 if match[0] == '(' else -1
    if not depth:
      return start + match.end()
  raise ValueError(f'a bracket is not closed: {text[:200]}')


def _arrays(text: str) -> tuple[Array, ...]:
  return tuple(
    (kind, tuple(map(int, dims.split(','))) if dims else ()) for kind, dims in _ARRAY.findall(text)
  )


def _size(array: Array) -> int:
  kind, dims = array
  bits = 8 if kind == 'pred' else int(match[1]) if (match := _BITS.match(kind)) else 0
  return math.prod(dims) * bits // 8


def _instruction(text: str) -> _Instruction:
  end = _closing(text, 0) if text[0] == '(' else text.index(' ')
  start = text.index('(', end)
  stop = _closing(text, start)
  operands = re.findall(r'%?([\w.\-]+)(?=,|\)$)', text[start:stop])
  return _Instruction(text[end:start].strip(), _arrays(text[:end]), tuple(operands), text[stop:])


def _computations(text: str) -> tuple[dict[str, dict[str, _Instruction]], str]:
  """Instructions by name by computation, and the entry's name."""
  result, entry, here = {}, '', None
  for line in text.splitlines():
    if header := _HEADER.match(line):
      here = result.setdefault(header[2], {})
      entry = header[2] if header[1] else entry
    elif here is not None and (match := _INSTRUCTION.match(line)):
      here[match[1]] = _instruction(re.sub(r'/\*.*?\*/', '', match[2]))
  if not entry:
    raise ValueError('this is not the text of a compiled program: it has no ENTRY')
  return result, entry


def _numbers(rest: str, name: str) -> list[int]:
  match = re.search(rf'{name}=\{{([\d,]*)\}}', rest)
  return [int(x) for x in match[1].split(',')] if match and match[1] else []


def _window(rest: str, name: str, rank: int, default: str) -> list[list[int]]:
  match = re.search(rf'window=\{{[^}}]*\b{name}=([\d_x\-]+)', rest)
  parts = (match[1] if match else 'x'.join([default] * rank)).split('x')
  return [[int(x) for x in part.split('_')] for part in parts]


def _conv(lhs: Array, rhs: Array, out: Array, rest: str) -> int:
  left, kernel, result = re.search(r'dim_labels=(\w+)_(\w+)->(\w+)', rest).groups()
  rank = len(left) - 2
  read = {name: _window(rest, name, rank, '1') for name in ('stride', 'lhs_dilate', 'rhs_dilate')}
  low, pairs = _window(rest, 'pad', rank, '0_0'), 1
  for i in range(rank):
    label = str(i)
    sizes = (
      shape[1][labels.index(label)] for shape, labels in ((lhs, left), (rhs, kernel), (out, result))
    )
    steps = (read[name][i][0] for name in ('lhs_dilate', 'rhs_dilate'))
    pairs *= flops_lib.valid_taps(*sizes, read['stride'][i][0], low[i][0], *steps)
  groups = 1
  for name in ('feature_group_count', 'batch_group_count'):
    match = re.search(rf'{name}=(\d+)', rest)
    groups *= int(match[1]) if match else 1
  batch, features = lhs[1][left.index('b')], lhs[1][left.index('f')]
  return 2 * pairs * batch * features * rhs[1][kernel.index('o')] // groups


def _group(rest: str, devices: int) -> int:
  if listed := re.search(r'replica_groups=\{\{([\d,]+)\}', rest):
    return listed[1].count(',') + 1
  if iota := re.search(r'replica_groups=\[\d+,(\d+)\]', rest):
    return int(iota[1])
  return devices


def _collective(instruction: _Instruction, names: dict, kind: str, devices: int, count: int):
  arrays = [a for name in instruction.operands for a in names[name].arrays]
  group = _group(instruction.rest, devices)
  size = sum(map(_size, arrays)) * (group if kind == 'all-gather' else 1)
  name = re.search(r'op_name="([^"]*)"', instruction.rest)
  dtypes = dict(collections.Counter(dtype for dtype, _ in arrays))
  return Collective(kind, size, group, count, dtypes, name[1] if name else '')


def _called(instruction: _Instruction) -> list[str]:
  names = re.findall(r'(?:calls|to_apply|called_computations)=\{?%?([\w.\-]+)', instruction.rest)
  return names if instruction.opcode in _CALLERS else []


def _branches(rest: str) -> list[str]:
  listed = re.search(r'branch_computations=\{([^}]*)\}', rest)
  if listed:
    return re.findall(r'[\w.\-]+', listed[1])
  return re.findall(r'(?:true|false)_computation=%?([\w.\-]+)', rest)


class _Walk:
  """Adds up a program from its entry."""

  def __init__(self, computations, devices):
    self._computations, self._devices = computations, devices
    self.calls, self.unknown = collections.Counter(), set()

  def __call__(self, name: str, count: int) -> tuple[int, list[Collective]]:
    """(FLOPs of a computation that runs once, collectives with their counts)."""
    names, flops, exchanges = self._computations[name], 0, []
    for own, instruction in names.items():
      opcode, rest = instruction.opcode, instruction.rest
      if opcode == 'dot':
        lhs = names[instruction.operands[0]].arrays[0][1]
        contracting = _numbers(rest, 'lhs_contracting_dims')
        flops += flops_lib.dot(lhs, instruction.arrays[0][1], contracting)
      elif opcode == 'convolution':
        lhs, rhs = (names[operand].arrays[0] for operand in instruction.operands)
        flops += _conv(lhs, rhs, instruction.arrays[0], rest)
      elif (kind := opcode.removesuffix('-start')) in _KINDS:
        exchanges.append(_collective(instruction, names, kind, self._devices, count))
      elif opcode == 'while':
        more, inside = self._loop(f'{name}/{own}', rest, count)
        flops, exchanges = flops + more, exchanges + inside
      elif opcode == 'conditional':
        parts = [self(branch, count) for branch in _branches(rest)]
        flops += max((part for part, _ in parts), default=0)
        exchanges += max((inside for _, inside in parts), key=_sum_of_bytes, default=[])
      for called in _called(instruction):
        more, inside = self(called, count)
        flops, exchanges = flops + more, exchanges + inside
      if opcode == 'custom-call':
        self.calls[re.search(r'custom_call_target="([^"]*)"', rest)[1]] += count
    return flops, exchanges

  def _loop(self, name: str, rest: str, count: int) -> tuple[int, list[Collective]]:
    known = re.search(r'"known_trip_count":\{"n":"(\d+)"', rest)
    times = int(known[1]) if known else 1
    flops, exchanges = self(re.search(r'body=%?([\w.\-]+)', rest)[1], count * times)
    if not known and (flops or exchanges):
      self.unknown.add(name)
    return flops * times, exchanges


def _sum_of_bytes(exchanges: list[Collective]) -> int:
  return sum(c.bytes * c.count for c in exchanges)


def read(text: str) -> Program:
  """Reads the text of a compiled program, `compiled.as_text()`.

  Raises:
    ValueError: It is not the text of a compiled program.
  """
  computations, entry = _computations(text)
  header = text[: text.index('\n')]
  counts = re.findall(r'(?:num_partitions|replica_count)=(\d+)', header)
  walk = _Walk(computations, math.prod(map(int, counts)))
  flops, exchanges = walk(entry, 1)
  several = tuple(c for c in exchanges if c.group > 1)
  return Program(flops, several, dict(walk.calls), len(walk.unknown))
