"""What recipes check before anything is compiled: each error is one line with its remedy."""

from collections.abc import Iterable, Mapping

from jax3dgan import cameras
from jax3dgan.errors import UserError
from jax3dgan.generators.base import needs_resolution
from jax3dgan.recipes import loss_terms

LABEL_SIZE = 25  # numbers of a camera's label, see `cameras.from_label`
POSE_SIZES = {'angles': 2, 'view': 2, 'direction': 3}  # numbers of a pose encoding


def one_of(field: str, value, choices: Iterable[str]) -> None:
  """A field has one of its choices."""
  if value not in choices:
    raise UserError(f"config.{field} is '{value}'. Choose one of {', '.join(choices)}.")


def unused(config, field: str, default, reason: str) -> None:
  """A field that is not used is at its default.

  Args:
    reason: Why it is not used, a clause: "the images are the generator's own".
  """
  value = config
  for name in field.split('.'):
    value = value[name]
  if value != default:
    flag = f"'{default}'" if isinstance(default, tuple) else default
    raise UserError(
      f'config.{field} is {value!r} and would be ignored: {reason}. Set --config.{field}={flag}.'
    )


def groups(config, recipe, foreign: Mapping[str, Iterable[str]]) -> None:
  """A config has its recipe's groups and fields, and none that only others have.

  Args:
    recipe: `recipes.Recipe`.
    foreign: {group: fields} of other recipes.
  """
  wanted = {group: set(owner.__dataclass_fields__) for group, owner in recipe.groups.items()}
  for group in {**wanted, **foreign}:
    own, present = wanted.get(group, set()), set(config.get(group, {}))
    missing, ignored = own - present, (set(foreign.get(group, ())) - own) & present
    if not (missing or ignored):
      continue
    what = f'config.{group}.{min(missing or ignored)}'
    what += ' is missing' if missing else ' belongs to another recipe'
    raise UserError(
      f"The config was made for another recipe than '{config.recipe}': {what}. Take a config file "
      f"of '{config.recipe}', or call config.set_recipe in yours."
    )


def in_ranges(config, ranges) -> None:
  """Numbers of a recipe's own groups are in their ranges, {'group.field': Range}."""
  for field, allowed in ranges.items():
    group, name = field.split('.')
    if not allowed.contains(value := config[group][name]):
      raise UserError(f'config.{field} is {value!r}. Set --config.{field} to {allowed}.')


def fields_of_networks(config, generator, discriminator) -> None:
  """Fields of a network that have no effect beside its other ones are at their defaults."""
  for group, network in (('model', generator), ('discriminator', discriminator)):
    unused_fields = network.unused_fields() if network is not None else {}
    defaults = {name: type(network).__dataclass_fields__[name].default for name in unused_fields}
    flags = [
      f'--config.{group}.{name}={default}'
      for name, default in defaults.items()
      if config[group][name] != default
    ]
    for name, reason in unused_fields.items():
      if (value := config[group][name]) != defaults[name]:
        raise UserError(
          f'config.{group}.{name} is {value!r} and would be ignored: {reason}. Set '
          f'{" ".join(flags)}.'
        )


def labels(config, uses: bool, needs: bool) -> None:
  """The photos' labels are used as a recipe can."""
  if config.data.use_labels and not uses:
    raise UserError(
      f"The recipe '{config.recipe}' draws all cameras from the pose prior and does not use the "
      "photos' labels. Set --config.data.use_labels=False."
    )
  if needs and not config.data.use_labels:
    raise UserError(
      f"The recipe '{config.recipe}' needs the photos' cameras. Set --config.data.use_labels=True, "
      'with data that has labels.'
    )


def heads(config, generator, discriminator, names=('pose', 'latent')) -> None:
  """The discriminator's heads have the sizes of what the loss regresses with them."""
  loss, sizes = config.loss, {'latent': generator.z_dim}
  if 'pose' in names:
    one_of('loss.pose_encoding', loss.pose_encoding, POSE_SIZES)
    sizes['pose'] = POSE_SIZES[loss.pose_encoding]
  for name in names:
    head = f'{name}_dim'
    has, size = getattr(discriminator, head), sizes[name]
    if loss[name] and has != size:
      raise UserError(
        f'config.loss.{name} is {loss[name]}, but config.discriminator.{head} is {has}. '
        f'Set --config.discriminator.{head}={size}, or --config.loss.{name}=0.'
      )


def untrained_heads(config, discriminator) -> str:
  """What to say at the start of the discriminator's heads that no loss trains; '' for none."""
  losses = config.get('loss') or {}
  unused = [
    f'{name}_dim'
    for name in ('pose', 'latent')
    if getattr(discriminator, f'{name}_dim', 0) and not losses.get(name)
  ]
  if not unused:
    return ''
  fields = ' and '.join(f'config.discriminator.{name}' for name in unused)
  flags = ' '.join(f'--config.discriminator.{name}=0' for name in unused)
  return f'No loss trains what {fields} adds to the discriminator. Without it: {flags}.'


def has_discriminator(config, discriminator, moves_buffers: bool = False) -> None:
  """There is one, without buffers that move with training unless the recipe `moves_buffers`."""
  if discriminator is None:
    raise UserError(
      f"The recipe '{config.recipe}' is adversarial and needs a discriminator. Set "
      'config.discriminator, see config.set_discriminator.'
    )
  if discriminator.moves_buffers and not moves_buffers:
    raise UserError(
      f"The discriminator '{config.discriminator.name}' has spectral normalisation, whose vectors "
      f"the recipe '{config.recipe}' does not move. Take another discriminator, or another recipe."
    )


def adversarial(config) -> None:
  """The adversarial loss, of a recipe that has several (`loss_terms.Adversarial`), is one of
  them."""
  kind = (config.get('loss') or {}).get('adversarial')
  if kind is not None:
    one_of('loss.adversarial', kind, loss_terms.KINDS)


def has_latents(config, generator) -> None:
  """The generator makes many objects, for a recipe that compares it with photos of many."""
  if not generator.z_dim:
    raise UserError(
      f"The recipe '{config.recipe}' learns many objects, and '{config.model.name}' is a single "
      "scene without latents. Take another model, or the recipe 'nerf'."
    )


def no_signed_distance(config, generator) -> None:
  """The field is a density, for a recipe that has no terms that keep a distance one."""
  if generator.has_field and generator.field_kind == 'sdf':
    raise UserError(
      f"The field of '{config.model.name}' is a signed distance, and the recipe '{config.recipe}' "
      "has no term that keeps it one. Take the recipe 'stylesdf_stage1', or another model."
    )


def density(config, generator, options) -> None:
  """A raw density goes through an activation: without one it may be negative."""
  if generator.has_field and generator.field_kind == 'density' and options.density == 'field':
    raise UserError(
      f"render.density is 'field', and the field of '{config.model.name}' gives a raw density, "
      'which may be negative. Set --config.render.density=softplus, or relu.'
    )


def no_discriminator(config, discriminator) -> None:
  """There is none, for a recipe that would not train it."""
  if discriminator is not None:
    raise UserError(
      f"The recipe '{config.recipe}' has no discriminator and would ignore "
      f"'{config.discriminator.name}'. Set config.discriminator to 'none', see "
      'config.set_discriminator.'
    )
  for i, stage in enumerate(config.stages):
    if 'lr_discriminator' in stage:
      raise UserError(
        f'config.stages[{i}] has lr_discriminator, which would be ignored: there is no '
        'discriminator. Leave it out.'
      )


def not_mirrored(config) -> None:
  """Photos are not mirrored, for a recipe of one scene."""
  if config.data.flip:
    raise UserError(
      'config.data.flip mirrors photos, and a mirrored photo shows another scene. Set '
      '--config.data.flip=False.'
    )


def background(config, dataset) -> None:
  """What is rendered has the background that the photos of a scene were prepared on."""
  background = dataset.scene['options']['background']
  if config.render.white_back != (background == 'white'):
    raise UserError(
      f'{dataset.name} was prepared on a {background} background. Set '
      f'--config.render.white_back={background == "white"}, or prepare it with --background.'
    )


def single_images(config, discriminator, usual: str) -> None:
  """The discriminator takes single images of one size."""
  if discriminator.takes_pairs or discriminator.fades:
    what = 'takes pairs of two sizes' if discriminator.takes_pairs else 'is of growing images'
    raise UserError(
      f"The recipe '{config.recipe}' has single images of one size, and the discriminator "
      f"'{config.discriminator.name}' {what}. Take '{usual}', see config.set_discriminator."
    )


def label_sizes(config, generator, discriminator) -> None:
  """Networks that are conditioned on a label take that of a camera."""
  for group, network in (('model', generator), ('discriminator', discriminator)):
    if network.label_dim not in (0, LABEL_SIZE):
      raise UserError(
        f'config.{group}.label_dim is {network.label_dim}, and the label of a camera has '
        f'{LABEL_SIZE} numbers. Set --config.{group}.label_dim={LABEL_SIZE}, or 0 for a network '
        'that is not conditioned on it.'
      )


def no_label_inputs(config, generator, discriminator) -> None:
  """No network expects a label, for a recipe that has none to give."""
  for group, network in (('model', generator), ('discriminator', discriminator)):
    if network is not None and network.label_dim:
      raise UserError(
        f"config.{group}.label_dim is {network.label_dim}, but the recipe '{config.recipe}' gives "
        f'the networks no labels. Set --config.{group}.label_dim=0, or take another recipe.'
      )


def cameras_drawn(config, recipe) -> None:
  """There is such a pose prior, and fields of it that the recipe does not draw are at their
  defaults."""
  try:
    cameras.pose_prior(**config.pose_prior)
  except UserError as error:
    raise UserError(f'config.pose_prior: {error}') from None
  if not recipe.draws_radius:
    reason = f"the recipe '{config.recipe}' has all cameras at render.radius"
    unused(config, 'pose_prior.radius_std', 0.0, reason)
  elif config.pose_prior.radius_std >= config.render.radius:
    raise UserError(
      f'config.pose_prior.radius_std is {config.pose_prior.radius_std}, and cameras are so much '
      f'nearer than render.radius {config.render.radius}, or farther. Set '
      f'--config.pose_prior.radius_std below {config.render.radius}.'
    )


def resolutions(config, recipe, generator, discriminator, stages) -> None:
  """The networks make and take images of every stage's size."""
  settings, setting = [], '--config.resolution='
  for i, stage in enumerate(stages):
    if i and 'resolution' in dict(config.stages[i - 1]):
      setting = f'in config.stages[{i - 1}] resolution='
    settings.append((stage, setting))
  # The largest first: channels for its images serve the others too.
  for stage, setting in sorted(settings, key=lambda pair: -pair[0].resolution):
    needs_resolution(
      generator, stage.options, f'set {setting}{generator.resolution}, or change its layers in '
      'config.model.'
    )  # fmt: skip
    if discriminator is not None:
      may_change = generator.resolution is None or bool(generator.resolutions)
      judged = recipe.judged_resolution(config, stage, discriminator)
      discriminator.check_resolution(judged, setting if may_change else '')


def display(config, generator) -> None:
  """Pictures can be rendered, which are made after many steps or at the end."""
  from jax3dgan import generators

  try:
    generator.check_options(generators.render_options(config, display=True))
  except UserError as error:
    raise UserError(f'config.display, whose fields come before config.render: {error}') from None


def told_cameras(config, generator, discriminator) -> None:
  """A discriminator that is conditioned on cameras gets those of the photos and of the fakes, and a
  loss of poses images that have one."""
  flag = '--config.discriminator.label_dim=0'
  if discriminator.label_dim and not config.data.use_labels:
    raise UserError(
      f'config.discriminator.label_dim is {discriminator.label_dim}, but the photos have no '
      f'labels here. Set --config.data.use_labels=True, or {flag}.'
    )
  no_camera = f"images of '{config.model.name}' do not depend on the camera"
  if discriminator.label_dim and not generator.uses_camera:
    raise UserError(
      f'config.discriminator.label_dim is {discriminator.label_dim}, but {no_camera}. Set {flag}.'
    )
  if config.loss.pose and not generator.uses_camera:
    raise UserError(
      f'config.loss.pose is {config.loss.pose}, but {no_camera}. Set --config.loss.pose=0.'
    )


def rendering(config, generator) -> None:
  """Fields of `config.render`, and of stages, that the generator does not use are not set."""
  if generator.low_resolution and generator.resolution is not None:
    return
  reason = f"'{config.model.name}' has no up-sampler here"
  unused(config, 'render.low_resolution', 0, reason)
  for i, stage in enumerate(config.stages):
    if dict(stage).get('low_resolution'):
      raise UserError(
        f'config.stages[{i}] has low_resolution={stage["low_resolution"]}, which would be ignored: '
        f'{reason}. Leave it out.'
      )
