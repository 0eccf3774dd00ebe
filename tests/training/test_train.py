"""Training from end to end on tiny configs: what it leaves, and how it is interrupted."""

import errno
import importlib.util
import json
import os
import pathlib
import signal

import ict_synthetic
import imageio_ffmpeg
import jax
import numpy as np
import PIL.Image
import pytest

from jax3dgan import config, discriminators, generators, recipes, train
from jax3dgan.data import feed
from jax3dgan.devices import parallel
from jax3dgan.errors import UserError
from jax3dgan.pictures import of_training
from jax3dgan.runs import checkpoints, interruption, ownership
from jax3dgan.training import checks, schedule
from jax3dgan.training import state as state_lib

CONFIGS = sorted((pathlib.Path(__file__).resolve().parents[2] / 'configs').glob('*.py'))


def load_config(path):
  spec = importlib.util.spec_from_file_location(path.stem, path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


@pytest.fixture(scope='module', autouse=True)
def compiled_once():
  """Runs of the same step share its program."""
  compile_step, programs = train._compile, {}

  def compile_once(config, generator, discriminator, stage, source, *args):
    text = config.to_json_best_effort(sort_keys=True)
    apart = ('checkpoint', 'log', 'init_from')
    parts = {k: v for k, v in json.loads(text).items() if k not in apart}
    parts['data'] = {k: v for k, v in parts['data'].items() if k not in ('cache_dir', 'loader')}
    key = json.dumps(parts), repr(stage)
    if key not in programs:
      programs[key] = compile_step(config, generator, discriminator, stage, source, *args)
    return programs[key]

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(train, '_compile', compile_once)
    yield


@pytest.fixture(scope='module')
def cache(tmp_path_factory):
  return str(tmp_path_factory.mktemp('cache'))


def tiny(cache, **fields):
  toys = load_config(next(path for path in CONFIGS if path.stem == 'toys'))
  result = toys.get_test_config()
  result.data.cache_dir = cache
  result.update_from_flattened_dict(
    {'num_steps': 4, 'resolution': 8, 'discriminator.channels': (4, 8, 8)}
    | {'log.images_every': 0, 'log.results': False}
    | {'loss.r1': 0.0, 'render.num_fine': 0}  # the longest to compile
    | fields
  )
  return result


@pytest.fixture(scope='module')
def finished(cache, tmp_path_factory):
  """A run of four steps: its folder and summary."""
  workdir = tmp_path_factory.mktemp('run') / '[exp1] *?' / 'toys'  # no part of it is a pattern
  return workdir, train.run(tiny(cache, **PICTURES), workdir)


# The pictures of a run, which take longer than its training.
PICTURES = {'log.images_every': 3, 'log.results': True}


def final_state(workdir):
  _, state = checkpoints.read(workdir)
  return state


def test_a_run_leaves_pictures_a_video_and_a_summary(finished):
  workdir, summary = finished
  with PIL.Image.open(workdir / 'samples.png') as picture:
    assert min(picture.size) > 100 and np.asarray(picture).std() > 1
  assert imageio_ffmpeg.count_frames_and_secs(str(workdir / 'turntable.mp4'))[0] == 60
  assert json.loads((workdir / 'summary.json').read_text()) == summary
  assert summary['steps'] == 4 and summary['images_seen'] == 16
  assert {'data', 'compilation', 'steps', 'pictures'} <= set(summary['seconds'])
  assert [path.name for path in sorted((workdir / 'samples').iterdir())] == [
    '00000003.png',
    '00000004.png',
  ]
  assert checkpoints.steps(workdir)[-1] == 4
  assert list(workdir.glob('events*')), 'no TensorBoard events'
  assert not (workdir / ownership.FILE).read_text()  # it was this run's, and is no run's now


def test_an_interrupted_run_goes_on_bit_for_bit(finished, cache, tmp_path, monkeypatch):
  monkeypatch.setattr(interruption.Interruption, 'requested', lambda self, step: step == 2)
  with pytest.raises(KeyboardInterrupt):
    train.run(tiny(cache), tmp_path)
  assert checkpoints.steps(tmp_path)[-1] == 2
  monkeypatch.undo()
  train.run(tiny(cache), tmp_path)
  jax.tree.map(np.testing.assert_array_equal, final_state(tmp_path), final_state(finished[0]))


def test_a_finished_run_is_not_trained_again(finished, cache):
  workdir, _ = finished
  before = final_state(workdir)
  summary = train.run(tiny(cache, **PICTURES), workdir)
  assert summary['images_seen'] == 0
  jax.tree.map(np.testing.assert_array_equal, final_state(workdir), before)


def test_a_run_starts_from_the_weights_of_another(finished, cache, tmp_path, capsys, monkeypatch):
  source = final_state(finished[0])
  none = {'num_steps': 0, 'loss.pose': 0.0, 'loss.pose_encoding': 'angles'}
  train.run(tiny(cache, init_from=str(finished[0]), **none), tmp_path / 'at_once')
  state = final_state(tmp_path / 'at_once')
  average = source['ema']['generator'][str(tiny(cache).ema.display_rate)]
  for weights in (state['networks']['generator'], *state['ema']['generator'].values()):
    jax.tree.map(np.testing.assert_array_equal, weights, average)
  networks = state['networks'], source['networks']
  jax.tree.map(np.testing.assert_array_equal, *(x['discriminator'] for x in networks))
  assert not any(np.any(x) for x in jax.tree.leaves(state['optimizers'])) and not state['step']
  said = capsys.readouterr().err
  assert f'Starting from the weights of {finished[0]} (step 4, ' in said
  assert 'No loss trains what config.discriminator.pose_dim adds' in said

  workdir = tmp_path / 'trained'
  monkeypatch.setattr(interruption.Interruption, 'requested', lambda self, step: step == 2)
  with pytest.raises(KeyboardInterrupt):
    train.run(tiny(cache, init_from=str(finished[0])), workdir)
  monkeypatch.undo()
  capsys.readouterr()
  train.run(tiny(cache, init_from='gone'), workdir)  # is no longer read
  assert 'Going on from step 2; nothing is read from gone.' in capsys.readouterr().err
  assert json.loads((workdir / 'config.json').read_text())['init_from'] == str(finished[0])
  moved = final_state(workdir)['networks']['generator'], average
  assert any(jax.tree.leaves(jax.tree.map(lambda a, b: np.any(a != b), *moved)))


@pytest.mark.parametrize('on_device', [True, False])
@pytest.mark.parametrize('same_order', [True, False])
def test_the_second_epoch_is_in_the_order_of_the_first_if_so_configured(
  cache, same_order, on_device
):
  fields = {'compat.same_order': same_order, 'data.on_device': on_device, 'data.loader': 'arrays'}
  experiment = tiny(cache, **fields)
  mesh = parallel.make_mesh()
  (stage,) = schedule.stages(experiment)
  source = feed.Feed(experiment, mesh, stage)
  draw = parallel.data_parallel(
    lambda state, batch: (state, source.images(batch)), mesh, source.spec
  )

  def images(step):
    source.enter(stage, step)
    return np.asarray(jax.jit(draw)(0, source.batch(step))[1])

  epoch = experiment.data.num_images // stage.batch_size
  assert np.array_equal(images(3), images(3 + epoch)) == same_order


@pytest.mark.parametrize('loader', ['arrays', 'tfdata'])
def test_images_from_the_host_train_like_resident_ones(finished, cache, tmp_path, loader):
  train.run(tiny(cache, **{'data.on_device': False, 'data.loader': loader}), tmp_path)
  host, resident = final_state(tmp_path), final_state(finished[0])
  # Another program rounds differently; another image would move Adam by its learning rate, 2e-4.
  for name in ('generator', 'discriminator'):
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5),
      host['networks'][name],
      resident['networks'][name],
    )


@pytest.mark.parametrize(
  'fields, words',
  [
    ({'batch_size': 6, 'micro_batches': 8}, 'micro_batches to 6 or less'),
    ({'resolution': 12}, 'config.resolution'),
    ({'resolution': 64}, 'channels'),
    ({'data.source': 'nowhere/shards'}, 'jax3dgan.data.prepare'),
    ({'model.name': 'pigann'}, 'pigan'),
    ({'pose_prior.name': 'normal'}, 'gaussian'),
    ({'discriminator.pose_dim': 2}, 'discriminator.pose_dim=3'),
    ({'loss.latent': 1.0}, 'discriminator.latent_dim=8'),
    ({'loss.pose_encoding': 'euler'}, 'direction'),
  ],
)
def test_what_cannot_work_is_said_in_one_line(fields, words, cache, tmp_path):
  with pytest.raises(UserError) as error:
    train.run(tiny(cache, **fields), tmp_path)
  assert words in str(error.value) and '\n' not in str(error.value)


def test_a_workdir_of_another_config_is_left_alone(finished, cache):
  workdir, _ = finished
  before = (workdir / 'config.json').read_bytes()
  with pytest.raises(UserError, match='model.hidden_dim is 16 there and 24 here'):
    train.run(tiny(cache, **{'model.hidden_dim': 24}), workdir)
  assert (workdir / 'config.json').read_bytes() == before


# One of each kind: stages, no camera, labels, a single scene. What a training
# of the others would find out late, their steps' traces do: test_lowering.py.
TRAINED = ('cats_small', 'toys_2d', 'eg3d_toys', 'nerf_lego')
TRAINED = [path for path in CONFIGS if path.stem in TRAINED]
# A single scene has labels, too; without a camera there is less of everything.
MARKED = [
  pytest.param(path, marks=pytest.mark.thorough) if path.stem in ('toys_2d', 'eg3d_toys') else path
  for path in TRAINED
]


@pytest.mark.parametrize('path', MARKED, ids=lambda path: path.stem)
def test_a_config_trains_two_steps(path, cache, tmp_path):
  tested = load_config(path).get_test_config()
  tested.data.cache_dir = cache
  tested.log.update(images_every=0, results=False)
  assert tested.is_locked
  if 'r1' in tested.loss:  # the longest to compile, of which test_steps.py and its like are
    tested.loss.r1, tested.render.num_fine = 0.0, 0
  summary = train.run(tested, tmp_path)
  assert summary['steps'] == 2 and np.isfinite(summary['images_per_second'])


@pytest.mark.parametrize('path', sorted({*CONFIGS} - {*TRAINED}), ids=lambda path: path.stem)
def test_every_other_config_reads_its_photos_and_passes_the_checks(path, cache, tmp_path):
  tested = load_config(path).get_test_config()
  tested.data.cache_dir = cache
  if feed.needs_codes(tested):  # faces of a face model, which is not here
    ict_synthetic.fit(tested, ict_synthetic.write(tmp_path))
  assert tested.is_locked
  checks.check(tested)
  networks = generators.create(tested), discriminators.create(tested.discriminator)
  mesh, stages = parallel.make_mesh(), schedule.stages(tested)
  recipes.check(tested, *networks, stages)
  source = feed.Feed(tested, mesh, stages[0])
  for stage in stages:
    source.enter(stage, stage.from_step)
    expected = feed.shapes(tested, stage.batch_size, stage.resolution)
    draw = parallel.data_parallel(lambda _, batch: (0, source.examples(batch)), mesh, source.spec)
    _, found = jax.eval_shape(draw, 0, source.example(stage.from_step))
    assert jax.tree.map(lambda x: (x.shape, x.dtype), found) == jax.tree.map(
      lambda x: (x.shape, x.dtype), expected
    )


@pytest.fixture(scope='module')
def of_kinds():
  """(recipe, generator, discriminator) of the configs whose state was traced."""
  return set()


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_every_config_is_consistent_at_full_size(path, of_kinds, thorough):
  full = load_config(path).get_config()
  assert full.is_locked
  networks = generators.create(full), discriminators.create(full.discriminator)
  recipes.check(full, *networks, schedule.stages(full))
  kind = full.recipe, full.model.name, full.discriminator.name
  if kind in of_kinds and not thorough:
    return
  of_kinds.add(kind)
  shapes = jax.eval_shape(lambda: state_lib.create(full, *networks))
  assert shapes.step.shape == ()
  assert str(full.ema.display_rate) in shapes.ema['generator']


def test_default_model_has_the_published_size():
  full = config.base_config()
  shapes = jax.eval_shape(
    lambda: state_lib.create(
      full, generators.create(full), discriminators.create(full.discriminator)
    )
  )
  leaves = jax.tree.leaves(shapes.networks['generator'])
  assert len(leaves) == 30 and sum(leaf.size for leaf in leaves) == 1_910_788
  size = sum(leaf.size for leaf in jax.tree.leaves(shapes.networks['discriminator']))
  assert 12.4e6 < size < 13.3e6


def _break_generator(monkeypatch, at, times):
  """Puts NaN into the generator after step `at` (counted from 0), with the run's first key alone if
  `times`."""
  compile_step = train._compile
  first_key = jax.random.key_data(jax.random.split(jax.random.key(0), 3)[2])

  def broken(*args):
    compiled = compile_step(*args)

    def step(state, batch):
      hit = int(state.step) == at and (not times or np.array_equal(state.key, first_key))
      new, metrics = compiled(state, batch)
      if not hit:
        return new, metrics
      leaves, tree = jax.tree.flatten(new.networks['generator'])
      leaves[1] *= np.nan
      params = jax.tree.unflatten(tree, leaves)
      return new.replace(networks={**new.networks, 'generator': params}), metrics

    return step

  monkeypatch.setattr(train, '_compile', broken)


def _assert_sound(workdir):
  for step in checkpoints.steps(workdir):
    _, state = checkpoints.read(workdir, step=step)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(state))


# Before there is a checkpoint; after one; just where one is due; across the end of a stage.
@pytest.mark.parametrize('at, every', [(1, 3), (2, 2), (3, 2)])
def test_a_run_that_breaks_goes_back_and_finishes(cache, tmp_path, monkeypatch, capsys, at, every):
  _break_generator(monkeypatch, at, 1)
  fields = {'checkpoint.every': every, 'log.every': 2}
  if every == 3:
    fields['stages'] = ({'from_step': 1, 'batch_size': 8},)
  train.run(tiny(cache, **fields), tmp_path)
  said = capsys.readouterr()
  said = said.out + said.err
  assert 'Training diverged at step' in said and 'generator' in said, said
  assert f'Going on from step {(at // every) * every:,} with other random numbers' in said
  _assert_sound(tmp_path)
  assert checkpoints.steps(tmp_path)[-1] == 4


def test_a_run_that_always_breaks_stops_and_keeps_its_checkpoint(cache, tmp_path, monkeypatch):
  _break_generator(monkeypatch, 2, 0)
  fields = {'checkpoint.every': 2}
  with pytest.raises(UserError, match='Training diverged 4 times.*lower --config.optimizer'):
    train.run(tiny(cache, **fields), tmp_path)
  assert checkpoints.steps(tmp_path) == [2]
  _assert_sound(tmp_path)


@pytest.mark.parametrize('end', [UserError, interruption.Terminated])
def test_an_error_of_the_data_saves_the_state_first(cache, tmp_path, monkeypatch, capsys, end):
  """Also where it was being waited for and a scheduler, or a user, stops the run."""
  batch = feed.Feed.batch

  def away(self, step):
    if step == 3:
      if end is not UserError:
        os.kill(os.getpid(), signal.SIGTERM)
        assert self.dataset.skips.stops()
      raise UserError('Cannot read shard 7.')
    return batch(self, step)

  monkeypatch.setattr(feed.Feed, 'batch', away)
  with pytest.raises(end, match='shard 7' if end is UserError else None):
    train.run(tiny(cache, **{'checkpoint.every': 100}), tmp_path)
  assert checkpoints.steps(tmp_path) == [3]
  said = capsys.readouterr()
  assert 'the latest checkpoint is of step 3' in said.out + said.err


def test_pictures_that_find_no_room_are_no_end(cache, tmp_path, monkeypatch, capsys):
  save, calls = of_training.viz.save_png, []

  def full(path, image, texts=None):
    calls.append(path)
    if len(calls) == 1:
      raise OSError(errno.ENOSPC, 'No space left on device', str(path))
    save(path, image, texts)

  monkeypatch.setattr(of_training.viz, 'save_png', full)
  train.run(tiny(cache, **{'log.images_every': 1}), tmp_path)
  told = capsys.readouterr().err
  assert 'Warning: Cannot write to' in told and 'the disk is full' in told
  assert len(calls) > 1 and checkpoints.steps(tmp_path)[-1] == 4
