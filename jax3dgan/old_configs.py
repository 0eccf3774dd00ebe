"""Configs of earlier versions, with the fields that have come since."""

import ml_collections

from jax3dgan import config as config_lib
from jax3dgan import recipes
from jax3dgan.errors import UserError


def complete(config) -> ml_collections.ConfigDict:
  """A config with the fields that have come since it was written, at their defaults.

  Fields of other recipes, which earlier versions wrote down for every run, go; all other fields
  stay as they are, also those that this version does not have.
  """
  name = config.get('recipe') or 'pigan'
  if not recipes.is_known(name):  # of a later version; training with it is an error later
    name = 'pigan'
  defaults = config_lib.base_config(name)
  for group, setter in (
    ('model', config_lib.set_model),
    ('discriminator', config_lib.set_discriminator),
  ):
    _complete_network(defaults, config, group, setter)
  with config.unlocked():
    foreign = recipes.fields_of_others(name)
    for group, fields in foreign.items():
      if group not in config:
        continue
      if group not in defaults:
        del config[group]
      elif isinstance(config[group], ml_collections.ConfigDict):
        for field in fields:
          if field in config[group] and field not in defaults[group]:
            del config[group][field]
    _fill(config, defaults)
  return config


def _complete_network(defaults, config, group: str, setter) -> None:
  """Gives `defaults` the network of a config, or none where this version does not know it."""
  name = (config.get(group) or {}).get('name')
  if not name or name == defaults[group].name:
    return
  try:
    setter(defaults, name)
  except UserError:
    with defaults.unlocked():
      del defaults[group]


def _fill(config, defaults) -> None:
  for name, value in defaults.items():
    if name not in config:
      config[name] = value
    elif isinstance(value, ml_collections.ConfigDict) and isinstance(config[name], type(value)):
      _fill(config[name], value)
