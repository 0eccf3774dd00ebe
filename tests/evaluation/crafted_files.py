"""Files that are not what their name says."""

import io

import numpy as np


def _npz(**arrays) -> bytes:
  file = io.BytesIO()
  np.savez(file, **arrays)
  return file.getvalue()


def npz_of_objects() -> bytes:
  """An npz that only pickle reads."""
  return _npz(**{'conv/w': np.array([{}], object)})


def npz_cut() -> bytes:
  """An npz with a flipped byte in its numbers."""
  data = bytearray(_npz(**{'conv/w': np.arange(1000.0)}))
  data[2000] ^= 255
  return bytes(data)


def npz_other() -> bytes:
  """An npz of another network."""
  return _npz(**{'dense/kernel': np.zeros((3, 3))})


def pickle_that_runs() -> bytes:
  """A pickle that would make a file CANARY."""
  return b'\x80\x02cposix\nsystem\n(X\x0c\x00\x00\x00touch CANARYtR.'
