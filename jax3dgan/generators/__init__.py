"""Generators by name, and what every part of the library does with any of them."""

import dataclasses
import functools

import jax
import jax.numpy as jnp

from jax3dgan import registry
from jax3dgan.generators.base import Generator, Rendering, Scene
from jax3dgan.generators.field_generator import FieldGenerator
from jax3dgan.nn import precision
from jax3dgan.rendering.options import RenderOptions

GENERATORS = {
  'pigan': 'jax3dgan.generators.pigan:PiGAN',
  'eg3d': 'jax3dgan.generators.eg3d:EG3D',
  'stylegan2': 'jax3dgan.generators.stylegan2:StyleGAN2',
  'stylenerf': 'jax3dgan.generators.stylenerf:StyleNeRF',
  'nerf': 'jax3dgan.generators.nerf:NeRF',
  'stylesdf': 'jax3dgan.generators.stylesdf:StyleSDF',
  'giraffe': 'jax3dgan.generators.giraffe:GIRAFFE',
  'hologan': 'jax3dgan.generators.hologan:HoloGAN',
  'graf': 'jax3dgan.generators.graf:GRAF',
  'gghead': 'jax3dgan.generators.gghead:GGHead',
  'gaussians': 'jax3dgan.generators.gaussians:GaussianSplats',
  'cgsgan': 'jax3dgan.generators.cgsgan:CGSGAN',
  'expgan': 'jax3dgan.generators.expgan:ExpGAN',
}

__all__ = [
  'GENERATORS',
  'FieldGenerator',
  'Generator',
  'Rendering',
  'Scene',
  'average_w',
  'create',
  'has_buffers',
  'init',
  'init_params',
  'model_config',
  'render_options',
]


def create(config) -> Generator:
  """The generator (a Flax module) of a config: `config.model` has its name and fields.

  A name is one of `GENERATORS` or 'package.module:Class'.

  Raises:
    UserError: An unknown name or field.
  """
  return registry.build(
    'generator', 'config.model', config.model, GENERATORS, Generator, precision.CHOICES
  )


def model_config(name: str, **fields) -> dict:
  """What `config.model` is for a generator: its name and every field, at the default or as given.

  Raises:
    UserError: An unknown name or field.
  """
  return registry.group_of('generator', 'config.model', name, GENERATORS, Generator, **fields)


def init(generator: Generator, key) -> dict:
  """Fresh variables: 'params', and 'buffers' where there are any."""
  return dict(_init(generator, key))


@functools.partial(jax.jit, static_argnums=0)
def _init(generator, key):
  return generator.init(key, jnp.zeros((1, generator.z_dim)), method='initialise')


def init_params(generator: Generator, key):
  """Fresh parameters alone."""
  return init(generator, key)['params']


def has_buffers(generator: Generator) -> bool:
  """Whether a generator has variables that are not trained."""
  return bool(jax.eval_shape(lambda: init(generator, jax.random.key(0))).get('buffers'))


def render_options(
  config, display: bool = False, resolution: int | None = None, **overrides
) -> RenderOptions:
  """Static rendering options of a config.

  Args:
    display: With `config.display`'s settings (more samples) over `config.render`'s.
    resolution: Instead of `config.resolution`.
    overrides: Fields of RenderOptions that win over both.
  """
  known = {field.name for field in dataclasses.fields(RenderOptions)}
  values = dict(config.render)
  if display:
    values.update({name: value for name, value in config.display.items() if value is not None})
  values = {name: value for name, value in values.items() if name in known}
  return RenderOptions(**{**values, 'resolution': resolution or config.resolution, **overrides})


def average_w(generator: Generator, variables, key, num: int = 10_000):
  """Mean styles over `num` latents, [n, 2, h] for π-GAN: the centre of truncation (Sec. 4.4).

  A generator that keeps a running mean of them (EG3D, after Karras et al. 2019) gives that one.
  """
  stored = generator.apply(variables, method='average_w')
  if stored is not None:
    return stored

  @jax.jit
  def mean(variables, key):
    z = jax.random.normal(key, (num, generator.z_dim))
    return jnp.mean(generator.apply(variables, z, method='map'), axis=0)

  return mean(variables, key)
