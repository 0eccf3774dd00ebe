"""Frozen parts of a network: no gradients, no moments, and they stay to the last bit."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jax3dgan import config as config_lib
from jax3dgan import generators, recipes
from jax3dgan.devices import parallel
from jax3dgan.errors import UserError
from jax3dgan.training import schedule
from jax3dgan.training import state as state_lib
from jax3dgan.training import step as step_lib

HERE = __name__


class Shrink(recipes.Recipe):
  """Makes all parameters smaller, in a step that compiles at once; the mapping is frozen."""

  model, discriminator = 'pigan', 'none'
  asked: tuple[str, ...] = ('mapping',)

  def check(self, config, generator, discriminator):
    """Everything goes."""

  def draw(self, keys, phase, config, generator, photos, now, buffers):
    return recipes.Inputs(z=jnp.zeros((keys.shape[0], 1)))

  def phases(self, config, generator, discriminator, stage):
    def loss(params, networks, inputs, now):
      return sum(jnp.sum(x**2) for x in jax.tree.leaves(params)), recipes.Terms({})

    def gradient(params, *args):
      value, own = jax.value_and_grad(loss, has_aux=True)(params, *args)
      return own, value

    phases = (recipes.Phase('by_loss', 'generator', loss),)
    return (*phases, recipes.Phase('by_gradient', 'generator', loss, gradient=gradient))

  def frozen(self, network, config):
    return self.asked if network == 'generator' else ()


@pytest.fixture
def config():
  return config_lib.tiny(config_lib.base_config(f'{HERE}:Shrink'))


def test_frozen_parameters_stay_and_have_no_moments(config):
  generator, mesh = generators.create(config), parallel.make_mesh(jax.devices()[:1])
  step = step_lib.make_train_step(config, generator, None, schedule.stages(config, 1)[0])
  before = jax.jit(lambda: state_lib.create(config, generator, None))()
  after = parallel.replicate(before, mesh)
  batch = {'image': jnp.zeros((config.batch_size, 8, 8, 3), jnp.uint8)}
  step = jax.jit(parallel.data_parallel(step, mesh))
  for _ in range(3):
    after, _ = step(after, parallel.shard(batch, mesh))
  trained = set(before.networks['generator']) - {'mapping'}
  assert trained and 'mapping' in before.networks['generator']
  assert set(optax.tree.get(after.optimizers['generator'], 'mu')) == trained
  start = before.networks['generator']
  for tree in (after.networks['generator'], *after.ema['generator'].values()):
    assert set(tree) == {*trained, 'mapping'}
    jax.tree.map(np.testing.assert_array_equal, tree['mapping'], start['mapping'])
    for name in trained:
      smaller = jax.tree.map(lambda a, b: np.sum(a**2) < np.sum(b**2), tree[name], start[name])
      nonzero = jax.tree.map(lambda b: np.any(b), start[name])
      assert all(jax.tree.leaves(jax.tree.map(lambda s, n: s or not n, smaller, nonzero)))


@pytest.mark.parametrize(
  'asked, words', [(('mappin',), "freezes 'mappin' of the generator, whose"), (None, 'all of it')]
)
def test_what_cannot_be_frozen_is_one_line(config, monkeypatch, asked, words):
  generator = generators.create(config)
  if not asked:
    asked = tuple(jax.eval_shape(lambda: generators.init_params(generator, jax.random.key(0))))
  monkeypatch.setattr(Shrink, 'asked', asked)
  with pytest.raises(UserError, match=words):
    jax.eval_shape(lambda: state_lib.create(config, generator, None))
