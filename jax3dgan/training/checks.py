"""Ranges of the config's numbers: a value outside of its range is an error of one line.

What only a recipe, a generator or a discriminator knows (which resolutions it takes, which fields
it uses) is checked there.
"""

import numbers

import ml_collections

from jax3dgan.errors import UserError
from jax3dgan.training.ranges import Range
from jax3dgan.training.schedule import RENDER_FIELDS, STAGE_FIELDS

_COUNT = Range(1)
_OPTIONAL = Range(0, note='0 for none')
_FINITE = Range()
_NOT_NEGATIVE = Range(0)
_POSITIVE = Range(0, above=True)
_SHARE = Range(0, 1)
_DECAY = Range(0, 1, below=True)  # of a running mean: at 1 it would never move

RANGES = {
  'num_steps': _NOT_NEGATIVE,
  'batch_size': _COUNT,
  'micro_batches': _COUNT,
  'resolution': _COUNT,
  'render.fov_degrees': Range(0, 180, above=True, below=True),
  'render.radius': _POSITIVE,
  'render.near': _FINITE,
  'render.far': _FINITE,
  'render.num_coarse': _COUNT,
  'render.num_fine': _OPTIONAL,
  'render.ray_chunk': Range(0, note='0 for the usual number of rays'),
  'render.box': _OPTIONAL,
  'render.low_resolution': _NOT_NEGATIVE,
  'render.limits_radius': Range(0, note='0 for the same of all cameras'),
  'render.nucleus': Range(0, 1, above=True),
  'display.num_coarse': _COUNT,
  'display.num_fine': _OPTIONAL,
  'display.ray_chunk': Range(0, note='0 for the usual number of rays'),
  'display.truncation_psi': _FINITE,
  # Of networks: widths and numbers of layers; 0 is none only where a network can do without.
  **{
    f'model.{name}': _COUNT
    for name in (
      'w_dim',
      'hidden_dim',
      'num_layers',
      'mapping_dim',
      'decoder_hidden',
      'colour_dim',
      'plane_features',
      'plane_resolution',
      'embedding_resolution',
      'latent_dim',
      'feature_dim',
      'num_frequencies',
      'background_hidden',
      'background_layers',
      'background_frequencies',
      'background_samples',
      'shape_dim',
      'appearance_dim',
      'decoder_w_dim',
      'decoder_mapping_layers',
      'constant_dim',
      'fold_dim',
      'num_objects',
      'placements',
    )
  },
  **{
    f'model.{name}': _NOT_NEGATIVE
    for name in (
      'z_dim',
      'label_dim',
      'mapping_layers',
      'low_resolution',
      'skip_layer',
      'skip',
      'renderer_width',
      'point_frequencies',
      'direction_frequencies',
      'embedding_channels',
      'occupancy',
      'background_dim',
      'beta_floor',
      'style_scale',
      'clamp',
      'box',
    )
  },
  **{
    f'discriminator.{name}': _NOT_NEGATIVE
    for name in ('label_dim', 'cmap_dim', 'pose_dim', 'latent_dim', 'mapping_layers')
  },
  'model.mapping_lr_multiplier': _POSITIVE,
  'model.density_gain': _POSITIVE,
  'model.background_scale': _POSITIVE,
  'model.azimuth': _FINITE,
  'model.beta': _POSITIVE,
  'model.input_scale': _POSITIVE,
  'model.super_input': _COUNT,
  'discriminator.image_channels': Range(3, 3, note='photos are RGB'),
  'discriminator.group_size': _OPTIONAL,
  'discriminator.latent_hidden_dim': _COUNT,
  'pose_prior.yaw_mean': _FINITE,
  'pose_prior.yaw_std': _NOT_NEGATIVE,
  'pose_prior.pitch_mean': _FINITE,
  'pose_prior.pitch_std': _NOT_NEGATIVE,
  'pose_prior.radius_std': _NOT_NEGATIVE,
  'camera_generator.hidden_dim': _COUNT,
  'camera_generator.from_images': _NOT_NEGATIVE,
  'camera_generator.learning_rate': _NOT_NEGATIVE,
  'camera_generator.mean_penalty': _NOT_NEGATIVE,
  'camera_generator.std_penalty': _NOT_NEGATIVE,
  'loss.r1': _NOT_NEGATIVE,
  'loss.r2': _NOT_NEGATIVE,
  'loss.r1_every': _COUNT,
  'loss.pose': _NOT_NEGATIVE,
  'loss.latent': _NOT_NEGATIVE,
  'loss.top_k_interval': _OPTIONAL,
  'loss.top_k_floor': Range(0, 1, above=True, note='1 for all'),
  'loss.density_noise': _NOT_NEGATIVE,
  'loss.density_noise_steps': _NOT_NEGATIVE,
  'loss.fade_steps': _NOT_NEGATIVE,
  'augment.p': _SHARE,
  'augment.target': Range(-1, 1),
  'augment.every': _COUNT,
  'augment.kimg': _POSITIVE,
  'eg3d.pose_swap': _SHARE,
  'eg3d.pose_swap_images': _NOT_NEGATIVE,
  'eg3d.density': _NOT_NEGATIVE,
  'eg3d.density_every': _COUNT,
  'eg3d.monotonic': _NOT_NEGATIVE,
  'eg3d.density_points': _COUNT,
  'eg3d.density_std': _NOT_NEGATIVE,
  'eg3d.blur': _NOT_NEGATIVE,
  'eg3d.blur_images': _NOT_NEGATIVE,
  'eg3d.w_average_decay': _DECAY,
  'eg3d.label_noise': _NOT_NEGATIVE,
  'eg3d.views': _COUNT,
  'optimizer.lr_generator': _NOT_NEGATIVE,
  'optimizer.lr_discriminator': _NOT_NEGATIVE,
  'optimizer.beta1': _DECAY,
  'optimizer.beta2': _DECAY,
  'optimizer.epsilon': _NOT_NEGATIVE,
  'optimizer.grad_clip': _OPTIONAL,
  'optimizer.decay': Range(0, 1, above=True),
  'optimizer.decay_steps': _OPTIONAL,
  'ema.ramp_up': _NOT_NEGATIVE,
  'data.num_images': Range(0, note='0 for the usual number'),
  'data.read_threads': Range(0, 1024, note='0 for automatic'),
  'data.max_skipped': Range(-1, note='-1 for one in a thousand'),
  'eval.every': _OPTIONAL,
  'eval.step': Range(0, note='0 for the latest'),
  'eval.num_images': _COUNT,
  'eval.num_real': Range(0, note='0 for all'),
  'eval.num_latents': _COUNT,
  'eval.num_inverted': _OPTIONAL,
  'eval.truncation_psi': _FINITE,
  'eval.seed': _NOT_NEGATIVE,
  'eval.kid_subsets': _COUNT,
  'eval.kid_subset_size': _COUNT,
  'eval.neighbours': _COUNT,
  'eval.probe_steps': _COUNT,
  'eval.batch_size': _COUNT,
  'faults.max_loss': Range(0, note='0 for no limit'),
  'log.every': _OPTIONAL,
  'log.images_every': _OPTIONAL,
  'log.num_grid': _COUNT,
  'checkpoint.every': _COUNT,
  'checkpoint.keep': _COUNT,
}
OPTIMIZERS = ('adam', 'rmsprop')
# A stage changes fields of several groups by their last name alone.
_OF_STAGES = {**STAGE_FIELDS, **{name: f'render.{name}' for name in RENDER_FIELDS}}
_KINDS = {bool: 'True or False', int: 'a whole number', float: 'a number', str: 'a text'}


def check(config, group: str = '') -> None:
  """Checks the numbers of a config; fields that it does not have are left out.

  Args:
    config: a ConfigDict, complete or not.
    group: only fields whose name begins with this, such as 'eval.'; '' for all.

  Raises:
    UserError: a number out of its range; the message names the flag and the range.
  """
  for name, allowed in RANGES.items():
    if name.startswith(group) and (found := _field(config, name)) is not None:
      if not allowed.contains(found):
        raise UserError(f'config.{name} is {found!r}. Set --config.{name} to {allowed}.')
  if group:
    return
  _check_stages(config)
  if _field(config, 'data.source') == '':
    raise UserError('config.data.source is empty. Set --config.data.source to a prepared folder.')
  _check_optimizer(config.get('optimizer'))
  _check_pivot(_field(config, 'render.pivot'))
  _check_channels(config)
  _check_averages(config.get('ema'))


def _field(config, name: str):
  """The value of the field 'a.b', or None where the config has none."""
  for part in name.split('.'):
    config = config.get(part) if isinstance(config, ml_collections.ConfigDict) else None
  return config


def _check_stages(config) -> None:
  for i, stage in enumerate(config.get('stages') or ()):
    if not isinstance(stage, dict | ml_collections.ConfigDict):
      continue  # `schedule.stages` says what a stage is
    for name, value in dict(stage).items():
      field = _OF_STAGES.get(name)
      allowed = RANGES.get(field)
      if allowed is not None and not allowed.contains(value):
        raise UserError(f'config.stages[{i}] has {name}={value!r}. Set it to {allowed}.')
      # Other than the config's own fields, those of a stage have no types that are kept.
      kind = int if name == 'from_step' else type(_field(config, field or ''))
      if kind in _KINDS and not _is_a(kind, value):
        raise UserError(f'config.stages[{i}] has {name}={value!r}. Set it to {_KINDS[kind]}.')


def _is_a(kind: type, value) -> bool:
  if kind is bool or isinstance(value, bool) or kind is str:
    return isinstance(value, kind)
  if kind is int and isinstance(value, float):
    return value.is_integer()  # 1e5
  return isinstance(value, numbers.Real)


def _check_optimizer(own) -> None:
  """A known optimizer, without fields that it does not use, and milestones that are steps."""
  if own is None:
    return
  name, milestones = own.get('name', 'adam'), own.get('milestones', ())
  if name not in OPTIMIZERS:
    raise UserError(f"config.optimizer.name is '{name}'. Choose one of {', '.join(OPTIMIZERS)}.")
  if name == 'rmsprop' and own.get('beta1'):
    raise UserError(
      f'config.optimizer.beta1 is {own.beta1!r} and would be ignored: RMSprop has no momentum. Set '
      '--config.optimizer.beta1=0.'
    )
  if not isinstance(milestones, tuple | list) or not all(
    isinstance(step, int) and _COUNT.contains(step) for step in milestones
  ):
    raise UserError(
      f'config.optimizer.milestones is {milestones!r}. Give steps, as '
      "--config.optimizer.milestones='(50000, 100000)'."
    )
  if milestones and own.get('decay_steps'):
    raise UserError(
      f'config.optimizer.decay_steps is {own.decay_steps} beside milestones, and learning rates '
      'fall in one way. Set --config.optimizer.decay_steps=0.'
    )


def _check_pivot(pivot) -> None:
  if pivot is None:
    return
  if (
    not isinstance(pivot, tuple | list) or len(pivot) != 3 or not all(map(_FINITE.contains, pivot))
  ):
    raise UserError(
      f"config.render.pivot is {pivot!r}. Give three numbers, as --config.render.pivot='(0, 0, 0)'."
    )


def _check_channels(config) -> None:
  may_be_empty = ('model.super_channels', 'model.decoder_channels')  # of up-samplers
  may_be_empty += ('model.projection_channels',)
  if _field(config, 'model.name') == 'stylenerf':
    may_be_empty += ('model.channels',)
  for name in dict.fromkeys(
    ('model.channels', 'model.voxel_channels', 'discriminator.channels', *may_be_empty)
  ):
    channels = _field(config, name)
    if not isinstance(channels, tuple | list):
      continue  # another network's
    empty = not channels and name not in may_be_empty
    if empty or not all(map(_COUNT.contains, channels)):
      raise UserError(
        f'config.{name} is {channels!r}. Give whole numbers, 1 or more, for each resolution, as '
        f"--config.{name}='(64, 32)'."
      )


def _check_averages(ema) -> None:
  """The averaged generators: each rate a number in [0, 1), one of them shown."""
  if ema is None:
    return
  rates, shown = ema.get('rates'), ema.get('display_rate')
  if not isinstance(rates, tuple | list) or not rates or not all(map(_DECAY.contains, rates)):
    example = shown if _DECAY.contains(shown) else 0.999
    raise UserError(
      f'config.ema.rates is {rates!r}. Give one or more, each {_DECAY}, as '
      f"--config.ema.rates='({example},)'."
    )
  if str(shown) not in map(str, rates):
    raise UserError(
      f'config.ema.display_rate is {shown!r}, which is not one of config.ema.rates {tuple(rates)}. '
      f'Set --config.ema.display_rate={rates[0]}.'
    )
