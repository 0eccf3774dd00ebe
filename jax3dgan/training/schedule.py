"""What changes with the step: stages (resolution, batch, rendering, rates), fade, noise."""

import dataclasses

import jax.numpy as jnp

from jax3dgan import discriminators
from jax3dgan.errors import UserError
from jax3dgan.rendering.options import RenderOptions
from jax3dgan.training import batch_split
from jax3dgan.training.batch_split import BatchSplit

# What an entry of `config.stages` may change, and where it is in the config; RENDER_FIELDS too.
STAGE_FIELDS = {
  'resolution': 'resolution',
  'batch_size': 'batch_size',
  'micro_batches': 'micro_batches',
  'lr_generator': 'optimizer.lr_generator',
  'lr_discriminator': 'optimizer.lr_discriminator',
}
# Fields of `config.render` that are rendering options; its other ones make cameras.
RENDER_FIELDS = tuple(
  field.name for field in dataclasses.fields(RenderOptions) if field.name != 'resolution'
)


@dataclasses.dataclass(frozen=True)
class Stage:
  """A stretch of training with static shapes: one compilation.

  Attributes:
    from_step, to_step: the steps it covers, the end excluded.
    fade_from: the step at which its resolution was first used; None in the first resolution, which
      has nothing to fade in from.
    position: images consumed before from_step.
    split: how the batch is divided among devices and micro-batches.
    configured_micro_batches: `config.micro_batches`, whatever the number of devices.
    learning_rates: by network, before they decay.
    options: how to render, with the resolution.
  """

  from_step: int
  to_step: int
  fade_from: int | None
  position: int
  split: BatchSplit
  configured_micro_batches: int
  learning_rates: dict[str, float]
  options: RenderOptions

  @property
  def batch_size(self) -> int:
    """Images of a step that count, of all devices together."""
    return self.split.batch_size

  @property
  def micro_batches(self) -> int:
    """Micro-batches of each device, one after another."""
    return self.split.micro_batches

  @property
  def padded_batch_size(self) -> int:
    """Images that all devices together compute in a step."""
    return self.split.batch_size + self.split.padding

  @property
  def resolution(self) -> int:
    """Pixels on a side of the images."""
    return self.options.resolution

  def position_at(self, step):
    """Images consumed before `step`, which may be traced."""
    return self.position + (step - self.from_step) * self.batch_size


def _field(config, path):
  for part in path.split('.'):
    config = config[part]
  return config


def stages(config, num_devices: int | None = 1) -> tuple[Stage, ...]:
  """The stages of a config, checked.

  Args:
    config: Of a run.
    num_devices: Of all hosts, that train it; None where nothing is trained: then the batch is not
      divided, and earlier versions may have trained with one that could not be.

  Raises:
    UserError: unordered stages, unknown fields, or a batch that cannot be divided, see
    `batch_split.split`.
  """
  discriminator = discriminators.create(config.discriminator)
  group_size = 1 if discriminator is None else discriminator.group_size
  values = {name: _field(config, path) for name, path in STAGE_FIELDS.items()}
  values |= {name: config.render[name] for name in RENDER_FIELDS}
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
    before = dict(values)
    if index:
      entry = dict(config.stages[index - 1])
      entry.pop('from_step')
      unknown = sorted(set(entry) - set(values))
      if unknown:
        raise UserError(
          f"config.stages[{index - 1}] has an unknown field '{unknown[0]}'. "
          f'A stage may change {", ".join(values)}.'
        )
      values |= {name: _whole(value, values[name]) for name, value in entry.items()}
    if values['resolution'] != before['resolution']:
      fade_from = start
    same_batch = index > 0 and values['batch_size'] == before['batch_size']
    if not (config.compat.refresh_with_batch_size and same_batch):
      refreshed = {
        'learning_rates': {
          name.removeprefix('lr_'): values[name] for name in values if name.startswith('lr_')
        },
        'fade_from': fade_from,
      }
    try:
      split = _split(values, num_devices, group_size)
    except UserError as error:
      if not index:
        raise
      raise UserError(
        f'{error} It is so from step {start:,} on: config.stages[{index - 1}], whose fields come '
        'before those of --config.'
      ) from None
    options = {name: values[name] for name in (*RENDER_FIELDS, 'resolution')}
    stage = Stage(
      from_step=start,
      to_step=end,
      position=position,
      split=split,
      configured_micro_batches=values['micro_batches'],
      options=_options(options, index, config),
      **refreshed,
    )
    result.append(stage)
    position = stage.position_at(end)
  return tuple(
    stage for stage in result if stage.from_step < config.num_steps or stage.from_step == 0
  )


def _options(options, index: int, config) -> RenderOptions:
  """The options of a stage; an error names the group of the config that they are from."""
  try:
    return RenderOptions(**options)
  except UserError as error:
    entry = dict(config.stages[index - 1]) if index else {}
    where = f'config.stages[{index - 1}]' if {*entry} & {*RENDER_FIELDS} else 'config.render'
    raise UserError(f'{where}: {error}') from None


def _whole(value, default):
  """1e5 as 100000, where a field has whole numbers."""
  if type(default) is int and isinstance(value, float) and value.is_integer():
    return int(value)
  return value


def _split(values, num_devices: int | None, group_size: int) -> BatchSplit:
  batch_size, micro_batches = values['batch_size'], values['micro_batches']
  if num_devices is None:
    return BatchSplit(batch_size, 1, 1, batch_size)
  return batch_split.split(batch_size, micro_batches, num_devices, group_size)


def stage_at(all_stages, step: int) -> Stage:
  """The stage that `step` belongs to."""
  return next(stage for stage in reversed(all_stages) if stage.from_step <= step)


def fade(stage: Stage, step, fade_steps: int):
  """Share of the newest resolution in the discriminator, 0 to 1; the Python number 1 where nothing
  fades."""
  if stage.fade_from is None or not fade_steps:
    return 1.0
  return jnp.clip((step - stage.fade_from) / fade_steps, 0.0, 1.0)


def growth(config, sizes, step: int) -> float:
  """How many of a generator's `resolutions` it has beyond the first one after `step` steps; the one
  that is faded in counts in part."""
  stage = stage_at(stages(config, None), max(step - 1, 0))
  if stage.resolution not in sizes:
    return float(len(sizes) - 1)
  position = tuple(sizes).index(stage.resolution)
  share = fade(stage, step, config.loss.get('fade_steps', 0))
  return max(position - 1 + float(share), 0.0)


def density_noise(step, std: float, steps: int):
  """Standard deviation of the density noise, falling linearly to 0 over `steps`; the Python number
  0 for none."""
  if not std or not steps:
    return 0.0
  return std * jnp.maximum(0.0, 1.0 - step / steps)


def learning_rate(rate: float, step, decay: float, decay_steps: int, milestones=()):
  """A learning rate that falls by the factor `decay` every `decay_steps` steps, exponentially, or
  at once at each step of `milestones`; 0 steps and none for not at all."""
  if milestones:
    return rate * decay ** sum(jnp.where(step >= each, 1.0, 0.0) for each in milestones)
  return rate * decay ** (step / decay_steps) if decay_steps else rate
