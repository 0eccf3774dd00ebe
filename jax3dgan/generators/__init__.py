"""Generators by name, and what every part of the library does with any of them."""

import dataclasses
import functools

import jax
import jax.numpy as jnp

from jax3dgan.errors import UserError
from jax3dgan.generators.base import Rendering
from jax3dgan.generators.eg3d import EG3D
from jax3dgan.generators.pigan import PiGAN
from jax3dgan.generators.stylegan2 import StyleGAN2
from jax3dgan.rendering.hierarchical import RenderOptions

GENERATORS = {'pigan': PiGAN, 'eg3d': EG3D, 'stylegan2': StyleGAN2}


def create(config):
  """The generator (a Flax module) of a config."""
  fields = dict(config.model)
  name = fields.pop('name')
  if name not in GENERATORS:
    raise UserError(f"No generator is called '{name}'. Choose one of {', '.join(GENERATORS)}.")
  known = _fields(name)
  unknown = sorted(set(fields) - set(known))
  if unknown:
    raise UserError(
      f"config.model.{unknown[0]} is no field of '{name}'. It has: {', '.join(sorted(known))}."
    )
  # Of a config.json come lists, and a module must be hashable.
  fields = {key: tuple(v) if isinstance(v, list) else v for key, v in fields.items()}
  return GENERATORS[name](**fields)


def _fields(name: str) -> dict:
  """{field: default} of a generator."""
  fields = dataclasses.fields(GENERATORS[name])
  # Flax adds two of its own.
  return {field.name: field.default for field in fields if field.name not in ('parent', 'name')}


def model_config(name: str, **fields) -> dict:
  """What `config.model` is for a generator: its name and every field, at the default or as given.

  Raises UserError for a name or a field that is not known.
  """
  if name not in GENERATORS:
    raise UserError(f"No generator is called '{name}'. Choose one of {', '.join(GENERATORS)}.")
  defaults = _fields(name)
  if unknown := sorted(set(fields) - set(defaults)):
    raise UserError(f"'{name}' has no field {unknown[0]}. It has: {', '.join(sorted(defaults))}.")
  return {'name': name, **defaults, **fields}


def init_params(generator, key):
  """Fresh parameters."""
  z = jnp.zeros((1, generator.z_dim))
  return jax.jit(functools.partial(generator.init, method='initialise'))(key, z)['params']


def render_options(
  config, display: bool = False, resolution: int | None = None, **overrides
) -> RenderOptions:
  """Static rendering options of a config.

  Args:
    display: with `config.display`'s settings (more samples) over `config.render`'s.
    resolution: instead of `config.resolution`.
    overrides: fields of RenderOptions that win over both.
  """
  known = {field.name for field in dataclasses.fields(RenderOptions)}
  values = dict(config.render)
  if display:
    values.update({name: value for name, value in config.display.items() if value is not None})
  values = {name: value for name, value in values.items() if name in known}
  return RenderOptions(**{**values, 'resolution': resolution or config.resolution, **overrides})


def average_w(generator, params, key, num: int = 10_000):
  """Mean styles over `num` latents, [n, 2, h]: the centre of truncation (π-GAN, Sec. 4.4).

  A generator that keeps a running mean of them (EG3D, after Karras et al. 2019) gives that one.
  """
  if hasattr(generator, 'stored_average_w'):
    return generator.stored_average_w(params)

  @jax.jit
  def mean(params, key):
    z = jax.random.normal(key, (num, generator.z_dim))
    return jnp.mean(generator.apply({'params': params}, z, method='map'), axis=0)

  return mean(params, key)


__all__ = ['GENERATORS', 'Rendering', 'average_w', 'create', 'init_params', 'render_options']
