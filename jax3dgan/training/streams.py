"""Streams of randomness, by name.

Every random number of a step depends on the run's key, the step, the global index of its example,
the name of the phase and the name of what is drawn. Names are folded in as their CRC-32, so that a
new stream does not coincide with another one, as numbers chosen by hand can.
"""

import zlib

import jax


def named(key, name: str):
  """The key of the stream `name` of a key."""
  return jax.random.fold_in(key, zlib.crc32(name.encode()))


def named_keys(keys, name: str):
  """The keys [b] of the stream `name` of per-example keys [b]."""
  return jax.vmap(lambda key: named(key, name))(keys)


def step_key(key_data, step):
  """The key of a step (may be traced) of a run with that key data."""
  return jax.random.fold_in(named(jax.random.wrap_key_data(key_data), 'step'), step)
