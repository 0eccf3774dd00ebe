"""Divergence: which step, which network, which layer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax3dgan import config as config_lib
from jax3dgan.errors import UserError
from jax3dgan.recipes import Phase
from jax3dgan.training import faults, packed, streams

# In EG3D's order: the generator, something of it that is due every other step, the discriminator.
PHASES = (
  Phase('generator', 'generator', None),
  Phase('density', 'generator', None, every=2, lazy=True),
  Phase('discriminator', 'discriminator', None),
)
PARAMS = {
  'generator': {'a': {'kernel': jnp.zeros(2)}, 'b': jnp.zeros(3)},
  'discriminator': {'c': jnp.zeros(1), 'd': jnp.zeros((2, 2))},
}


def scalars(d_loss=1.0, g_loss=0.5, density_loss=0.1, discriminator=-1, generator=-1, density=-1):
  values = {
    'discriminator/loss': d_loss,
    'generator/loss': g_loss,
    'density/loss': density_loss,
    'fault/discriminator': discriminator,
    'fault/generator': generator,
    'fault/density': density,
  }
  return values


def metrics(*args, **kwargs):
  return packed.pack(scalars(*args, **kwargs))


@pytest.mark.parametrize('bad', [jnp.nan, jnp.inf, -jnp.inf])
def test_the_first_bad_leaf(bad):
  find = jax.jit(faults.first_bad_leaf)
  tree = PARAMS['generator']
  assert find(tree) == -1
  assert find({**tree, 'b': jnp.array([0.0, bad, 1.0])}) == 1
  assert find({'a': {'kernel': jnp.array([bad, 0.0])}, 'b': jnp.array([0.0, bad, 1.0])}) == 0
  assert find({**tree, 'b': jnp.array([0.0, 3e38, 1.0])}) == -1  # large is not broken


def watch_of(limit=0.0):
  return faults.Watch(PARAMS, PHASES, limit)


def test_good_steps_give_their_means_once_of_the_steps_at_which_they_are_due():
  watch = watch_of()
  for step, (loss, density) in enumerate(((1.0, 4.0), (2.0, np.nan), (6.0, 6.0))):
    watch.note(step, metrics(d_loss=loss, density_loss=density))
  assert watch.check() is None
  expected = {'discriminator/loss': 3.0, 'generator/loss': 0.5, 'density/loss': 5.0}
  assert watch.means() == expected
  assert watch.means() == {}
  watch.note(3, metrics(density_loss=np.nan))
  assert watch.check() is None and 'density/loss' not in watch.means()


@pytest.mark.parametrize(
  'bad, network, words',
  [
    (dict(generator=1), 'generator', 'the gradient of b is not finite'),
    (dict(generator=0), 'generator', 'the gradient of a/kernel is not finite'),
    # The generator comes first: what the discriminator then gets is the consequence.
    (dict(discriminator=1, generator=0), 'generator', 'the gradient of a/kernel is not finite'),
    (dict(discriminator=1), 'discriminator', 'the gradient of d is not finite'),
    (dict(density=1, discriminator=0), 'generator', "b is not finite in the phase 'density'"),
    (dict(density_loss=float('nan')), 'generator', "the loss is nan in the phase 'density'"),
    (dict(d_loss=float('nan')), 'discriminator', 'the loss is nan'),
    (dict(g_loss=-2e5), 'generator', 'beyond 10000'),
  ],
)
def test_the_first_phase_that_breaks_is_named(bad, network, words):
  watch = watch_of(limit=1e4)
  watch.note(7, metrics(density_loss=float('nan'), density=0))  # not due
  watch.note(8, metrics(**bad))
  watch.note(9, metrics(float('nan'), float('nan'), 0, 0))
  fault = watch.check()
  assert (fault.step, fault.network) == (8, network) and words in fault.what
  watch.forget()
  assert watch.check() is None and watch.means() == {}


def test_no_limit_lets_a_large_loss_pass():
  watch = watch_of()
  watch.note(0, metrics(d_loss=1e9))
  assert watch.check() is None


def test_a_state_that_is_broken_is_named_network_by_network():
  class State:
    networks = PARAMS
    ema = {'generator': {'0.9': PARAMS['generator']}}
    buffers = {'generator': {'mean': jnp.zeros(2)}, 'empty': {}}

  broken = faults.Broken(PHASES)
  assert broken(State, 3) is None
  state = State()
  state.buffers = {'generator': {'mean': jnp.array([0.0, jnp.nan])}, 'empty': {}}
  assert str(broken(state, 3)) == 'step 2: generator: the buffer mean is not finite after the step'
  state.ema = {'generator': {'0.9': {**PARAMS['generator'], 'b': jnp.full(3, jnp.inf)}}}
  assert 'the average of 0.9/b is not finite' in broken(state, 3).what


def test_the_diagnosis_names_every_fault_and_a_remedy():
  found = [faults.Fault(step, 'generator', 'the loss is nan') for step in (1500, 90, 91)]
  config = config_lib.base_config()
  text = str(faults.diagnosis(found, config))
  assert 'diverged 3 times' in text and 'step 1,500: generator: the loss is nan' in text
  assert '--config.optimizer.lr_generator' in text and '\n' not in text
  assert 'r1' not in text  # R1 is the discriminator's
  found.append(faults.Fault(3, 'discriminator', 'the loss is nan'))
  text = str(faults.diagnosis(found, config))
  assert 'raise --config.loss.r1' in text and 'lr_discriminator' in text


def test_another_attempt_has_other_random_numbers():
  key = jax.random.key_data(jax.random.key(3))
  keys = [np.asarray(faults.reseed(key, attempt)) for attempt in (1, 2, 1)]
  np.testing.assert_array_equal(keys[0], keys[2])
  assert not np.array_equal(keys[0], keys[1]) and not np.array_equal(keys[0], key)


def test_another_attempt_shares_no_key_with_a_step():
  """Folding the attempt into the run's key, as a step's number is, would repeat that step."""
  key = jax.random.key_data(jax.random.key(3))
  for attempt in range(1, 4):
    again = np.asarray(faults.reseed(key, attempt))
    for step in range(5):
      assert not np.array_equal(again, jax.random.key_data(streams.step_key(key, step)))
      old = jax.random.fold_in(jax.random.wrap_key_data(key), step)
      assert not np.array_equal(again, jax.random.key_data(old))


def test_steps_in_flight_are_bounded(monkeypatch):
  waited = []
  monkeypatch.setattr(jax, 'block_until_ready', waited.append)
  watch = faults.Watch({}, ())
  for step in range(20):
    watch.note(step, step)
  assert waited == list(range(20 - faults.MAX_IN_FLIGHT))


def test_a_step_costs_one_transfer(monkeypatch):
  """Instead of one for each of its metrics."""
  step = jax.jit(lambda x: packed.pack({f'm{i}': x + i for i in range(30)} | scalars()))
  fetched, plain = [], jax.device_get
  monkeypatch.setattr(
    jax, 'device_get', lambda tree: fetched.extend(jax.tree.leaves(tree)) or plain(tree)
  )
  watch = watch_of()
  for i in range(50):
    watch.note(i, step(jnp.float32(i)))
  assert watch.check() is None
  means = watch.means()
  assert len(fetched) == 50 and len(means) == 30 + 3
  assert means['m29'] == 29 + 24.5 and means['density/loss'] == pytest.approx(0.1)


def test_a_metric_that_is_no_scalar_is_named():
  with pytest.raises(UserError, match=r"'rays' has the shape \(4,\)"):
    packed.pack({'rays': jnp.zeros(4)})
