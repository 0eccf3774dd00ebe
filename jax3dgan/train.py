"""The training loop, from top to bottom: mesh, models, checkpoints, data, step, loop, results."""

import json
import pathlib
import resource

import jax
import numpy as np

from jax3dgan import (
  checkpoints,
  compilation,
  discriminators,
  generators,
  interruption,
  parallel,
  progress,
  schedule,
  steps,
  trained,
  viz,
  writers,
)
from jax3dgan import state as state_lib
from jax3dgan.apps import samples, turntable
from jax3dgan.data import arrays, order, pipeline
from jax3dgan.errors import UserError

_GRID_SEEDS = 16
_TURNTABLE_SEEDS = (0, 1, 2, 3)


def run(config, workdir) -> dict:
  """Trains a config in `workdir`, or goes on where a run there stopped; returns the summary it
  writes.

  In the workdir: config.json, checkpoints/, samples/*.png, TensorBoard events; at the end
  samples.png, turntable.mp4 (not of a 2D generator) and summary.json.

  Raises:
    UserError: for what a user can mend; nothing that was saved is lost.
    KeyboardInterrupt: after Ctrl-C or SIGTERM, with the state saved.
  """
  workdir = pathlib.Path(workdir)
  phases = progress.Phases()
  compilation.use_cache()

  # Mesh and stages.
  with phases('start'):
    mesh = parallel.make_mesh()
    stages = schedule.stages(config, mesh.size)
    if mesh.size % jax.process_count():
      raise UserError(
        f'{mesh.size} devices on {jax.process_count()} hosts: give every host as many devices.'
      )
    for stage in stages:
      _check_resolution(config, stage.resolution)
    _check_heads(config)

  # Data first: what takes no time to go wrong should not wait for a compilation.
  with phases('data'):
    source = Source(config, mesh, stages[0])

  with interruption.Interruption() as stop:
    # Models, and the state: from the last checkpoint or fresh.
    with phases('start'):
      generator = generators.create(config)
      discriminator = discriminators.create(config.discriminator)
      saver = checkpoints.Checkpoints(
        workdir, config.checkpoint.every, config.checkpoint.keep, config=config
      )
      state = parallel.replicate(state_lib.create(config, generator, discriminator), mesh)
      state = saver.restore(state) or state
      step = int(state.step)
      writer = writers.create(workdir)
      line = progress.Progress(config.num_steps, step)
      _introduce(line, config, workdir, mesh, state, step)

    # The loop.
    model = trained.Trained(config, generator, None, step, workdir.resolve().name)
    compiled, stage, images_seen, metrics, rates = None, None, 0, [], []
    while step < config.num_steps:
      if stage is None or step >= stage.to_step:
        stage = schedule.stage_at(stages, step)
        with phases('data'):
          source.enter(stage, step)
        with phases('compilation'):
          line.say(f'Compiling the step: {stage.resolution}², batch {stage.batch_size} ...')
          compiled = _compile(config, generator, discriminator, stage, source, state, step, mesh)
        line.restart_clock()
      with phases('steps'):
        state, step_metrics = compiled(state, source.batch(step))
        metrics.append(step_metrics)
        step += 1
        images_seen += stage.batch_size
        if step % config.log.every == 0 or step == config.num_steps:
          means = _means(metrics)
          metrics = []
          rate = line.update(step, images_seen, _short(means))
          rates.append(rate)
          writer.write_scalars(step, {**means, 'images_per_second': rate})
      if (
        config.log.images_every and step % config.log.images_every == 0 and step < config.num_steps
      ):
        with phases('pictures'):
          model = _pictures(model, state, step, config, workdir, writer)
        line.restart_clock()
      with phases('checkpoints'):
        saver.save(step, state)
        if stop.requested(step):
          saver.save(step, state, force=True)
          saver.close()
          writer.close()
          line.close()
          raise KeyboardInterrupt

    # Results.
    with phases('checkpoints'):
      saver.save(step, state, force=True)
      saver.close()
  with phases('pictures'):
    results = ['samples.png', *(['turntable.mp4'] if model.has_camera else [])]
    missing = '' if model.has_camera else ' (no turntable: a 2D generator has no camera)'
    line.say(f'Rendering {" and ".join(results)}{missing} ...')
    model = _pictures(model, state, step, config, workdir, writer)
    if jax.process_index() == 0:
      samples.write(model, workdir / 'samples.png', range(_GRID_SEEDS), depth=model.has_depth)
      if model.has_camera:
        turntable.write(model, workdir / 'turntable.mp4', _TURNTABLE_SEEDS, depth=model.has_depth)
  writer.close()
  summary = _summary(config, phases, step, images_seen, rates, mesh)
  if jax.process_index() == 0:
    (workdir / 'summary.json').write_text(json.dumps(summary, indent=2) + '\n')
  line.say(f'Done: {", ".join(f"{workdir}/{name}" for name in results)}. Time: {phases}.')
  return summary


class Source:
  """Batches for the compiled step, by the step's number.

  Either batches of images, split over the devices, or the whole data set, resident on every
  device, with the place to draw from.
  """

  def __init__(self, config, mesh, stage):
    self._config, self._mesh, self._stage = config, mesh, stage
    self._dataset, self._iterator, self._resident = None, None, None
    self._open(stage.resolution)

  def _open(self, resolution):
    if self._dataset is not None and self._dataset.resolution == resolution:
      return
    self._dataset = pipeline.open_dataset(
      self._config.data, resolution, self._config.compat.same_order
    )
    self._resident = None
    if self._dataset.on_device:
      self._resident = parallel.replicate(arrays.resident(self._dataset), self._mesh)

  def enter(self, stage, step):
    """Makes ready for a stage, at a step of it."""
    self._stage = stage
    self._open(stage.resolution)
    if self._resident is None:
      batches = pipeline.batches(
        self._dataset,
        stage.batch_size // jax.process_count(),
        stage.position_at(step),
        seed=self._config.seed,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
      )
      sharding = jax.sharding.NamedSharding(self._mesh, parallel.SPLIT)
      self._iterator = pipeline.prefetch_to_device(
        ({'image': b['image']} for b in batches), sharding
      )

  def batch(self, step):
    """What the compiled step takes at `step`."""
    if self._resident is None:
      return next(self._iterator)
    place = order.split(self._stage.position_at(step), len(self._dataset))
    return {'data': self._resident, 'place': place}

  def example(self, step):
    """What `batch` gives, in shapes alone where making it would use up a batch."""
    if self._resident is not None:
      return self.batch(step)
    size = self._stage.resolution
    shape = (self._stage.batch_size, size, size, 3)
    sharding = jax.sharding.NamedSharding(self._mesh, parallel.SPLIT)
    return {'image': jax.ShapeDtypeStruct(shape, np.uint8, sharding=sharding)}

  @property
  def spec(self):
    """How `batch` lies on the mesh."""
    return parallel.SPLIT if self._resident is None else parallel.REPLICATED

  def images(self, batch):
    """This device's images [b, h, w, 3], inside the compiled step."""
    if self._resident is None:
      return batch['image']
    local = self._stage.batch_size // self._mesh.size
    start = jax.lax.axis_index(parallel.AXIS) * local
    data = self._dataset
    drawn = arrays.draw(
      batch['data'], batch['place'], local, self._config.seed, data.flip, start, data.same_order
    )
    return drawn['image']


def _check_resolution(config, resolution):
  largest = 2 ** len(config.discriminator.channels)
  if resolution & (resolution - 1) or not 4 <= resolution <= largest:
    raise UserError(
      f'The discriminator takes images of 4, 8, ... {largest} pixels, not {resolution}. '
      'Change config.resolution, or give config.discriminator.channels an entry for each size '
      'from the largest down to 2.'
    )


def _check_heads(config):
  """The discriminator's heads must have the sizes of what they regress."""
  loss, heads = config.loss, config.discriminator
  sizes = {'angles': 2, 'direction': 3}
  if loss.pose_encoding not in sizes:
    raise UserError(
      f"config.loss.pose_encoding is '{loss.pose_encoding}'. Choose one of {', '.join(sizes)}."
    )
  wanted = {
    'pose': ('pose_dim', sizes[loss.pose_encoding]),
    'latent': ('latent_dim', config.model.z_dim),
  }
  for name, (head, size) in wanted.items():
    if loss[name] and heads[head] != size:
      raise UserError(
        f'config.loss.{name} is {loss[name]}, but config.discriminator.{head} is {heads[head]}. '
        f'Set --config.discriminator.{head}={size}, or --config.loss.{name}=0.'
      )


def _introduce(line, config, workdir, mesh, state, step):
  def millions(params):
    return sum(leaf.size for leaf in jax.tree.leaves(params)) / 1e6

  kind = mesh.devices.flat[0].device_kind
  line.say(
    f'{config.model.name}: generator {millions(state.generator):.2f} M, discriminator '
    f'{millions(state.discriminator):.2f} M parameters; {mesh.size} device(s) ({kind}); '
    f'workdir {workdir}'
  )
  if step >= config.num_steps:
    line.say(f'All {step:,} steps are done; raise --config.num_steps to train on.')
  elif step:
    line.say(f'Going on from step {step:,}.')


def _compile(config, generator, discriminator, stage, source, state, step, mesh):
  """Compiles the step of a stage, ahead of its first call."""
  train_step = steps.make_train_step(config, generator, discriminator, stage)

  def shard_step(state, batch):
    return train_step(state, source.images(batch))

  wrapped = parallel.data_parallel(shard_step, mesh, source.spec)
  return jax.jit(wrapped, donate_argnums=0).lower(state, source.example(step)).compile()


def _means(metrics):
  """Means over steps of a list of dicts of device scalars, in one transfer."""
  metrics = jax.device_get(metrics)
  return {name: float(np.mean([values[name] for values in metrics])) for name in metrics[0]}


def _short(means):
  names = {'D': 'discriminator/adversarial', 'G': 'generator/adversarial', 'R1': 'discriminator/r1'}
  return {short: means[name] for short, name in names.items()}


def _pictures(model, state, step, config, workdir, writer):
  """Fixed seeds from one view and from five, with depth: to TensorBoard and samples/."""
  params = state.ema[str(config.ema.display_rate)]
  model = model.with_params(jax.tree.map(lambda x: x.addressable_data(0), params), step)
  if jax.process_index() == 0:
    sheet = samples.sheet(
      model, range(config.log.num_grid), config.display.truncation_psi, depth=model.has_depth
    )
    writer.write_images(step, {'samples': sheet[None]})
    folder = workdir / 'samples'
    folder.mkdir(exist_ok=True)
    viz.save_png(folder / f'{step:08d}.png', sheet)
  return model


def _summary(config, phases, step, images_seen, rates, mesh):
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
  return {
    'steps': step,
    'images_seen': images_seen,
    'images_per_second': float(np.median(rates)) if rates else None,
    'seconds': {name: round(value, 1) for name, value in phases.seconds.items()},
    'seconds_total': round(phases.total, 1),
    'peak_memory_mib': round(peak),
    'devices': mesh.size,
    'device_kind': mesh.devices.flat[0].device_kind,
    'jax': jax.__version__,
    'seed': config.seed,
  }
