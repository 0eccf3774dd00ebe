"""What GIRAFFE's generator refuses: fields that are impossible, and options without effect."""

from jax3dgan.errors import UserError
from jax3dgan.rendering import composition
from jax3dgan.rendering.options import RenderOptions


def check_fields(generator) -> None:
  """UserError for a field of `generators.giraffe.GIRAFFE` that no network has."""
  fields = ('low_resolution', 'point_frequencies')
  fields += ('direction_frequencies',) if generator.use_directions else ()
  fields += ('background_dim',) if generator.background else ()
  for name in fields:
    if getattr(generator, name) < 1:
      raise UserError(
        f'config.model.{name} is {getattr(generator, name)}. Set --config.model.{name} to 1 or '
        'more.'
      )
  num, skip = generator.num_layers, generator.skip
  if skip >= num:
    raise UserError(
      f'config.model.skip is {skip}, and there are {num} layers. Set --config.model.skip={num - 1} '
      'or less, 0 for none.'
    )
  if generator.composition not in composition.MODES:
    raise UserError(
      f"config.model.composition is '{generator.composition}'. Choose one of "
      f'{", ".join(composition.MODES)}.'
    )


def unused_fields(generator) -> dict[str, str]:
  """See `Generator.unused_fields`."""
  unused = {}
  if not generator.background:
    own = ('dim', 'hidden', 'layers', 'scale', 'turns')
    unused |= {f'background_{name}': 'background is off' for name in own}
  if not generator.use_directions:
    unused['direction_frequencies'] = 'features do not depend on the direction'
  else:
    unused['compat_linear_view'] = 'features depend on the direction'
  if not generator.renderer_skips:
    unused['renderer_colours'] = 'the neural renderer has no skips'
  if generator.num_objects == 1:
    unused['placements'] = 'there is one object'
  return unused


def check_options(options: RenderOptions, has_background: bool) -> None:
  """UserError for options without effect."""
  if options.last_back and not has_background:
    raise UserError(
      'render.last_back shows the background at the last sample, and there is none. Set '
      'last_back=False, or background=True in config.model.'
    )
  only = {
    'num_fine': 0,
    'density': 'relu',
    'marcher': 'samples',
    'white_back': False,
    'lock_view_direction': False,
    'box': 0.0,
    'spacing': 'linear',
    'jitter': 'sample',
    'strata': 'between',
    'saved_activations': 'all',
    'importance': 'weights',
    'limits_radius': 0.0,
  }
  for field, value in only.items():
    if getattr(options, field) != value:
      raise UserError(
        f'render.{field} is {getattr(options, field)!r}, and GIRAFFE renders with {value!r} alone. '
        f'Set {field}={value!r}.'
      )
