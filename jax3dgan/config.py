"""The fields of a configuration, with π-GAN's values for CelebA as defaults.

A file in `configs/` starts from `base_config()` and changes what its experiment needs. The result
is locked: a mistyped field is an error that names the nearest one.
"""

import math

import ml_collections

# Fields that an entry of `config.stages` may change, and where they live in the config.
STAGE_FIELDS = {
  'resolution': 'resolution',
  'batch_size': 'batch_size',
  'micro_batches': 'micro_batches',
  'lr_generator': 'optimizer.lr_generator',
  'lr_discriminator': 'optimizer.lr_discriminator',
  'num_coarse': 'render.num_coarse',
  'num_fine': 'render.num_fine',
  'ray_chunk': 'render.ray_chunk',
  'low_resolution': 'render.low_resolution',
}


def base_config() -> ml_collections.ConfigDict:
  """Every field there is."""
  return ml_collections.ConfigDict(
    dict(
      seed=0,
      num_steps=200_000,
      # Of all devices and hosts together; gradients are accumulated over micro_batches equal parts
      # of it.
      batch_size=56,
      micro_batches=1,
      resolution=64,
      # How a step goes: 'pigan' (`steps`) or 'eg3d' (`steps_eg3d`).
      recipe='pigan',
      # Later stages: (dict(from_step=10_000, resolution=128, batch_size=28), ...), see
      # STAGE_FIELDS.
      stages=(),
      model=dict(
        name='pigan',
        z_dim=256,
        hidden_dim=256,
        num_layers=8,
        mapping_dim=256,
        mapping_layers=3,
        mapping_scale=0.25,
        input_scale=2 / 0.24,
        density_gain=1.0,
        matmul_dtype='float32',
        # A learned grid of features of space beside the coordinates; 0 channels for none.
        embedding_channels=0,
        embedding_resolution=64,
        embedding_scale=0.1,
      ),
      # See rendering.options.RenderOptions; fov_degrees, radius and pivot make the cameras.
      render=dict(
        fov_degrees=12.0,
        radius=1.0,
        # The point that the cameras of the pose prior look at.
        pivot=(0.0, 0.0, 0.0),
        near=0.88,
        far=1.12,
        num_coarse=12,
        num_fine=12,
        density='softplus',
        last_interval='infinite',
        white_back=False,
        last_back=False,
        lock_view_direction=False,
        align_corners=True,
        ray_chunk=0,
        saved_activations='all',
        marcher='samples',
        strata='centred',
        spacing='linear',
        importance='weights',
        box=0.0,
        low_resolution=0,
      ),
      # For pictures that people look at: more samples per ray, truncated latents.
      display=dict(num_coarse=24, num_fine=24, last_back=False, ray_chunk=1024, truncation_psi=0.7),
      pose_prior=dict(
        name='gaussian',
        yaw_mean=math.pi / 2,
        yaw_std=0.3,
        pitch_mean=math.pi / 2,
        pitch_std=0.155,
        components=(),
        weights=(),
      ),
      # A pose prior that is learned (recipe 'eg3d', no labels): see `camera_generator`.
      camera_generator=dict(
        # Of the cameras that `pose_prior` draws, which angles are learned: 'none', 'yaw', 'pitch',
        # 'both'. A mean yaw cannot be where the cameras go all the way round.
        angles='none',
        hidden_dim=32,
        # After how many images it begins: before there are objects to be seen, where they are seen
        # from means nothing, and cameras drift away.
        from_images=20_000,
        # Its learning rate, as a share of the generator's.
        learning_rate=0.5,
        # Weights of how far means and deviations are from those of `pose_prior`.
        mean_penalty=0.05,
        std_penalty=0.5,
      ),
      discriminator=dict(
        name='progressive',
        block='ccs',
        # Features at max_resolution, max_resolution/2, ... 2.
        channels=(32, 64, 128, 256, 400, 400, 400, 400),
        latent_dim=256,
        pose_dim=2,
        matmul_dtype='float32',
        # Whether convolutions see their pixel's place; None for what is usual with the block.
        coord_conv=ml_collections.config_dict.placeholder(bool),
      ),
      loss=dict(
        r1=0.2,
        r1_every=1,
        pose=15.0,
        # What the pose head regresses: 'angles' (pitch, yaw; π-GAN) or 'direction' (the unit
        # vector towards the camera, for priors that go all the way round, where the yaw jumps).
        pose_encoding='angles',
        latent=0.0,
        top_k_interval=2000,
        top_k_floor=0.6,
        density_noise=1.0,
        density_noise_steps=5000,
        fade_steps=10_000,
      ),
      # What a discriminator of the recipe 'eg3d' sees of its images: 'none' as they are, 'fixed'
      # augmented with the probability p, 'ada' with one that begins at p and moves every `every`
      # steps towards where the mean sign of real logits is `target`, by 1 in `kimg` thousand
      # images.
      augment=dict(name='none', p=0.0, target=0.6, every=4, kimg=500.0),
      # What the recipe 'eg3d' has beside the losses above.
      eg3d=dict(
        # How often the mapping network is told another camera in the end, and after how many
        # images (until then from always on); of no account where it is told none.
        pose_swap=0.5,
        pose_swap_images=1_000_000,
        # Weight of the density's regularisation, every how many steps, its kind ('l1' or
        # 'monotonic', whose second term weighs `monotonic`), points and distances.
        density=0.25,
        density_every=4,
        density_kind='l1',
        monotonic=10.0,
        density_points=1000,
        density_std=0.004,
        # σ, in pixels, of the blur through which the discriminator sees at first, and after how
        # many images it is gone.
        blur=10.0,
        blur_images=200_000,
        w_average_decay=0.998,
        # Standard deviation of normal noise on the cameras that the discriminator is told of, real
        # and fake, in those of the labels of the batch.
        label_noise=0.0,
      ),
      optimizer=dict(
        lr_generator=6e-5, lr_discriminator=2e-4, beta1=0.0, beta2=0.9, epsilon=1e-8, grad_clip=10.0
      ),
      # ramp_up: an average's half-life is at most this share of the images seen; 0 for π-GAN's
      # start.
      ema=dict(rates=(0.999, 0.9999), display_rate=0.999, ramp_up=0.0),
      # Faults of π-GAN's release, to repeat what it does. Its other ones: render.density='relu'
      # with render.last_interval='infinite' (black pixels at first), and photos resized without a
      # filter (data.prepare --resize=nearest).
      compat=dict(
        # Top-k chooses within each device's each micro-batch, instead of in the whole batch.
        top_k_per_split=False,
        # The generator's gradient is the sum over micro-batches, instead of their mean.
        sum_micro_batches=False,
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
        # Whether the cameras of the fakes are those of the photos' labels, not of the pose prior.
        use_labels=False,
        cache_dir='',
        # How many of the toys to make; 0 for the usual 4,000.
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
      log=dict(every=100, images_every=2000, num_grid=8),
      # Where a checkpoint cannot be written (a full disk): 'warn' trains on and tries again at the
      # next one, 'stop' ends the run.
      checkpoint=dict(every=1000, keep=3, on_error='warn'),
    )
  ).lock()


def set_eg3d(config) -> None:
  """Makes a config one of EG3D's recipe: its way of marching along rays, its losses, its Adam."""
  config.recipe = 'eg3d'
  config.render.update(
    align_corners=False, marcher='midpoints', strata='forward', importance='smoothed'
  )
  config.loss.update(r1_every=16, pose=0.0, top_k_interval=0, density_noise=0.0)
  config.optimizer.update(
    lr_generator=2.5e-3, lr_discriminator=2e-3, beta1=0.0, beta2=0.99, grad_clip=0.0
  )


def set_model(config, name: str, **fields) -> None:
  """Makes another generator than π-GAN the config's: `config.model` gets the generator's fields.

  Args:
    config: changed in place, locked or not.
    name: of `generators.GENERATORS`.
    fields: those that are not at their defaults.
  """
  from jax3dgan import generators  # brings JAX, which reading a config does without

  with config.unlocked():
    config.model = ml_collections.ConfigDict(generators.model_config(name, **fields))


def set_discriminator(config, name: str, **fields) -> None:
  """Makes another discriminator the config's: `config.discriminator` gets that one's fields.

  Args:
    config: changed in place, locked or not.
    name: of `discriminators.DISCRIMINATORS`.
    fields: those that are not at their defaults.
  """
  from jax3dgan import discriminators  # brings JAX, which reading a config does without

  values = discriminators.discriminator_config(name, **fields)
  with config.unlocked():
    config.discriminator = ml_collections.ConfigDict(_open(values))


def _open(values: dict) -> dict:
  """Fields that are None as placeholders, so that a flag may set them."""
  types = dict(clamp=float, coord_conv=bool)
  placeholder = ml_collections.config_dict.placeholder
  return {
    name: placeholder(types[name]) if value is None and name in types else value
    for name, value in values.items()
  }


def complete(config) -> ml_collections.ConfigDict:
  """A config with the fields that have come since it was written, at their defaults.

  Fields that it has stay as they are, also such as there are no longer.
  """
  defaults = base_config()
  name = (config.get('model') or {}).get('name')
  if name and name != defaults.model.name:  # its fields are not π-GAN's
    from jax3dgan import generators

    if name in generators.GENERATORS:
      set_model(defaults, name)
    else:  # of a later version; whoever wants to build it says so
      with defaults.unlocked():
        del defaults.model
  name = (config.get('discriminator') or {}).get('name')
  if name and name != defaults.discriminator.name:
    from jax3dgan import discriminators

    if name in discriminators.DISCRIMINATORS:
      set_discriminator(defaults, name)
    else:
      with defaults.unlocked():
        del defaults.discriminator
  with config.unlocked():
    _fill(config, defaults)
  return config


def _fill(config, defaults) -> None:
  for name, value in defaults.items():
    if name not in config:
      config[name] = value
    elif isinstance(value, ml_collections.ConfigDict) and isinstance(config[name], type(value)):
      _fill(config[name], value)


def _tiny_model(model, resolution: int) -> dict:
  """Fields that make a generator small, and its images of a resolution where it fixes that."""
  if model.name == 'stylegan2':
    channels = (8,) * (resolution.bit_length() - 2)  # at 4², 8², ...
    return dict(z_dim=8, w_dim=8, mapping_layers=1, channels=channels)
  if model.name == 'eg3d':
    fields = dict(z_dim=8, w_dim=8, mapping_layers=1, channels=(8, 8), plane_features=4)
    fields |= dict(decoder_hidden=8, low_resolution=resolution)
    if model.super_channels:
      low = resolution // 2
      fields |= dict(super_channels=(8, 8), super_ups=(1, 2), super_input=low, low_resolution=low)
    return fields
  fields = dict(z_dim=8, hidden_dim=16, num_layers=2, mapping_dim=16, mapping_layers=1)
  return fields | (dict(embedding_resolution=4) if model.embedding_channels else {})


def _tiny_discriminator(discriminator, resolution: int) -> dict:
  """Fields that make a discriminator small, and take images of a resolution where it fixes that."""
  if discriminator.name != 'progressive':
    fields = dict(channels=(8,) * (resolution.bit_length() - 2), mapping_layers=1)  # at 4², 8², ...
    return fields | (dict(cmap_dim=8) if discriminator.cmap_dim else {})
  fields = dict(channels=(4, 8, 8, 8))
  return fields | (dict(latent_dim=8) if discriminator.latent_dim else {})


def tiny(config) -> ml_collections.ConfigDict:
  """Shrinks any config to a two-step run of seconds on a CPU, its structure kept: for
  get_test_config()."""
  config = config.copy_and_resolve_references()
  with config.unlocked():
    config.num_steps = 2
    config.batch_size = 4
    fixed = config.model.name != 'pigan'  # pictures of one size; a stage may render other sizes
    config.stages = tuple(
      ml_collections.ConfigDict(
        dict(dict(stage), from_step=i + 1, batch_size=4, micro_batches=1)
        | ({} if fixed else dict(resolution=16))
      )
      for i, stage in enumerate(config.stages[:1])
    )
    config.resolution = 8 if config.stages and not fixed else 16
    config.model.update(_tiny_model(config.model, config.resolution))
    config.render.update(num_coarse=4, num_fine=4, ray_chunk=0)
    if config.render.low_resolution:
      config.render.low_resolution = 4
    for stage in config.stages:
      stage.update({key: 4 for key in ('num_coarse', 'num_fine') if key in stage})
      stage.update({key: 8 for key in ('low_resolution',) if key in stage})
    config.display.update(num_coarse=4, num_fine=4)
    config.discriminator.update(_tiny_discriminator(config.discriminator, config.resolution))
    config.data.num_images = 64
    config.eval.update(num_images=16, num_latents=4, num_inverted=2, probe_steps=2, batch_size=8)
    config.eval.update(kid_subsets=2, kid_subset_size=8)
    config.log.update(every=1, images_every=2, num_grid=2)
    config.checkpoint.update(every=1, keep=2)
  return config
