"""The weights of models that were pickled whole: their `state_dict`, without creating modules."""

import numpy as np

from jax3dgan.convert.tensors import Tensor
from jax3dgan.convert.values import DAMAGED, HOSTILE, Inert, Object, show
from jax3dgan.errors import UserError

# More than any release has; shared entries count repeatedly.
_MAX_ENTRIES = 100_000
_MAX_NAME = 500
# Weights may be shared; a model is not many times as large as its storages.
_MAX_SHARING, _FREE_BYTES = 4, 16 * 2**20


def state_dict(value) -> dict[str, np.ndarray]:
  """The weights of a module or of a state dict, by the names that PyTorch gives them.

  Args:
    value: An `Object` of a module (walked as PyTorch does it: parameters, buffers that are to be
      kept, then the modules inside) or a dict of tensors.

  Returns:
    Read-only arrays on the file itself.

  Raises:
    UserError: It is neither, or a module is inside of itself.
  """
  if isinstance(value, dict):
    wrong = [key for key, item in value.items() if not (is_name(key) and isinstance(item, Tensor))]
    if wrong or not value:
      what = f'its entry {show(wrong[0])} is no tensor' if wrong else 'it is empty'
      raise UserError(f'This dict is no state dict: {what}. Give the file of a whole model.')
    return _arrays(value)
  if not isinstance(value, Object) or '_parameters' not in value.attributes():
    raise UserError(f'{_what(value)} is neither a model nor a state dict. Give one of these.')
  found, entries = {}, 0
  stack = [('', value, None)]  # prefix, module, (module around it, (the one around that, ...))
  while stack:
    prefix, module, around = stack.pop()
    outer = around
    while outer is not None:
      entries += 1
      if outer[0] is module:
        raise UserError(f'The module {show(prefix)} is inside of itself. {HOSTILE}')
      outer = outer[1]
    fields = module.attributes()
    parts = [_named(fields, part, prefix) for part in ('_parameters', '_buffers', '_modules')]
    entries += 1 + sum(map(len, parts))
    if entries > _MAX_ENTRIES:
      raise UserError(f'A model of more than {_MAX_ENTRIES:,} modules and weights. {HOSTILE}')
    parameters, buffers, modules = parts
    for name, weight in {**parameters, **_kept(buffers, fields)}.items():
      if weight is not None:
        if not isinstance(weight, Tensor):
          raise UserError(f'{_full(prefix, name)} is {_what(weight)} and no tensor. {DAMAGED}')
        found[_full(prefix, name)] = weight
    for name, child in reversed(modules.items()):
      if child is not None:
        if not isinstance(child, Object):
          raise UserError(f'{_full(prefix, name)} is {_what(child)} and no module. {DAMAGED}')
        stack.append((f'{_full(prefix, name)}.', child, (module, around)))
  return _arrays(found)


def _arrays(weights: dict[str, Tensor]) -> dict[str, np.ndarray]:
  storages = {id(tensor.storage): tensor.storage.num_bytes for tensor in weights.values()}
  total = sum(tensor.num_bytes for tensor in weights.values())
  if total > _MAX_SHARING * sum(storages.values()) + _FREE_BYTES:
    raise UserError(f'Weights of {total:,} bytes that share a few storages. {HOSTILE}')
  return {key: tensor.numpy() for key, tensor in weights.items()}


def is_name(key) -> bool:
  """Whether it can be the name of a weight."""
  return isinstance(key, str) and len(key) <= _MAX_NAME and key.isprintable()


def _full(prefix: str, name) -> str:
  if not is_name(name) or len(prefix) > _MAX_NAME:
    raise UserError(f'{show(prefix)} holds {show(name)}, which is no name. {DAMAGED}')
  return prefix + name


def _what(value) -> str:
  return repr(value) if isinstance(value, Inert) else show(value)


def _named(fields: dict, part: str, prefix: str) -> dict:
  entries = fields.get(part, {})
  if not isinstance(entries, dict):
    raise UserError(f'{part} of {show(prefix)} is {_what(entries)} and no dict. {DAMAGED}')
  return entries


def _kept(buffers: dict, fields: dict) -> dict:
  temporary = fields.get('_non_persistent_buffers_set')
  if not isinstance(temporary, set):
    return buffers
  return {name: value for name, value in buffers.items() if name not in temporary}
