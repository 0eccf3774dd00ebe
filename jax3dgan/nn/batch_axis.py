"""The mesh axis that a batch is divided along, for operations that compare images of a batch.

A network is written for the images that it is given. Within `divided`, which
`devices.parallel.data_parallel` sets, they are one device's part of a batch, and an operation such
as the minibatch standard deviation can reach the images on other devices.
"""

import contextlib
from typing import NamedTuple

import jax


class BatchAxis(NamedTuple):
  """A mesh axis with more than one device."""

  name: str
  num_devices: int


# Part of jit's keys: what was traced for one device is not taken for several.
_AXIS = jax.make_user_context(None)


@contextlib.contextmanager
def divided(name: str, num_devices: int):
  """Traces inside see one device's part of each batch, of `num_devices` along mesh axis `name`."""
  with _AXIS((name, num_devices) if num_devices > 1 else None):
    yield


def current() -> BatchAxis | None:
  """The axis that the batches of the current trace are divided along; None for whole batches."""
  return BatchAxis(*_AXIS.value) if _AXIS.value else None
