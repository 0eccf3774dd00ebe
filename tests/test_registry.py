"""registry.py: classes by name, and what is wrong with a name in one line."""

import flax.linen as nn
import ml_collections
import pytest

from jax3dgan import config as config_lib
from jax3dgan import discriminators, generators, recipes
from jax3dgan.errors import UserError
from jax3dgan.training import state


class Linear(nn.Module):
  """A module that is no network of the package."""

  width: int = 3


class Unfinished(recipes.Recipe):
  """A recipe without its methods."""

  defaults = {'optimizer': {'beta3': 0.5}}


class NoRecipe:
  """Neither is this a recipe."""


def function():
  """Nor this a class."""


VALUE = 3
HERE = __name__


@pytest.mark.parametrize(
  'name, message',
  [
    ('foo', "No recipe is called 'foo'. Choose one of pigan,"),
    (':Linear', "as 'package.module:Class'"),
    ('.here:Linear', "as 'package.module:Class'"),
    ('there.is:None', "there is no module 'there'. Install its package, or add its folder"),
    (f'{HERE}:Missing', f"{HERE} has no 'Missing'."),
    (f'{HERE}:', f"{HERE} has no ''."),
    (f'{HERE}:NoRecipe', "'NoRecipe' is not a subclass of jax3dgan.recipes.base.Recipe."),
    (f'{HERE}:function', "'function' is not a subclass of"),
    (f'{HERE}:VALUE', "'VALUE' is not a subclass of"),
  ],
)
def test_a_wrong_name_is_one_line(name, message):
  with pytest.raises(UserError) as error:
    recipes.create(name)
  assert message in str(error.value) and '\n' not in str(error.value)


def test_networks_are_subclasses_of_their_contracts():
  config = config_lib.base_config()
  for group, make in (
    ('model', lambda: generators.create(config)),
    ('discriminator', lambda: discriminators.create(config.discriminator)),
  ):
    for name in ('Linear', 'NoRecipe', 'VALUE'):
      config[group].name = f'{HERE}:{name}'
      with pytest.raises(UserError, match='is not a subclass of jax3dgan.*docs/add_a_model.md'):
        make()


def test_a_name_alone_does_not_change_the_network():
  config = config_lib.base_config()
  config.model.name, config.discriminator.name = 'stylegan2', 'dual'
  with pytest.raises(UserError, match=r"of the generator 'stylegan2'.*set_model\(config, 'styleg"):
    generators.create(config)
  with pytest.raises(UserError, match=r'block is not.*set_discriminator\(config, .dual.\) makes'):
    discriminators.create(config.discriminator)


def test_what_a_recipe_of_ones_own_lacks_is_one_line():
  with pytest.raises(UserError, match='default of config.optimizer.beta3, a field that there is'):
    config_lib.base_config(f'{HERE}:Unfinished')
  recipe = recipes.create(f'{HERE}:Unfinished')
  for method, arguments in (('check', 3), ('phases', 4), ('draw', 7)):
    with pytest.raises(UserError, match=f":Unfinished has no method '{method}'. Write it, see doc"):
      getattr(recipe, method)(*[None] * arguments)


@pytest.mark.parametrize(
  'phases, message',
  [
    (recipes.Phase('a', 'generator', None), 'has no tuple of phases'),
    ((recipes.Phase('a', 'generatr', None),), "trains 'generatr', and the networks are generator"),
  ],
)
def test_wrong_phases_are_one_line(phases, message, monkeypatch):
  config = config_lib.tiny(config_lib.base_config())
  networks = generators.create(config), discriminators.create(config.discriminator)
  recipe = type(recipes.create('pigan'))
  monkeypatch.setattr(recipe, 'phases', lambda *_: phases)
  monkeypatch.setattr(recipe, 'init_networks', lambda *_: recipes.Networks({'generator': {}}, {}))
  with pytest.raises(UserError, match=message):
    state.create(config, *networks)


@pytest.mark.parametrize(
  'group, name, field',
  [
    ('model', 'stylenerf', 'upsampling'),
    ('model', 'stylenerf', 'upsampling_border'),
    ('model', 'stylesdf', 'upsampling_border'),
    ('model', 'eg3d', 'upsampling_border'),
    ('model', 'eg3d', 'plane_axes'),
    ('model', 'giraffe', 'renderer_features'),
    ('model', 'giraffe', 'renderer_colours'),
    ('model', 'gghead', 'rotation'),
    ('model', 'hologan', 'activation'),
    ('model', 'pigan', 'matmul_dtype'),
    ('discriminator', 'stylenerf', 'compat'),
    ('discriminator', 'progressive', 'block'),
  ],
)
def test_a_word_that_a_field_does_not_have_is_refused_before_anything_is_read(group, name, field):
  if group == 'model':
    create, make = generators.create, generators.model_config
  else:
    create, make = discriminators.create, discriminators.discriminator_config
  fields = make(name)
  wrong = {**fields, field: f'{fields[field]}r'}
  config = ml_collections.ConfigDict({'model': wrong} if group == 'model' else wrong)
  words = rf"config\.{group}\.{field} is '{wrong[field]}'\. Choose one of .*{fields[field]}"
  with pytest.raises(UserError, match=words):
    create(config)
  create(ml_collections.ConfigDict({'model': fields} if group == 'model' else fields))
