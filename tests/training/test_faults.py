"""Divergence: which step, which network, which layer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax3dgan.training import faults

PARAMS = {
  'generator': {'a': {'kernel': jnp.zeros(2)}, 'b': jnp.zeros(3)},
  'discriminator': {'c': jnp.zeros(1), 'd': jnp.zeros((2, 2))},
}


def metrics(d_loss=1.0, g_loss=0.5, discriminator=-1, generator=-1):
  values = {
    'discriminator/loss': d_loss,
    'generator/loss': g_loss,
    'fault/discriminator': discriminator,
    'fault/generator': generator,
  }
  return jax.tree.map(jnp.asarray, values)


@pytest.mark.parametrize('bad', [jnp.nan, jnp.inf, -jnp.inf])
def test_the_first_bad_leaf(bad):
  find = jax.jit(faults.first_bad_leaf)
  tree = PARAMS['generator']
  assert find(tree) == -1
  assert find({**tree, 'b': jnp.array([0.0, bad, 1.0])}) == 1
  assert find({'a': {'kernel': jnp.array([bad, 0.0])}, 'b': jnp.array([0.0, bad, 1.0])}) == 0
  assert find({**tree, 'b': jnp.array([0.0, 3e38, 1.0])}) == -1  # large is not broken


def test_good_steps_give_their_means_once():
  watch = faults.Watch(PARAMS)
  for step, loss in enumerate((1.0, 2.0, 6.0)):
    watch.note(step, metrics(d_loss=loss))
  assert watch.check() is None
  assert watch.means() == {'discriminator/loss': 3.0, 'generator/loss': 0.5}
  assert watch.means() == {}


@pytest.mark.parametrize(
  'bad, network, words',
  [
    (dict(generator=1), 'generator', 'the gradient of b is not finite'),
    (dict(generator=0), 'generator', 'the gradient of a/kernel is not finite'),
    (dict(discriminator=1, generator=0), 'discriminator', 'the gradient of d is not finite'),
    (dict(d_loss=float('nan')), 'discriminator', 'the loss is nan'),
    (dict(g_loss=-2e5), 'generator', 'beyond 10000'),
  ],
)
def test_a_fault_is_told_apart(bad, network, words):
  watch = faults.Watch(PARAMS, limit=1e4)
  watch.note(7, metrics())
  watch.note(8, metrics(**bad))
  watch.note(9, metrics(float('nan'), float('nan'), 0, 0))
  fault = watch.check()
  assert (fault.step, fault.network) == (8, network) and words in fault.what
  watch.forget()
  assert watch.check() is None and watch.means() == {}


def test_no_limit_lets_a_large_loss_pass():
  watch = faults.Watch(PARAMS)
  watch.note(0, metrics(d_loss=1e9))
  assert watch.check() is None


def test_the_diagnosis_names_every_fault_and_a_remedy():
  found = [faults.Fault(step, 'generator', 'the loss is nan') for step in (1500, 90, 91)]
  text = str(faults.diagnosis(found))
  assert 'diverged 3 times' in text and 'step 1,500: generator: the loss is nan' in text
  assert '--config.optimizer.lr_generator' in text and '\n' not in text


def test_another_attempt_has_other_random_numbers():
  key = jax.random.key_data(jax.random.key(3))
  keys = [np.asarray(faults.reseed(key, attempt)) for attempt in (1, 2, 1)]
  np.testing.assert_array_equal(keys[0], keys[2])
  assert not np.array_equal(keys[0], keys[1]) and not np.array_equal(keys[0], key)
