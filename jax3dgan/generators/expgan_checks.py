"""Fields and options of Exp-GAN's generator that do not go together: one line each."""

import math

from jax3dgan.errors import UserError
from jax3dgan.generators import expgan_faces
from jax3dgan.rendering.options import RenderOptions

_COUNTS = (
  'latent_dim', 'w_dim', 'num_identity', 'num_expression', 'num_faces',
  'plane_features', 'texture_channels', 'texture_hidden', 'decoder_hidden', 'low_resolution',
)  # fmt: skip


def fields(generator) -> None:
  """UserError in one line for fields that make no generator."""
  for name in _COUNTS:
    if getattr(generator, name) < 1:
      raise UserError(
        f'config.model.{name} is {getattr(generator, name)}, and there is at least one. Set '
        f'--config.model.{name}=1 or more.'
      )
  for name in ('channels', 'up_channels'):
    values = tuple(getattr(generator, name))
    if any(value < 1 for value in values) or not (values or name == 'up_channels'):
      raise UserError(
        f"config.model.{name} is {values}. Give whole numbers above 0, as '(64, 32)'."
      )
  size = generator.low_resolution
  if generator.up_channels and (size < 4 or size & (size - 1)):
    raise UserError(
      f'config.model.low_resolution is {size}, and sizes are doubled from 4². Set '
      '--config.model.low_resolution to a power of two from 4.'
    )
  for name in ('box_half', 'box_centre'):
    if len(getattr(generator, name)) != 3:
      raise UserError(
        f'config.model.{name} is {tuple(getattr(generator, name))}. Give three numbers (x, y, z).'
      )
  if generator.identity_inputs < 0:
    raise UserError(
      f'config.model.identity_inputs is {generator.identity_inputs}. Set it to 0 for none, or more.'
    )
  if len(generator.up_channels) == 1:
    raise UserError(
      f'config.model.up_channels is {generator.up_channels}, and there is no image at the size of '
      'the rays. Give one entry more for each doubling, or () for the auxiliary image.'
    )
  if generator.identity_inputs > generator.num_identity:
    raise UserError(
      f'config.model.identity_inputs is {generator.identity_inputs}, and a code of identity has '
      f'{generator.num_identity} numbers. Set --config.model.identity_inputs to that or less.'
    )
  if any(not 0 <= i < generator.num_expression for i in generator.expression_inputs):
    raise UserError(
      f'config.model.expression_inputs is {generator.expression_inputs}, and a code of expression '
      f'has the numbers 0 to {generator.num_expression - 1}. Choose among these.'
    )
  if generator.jaw and generator.num_expression < expgan_faces.JAW:
    raise UserError(
      f'config.model.num_expression is {generator.num_expression}, with the three of a jaw. Set '
      '--config.model.jaw=False, or more of them.'
    )
  if not 0 <= generator.orthographic < math.inf:
    raise UserError(
      f'config.model.orthographic is {generator.orthographic}. Set it to a distance in front of '
      'cameras, or to 0 for rays through their place.'
    )
  if min(generator.box_half) <= 0:
    raise UserError(
      f'config.model.box_half is {generator.box_half}, and the planes span a box. Set three '
      'numbers above 0.'
    )


def low_resolution(generator, options: RenderOptions) -> int:
  """Rays on a side of images of these options; a UserError where there are no such images."""
  if not generator.up_channels:
    return options.resolution
  for name, wanted in (
    ('resolution', generator.resolution),
    ('low_resolution', generator.low_resolution),
  ):
    if getattr(options, name) not in (wanted, 0):
      raise UserError(
        f'The up-sampler makes {generator.resolution}² of {generator.low_resolution}² rays, and '
        f'render.{name} is {getattr(options, name)}. Set it to {wanted}.'
      )
  return generator.low_resolution


def options(generator, given: RenderOptions) -> None:
  """UserError for a way of rendering that has no place for the surface."""
  if given.marcher != 'samples' or given.align_corners:
    field = 'marcher' if given.marcher != 'samples' else 'align_corners'
    value, needed = ("'midpoints'", 'samples') if field == 'marcher' else (True, False)
    raise UserError(
      f"config.render.{field} is {value}, and the face's surface is a sample of rays through the "
      f'centres of pixels. Set --config.render.{field}={needed}.'
    )
  for field in ('box', 'limits_radius'):
    if generator.orthographic and getattr(given, field):
      raise UserError(
        f'config.render.{field} is {getattr(given, field)}, and parallel rays are sampled from '
        f'near to far, in halves of the picture. Set --config.render.{field}=0.'
      )
  low_resolution(generator, given)
