"""The fields of a configuration.

A file in `configs/` starts from `base_config(recipe)` and changes what its experiment needs. The
result is locked: a mistyped field is an error that names the nearest one. A default is said once,
by the class that uses the value: rendering options, pose prior, generator, discriminator, and the
recipe, which owns groups of its own (`recipes.base.Recipe.groups`). The rest is here.
"""

import dataclasses
import typing

import ml_collections

from jax3dgan.errors import UserError


def base_config(recipe: str = 'pigan') -> ml_collections.ConfigDict:
  """Every field there is for a recipe, with the defaults of its paper.

  Args:
    recipe: A name of `recipes.RECIPES`, or 'package.module:Class'.
  """
  config = ml_collections.ConfigDict(_common())
  set_recipe(config, recipe)
  return config.lock()


def _common() -> dict:
  """The groups that every recipe has."""
  from jax3dgan import cameras
  from jax3dgan.rendering.options import DISPLAY, RenderOptions

  return dict(
    # What to compute on: 'gpu', 'tpu' or 'cpu', an error where JAX cannot use it; 'auto' for what
    # JAX_PLATFORMS says, or else the best there is, an error where JAX cannot use an accelerator
    # that is visible; 'any' with a warning there. It may change when a run goes on.
    platform='auto',
    seed=0,
    # A fresh run starts from the weights of another: its workdir, or a packaged model. What fits is
    # taken; a run that goes on does not read it (`runs.init_from`).
    init_from='',
    num_steps=200_000,
    # Of all devices and hosts together. Gradients are accumulated over equal micro-batches, of
    # which there are at least so many on all devices together: see `training.batch_split`.
    batch_size=56,
    micro_batches=1,
    resolution=64,
    # Later stages: (dict(from_step=10_000, resolution=128, batch_size=28), ...): see
    # `schedule.STAGE_FIELDS`; fields of `render` too.
    stages=(),
    # fov_degrees, radius and pivot, the point that they are directed at, make the cameras of the
    # pose prior; the rest is RenderOptions.
    render=dict(
      fov_degrees=12.0, radius=1.0, pivot=(0.0, 0.0, 0.0), **_fields(RenderOptions, ('resolution',))
    ),
    # For pictures that people look at: more samples per ray, truncated latents.
    display=dict(**DISPLAY, truncation_psi=0.7),
    pose_prior=_fields(cameras.PosePrior),
    optimizer=dict(
      # 'adam'; 'rmsprop' averages squared gradients by beta2 and divides by their root, without
      # correction of the first steps (PyTorch's), and has no beta1.
      name='adam',
      lr_generator=6e-5,
      lr_discriminator=2e-4,
      beta1=0.0,
      beta2=0.9,
      epsilon=1e-8,
      grad_clip=10.0,
      # Learning rates fall by the factor `decay` every `decay_steps` steps, exponentially; 0 steps
      # for not at all. Or at once, at each step of `milestones`.
      decay=0.1,
      decay_steps=0,
      milestones=(),
    ),
    # ramp_up: an average's half-life is at most this share of the images seen; 0 for π-GAN's
    # start.
    ema=dict(rates=(0.999, 0.9999), display_rate=0.999, ramp_up=0.0),
    # What releases do and their papers do not say, to repeat it.
    compat=dict(
      # Learning rates and the start of the fade wait for a stage that changes the batch size.
      refresh_with_batch_size=False,
      # Each epoch reads the images in the same order.
      same_order=False,
    ),
    data=dict(
      source='toys',
      # What a source that is not there is prepared from, for the message that says so.
      origin='',
      loader='tfdata',
      split='train',
      flip=False,
      on_device=False,
      # Records that are read at the same time; 0 for as many as cores from a disk of this host, and
      # 64 from a network file system, where reads wait.
      read_threads=0,
      # A folder on a disk of this host to which shards on a network file system are copied, once;
      # '' to read them where they are.
      local_copy='',
      # Whether the cameras of the fakes are those of the photos' labels, not of the pose prior.
      use_labels=False,
      cache_dir='',
      # How many of the toys or ICT faces to make, 0 for the usual 4,000; of other data at most so
      # many are used, the first in the order of names, 0 for all.
      num_images=0,
      # How many damaged images may be skipped before the run stops; 0 for none, -1 for one in a
      # thousand, but at least three.
      max_skipped=-1,
    ),
    # Measures, see docs/evaluation.md.
    eval=dict(
      # Steps between two evaluations during training; 0 for none.
      every=0,
      # Names, separated by commas, or 'all'.
      metrics='all',
      # The checkpoint; 0 for the latest.
      step=0,
      # Generated images of FID, KID, precision and recall; and photos, 0 for all there are.
      num_images=50_000,
      num_real=0,
      # Camera protocols of the generated images, separated by commas: random, dataset, fixed.
      cameras='random',
      # Latents of each 3D metric; and photos whose inversion is compared with their truth.
      num_latents=256,
      num_inverted=8,
      truncation_psi=1.0,
      seed=0,
      # File with the Inception weights; which features: 2048, 768, or 0 for the most it has.
      inception='',
      dims=0,
      # How images come to 299²: 'half_pixel' (pytorch-fid) or 'tensorflow' (the 2015 graph).
      resize='half_pixel',
      kid_subsets=100,
      kid_subset_size=1000,
      neighbours=3,
      # Steps of training of the networks that read poses and identities from labelled images.
      probe_steps=1500,
      batch_size=64,
    ),
    # A loss beyond this, either way, counts as diverged, as one that is not a number does; 0 for
    # no limit.
    faults=dict(max_loss=1e5),
    # `results`: whether a run ends with samples.png and turntable.mp4.
    log=dict(every=100, images_every=2000, num_grid=8, results=True),
    # Where a checkpoint cannot be written (a full disk): 'warn' trains on and tries again at the
    # next one, 'stop' ends the run.
    checkpoint=dict(every=1000, keep=3, on_error='warn'),
  )


def _fields(cls, without=()) -> dict:
  """{field: default} of a dataclass."""
  return {f.name: f.default for f in dataclasses.fields(cls) if f.name not in without}


def set_recipe(config, name: str) -> None:
  """Makes another recipe the config's: its groups, its networks, its values of common fields.

  Args:
    config: Changed in place, locked or not. What the former recipe alone has goes; what files of
      `configs/` set must come after.
    name: A name of `recipes.RECIPES`, or 'package.module:Class'.
  """
  from jax3dgan import recipes

  recipe = recipes.create(name)
  with config.unlocked():
    for group in list(config):
      if group not in _common_groups():
        del config[group]
    config.compat = ml_collections.ConfigDict(_common()['compat'])
    config.recipe = name
    for group, owner in recipe.groups.items():
      values = ml_collections.ConfigDict(_open(dataclasses.asdict(owner()), owner))
      config[group] = ml_collections.ConfigDict({**config.get(group, {}), **values})
    for field, value in recipe.defaults.items():
      unknown = [] if field in config else [field]
      if not unknown and isinstance(value, dict):
        unknown = [f'{field}.{key}' for key in value if key not in config[field]]
      if unknown:
        raise UserError(
          f"The recipe '{name}' has a default of config.{unknown[0]}, a field that there is not. "
          'Correct it in its `defaults`.'
        )
      config[field].update(value) if isinstance(value, dict) else config.update({field: value})
  set_model(config, recipe.model)
  set_discriminator(config, recipe.discriminator)


def _common_groups() -> frozenset:
  return frozenset(_common())


def set_model(config, name: str, **fields) -> None:
  """Makes another generator the config's: `config.model` gets that one's fields.

  Args:
    config: Changed in place, locked or not.
    name: A name of `generators.GENERATORS`, or 'package.module:Class'.
    fields: Those that are not at their defaults.
  """
  from jax3dgan import generators, registry

  values = generators.model_config(name, **fields)
  owner = registry.resolve('generator', name, generators.GENERATORS)
  with config.unlocked():
    config.model = ml_collections.ConfigDict(_open(values, owner))


def set_discriminator(config, name: str, **fields) -> None:
  """Makes another discriminator the config's: `config.discriminator` gets that one's fields.

  Args:
    config: Changed in place, locked or not.
    name: A name of `discriminators.DISCRIMINATORS`, 'package.module:Class', or 'none'.
    fields: Those that are not at their defaults.
  """
  from jax3dgan import discriminators, registry

  values = discriminators.discriminator_config(name, **fields)
  if name != discriminators.NONE:
    owner = registry.resolve('discriminator', name, discriminators.DISCRIMINATORS)
    values = _open(values, owner)
  with config.unlocked():
    config.discriminator = ml_collections.ConfigDict(values)


def _open(values: dict, owner) -> dict:
  """Values of a class's fields; None becomes a placeholder, so that a flag may set it."""
  types = typing.get_type_hints(owner)

  def opened(name, value):
    kinds = [kind for kind in typing.get_args(types.get(name)) if kind is not type(None)]
    if value is None and kinds:
      return ml_collections.config_dict.placeholder(kinds[0])
    return value

  return {name: opened(name, value) for name, value in values.items()}


def tiny(config) -> ml_collections.ConfigDict:
  """Shrinks any config to a two-step run of seconds on a CPU, its structure kept: for
  get_test_config()."""
  from jax3dgan import discriminators, generators

  config = config.copy_and_resolve_references()
  generator = generators.create(config)
  discriminator = discriminators.create(config.discriminator)
  # Images of one size; a stage may render other sizes.
  grows = bool(generator.resolutions)
  fixed = generator.resolution is not None and not grows
  fixed = fixed or (discriminator is not None and not discriminator.fades)
  with config.unlocked():
    config.num_steps = 2
    config.batch_size = 4
    config.stages = tuple(
      ml_collections.ConfigDict(
        dict(dict(stage), from_step=i + 1, batch_size=4, micro_batches=1)
        | ({} if fixed else dict(resolution=16))
      )
      for i, stage in enumerate(config.stages[:1])
    )
    config.resolution = 8 if config.stages and not fixed else 16
    config.model.update(generator.tiny(16 if grows else config.resolution))
    if generator.has_field:
      for group in (config.render, config.display):
        group.update(num_coarse=4, num_fine=4 if group.num_fine else 0)
      config.render.ray_chunk = 0
    if config.render.low_resolution:
      config.render.low_resolution = 4
    for stage in config.stages:
      stage.update({key: 4 for key in ('num_coarse', 'num_fine') if key in stage})
      stage.update({key: 8 for key in ('low_resolution',) if key in stage})
    if discriminator is not None:
      config.discriminator.update(discriminator.tiny(max(config.resolution, 16)))
    config.data.num_images = 64
    config.eval.update(num_images=16, num_latents=4, num_inverted=2, probe_steps=2, batch_size=8)
    config.eval.update(kid_subsets=2, kid_subset_size=8)
    config.log.update(every=1, images_every=2, num_grid=2)
    config.checkpoint.update(every=1, keep=2)
  return config
