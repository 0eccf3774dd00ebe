"""What the tests of runs share."""

import pytest

from jax3dgan.runs import read_failures


@pytest.fixture(autouse=True)
def no_delays(monkeypatch):
  """Three attempts to read a checkpoint more, without a wait."""
  monkeypatch.setattr(read_failures, 'DELAYS', (0, 0, 0))
  monkeypatch.setattr(read_failures, 'CONFIRMATION', 0)
