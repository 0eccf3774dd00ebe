"""The training loop, from top to bottom: mesh, models, checkpoints, data, step, loop, results."""

import contextlib
import json
import pathlib
import resource

import jax
import numpy as np

from jax3dgan import discriminators, generators, recipes, trained, viz
from jax3dgan.data import feed
from jax3dgan.devices import compilation, hosts, parallel
from jax3dgan.errors import UserError
from jax3dgan.evaluation import evaluate
from jax3dgan.pictures import display, sheets, turntables
from jax3dgan.runs import checkpoints, interruption, progress, workdirs, writers
from jax3dgan.training import checks, faults, health, schedule
from jax3dgan.training import state as state_lib

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
    checks.check(config)
    mesh = parallel.make_mesh()
    stages = schedule.stages(config, mesh.size)
    hosts.check_same(config)
    for stage in stages:
      _check_resolution(config, stage.resolution)
    _check_heads(config)

  # Data first: what takes no time to go wrong should not wait for a compilation.
  with phases('data'):
    source = feed.Feed(config, mesh, stages[0])

  with interruption.Interruption() as stop:
    # Models, and the state: from the last checkpoint or fresh.
    with phases('start'):
      generator = generators.create(config)
      discriminator = discriminators.create(config.discriminator)
      saver = checkpoints.Checkpoints(
        workdir,
        config.checkpoint.every,
        config.checkpoint.keep,
        config=config,
        on_error=config.checkpoint.on_error,
        say=lambda text: line.say(text),  # of the line that there is then
      )
      fresh = lambda: parallel.replicate(  # noqa: E731
        state_lib.create(config, generator, discriminator), mesh
      )
      line = progress.Progress(config.num_steps)
      state = fresh()
      state = saver.restore(state, line.say) or state
      step = int(state.step)
      line = progress.Progress(config.num_steps, step)
      writer = writers.create(workdir)
      evaluator = evaluate.Evaluator(config, line.say, mesh) if config.eval.every else None
      _introduce(line, config, workdir, mesh, state, step)

    # The loop.
    model = trained.Trained(config, generator, None, step, workdir.resolve().name)
    compiled, stage, images_seen, rates, diverged = None, None, 0, [], []
    networks = {'generator': state.generator, 'discriminator': state.discriminator}
    watch, broken = faults.Watch(networks, config.faults.max_loss), faults.Broken()
    source.tell(line.say)
    doctor = health.Health(health.photos_diversity(source.dataset), line.say)
    while step < config.num_steps:
      if stage is None or step >= stage.to_step:
        stage = schedule.stage_at(stages, step)
        with phases('data'), _saved_first(saver, state, step, watch, broken, line):
          source.enter(stage, step)
        with phases('compilation'):
          line.say(f'Compiling the step: {stage.resolution}², batch {stage.batch_size} ...')
          compiled = _compile(config, generator, discriminator, stage, source, state, step, mesh)
        line.restart_clock()
      with phases('steps'):
        with _saved_first(saver, state, step, watch, broken, line):
          batch = source.batch(step)
        state, step_metrics = compiled(state, batch)
        watch.note(step, step_metrics)
        step += 1
        images_seen += stage.batch_size
        looks = _is_due(step, config.log.images_every) and step < config.num_steps
        measures = evaluator and (_is_due(step, config.eval.every) or step == config.num_steps)
        logs = _is_due(step, config.log.every) or step == config.num_steps
        stops = stop.requested(step)
        # Nothing is shown or saved before it is known to be sound.
        saves = stops or saver.should_save(step) or step == config.num_steps
        if logs or looks or measures or saves:
          fault = watch.check() or (broken(state, step) if saves else None)
          if fault:
            if diverged and (saver.latest_step or 0) > diverged[-1].step:
              diverged.clear()  # it had got past the one before
            diverged.append(fault)
            state, step = _go_back(saver, state, fresh, diverged, line)
            watch.forget()
            if step >= stage.from_step:
              source.enter(stage, step)
            else:
              stage = None  # also compiled again
            continue
        if logs:
          means = watch.means()
          rate = line.update(step, images_seen, _short(means))
          rates.append(rate)
          writer.write_scalars(step, {**means, 'images_per_second': rate})
          doctor.losses(step, means)
      with phases('checkpoints'):
        saver.save(step, state, force=stops)
        if stops:
          saver.close()
          writer.close()
          line.close()
          raise stop.reason()
      if looks:
        with phases('pictures'), workdirs.disk_warnings(workdir, line.say):
          model = _pictures(model, state, step, config, workdir, writer, doctor)
        line.restart_clock()
      if measures:
        with phases('evaluation'), workdirs.disk_warnings(workdir, line.say):
          model = _averaged(model, state, step, config)
          evaluate.measure(evaluator, model, workdir, writer, strict=False)
        line.restart_clock()

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
      sheets.write(model, workdir / 'samples.png', range(_GRID_SEEDS), depth=model.has_depth)
      if model.has_camera:
        turntables.write(model, workdir / 'turntable.mp4', _TURNTABLE_SEEDS, depth=model.has_depth)
  writer.close()
  summary = _summary(config, phases, step, images_seen, rates, mesh)
  summary['images_skipped'] = len(source.dataset.skips)
  if jax.process_index() == 0:
    (workdir / 'summary.json').write_text(json.dumps(summary, indent=2) + '\n')
  line.say(f'Done: {", ".join(f"{workdir}/{name}" for name in results)}. Time: {phases}.')
  return summary


def _check_resolution(config, resolution):
  if config.discriminator.name != 'progressive':
    only = discriminators.create(config.discriminator).resolution
    if resolution != only:
      raise UserError(
        f'The discriminator takes images of {only} pixels, not {resolution}. Change '
        'config.resolution, or give config.discriminator.channels an entry for each size from 4 '
        "up to the images'."
      )
    return
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
    has = heads.get(head, 0)
    if loss[name] and has != size:
      raise UserError(
        f'config.loss.{name} is {loss[name]}, but config.discriminator.{head} is {has}. '
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
  train_step = recipes.make_train_step(config, generator, discriminator, stage)

  def shard_step(state, batch):
    return train_step(state, source.examples(batch))

  wrapped = parallel.data_parallel(shard_step, mesh, source.spec)
  lowered = jax.jit(wrapped, donate_argnums=0).lower(state, source.example(step))
  return lowered.compile(recipes.compiler_options(config))


def _short(means):
  names = {'D': 'discriminator/adversarial', 'G': 'generator/adversarial', 'R1': 'discriminator/r1'}
  return {short: means[name] for short, name in names.items()}


def _averaged(model, state, step, config):
  """The model with the averaged parameters of a step."""
  params = state.ema[str(config.ema.display_rate)]
  return model.with_params(jax.tree.map(lambda x: x.addressable_data(0), params), step)


def _is_due(step: int, every: int) -> bool:
  return bool(every) and step % every == 0


def _go_back(saver, state, fresh, diverged, line):
  """The last sound state, with other random numbers, and its step; or the end of the run."""
  if len(diverged) > faults.MAX_RESTORES:
    saver.close()
    line.close()
    raise faults.diagnosis(diverged)
  saver.wait()
  state = saver.restore(state, line.say) or fresh()
  key = faults.reseed(state.key, len(diverged))
  step = int(state.step)
  line.say(
    f'Training diverged at {diverged[-1]}. Going on from step {step:,} with other random numbers '
    f'({len(diverged)} of at most {faults.MAX_RESTORES} times).'
  )
  return state.replace(key=jax.device_put(key, state.key.sharding)), step


@contextlib.contextmanager
def _saved_first(saver, state, step, watch, broken, line):
  """Around what reads data: an error there must not cost the steps since the last checkpoint."""
  try:
    yield
  except UserError:
    # Several processes would have to agree, and the others are in the next step already.
    if jax.process_count() == 1:
      try:
        if step and not (watch.check() or broken(state, step)):
          saver.save(step, state, force=True)
        saver.close()
        line.say(f'The data failed; the latest checkpoint is of step {saver.latest_step}.')
      except UserError as error:  # the data's own is the one to raise
        line.say(f'Warning: {error}')
    line.close()
    raise


def _pictures(model, state, step, config, workdir, writer, doctor=None):
  """Fixed seeds from one view and from five, with depth: to TensorBoard and samples/."""
  model = _averaged(model, state, step, config)
  if jax.process_index() == 0:
    if doctor is not None:
      w = model.map(model.latents(range(_GRID_SEEDS)), psi=1)
      out = model.render(w, model.orbit(display.show_azimuth(model)))
      writer.write_scalars(step, doctor.samples(step, out, model.options()))
    sheet = sheets.sheet(
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
