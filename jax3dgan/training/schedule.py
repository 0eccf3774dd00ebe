"""What changes with the step: stages (resolution, batch, samples, learning rates), fade, noise."""

import dataclasses

import jax.numpy as jnp

from jax3dgan.config import STAGE_FIELDS
from jax3dgan.errors import UserError


@dataclasses.dataclass(frozen=True)
class Stage:
  """A stretch of training with static shapes: one compilation.

  Attributes:
    from_step, to_step: the steps it covers, the end excluded.
    fade_from: the step at which its resolution was first used; None in the first resolution, which
      has nothing to fade in from.
    position: images consumed before from_step.
    The rest: see `config.STAGE_FIELDS`.
  """

  from_step: int
  to_step: int
  fade_from: int | None
  position: int
  resolution: int
  batch_size: int
  micro_batches: int
  lr_generator: float
  lr_discriminator: float
  num_coarse: int
  num_fine: int
  ray_chunk: int
  low_resolution: int = 0

  def position_at(self, step: int) -> int:
    """Images consumed before `step`."""
    return self.position + (step - self.from_step) * self.batch_size


def _field(config, path):
  for part in path.split('.'):
    config = config[part]
  return config


def stages(config, num_devices: int = 1) -> tuple[Stage, ...]:
  """The stages of a config, checked.

  Raises:
    UserError: unordered stages, unknown fields, or a batch that devices and micro-batches cannot
    share.
  """
  values = {name: _field(config, path) for name, path in STAGE_FIELDS.items()}
  try:
    starts = [0] + [int(dict(entry)['from_step']) for entry in config.stages]
  except (TypeError, ValueError, KeyError):
    raise UserError(
      f'config.stages is {config.stages!r}. Give a tuple of dict(from_step=..., ...), or ().'
    ) from None
  if starts != sorted(set(starts)):
    raise UserError(
      f'config.stages begin at steps {starts[1:]}. Give each a later from_step than the one before.'
    )
  ends = starts[1:] + [max(config.num_steps, starts[-1])]
  result, position, fade_from, refreshed = [], 0, None, {}
  for index, (start, end) in enumerate(zip(starts, ends, strict=True)):
    before = values
    if index:
      entry = dict(config.stages[index - 1])
      entry.pop('from_step')
      unknown = sorted(set(entry) - set(STAGE_FIELDS))
      if unknown:
        raise UserError(
          f"config.stages[{index - 1}] has an unknown field '{unknown[0]}'. "
          f'A stage may change {", ".join(STAGE_FIELDS)}.'
        )
      values = {**values, **entry}
    if values['resolution'] != before['resolution']:
      fade_from = start
    same_batch = index > 0 and values['batch_size'] == before['batch_size']
    if not (config.compat.refresh_with_batch_size and same_batch):
      refreshed = {name: values[name] for name in ('lr_generator', 'lr_discriminator')}
      refreshed['fade_from'] = fade_from
    parts = num_devices * values['micro_batches']
    if values['batch_size'] % parts:
      fewer = [
        n for n in range(1, values['micro_batches']) if not values['batch_size'] % (num_devices * n)
      ]
      remedy = f'Set --config.batch_size to a multiple of {parts}'
      if fewer:
        remedy += (
          f', or micro_batches to {fewer[-1]}: a device has the fewer images the more there are'
        )
      raise UserError(
        f'batch_size {values["batch_size"]} does not divide over {num_devices} device(s) x '
        f'{values["micro_batches"]} micro-batch(es). {remedy}.'
      )
    stage = Stage(from_step=start, to_step=end, position=position, **{**values, **refreshed})
    result.append(stage)
    position = stage.position_at(end)
  return tuple(
    stage for stage in result if stage.from_step < config.num_steps or stage.from_step == 0
  )


def stage_at(all_stages, step: int) -> Stage:
  """The stage that `step` belongs to."""
  return next(stage for stage in reversed(all_stages) if stage.from_step <= step)


def fade(stage: Stage, step, fade_steps: int):
  """Share of the newest resolution in the discriminator, 0 to 1; the Python number 1 where nothing
  fades."""
  if stage.fade_from is None or not fade_steps:
    return 1.0
  return jnp.clip((step - stage.fade_from) / fade_steps, 0.0, 1.0)


def density_noise(step, std: float, steps: int):
  """Standard deviation of the density noise, falling linearly to 0 over `steps`; the Python number
  0 for none."""
  if not std or not steps:
    return 0.0
  return std * jnp.maximum(0.0, 1.0 - step / steps)
