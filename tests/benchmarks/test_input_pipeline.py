"""benchmarks/input_pipeline.py at its smallest size."""

import json

import pytest

from benchmarks import input_pipeline


def test_all_loaders(capsys):
  pytest.importorskip('tensorflow')
  flags = '--resolutions=8 --threads=4 --latencies=0,1 --batch=4 --images=8 --seconds=0'
  assert input_pipeline.main([*flags.split(), '--step-rate=a step=8:12.5']) == 0
  lines = capsys.readouterr().out.splitlines()
  found = [json.loads(line) for line in lines if line.startswith('{')]
  kinds = [(each['loader'], each['latency_ms']) for each in found]
  assert kinds == [
    *((loader, ms) for loader in ('tfdata', 'arrays', 'resident load') for ms in (0, 1)),
    ('resident draw', 0),
  ]
  assert all(each['images_per_second'] > 0 for each in found)
  # A read of one image takes a millisecond at least, and four are read at a time.
  assert found[5]['images_per_second'] < 4000
  assert '| a step | 8² | 12 |' in lines
