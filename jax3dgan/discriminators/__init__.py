"""Discriminators: `create` builds one from its part of the config."""

import dataclasses
import functools

import jax

from jax3dgan.discriminators import dual, progressive, stylegan2
from jax3dgan.discriminators.progressive import DiscriminatorOutput
from jax3dgan.errors import UserError

DISCRIMINATORS = {
  'progressive': progressive.ProgressiveDiscriminator,
  'stylegan2': stylegan2.StyleGAN2Discriminator,
  'dual': dual.DualDiscriminator,
}

__all__ = ['DISCRIMINATORS', 'DiscriminatorOutput', 'create', 'discriminator_config', 'init_params']


def create(config):
  """The Linen module for `config`, a mapping of a name and the module's fields.

  Raises UserError for a name or a field that is not known.
  """
  fields = dict(config)
  name = fields.pop('name')
  known = _fields(name)
  if unknown := sorted(set(fields) - set(known)):
    raise UserError(
      f"config.discriminator.{unknown[0]} is no field of '{name}'. It has: "
      f'{", ".join(sorted(known))}.'
    )
  # Of a config.json come lists, and a module must be hashable.
  fields = {key: tuple(v) if isinstance(v, list) else v for key, v in fields.items()}
  return DISCRIMINATORS[name](**fields)


def _fields(name: str) -> dict:
  """{field: default} of a discriminator."""
  if name not in DISCRIMINATORS:
    raise UserError(
      f"Unknown discriminator '{name}'. Choose one of {', '.join(sorted(DISCRIMINATORS))}."
    )
  fields = dataclasses.fields(DISCRIMINATORS[name])
  # Flax adds two of its own.
  return {field.name: field.default for field in fields if field.name not in ('parent', 'name')}


def discriminator_config(name: str, **fields) -> dict:
  """What `config.discriminator` is for a name: it and every field, at the default or as given.

  Raises UserError for a name or a field that is not known.
  """
  defaults = _fields(name)
  if unknown := sorted(set(fields) - set(defaults)):
    raise UserError(f"'{name}' has no field {unknown[0]}. It has: {', '.join(sorted(defaults))}.")
  return {'name': name, **defaults, **fields}


def init_params(discriminator, key):
  """Fresh parameters, for every image size at once."""
  if isinstance(discriminator, progressive.ProgressiveDiscriminator):
    return progressive.init_params(discriminator, key)
  return jax.jit(functools.partial(discriminator.init, method='initialise'))(key)['params']
