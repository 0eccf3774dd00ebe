"""Fields of the config that have no effect beside the values of others: where one of them is not at
its default, that is an error of one line, before anything is compiled; beside a weight of 0 it is
one line to say, since runs that differ in a weight may have 0 among them."""

from jax3dgan.errors import UserError
from jax3dgan.recipes import checks
from jax3dgan.rendering.options import DISPLAY, RenderOptions


def options(config, recipe, generator) -> None:
  """Rendering options that the generator, or other options, leave without effect are not set, in
  `config.render`, `config.display` and stages."""
  for name, reason in _without_effect(config, generator).items():
    for group in ('render', 'display'):
      if name in config[group]:
        default = _default(recipe, f'{group}.{name}')
        checks.unused(config, f'{group}.{name}', default, reason)
    for i, stage in enumerate(config.stages):
      if name in stage:
        raise UserError(
          f'config.stages[{i}] has {name}={stage[name]}, which would be ignored: {reason}. Leave '
          'it out.'
        )


def _default(recipe, field: str):
  """A field's value in a config of the recipe where nobody sets it."""
  group, name = field.split('.')
  if name in recipe.defaults.get(group, {}):
    return recipe.defaults[group][name]
  if group == 'display':
    return DISPLAY[name]
  owner = RenderOptions if group == 'render' else recipe.groups[group]
  return owner.__dataclass_fields__[name].default


def _without_effect(config, generator) -> dict[str, str]:
  """{rendering option: why it has no effect here}."""
  reasons = {}
  if not any(group.get('num_fine') for group in (config.render, config.display, *config.stages)):
    for name in ('importance', 'nucleus', 'fine_jitter'):
      reasons[name] = 'there is no second pass, num_fine is 0'
  elif config.render.importance != 'robust':
    if not any(stage.get('importance') == 'robust' for stage in config.stages):
      reasons['nucleus'] = "render.importance is not 'robust'"
  if not any('marcher' in stage for stage in config.stages):
    if config.render.marcher == 'midpoints':
      reasons['last_interval'] = "the marcher 'midpoints' has none"
  own = generator.unused_options()
  return reasons | {name: f"'{config.model.name}' {reason}" for name, reason in own.items()}


def of_weights(config, recipe) -> str:
  """What to say at the start of fields that are not at their defaults and say more of a term whose
  weight is 0 (`Recipe.of_weights`); '' for none."""
  found = []
  for weights, fields in recipe.of_weights.items():
    weights = (weights,) if isinstance(weights, str) else weights
    values = {name: _value(config, name) for name in fields}
    others = [name for name in fields if values[name] != _default(recipe, name)]
    if others and not any(_value(config, weight) for weight in weights):
      zero = ' and '.join(f'config.{weight}' for weight in weights)
      own = ', '.join(f'config.{name} ({values[name]!r})' for name in others)
      found.append(f'{own} beside {zero} of 0')
  return f'Without effect: {"; ".join(found)}.' if found else ''


def _value(config, field: str):
  group, name = field.split('.')
  return config[group][name]


def density_noise(config, recipe, generator) -> None:
  """Noise on the densities that falls in `loss.density_noise_steps` has a density, and steps."""
  loss = config.loss
  if not generator.has_field:
    if loss.density_noise:
      reason = f"'{config.model.name}' has no density"
      default = _default(recipe, 'loss.density_noise')
      checks.unused(config, 'loss.density_noise', default, reason)
  elif loss.density_noise and not loss.density_noise_steps:
    raise UserError(
      f'config.loss.density_noise is {loss.density_noise} and would be ignored: it is gone after 0 '
      'steps. Set --config.loss.density_noise_steps to 1 or more, or '
      '--config.loss.density_noise=0.'
    )
