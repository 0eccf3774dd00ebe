"""How a training step goes, by `config.recipe`."""

from collections.abc import Callable

from jax3dgan import steps, steps_eg3d
from jax3dgan.devices import compilation
from jax3dgan.errors import UserError

RECIPES = ('pigan', 'eg3d')


def make_train_step(config, generator, discriminator, stage) -> Callable:
  """step(state, batch) → (state, metrics) of a stage, for one device's shard.

  batch: {'image': [b, h, w, 3]}, and 'label' [b, 25] where `config.data.use_labels`. To be wrapped
  by `parallel.data_parallel`.

  Raises:
    UserError: No recipe is called that.
  """
  if config.recipe == 'eg3d':
    return steps_eg3d.make_train_step(config, generator, discriminator, stage)
  if config.recipe != 'pigan':
    raise UserError(f"config.recipe is '{config.recipe}'. Choose one of {', '.join(RECIPES)}.")
  step = steps.make_train_step(config, generator, discriminator, stage)
  return lambda state, batch: step(state, batch['image'])


def compiler_options(config) -> dict[str, str]:
  """Options of `jax.stages.Lowered.compile` that suit a recipe's step on this platform."""
  return compilation.options_for_convolutions() if config.recipe == 'eg3d' else {}
