"""The fixture of these tests."""

import pytest
from launch_scripts import Scripts


@pytest.fixture
def scripts(tmp_path):
  """See `launch_scripts.Scripts`."""
  return Scripts(tmp_path)
