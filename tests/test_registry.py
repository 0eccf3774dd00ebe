"""registry.py: classes by name, and what is wrong with a name in one line."""

import flax.linen as nn
import pytest

from jax3dgan import config as config_lib
from jax3dgan import discriminators, generators, recipes
from jax3dgan.errors import UserError


class Linear(nn.Module):
  """A module that is no network of the package."""

  width: int = 3


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
