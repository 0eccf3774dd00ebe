"""What the recipes of splatted generators share: the generator against a discriminator that is told
the camera, the discriminator, every few steps R1; flat grounds of random colours behind fakes and
photos. The losses are in `splat_losses`.
"""

from collections.abc import Mapping
from typing import ClassVar

from jax3dgan.errors import UserError
from jax3dgan.recipes import backgrounds, base, checks, loss_terms, splat_losses
from jax3dgan.recipes.base import Inputs, Phase, Recipe
from jax3dgan.training.ranges import Range
from jax3dgan.training.streams import named_keys

WEIGHT = Range(0, note='0 for none')


def defaults(grad_clip: float) -> dict:
  """`Recipe.defaults` with this bound of the generator's gradients, 0 for none."""
  optimizer = dict(lr_generator=2.5e-3, lr_discriminator=2e-3, beta1=0.0, beta2=0.99)
  return {
    'render': dict(align_corners=False, white_back=True),
    'optimizer': dict(**optimizer, grad_clip=grad_clip),
  }


def ranges(group: str, own: Mapping[str, Range]) -> dict[str, Range]:
  """Ranges of the fields of config.`group`: those that all have, and `own`."""
  shared = {
    'views': Range(1),
    'blur': WEIGHT,
    'blur_images': Range(0),
    'w_average_decay': Range(0, 1, below=True),
  }
  fields = {f'{group}.{name}': value for name, value in {**shared, **own}.items()}
  return {'loss.r1_every': Range(1), **fields}


class SplattedRecipe(Recipe):
  """A recipe whose own group, `config.<model>`, has `views`, `random_background`, `blur`,
  `blur_images` and `w_average_decay`.

  Attributes:
    generator_type: What it trains.
    regularises: What of it, in words for an error.
    ranges: See `ranges`.
  """

  generator_type: ClassVar[type]
  regularises: ClassVar[str]
  ranges: ClassVar[dict[str, Range]]

  discriminator = 'stylegan2'
  uses_labels = True
  has_convolutions = True

  def check(self, config, generator, discriminator):
    """See `Recipe.check`."""
    checks.has_discriminator(config, discriminator)
    if not isinstance(generator, self.generator_type):
      raise UserError(
        f"The recipe '{self.model}' regularises {self.regularises}, which '{config.model.name}' "
        f"does not have. Take the model '{self.model}', or another recipe."
      )
    self.check_own(config, generator)
    checks.label_sizes(config, generator, discriminator)
    checks.single_images(config, discriminator, 'stylegan2')
    checks.rendering(config, generator)
    checks.in_ranges(config, self.ranges)
    checks.told_cameras(config, generator, discriminator)
    checks.heads(config, generator, discriminator, ('pose',))
    if self.needs_masks(config):
      backgrounds.check(f'config.{self.model}.random_background', config)

  def check_own(self, config, generator) -> None:
    """UserError for what no other recipe has."""
    raise NotImplementedError

  def needs_masks(self, config):
    """See `Recipe.needs_masks`."""
    return config[self.model].random_background

  def draw_cameras(self, keys, phase, config, photos, now) -> Inputs:
    """Inputs with cameras alone, and what goes with them in `extras`."""
    raise NotImplementedError

  def draw(self, keys, phase, config, generator, photos, now, buffers) -> Inputs:
    """See `Recipe.draw`."""
    del buffers
    own = config[self.model]
    if own.random_background and loss_terms.sees_photos(config.loss, phase):
      photos = photos._replace(image=backgrounds.photos_on_colours(keys, photos))
    if not loss_terms.makes_fakes(config.loss, phase):
      return Inputs(images=photos.image, image_label=photos.label)
    inputs = self.draw_cameras(keys, phase, config, photos, now)
    extras = dict(inputs.extras)
    if own.random_background:
      count = own.views if phase == 'generator' else 1
      extras[splat_losses.BACKGROUND] = backgrounds.colours(keys, 'background', count)
    inputs = inputs._replace(
      z=base.draw_latents(keys, generator.z_dim),
      keys=named_keys(keys, 'rendering'),
      extras=extras,
    )
    if loss_terms.sees_photos(config.loss, phase):
      inputs = inputs._replace(images=photos.image, image_label=photos.label)
    return inputs


def phases(losses, config, prepare=None) -> tuple[Phase, ...]:
  """The generator, its inputs changed by `prepare`, the discriminator, R1: of losses with their
  names."""
  result = [
    Phase('generator', 'generator', losses.generator, prepare=prepare),
    Phase('discriminator', 'discriminator', losses.discriminator),
  ]
  if loss_terms.is_lazy(config.loss):
    result.append(Phase('r1', 'discriminator', losses.r1, config.loss.r1_every, lazy=True))
  return tuple(result)
