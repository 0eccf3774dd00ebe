"""Checkpoints: what is saved comes back, and what goes wrong is said in one line."""

import functools
import signal

import flax.struct
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
import pytest

from jax3dgan import config as config_lib
from jax3dgan.augment import AdaState
from jax3dgan.errors import UserError
from jax3dgan.runs import checkpoints, interruption, workdirs


@flax.struct.dataclass
class State:
  step: jax.Array
  params: dict
  opt: tuple
  ema: dict


def make_state(width=3):
  params = {'dense': {'kernel': jnp.arange(2.0 * width).reshape(2, width), 'bias': jnp.ones(width)}}
  optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(optax.constant_schedule(1e-3)))
  # Copies: no buffer may be donated twice.
  ema = {rate: jax.tree.map(jnp.copy, params) for rate in ('0.99', '0.999')}
  return State(jnp.int32(0), params, optimizer.init(params), ema)


@functools.partial(jax.jit, donate_argnums=0)
def advance(state):
  return jax.tree.map(lambda x: x + 1, state)


def make_config(**fields):
  base = {
    'model': {'hidden_dim': 8},
    'discriminator': {'name': 'progressive'},
    'ema': {'rates': (0.99, 0.999)},
    'stages': ({'from_step': 0, 'batch_size': 4},),
    'num_steps': 10,
  }
  return ml_collections.ConfigDict(base | fields)


def test_a_state_comes_back_as_it_was(tmp_path):
  saver = checkpoints.Checkpoints(tmp_path / 'run', every=2, keep=2)
  state = make_state()
  assert saver.restore(state) is None
  saved = []
  for step in range(1, 8):
    state = advance(state)  # donates what the save before it may still be writing
    saved.append(saver.save(step, state))
  assert saved == [False, True] * 3 + [False]
  assert saver.save(7, state, force=True)
  assert not saver.save(7, state, force=True)  # it is there already
  saver.close()
  assert checkpoints.steps(tmp_path / 'run') == [6, 7]

  saver = checkpoints.Checkpoints(tmp_path / 'run', every=2, keep=2)
  assert saver.latest_step == 7
  restored = saver.restore(jax.eval_shape(make_state))
  saver.close()
  assert jax.tree.structure(restored) == jax.tree.structure(state)
  jax.tree.map(np.testing.assert_array_equal, restored, state)
  assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(restored))


@flax.struct.dataclass
class NewerState(State):
  augment: dict | None = None


def test_a_part_that_is_off_may_be_missing_in_what_an_earlier_version_saved(tmp_path):
  saver = checkpoints.Checkpoints(tmp_path, every=1, keep=1)
  state = advance(make_state())
  assert saver.save(1, state)
  saver.close()
  newer = NewerState(state.step, state.params, state.opt, state.ema)
  saver = checkpoints.Checkpoints(tmp_path, every=1, keep=1)
  restored = saver.restore(newer)
  saver.close()
  assert jax.tree.structure(restored) == jax.tree.structure(newer)
  jax.tree.map(np.testing.assert_array_equal, restored, newer)


def test_a_part_is_read_alone(tmp_path):
  saver = checkpoints.Checkpoints(tmp_path, every=1, keep=3)
  saver.save(1, make_state())
  saver.save(2, advance(make_state()))
  saver.close()
  step, params = checkpoints.read(tmp_path, 'ema', '0.999')
  assert step == 2 and isinstance(params['dense']['bias'], np.ndarray)
  np.testing.assert_array_equal(params['dense']['bias'], 2 * np.ones(3))
  assert checkpoints.read(tmp_path, 'ema', '0.99', step=1)[1]['dense']['kernel'][1, 2] == 5
  with pytest.raises(UserError, match=r"no '0.5'. There are: \['0.99', '0.999'\]"):
    checkpoints.read(tmp_path, 'ema', '0.5')
  with pytest.raises(UserError, match=r'no checkpoint of step 9. There are: \[1, 2\]'):
    checkpoints.read(tmp_path, 'ema', step=9)
  with pytest.raises(UserError, match='no checkpoint yet'):
    checkpoints.read(tmp_path / 'nowhere', 'ema')


def test_another_shape_is_named(tmp_path):
  saver = checkpoints.Checkpoints(tmp_path, every=1, keep=1)
  saver.save(1, make_state())
  saver.wait()
  with pytest.raises(UserError, match=r'ema/0.99/dense/bias is \[3\] there and \[5\] here. Choose'):
    saver.restore(jax.eval_shape(lambda: make_state(5)))
  with pytest.raises(UserError, match=r'ema/0.99/dense/bias is \[3\] there and absent here'):
    saver.restore(make_state().replace(ema={}))
  saver.close()


def test_an_augmentation_begins_in_a_run_that_had_none(tmp_path):
  """As cats (AFHQ) are trained, with ADA, from faces, without."""

  @flax.struct.dataclass
  class Augmented(State):
    buffers: dict = flax.struct.field(default_factory=dict)

  fields = vars(make_state())
  saver = checkpoints.Checkpoints(tmp_path, every=1, keep=1)
  saver.save(1, Augmented(**fields))
  saver.wait()
  saver.close()
  config = make_config(augment={'p': 0.25})
  saver = checkpoints.Checkpoints(tmp_path, every=1, keep=1, config=config)
  state = Augmented(**fields, buffers={'augment': AdaState.create(0.5)})
  restored = saver.restore(jax.eval_shape(lambda: state))
  begun = restored.buffers['augment']
  assert float(begun.p) == 0.25 and float(begun.count) == 0
  np.testing.assert_array_equal(
    restored.params['dense']['kernel'], fields['params']['dense']['kernel']
  )
  # Once it has begun it goes on as any other part.
  saver.save(2, restored.replace(buffers={'augment': AdaState.create(0.5)}))
  saver.wait()
  assert float(saver.restore(state).buffers['augment'].p) == 0.5
  saver.close()


def test_another_config_is_named_once_there_is_a_checkpoint(tmp_path):
  checkpoints.Checkpoints(tmp_path, 1, 1, config=make_config()).close()
  # Nothing is saved yet: anything may change.
  saver = checkpoints.Checkpoints(tmp_path, 1, 1, config=make_config(model={'hidden_dim': 16}))
  saver.save(1, make_state())
  saver.close()
  with pytest.raises(UserError, match='model.hidden_dim is 16 there and 8 here') as error:
    checkpoints.Checkpoints(tmp_path, 1, 1, config=make_config())
  assert '\n' not in str(error.value)
  assert workdirs.load_config(tmp_path).model.hidden_dim == 16
  longer = make_config(model={'hidden_dim': 16}, num_steps=20)
  saver = checkpoints.Checkpoints(tmp_path, 1, 1, config=longer)
  assert workdirs.load_config(tmp_path).num_steps == 10  # until it is certain that the run goes on
  saver.restore(make_state())
  saver.close()
  assert workdirs.load_config(tmp_path).num_steps == 20


def test_a_config_survives_the_way_through_json(tmp_path):
  config = make_config(seed=None, stages=({'from_step': 0}, {'from_step': 5, 'fade': 1.5}))
  checkpoints.Checkpoints(tmp_path, 1, 1, config=config).close()
  read = workdirs.load_config(tmp_path)
  assert read.stages[1].fade == 1.5 and isinstance(read.stages, tuple)
  assert read.ema.rates == (0.99, 0.999) and read.seed is None
  with pytest.raises(AttributeError):
    read.no_such_field = 1  # locked, as the config it came from
  assert workdirs.differences(workdirs.plain(config), workdirs.plain(read)) == {}


def test_a_missing_or_damaged_config(tmp_path):
  with pytest.raises(UserError, match='does not exist: no run began there'):
    workdirs.load_config(tmp_path / 'nowhere')
  with pytest.raises(UserError, match='has no config.json'):
    workdirs.load_config(tmp_path)
  (tmp_path / 'config.json').write_text('{')
  with pytest.raises(UserError, match='is damaged .* the training command again: it writes'):
    workdirs.load_config(tmp_path)
  config, state = make_config(), make_state()
  saver = checkpoints.Checkpoints(tmp_path, 1, 1, config=config)
  saver.save(1, state)
  saver.close()
  for damage in (b'{', b'[]', b'\xff\xfe'):
    (tmp_path / 'config.json').write_bytes(damage)
    lines = []
    saver = checkpoints.Checkpoints(tmp_path, 1, 1, config=config, say=lines.append)
    assert saver.restore(state) is not None and len(lines) == 1 and 'is written anew' in lines[0]
    saver.close()
    assert workdirs.plain(workdirs.load_config(tmp_path)) == workdirs.plain(config)


def test_a_signal_asks_for_a_stop_and_a_second_one_insists():
  before = signal.getsignal(signal.SIGTERM)
  with interruption.Interruption() as stop:
    assert not stop.requested(1)
    signal.raise_signal(signal.SIGTERM)
    assert stop.requested(2)
    with pytest.raises(KeyboardInterrupt):
      signal.raise_signal(signal.SIGINT)
  assert signal.getsignal(signal.SIGTERM) == before


def test_a_run_that_is_older_than_a_field_goes_on(tmp_path):
  """What its config lacks had the default's effect; anything else is another network."""
  config = workdirs.plain(config_lib.tiny(config_lib.base_config()))
  older = {**config, 'model': {k: v for k, v in config['model'].items() if 'embedding' not in k}}
  workdirs.save_config(tmp_path, older)
  workdirs.check_same_run(tmp_path, config)
  changed = {**config, 'model': {**config['model'], 'embedding_channels': 4}}
  with pytest.raises(UserError, match='model.embedding_channels is None there and 4 here'):
    workdirs.check_same_run(tmp_path, changed)


def test_precision_may_change_within_a_run_but_not_the_model(tmp_path):
  config = config_lib.tiny(config_lib.base_config())
  workdirs.save_config(tmp_path, workdirs.plain(config))
  config.model.matmul_dtype = config.discriminator.matmul_dtype = 'bfloat16'
  workdirs.check_same_run(tmp_path, workdirs.plain(config))
  config.model.density_gain = 2.0  # the same shapes, another field
  with pytest.raises(UserError, match=r'config: model.density_gain is 1.0 there and 2.0 here\. '):
    workdirs.check_same_run(tmp_path, workdirs.plain(config))


def test_fields_that_change_within_a_run_are_named(tmp_path):
  config = config_lib.base_config()
  saver = checkpoints.Checkpoints(tmp_path, 1, 1, config=config)
  saver.save(1, make_state())
  saver.close()

  def said(state=None):
    lines = []
    saver = checkpoints.Checkpoints(tmp_path, 1, 1, config=config, say=lines.append)
    try:
      saver.restore(state or make_state())
    finally:
      saver.close()
    return lines

  config.update(platform='cpu', num_steps=7)  # of this machine, and how far the run goes
  assert not said()
  config.resolution = 32
  config.data.source = '/data/other'
  config.optimizer.lr_generator = 1e-3
  changes = (
    "data.source was 'toys' and is '/data/other'; optimizer.lr_generator was 6e-05 and is 0.001; "
    'resolution was 64 and is 32.'
  )
  before = workdirs.load_config(tmp_path)
  with pytest.raises(UserError, match='another config: .* or the config in its config.json'):
    said(make_state(width=4))
  assert workdirs.load_config(tmp_path) == before  # the refused run has left it
  assert said() == [f'Changed since this run last started: {changes}']
  assert not said()  # its config.json has the new values
  config.stages = tuple(dict(from_step=i, batch_size=8) for i in range(1, 9))
  config.eval.update(every=1, step=1, seed=1, num_real=1, num_latents=1, num_images=1, dims=768)
  config.log.update(every=1, num_grid=1)
  (line,) = said()
  assert line.endswith('; and 2 more fields.') and len(line) < 600


def test_a_run_of_another_recipe_is_refused_by_its_names_alone(tmp_path):
  workdirs.save_config(tmp_path, workdirs.plain(config_lib.base_config('pigan')))
  with pytest.raises(UserError) as error:
    workdirs.check_same_run(tmp_path, workdirs.plain(config_lib.base_config('nerf')))
  text = str(error.value)
  assert 'recipe is pigan there and nerf here' in text and 'model.name is pigan there' in text
  assert 'model.z_dim' not in text and 'Choose another --workdir' in text
