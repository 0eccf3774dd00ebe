"""Streams of random numbers; those of whole steps: test_steps.py and test_eg3d_steps.py."""

import jax
import jax.numpy as jnp
import numpy as np

from jax3dgan.devices import parallel
from jax3dgan.training import streams


def test_names_are_different_streams():
  key = jax.random.key(0)
  names = ['z', 'camera', 'rendering', 'augment fakes', 'augment photos', 'step', 'reseed']
  names += ['after_step', 'occupancy_grid', 'points']
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
