"""Random flat colours behind fakes and behind photos whose masks are known (Barthel et al. 2025,
CGS-GAN, arXiv 2505.17590): a colour of an object that is that of the ground shows, and so do holes.
"""

import jax

from jax3dgan.errors import UserError
from jax3dgan.recipes.base import Photos
from jax3dgan.training.streams import named_keys


def check(field: str, config) -> None:
  """UserError in one line where images have another ground than white, which the colours replace.

  Args:
    field: That asks for them, such as 'config.gghead.random_background'.
  """
  if not config.render.white_back:
    raise UserError(
      f'{field} exchanges a white ground, and config.render.white_back is False. Set '
      '--config.render.white_back=True.'
    )


def colours(keys, name: str, count: int = 1):
  """Uniform colours in [−1, 1], [b, count, 3] of per-example keys [b]."""
  keys = named_keys(keys, name)
  return jax.vmap(lambda key: jax.random.uniform(key, (count, 3), minval=-1.0, maxval=1.0))(keys)


def behind(image, opacity, colour):
  """Images [..., h, w, 3] in [−1, 1] on white, on another ground.

  Args:
    opacity: [..., h, w] of what is in front.
    colour: [..., 3] in [−1, 1].
  """
  return image + (1 - opacity)[..., None] * (colour[..., None, None, :] - 1)


def photos_on_colours(keys, photos: Photos):
  """The photos [b, h, w, 3], each on a colour of its own, of per-example keys [b]."""
  return behind(photos.image, photos.opacity, colours(keys, 'photo background')[:, 0])
