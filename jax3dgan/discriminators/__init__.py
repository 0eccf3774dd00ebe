"""Discriminators: `create` builds one from its part of the config."""

from jax3dgan.discriminators import progressive
from jax3dgan.discriminators.progressive import DiscriminatorOutput, init_params
from jax3dgan.errors import UserError

_CLASSES = {'progressive': progressive.ProgressiveDiscriminator}

__all__ = ['DiscriminatorOutput', 'create', 'init_params']


def create(config):
  """The Linen module for `config`, a mapping of a name and the module's fields.

  Raises UserError for a name that is not known.
  """
  fields = dict(config)
  name = fields.pop('name')
  if name not in _CLASSES:
    raise UserError(f"Unknown discriminator '{name}'. Choose one of {', '.join(sorted(_CLASSES))}.")
  if 'channels' in fields:
    fields['channels'] = tuple(fields['channels'])
  return _CLASSES[name](**fields)
