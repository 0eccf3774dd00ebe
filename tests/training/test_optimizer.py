"""RMSprop and milestones of the learning rate, and what an optimizer does not use."""

import goldens
import jax.numpy as jnp
import numpy as np
import pytest
import x64

from jax3dgan import config as config_lib
from jax3dgan.errors import UserError
from jax3dgan.training import checks, schedule
from jax3dgan.training import state as state_lib

FILE = 'graf/sampling'


def config_with(**fields):
  config = config_lib.base_config()
  config.optimizer.update(dict(name='rmsprop', beta2=0.99, grad_clip=0.0) | fields)
  return config


def test_rmsprop_is_pytorchs():
  arrays = goldens.load(FILE)
  transform = state_lib.optimizer(config_with().optimizer)

  @x64.jit
  def run(params, gradients):
    moments, after, averages = transform.init(params), [], []
    average = params
    for gradient in gradients:
      updates, moments = transform.update(gradient, moments, params)
      params = params - 5e-4 * updates
      # An average that is one from the first step on: `ramp_up` bounds nothing.
      average = state_lib.ema_update(average, params, 0.999, len(after) + 1, ramp_up=1e6)
      after.append(params)
      averages.append(average)
    return jnp.stack(after), jnp.stack(averages)

  after, averages = run(arrays['rmsprop/p0'], arrays['rmsprop/grads'].astype(np.float64))
  goldens.compare(FILE, 'rmsprop/p_after', after, atol=1e-14)
  goldens.compare(FILE, 'rmsprop/ema_after', averages, atol=1e-14)


def test_milestones():
  arrays = goldens.load(FILE)
  rates = [
    schedule.learning_rate(5e-4, step, 0.5, 0, (50_000, 100_000, 200_000))
    for step in arrays['lr/iteration']
  ]
  key = 'lr/lr_g_used_in_iteration'
  goldens.compare(FILE, key, np.stack(rates), atol=1e-9, dtype=np.float64)


def test_what_an_optimizer_does_not_use():
  checks.check(config_with(milestones=(10, 20)))
  for fields, message in (
    (dict(name='sgd'), "'sgd'. Choose one of adam, rmsprop"),
    (dict(beta1=0.5), 'RMSprop has no momentum. Set --config.optimizer.beta1=0'),
    (dict(milestones=(0.5,)), 'Give steps'),
    (dict(milestones=(10,), decay_steps=5), 'Set --config.optimizer.decay_steps=0'),
  ):
    with pytest.raises(UserError, match=message):
      checks.check(config_with(**fields))
