"""What training programs put around weights: dicts of a training state, prefixes of wrappers.

{'epoch': 3, 'state_dict': {...}}   {'model': {...}, 'ema': {...}}   module._orig_mod.siren...
{'state_dict': {'generator.siren...': ..., 'discriminator.fromRGB...': ...}}
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from jax3dgan.convert.tensors import Tensor
from jax3dgan.convert.values import DAMAGED, Inert, Object, show
from jax3dgan.errors import UserError

# Classes that contain a model as `module`.
PARALLEL = ('torch.nn.parallel.data_parallel', 'torch.nn.parallel.distributed')
_COMPILED = re.compile(r'(^|\.)_orig_mod(?=\.)')  # of torch.compile, around any module
_MAX_DEPTH = 3
_STEPS = ('step', 'global_step')


def plain_names(weights: Mapping[str, Any]) -> dict[str, Any]:
  """Weights by the names that they have without `DataParallel` and `torch.compile` around them."""
  names = {key: _COMPILED.sub('', key).removeprefix('.') for key in weights}
  while names and all(name.startswith('module.') for name in names.values()):
    names = {key: name.removeprefix('module.') for key, name in names.items()}
  return {names[key]: value for key, value in weights.items()}


def is_module(value) -> bool:
  """Whether it is a module of PyTorch."""
  return isinstance(value, Object) and '_parameters' in value.attributes()


def is_state_dict(value) -> bool:
  """Whether it is a dict of weights alone, by their names."""
  return (
    isinstance(value, dict)
    and bool(value)
    and all(isinstance(key, str) for key in value)
    and all(isinstance(item, Tensor) for item in value.values())
  )


def is_average(value) -> bool:
  """Whether it is torch_ema's `ExponentialMovingAverage`, whole or its state dict."""
  fields = value.attributes() if isinstance(value, Object) else value
  return isinstance(fields, dict) and isinstance(fields.get('shadow_params'), list)


def unwrapped(module):
  """The module inside of `DataParallel` and its like."""
  for _ in range(_MAX_DEPTH):
    if not (isinstance(module, Object) and module.cls.module in PARALLEL):
      break
    inner = module.attributes().get('_modules')
    inner = inner.get('module') if isinstance(inner, dict) else None
    if not isinstance(inner, Object):
      break
    module = inner
  return module


def names_of(value) -> list[str]:
  """Names of weights, without wrappers; of a module those of its own parts."""
  if is_state_dict(value):
    return list(plain_names(value))
  fields = unwrapped(value).attributes() if isinstance(value, Object) else {}
  parts = (fields.get(part) for part in ('_modules', '_parameters'))
  return [f'{name}.' for part in parts if isinstance(part, dict) for name in part]


def parts(tree) -> dict[str, Any]:
  """{'a/b': part} of the models, state dicts and averages in the dicts of a training state; one
  that is there repeatedly by its first name."""
  found, visited = {}, set()
  level = {'': tree}
  for _ in range(_MAX_DEPTH):
    below = {}
    for prefix, value in level.items():
      for key, item in value.items() if isinstance(value, dict) else ():
        # A file may refer to one thing a million times.
        if not (isinstance(key, str) and key.isprintable()) or id(item) in visited:
          continue
        visited.add(id(item))
        if is_module(item) or is_state_dict(item) or is_average(item):
          found[prefix + key] = item
        elif isinstance(item, dict):
          below[f'{prefix}{key}/'] = item
    level = below
  return found


def _networks(inside: Mapping[str, Any], suits: Callable[[Any], bool]) -> dict[str, Any]:
  """Parts, and instead of a state dict of several networks, as 'generator.siren...' and
  'discriminator.fromRGB...', those of them that suit."""
  found = {}
  for name, part in inside.items():
    networks = {}
    if is_state_dict(part) and not suits(part):
      for key, value in plain_names(part).items():
        head, _, rest = key.partition('.')
        networks.setdefault(f'{name}/{head}'.removeprefix('/'), {})[rest] = value
      networks = {head: state for head, state in networks.items() if suits(state)}
    found |= networks or {name: part}
  return found


def choose(path, tree, entry: str | None, suits: Callable[[Any], bool], what: str):
  """The part of a training state that is meant; the tree itself where it is none.

  Args:
    path: Of the file, for messages.
    tree: Of the file.
    entry: The part's name, as of `parts`; None for the one that suits.
    suits: Whether a part is what is wanted, by its names.
    what: Is wanted, for messages: 'generator of EG3D'.

  Raises:
    UserError: Several parts suit, or there is no such entry.
  """
  whole = is_state_dict(tree) or is_average(tree)
  inside = _networks({'': tree} if whole else parts(tree), suits)
  inside.pop('', None)
  if entry is not None:
    if entry not in inside:
      there = f'It has {", ".join(inside)}' if inside else 'It has none: leave out --entry'
      raise UserError(f'{path} has no entry {entry} with weights. {there}.')
    return inside[entry]
  suitable = [name for name, value in inside.items() if suits(value)]
  if len(suitable) > 1:
    flags = ' or '.join(f'--entry={name}' for name in suitable)
    raise UserError(f'{path} has {len(suitable)} of what may be a {what}. Choose it with {flags}.')
  if not suitable and len(inside) > 1:
    raise UserError(
      f'{path} has no {what} that is known by its names; it has {", ".join(inside)}. Give another '
      'file, or --entry=NAME of the one that is meant.'
    )
  name = suitable[0] if suitable else next(iter(inside), None)
  return tree if name is None else inside[name]


def shown_generator(
  path,
  tree,
  entry: str | None,
  found: dict[str, Any],
  suits: Callable[[Any], bool],
  what: str,
  otherwise: str,
) -> str:
  """The name, of the first two of `found`, of the generator that is shown: the moving average, or
  the trained one where that is all there is.

  Args:
    found: Networks of a training state by name, the average first, None for those it lacks. Where
      neither is a generator, the one that is chosen (`choose`) is put in the place of the first.
    otherwise: Ends the message where there is none: 'Give a checkpoint of GRAF.'
    The rest: See `choose`.

  Raises:
    UserError: There is none.
  """
  names = list(found)[:2]
  if not any(suits(found[name]) for name in names):
    found[names[0]] = choose(path, tree, entry, suits, what)
  for name in names:
    if suits(found[name]):
      return name
  value = found[names[0]]
  there = repr(value) if isinstance(value, Inert) else show(value)
  raise UserError(f'{path} is {there} without a {what} {otherwise}')


def step_of(tree) -> int | None:
  """The training step that a training state says; None where it says none."""
  if not isinstance(tree, dict):
    return None
  found = (tree.get(name) for name in _STEPS)
  return next((x for x in found if isinstance(x, int) and not isinstance(x, bool)), None)


def iteration_of(path, tree) -> int | None:
  """`it` of a file; None where it says none.

  Raises:
    UserError: It is no number of steps.
  """
  value = tree.get('it') if isinstance(tree, dict) else None
  if value is None:
    return step_of(tree)
  if isinstance(value, bool) or not isinstance(value, int) or not -1 <= value < 2**31:
    raise UserError(f'{path} says it {show(value)}. {DAMAGED}')
  return max(value, 0)
