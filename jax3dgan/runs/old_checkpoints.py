"""Checkpoints of earlier versions, read by renaming.

Until version 0.1 a state had fields for exactly two networks, and its buffers were among the
generator's parameters:

| then | now |
|---|---|
| generator, discriminator | networks/generator, networks/discriminator |
| generator_optimizer, … | optimizers/generator, … |
| ema/RATE | ema/generator/RATE |
| generator/w_average, generator/noise_const | buffers/generator/… (the optimizer's moments of them are dropped) |
| augment | buffers/augment |
"""  # noqa: E501

from collections.abc import Mapping

_BUFFERS = ('noise_const', 'w_average')
_NETWORKS = ('generator', 'discriminator')


def is_old(tree) -> bool:
  """Whether the top of a checkpoint's tree is an earlier version's."""
  return 'generator' in tree and 'networks' not in tree


def upgrade(tree: dict) -> dict:
  """The tree of a checkpoint (arrays or their descriptions) in the structure of this version."""
  networks = [name for name in _NETWORKS if name in tree]
  buffers = _buffers(tree['generator'])
  own = {'generator': buffers} if buffers else {}
  if tree.get('augment') is not None:
    own['augment'] = tree['augment']
  return {
    **{name: tree[name] for name in ('step', 'key') if name in tree},
    'networks': {name: _without_buffers(tree[name]) for name in networks},
    'optimizers': {name: _without_buffers(tree[f'{name}_optimizer']) for name in networks},
    'ema': {'generator': _without_buffers(tree['ema'])},
    'buffers': own,
  }


def old_keys(keys: tuple[str, ...]) -> tuple[str, ...]:
  """The keys in an earlier version's tree for keys of this version, see `part`."""
  if keys[:1] == ('networks',):
    return keys[1:]
  if keys[:1] == ('optimizers',):
    return (f'{keys[1]}_optimizer', *keys[2:])
  if keys[:2] == ('ema', 'generator'):
    return ('ema', *keys[2:])
  if keys[:1] == ('buffers',):
    return keys[1:]
  return keys


def part(keys: tuple[str, ...], loaded):
  """The subtree at `keys` of this version, from that at `old_keys(keys)`."""
  if not keys:
    return upgrade(loaded)
  return _buffers(loaded) if keys == ('buffers', 'generator') else _without_buffers(loaded)


def _buffers(generator: dict) -> dict:
  return {name: generator[name] for name in _BUFFERS if name in generator}


def _without_buffers(tree):
  """A tree of dicts, and of optax's tuples, without the entries that are buffers now."""
  if isinstance(tree, Mapping):
    return {name: _without_buffers(value) for name, value in tree.items() if name not in _BUFFERS}
  if isinstance(tree, tuple) and hasattr(tree, '_fields'):
    return type(tree)(*map(_without_buffers, tree))
  if isinstance(tree, list | tuple):
    return type(tree)(map(_without_buffers, tree))
  return tree
