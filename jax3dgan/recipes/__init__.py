"""Recipes by name: how a paper trains."""

import functools

from jax3dgan import registry
from jax3dgan.errors import UserError
from jax3dgan.recipes.base import Inputs, Networks, Now, Phase, Photos, Recipe, Terms
from jax3dgan.recipes.occupancy import update_grid

RECIPES = {
  'pigan': 'jax3dgan.recipes.pigan:PiGAN',
  'eg3d': 'jax3dgan.recipes.eg3d:EG3D',
  'nerf': 'jax3dgan.recipes.nerf:NeRF',
  'stylesdf': 'jax3dgan.recipes.stylesdf:StyleSDF',
  'stylesdf_stage1': 'jax3dgan.recipes.stylesdf_stage1:StyleSDFStage1',
  'stylenerf': 'jax3dgan.recipes.stylenerf:StyleNeRF',
  'giraffe': 'jax3dgan.recipes.giraffe:GIRAFFE',
  'hologan': 'jax3dgan.recipes.hologan:HoloGAN',
  'graf': 'jax3dgan.recipes.graf:GRAF',
  'gghead': 'jax3dgan.recipes.gghead:GGHead',
  'gaussians': 'jax3dgan.recipes.gaussians:Gaussians',
  'cgsgan': 'jax3dgan.recipes.cgsgan:CGSGAN',
  'expgan': 'jax3dgan.recipes.expgan:ExpGAN',
}

__all__ = [
  'RECIPES',
  'Inputs',
  'Networks',
  'Now',
  'Phase',
  'Photos',
  'Recipe',
  'Terms',
  'check',
  'create',
  'fields_of_others',
  'is_known',
  'update_grid',
]


@functools.cache
def create(name: str) -> Recipe:
  """The recipe of a name of `RECIPES`, or of 'package.module:Class'.

  Raises:
    UserError: No recipe has that name.
  """
  return registry.resolve('recipe', name, RECIPES, Recipe)()


def is_known(name: str) -> bool:
  """Whether `create` may know a name."""
  return name in RECIPES or ':' in name


def fields_of_others(name: str) -> dict[str, set[str]]:
  """{group: fields} of the config that belong to other recipes of this package."""
  fields: dict[str, set[str]] = {}
  for other in RECIPES.keys() - {name}:
    for group, owner in create(other).groups.items():
      fields.setdefault(group, set()).update(owner.__dataclass_fields__)
  return fields


def notes(config, discriminator) -> list[str]:
  """What to say at the start of a run of fields that train, but not as one might think."""
  from jax3dgan.recipes import checks, unused

  said = (
    checks.untrained_heads(config, discriminator),
    unused.of_weights(config, create(config.recipe)),
  )
  return [note for note in said if note]


def check(config, generator, discriminator, stages) -> None:
  """Whether a config's networks and fields go together, before anything is compiled.

  Raises:
    UserError: In one line, with the remedy.
  """
  from jax3dgan.recipes import checks, unused

  recipe = create(config.recipe)
  checks.groups(config, recipe, fields_of_others(config.recipe))
  checks.adversarial(config)
  for kind, network in (('model', generator), ('discriminator', discriminator)):
    own = network.own_recipe if network is not None else ''
    if own and not isinstance(recipe, type(create(own))):
      raise UserError(
        f"The {kind} '{config[kind].name}' needs what the recipe '{own}' gives it, and "
        f"'{config.recipe}' does not. Take that recipe, or another {kind}."
      )
  recipe.check(config, generator, discriminator)
  checks.fields_of_networks(config, generator, discriminator)
  unused.options(config, recipe, generator)
  for stage in stages:
    checks.density(config, generator, stage.options)
    generator.check_options(stage.options)
  checks.display(config, generator)
  checks.cameras_drawn(config, recipe)
  checks.resolutions(config, recipe, generator, discriminator, stages)
