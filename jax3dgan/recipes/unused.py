"""Fields of the config that have no effect beside the values of others: where one of them is not at
its default, that is an error of one line, before anything is compiled."""

from collections.abc import Iterable, Mapping

from jax3dgan import config as config_lib
from jax3dgan.errors import UserError
from jax3dgan.recipes import checks


def options(config, generator) -> None:
  """Rendering options that the generator, or other options, leave without effect are not set, in
  `config.render`, `config.display` and stages."""
  defaults = config_lib.base_config(config.recipe)
  for name, reason in _without_effect(config, generator).items():
    for group in ('render', 'display'):
      if name in config[group] and name in defaults[group]:
        checks.unused(config, f'{group}.{name}', defaults[group][name], reason)
    for i, stage in enumerate(config.stages):
      if name in stage:
        raise UserError(
          f'config.stages[{i}] has {name}={stage[name]}, which would be ignored: {reason}. Leave '
          'it out.'
        )


def _without_effect(config, generator) -> dict[str, str]:
  """{rendering option: why it has no effect here}."""
  reasons = {}
  if not any(group.get('num_fine') for group in (config.render, config.display, *config.stages)):
    reasons['importance'] = 'there is no second pass, num_fine is 0'
  if not any('marcher' in stage for stage in config.stages):
    if config.render.marcher == 'midpoints':
      reasons['last_interval'] = "the marcher 'midpoints' has none"
  own = generator.unused_options()
  return reasons | {name: f"'{config.model.name}' {reason}" for name, reason in own.items()}


def of_weights(config, fields: Mapping[str, Iterable[str]]) -> None:
  """Fields that say more of a term are at their defaults where its weight is 0.

  Args:
    fields: {weight: fields}, as {'loss.r1': ('loss.r1_every',)}.
  """
  defaults = config_lib.base_config(config.recipe)
  for weight, own in fields.items():
    group, name = weight.split('.')
    if not config[group][name]:
      for field in own:
        group, name = field.split('.')
        checks.unused(config, field, defaults[group][name], f'config.{weight} is 0')


def density_noise(config, generator) -> None:
  """Noise on the densities that falls in `loss.density_noise_steps` has a density, and steps."""
  loss = config.loss
  if not generator.has_field:
    if loss.density_noise:
      reason = f"'{config.model.name}' has no density"
      default = config_lib.base_config(config.recipe).loss.density_noise
      checks.unused(config, 'loss.density_noise', default, reason)
  elif loss.density_noise and not loss.density_noise_steps:
    raise UserError(
      f'config.loss.density_noise is {loss.density_noise} and would be ignored: it is gone after 0 '
      'steps. Set --config.loss.density_noise_steps to 1 or more, or '
      '--config.loss.density_noise=0.'
    )
  of_weights(config, {'loss.density_noise': ('loss.density_noise_steps',)})
