"""A config as the types of JSON, and back; where two such configs differ."""

from typing import Any

import ml_collections


def plain(value) -> Any:
  """Returns a config (or a part of one) as JSON's types; tuples become lists."""
  if isinstance(value, ml_collections.ConfigDict):
    value = value.to_dict()
  if isinstance(value, dict):
    return {key: plain(item) for key, item in value.items()}
  if isinstance(value, (list, tuple)):
    return [plain(item) for item in value]
  return value


def config_from(value) -> Any:
  """The inverse of `plain`: dicts become locked ConfigDicts and lists tuples."""
  if isinstance(value, dict):
    config = ml_collections.ConfigDict({k: config_from(v) for k, v in value.items()})
    return config.lock()
  if isinstance(value, list):
    return tuple(config_from(item) for item in value)
  return value


def differences(old: dict, new: dict, prefix: str = '') -> dict[str, tuple[Any, Any]]:
  """Returns {'a.b': (old value, new value)} for the fields of two plain configs that differ."""
  found = {}
  for key in sorted(old.keys() | new.keys()):
    a, b = old.get(key), new.get(key)
    if isinstance(a, dict) and isinstance(b, dict):
      found |= differences(a, b, f'{prefix}{key}.')
    elif a != b:
      found[prefix + key] = (a, b)
  return found
