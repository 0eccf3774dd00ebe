"""Arrays from the official pi-GAN code, which parity tests compare with."""

import pathlib

import numpy as np
import pytest

_TESTS = pathlib.Path(__file__).resolve().parent
_FOLDERS = (_TESTS / 'data' / 'pigan', _TESTS.parent.parent / 'shared' / 'goldens' / 'pigan')


def load(name: str) -> dict[str, np.ndarray]:
  """Returns the arrays of `<name>.npz` by their names; skips the test where the file is not there.

  Args:
    name: The file's name without its ending, for example 'volume_edge_cases'.

  The small files lie in tests/data/pigan; the large ones are looked for in ../shared/goldens/pigan,
  beside the repository.
  """
  for folder in _FOLDERS:
    path = folder / f'{name}.npz'
    if path.exists():
      with np.load(path, allow_pickle=False) as file:
        return dict(file)
  pytest.skip(f'golden arrays {name}.npz are neither in {" nor in ".join(map(str, _FOLDERS))}')
