"""The training loop, from top to bottom: mesh, models, checkpoints, data, step, loop, results."""

import contextlib
import pathlib

import jax

from jax3dgan import discriminators, generators, recipes, trained
from jax3dgan.data import feed
from jax3dgan.devices import agreement, compilation, parallel, platforms
from jax3dgan.errors import UserError
from jax3dgan.evaluation import evaluate
from jax3dgan.nn import precision
from jax3dgan.pictures import of_training
from jax3dgan.runs import (
  checkpoints,
  figures,
  init_from,
  interruption,
  kept_precision,
  ownership,
  plain_paths,
  progress,
  workdirs,
  writers,
)
from jax3dgan.training import checks, faults, health, packed, schedule
from jax3dgan.training import state as state_lib
from jax3dgan.training import step as step_lib


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
  plain_paths.checked(workdir)
  timings = progress.Timings()
  compilation.use_cache()

  # Mesh, stages, and what can be checked without data.
  with timings('start'):
    checks.check(config)
    platform = config.get('platform', 'auto')
    platforms.choose(platform)  # `main` has; a notebook has not
    platforms.check(platform)
    mesh = parallel.make_mesh()
    stages = schedule.stages(config, mesh.size)
    config = init_from.remembered(config, workdir)
    agreement.check_same(config)
    config, precision_line = kept_precision.resolve(config, workdir)
    generator = generators.create(config)
    discriminator = discriminators.create(config.discriminator)
    recipes.check(config, generator, discriminator, stages)
    recipe = recipes.create(config.recipe)
    init_from.check(config, workdir, recipe.frozen_fields(config))
    evaluate.check(config)

  # Data first: what takes no time to go wrong should not wait for a compilation.
  with timings('data'):
    source = feed.Feed(config, mesh, stages[0])
    recipe.check_data(config, source.dataset)

  line = progress.Progress(config.num_steps)
  with interruption.Interruption() as stop, ownership.owned(workdir, line.say):
    # The state: from the last checkpoint or fresh.
    with timings('start'):
      saver = checkpoints.Checkpoints(
        workdir,
        config.checkpoint.every,
        config.checkpoint.keep,
        config=config,
        on_error=config.checkpoint.on_error,
        say=lambda text: line.say(text),  # of the line that there is then
      )
      phases = state_lib.phases_of(config, generator, discriminator)
      create = jax.jit(lambda: state_lib.create(config, generator, discriminator, phases))
      frozen = {phase.network: recipe.frozen(phase.network, config) for phase in phases}

      def fresh():
        state = parallel.replicate(create(), mesh)
        state, given = init_from.start(state, config, lambda text: line.say(text), frozen)
        return state_lib.warm_up(state, config, generator, given, _Pieces(line, stop), line.say)

      abstract = parallel.replicated_shapes(jax.eval_shape(create), mesh)
      state = saver.restore(abstract, line.say) or fresh()
      step = int(state.step)
      line = progress.Progress(config.num_steps, step)
      writer = writers.create(workdir)
      evaluator = evaluate.Evaluator(config, line.say, mesh) if config.eval.every else None
      _introduce(line, config, workdir, mesh, state, step)
      for note in filter(None, (precision_line, *recipes.notes(config, discriminator))):
        line.say(note)

    # The loop.
    model = trained.Trained(config, generator, None, step, workdir.resolve().name)
    compiled, stage, images_seen, rates, diverged = None, None, 0, [], []
    trained_params = {
      phase.network: state_lib.trained_params(config, phase.network, state.networks[phase.network])
      for phase in phases
    }
    watch = faults.Watch(trained_params, phases, config.faults.max_loss)
    broken = faults.Broken(phases)
    source.tell(line.say, stop.stops_alone)
    monitor = health.Health(health.photos_diversity(source.dataset), line.say)
    while step < config.num_steps:
      if stage is None or step >= stage.to_step:
        stage = schedule.stage_at(stages, step)
        with timings('data'), _saved_first(saver, state, step, watch, broken, line, stop):
          source.enter(stage, step)
        with timings('compilation'):
          line.say(f'Compiling the step: {stage.resolution}², {stage.split} ...')
          compiled = _compile(config, generator, discriminator, stage, source, state, step, mesh)
        line.restart_clock()
      with timings('steps'):
        with _saved_first(saver, state, step, watch, broken, line, stop):
          batch = source.batch(step)
        state, step_metrics = compiled(state, batch)
        watch.note(step, step_metrics)
        step += 1
        images_seen += stage.batch_size
        shows = _is_due(step, config.log.images_every) and step < config.num_steps
        evaluates = evaluator and (_is_due(step, config.eval.every) or step == config.num_steps)
        logs = _is_due(step, config.log.every) or step == config.num_steps
        stops = stop.requested(step)
        # Nothing is shown or saved before it is known to be sound.
        saves = stops or saver.should_save(step) or step == config.num_steps
        if logs or shows or evaluates or saves:
          fault = watch.check() or (broken(state, step) if saves else None)
          if fault:
            if diverged and (saver.latest_step or 0) > diverged[-1].step:
              diverged.clear()  # it had got past the one before
            diverged.append(fault)
            state, step = _go_back(saver, abstract, fresh, diverged, line, config)
            watch.forget()
            if step >= stage.from_step:
              source.enter(stage, step)
            else:
              stage = None  # also compiled again
            continue
        if logs:
          means = watch.means()
          rate = line.update(step, images_seen, figures.short_names(means))
          rates.append(rate)
          writer.write_scalars(step, {**means, 'images_per_second': rate})
          monitor.losses(step, means)
      with timings('checkpoints'):
        saver.save(step, state, force=stops)
        if stops:
          saver.close()
          writer.close()
          line.close()
          raise stop.reason()
      if shows:
        with timings('pictures'), workdirs.disk_warnings(workdir, line.say):
          model = _averaged(model, state, step, config)
          of_training.show(model, workdir, writer, monitor)
        line.restart_clock()
      if evaluates:
        with timings('evaluation'), workdirs.disk_warnings(workdir, line.say):
          model = _averaged(model, state, step, config)
          evaluate.measure(evaluator, model, workdir, writer, strict=False)
        line.restart_clock()

    # Results.
    with timings('checkpoints'):
      saver.save(step, state, force=True)
      saver.close()
  files = ['summary.json']
  if config.log.results:
    with timings('pictures'):
      model = _averaged(model, state, step, config)
      files = of_training.finish(model, workdir, writer, line.say)
  writer.close()
  summary = figures.summary(config, timings, step, images_seen, rates, mesh)
  summary['images_skipped'] = len(source.dataset.skips)
  figures.write_summary(workdir, summary)
  line.say(f'Done: {", ".join(f"{workdir}/{name}" for name in files)}. Time: {timings}.')
  return summary


class _Pieces:
  """What is fitted before the first step, on the line; there it also stops."""

  def __init__(self, line, stop):
    self._line, self._stop, self._counter, self._done = line, stop, None, 0

  def __call__(self, done: int, total: int, of: str):
    if self._stop.stops_alone():
      self._line.close()
      raise self._stop.reason()
    if self._counter is None:
      self._line.say(f'Fitting {of} before the first step: {total:,} steps ...')
      self._counter = progress.Counter(of, total, self._line.show, unit='steps')
    self._counter.add(done - self._done)
    self._done = done


def _introduce(line, config, workdir, mesh, state, step):
  sizes = ', '.join(
    f'{name} {sum(leaf.size for leaf in jax.tree.leaves(params)) / 1e6:.2f} M'
    for name, params in state.networks.items()
  )
  kind = mesh.devices.flat[0].device_kind
  line.say(
    f'{config.model.name}: {sizes} parameters; {mesh.size} device(s) ({kind}); workdir {workdir}'
  )
  if note := precision.speed_note(config):
    line.say(note)
  if step >= config.num_steps:
    line.say(f'All {step:,} steps are done; raise --config.num_steps to train on.')
  elif step:
    start = f'; nothing is read from {config.init_from}' if config.get('init_from') else ''
    line.say(f'Going on from step {step:,}{start}.')


def _compile(config, generator, discriminator, stage, source, state, step, mesh):
  """Compiles the step of a stage, ahead of its first call."""
  train_step = step_lib.make_train_step(config, generator, discriminator, stage)

  def shard_step(state, batch):
    state, metrics = train_step(state, source.examples(batch))
    return state, packed.pack(metrics)

  wrapped = parallel.data_parallel(shard_step, mesh, source.spec)
  lowered = jax.jit(wrapped, donate_argnums=0).lower(state, source.example(step))
  return lowered.compile(step_lib.compiler_options(config))


def _averaged(model, state, step, config):
  """The model with the averaged parameters of a step."""
  variables = state_lib.averaged_variables(state, str(config.ema.display_rate))
  return model.with_variables(jax.tree.map(lambda x: x.addressable_data(0), variables), step)


def _is_due(step: int, every: int) -> bool:
  return bool(every) and step % every == 0


def _go_back(saver, abstract, fresh, diverged, line, config):
  """The last sound state, with other random numbers, and its step; or the end of the run."""
  if len(diverged) > faults.MAX_RESTORES:
    saver.close()
    line.close()
    raise faults.diagnosis(diverged, config)
  saver.wait()
  state = saver.restore(abstract, line.say) or fresh()
  key = faults.reseed(state.key, len(diverged))
  step = int(state.step)
  line.say(
    f'Training diverged at {diverged[-1]}. Going on from step {step:,} with other random numbers '
    f'({len(diverged)} of at most {faults.MAX_RESTORES} times).'
  )
  return state.replace(key=jax.device_put(key, state.key.sharding)), step


@contextlib.contextmanager
def _saved_first(saver, state, step, watch, broken, line, stop):
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
    if stop.stops_alone():  # which ended the wait for the data
      raise stop.reason() from None
    raise
