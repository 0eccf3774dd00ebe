"""Discriminators by name: `create` builds one from its group of the config."""

import functools

import jax

from jax3dgan import registry
from jax3dgan.discriminators.base import Discriminator, DiscriminatorOutput
from jax3dgan.nn import precision

DISCRIMINATORS = {
  'progressive': 'jax3dgan.discriminators.progressive:ProgressiveDiscriminator',
  'stylegan2': 'jax3dgan.discriminators.stylegan2:StyleGAN2Discriminator',
  'dual': 'jax3dgan.discriminators.dual:DualDiscriminator',
  'stylenerf': 'jax3dgan.discriminators.stylenerf:StyleNeRFDiscriminator',
  'coordconv': 'jax3dgan.discriminators.coordconv:CoordConvDiscriminator',
  'dcgan': 'jax3dgan.discriminators.dcgan:DCGANDiscriminator',
  'hologan': 'jax3dgan.discriminators.hologan:HoloGANDiscriminator',
  'patch': 'jax3dgan.discriminators.patch:PatchDiscriminator',
  'expgan': 'jax3dgan.discriminators.expgan:ExpGANDiscriminator',
}
NONE = 'none'  # the name of a config without a discriminator

__all__ = [
  'DISCRIMINATORS',
  'NONE',
  'Discriminator',
  'DiscriminatorOutput',
  'create',
  'discriminator_config',
  'init',
  'init_params',
]


def create(config) -> Discriminator | None:
  """The Linen module of `config.discriminator`, None where its name is 'none'.

  A name is one of `DISCRIMINATORS` or 'package.module:Class'.

  Raises:
    UserError: An unknown name or field.
  """
  if config['name'] == NONE:
    return None
  kind, group = 'discriminator', 'config.discriminator'
  return registry.build(kind, group, config, DISCRIMINATORS, Discriminator, precision.CHOICES)


def discriminator_config(name: str, **fields) -> dict:
  """What `config.discriminator` is for a name: it and every field, at the default or as given.

  Raises:
    UserError: An unknown name or field.
  """
  if name == NONE:
    return {'name': NONE}
  kind, group = 'discriminator', 'config.discriminator'
  return registry.group_of(kind, group, name, DISCRIMINATORS, Discriminator, **fields)


def init(discriminator: Discriminator, key) -> dict:
  """Fresh variables: 'params', for every image size at once, and 'buffers' where there are any."""
  if (params := discriminator.init_params(key)) is not None:
    return {'params': params}
  return dict(_init(discriminator, key))


@functools.partial(jax.jit, static_argnums=0)
def _init(discriminator, key):
  return discriminator.init(key, method='initialise')


def init_params(discriminator: Discriminator, key):
  """Fresh parameters alone."""
  return init(discriminator, key)['params']
