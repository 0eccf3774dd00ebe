"""Randomness: every stream of a step is listed, and no two of them share key data."""

import collections
import functools

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_steps

from jax3dgan.devices import parallel
from jax3dgan.training import streams

_DRAWN = []  # (shape of the numbers, key) of every draw of the program that ran last


@functools.cache
def _recording():
  """Threefry, whose draws are noted as they run."""
  threefry = jax.extend.random.threefry_prng_impl

  def random_bits(key, bit_width, shape):
    jax.debug.callback(functools.partial(_note, shape), key)
    return threefry.random_bits(key, bit_width, shape)

  return jax.extend.random.define_prng_impl(
    key_shape=threefry.key_shape,
    seed=threefry.seed,
    split=threefry.split,
    random_bits=random_bits,
    fold_in=threefry.fold_in,
    name='recording',
  )


def _note(shape, key):
  _DRAWN.extend((shape, tuple(row)) for row in np.asarray(key).reshape(-1, 2).tolist())


def draws_of_a_step(config, monkeypatch) -> list:
  """(shape, key) of every draw of one step of a config on one device."""
  wrap = functools.partial(jax.random.wrap_key_data, impl=_recording())
  monkeypatch.setattr(jax.random, 'wrap_key_data', wrap)
  _DRAWN.clear()
  tiny_steps.run(config)
  jax.effects_barrier()
  return list(_DRAWN)


# Draws of an example in a step: in each phase that renders z, yaw and pitch, and of the renderer
# the jitter, the importance sampling and, for π-GAN, two kinds of noise.
@pytest.mark.parametrize(
  'name, least', [('pigan', 2 * 7), ('eg3d_labels', 30), ('eg3d_posefree', 20)]
)
def test_no_two_streams_of_a_step_share_a_key(name, least, monkeypatch):
  config = tiny_steps.config(name)
  drawn = draws_of_a_step(config, monkeypatch)
  keys = collections.Counter(key for _, key in drawn)
  shared = {key for key, times in keys.items() if times > 1}
  shapes = sorted({shape for shape, key in drawn if key in shared})
  assert not shared, f'{len(shared)} of {len(keys)} keys are drawn from twice: shapes {shapes}'
  assert len(keys) >= least * config.batch_size and len(keys) % config.batch_size == 0


def test_names_are_different_streams():
  key = jax.random.key(0)
  names = ['z', 'camera', 'rendering', 'augment fakes', 'augment photos', 'step', 'reseed']
  made = {tuple(np.asarray(jax.random.key_data(streams.named(key, name)))) for name in names}
  assert len(made) == len(names)
  keys = jax.random.split(key, 3)
  for one, of_all in zip(keys, streams.named_keys(keys, 'z'), strict=True):
    assert streams.named(one, 'z') == of_all


def test_examples_of_a_batch_and_steps_of_a_run_have_their_own_keys():
  data = jax.random.key_data(jax.random.key(5))

  def of_step(step):
    mesh = parallel.make_mesh(jax.devices()[:1])
    draw = parallel.data_parallel(
      lambda _, x: (parallel.example_keys(streams.step_key(data, step), len(x)), 0), mesh
    )
    return jax.random.key_data(draw(0, jnp.zeros(3))[0])

  every = np.concatenate([of_step(0), of_step(1)])
  assert len(np.unique(every, axis=0)) == 6
