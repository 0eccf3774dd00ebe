"""The comparison with golden arrays itself: it fails, and it counts what it has seen."""

import goldens
import numpy as np
import pytest

FILE, KEY = 'extract_grid', 'official_samples_N4_cube0p3'


@pytest.fixture(autouse=True)
def no_comparisons(monkeypatch):
  monkeypatch.setattr(goldens, 'COMPARISONS', [])


def moved(by, dtype=np.float32):
  """The golden array with one entry moved; its largest is 0.24."""
  array = goldens.load(FILE)[KEY].astype(dtype)
  array[0, 3, 1] += by
  return array


def test_it_fails_beyond_its_tolerance_alone():
  goldens.compare(FILE, KEY, moved(0.01), atol=0.011)
  goldens.compare(FILE, KEY, moved(0.01), relative=0.042)
  for tolerance in (dict(atol=0.009), dict(relative=0.04)):
    with pytest.raises(AssertionError, match='extract_grid official_.* in float32: .* error'):
      goldens.compare(FILE, KEY, moved(0.01), **tolerance)
  with pytest.raises(AssertionError, match='nan'):
    goldens.compare(FILE, KEY, moved(np.nan), atol=1.0)
  with pytest.raises(AssertionError, match=r'\(64, 3\) \(1, 64, 3\)'):
    goldens.compare(FILE, KEY, moved(0.0)[0], atol=1.0)


def test_a_mask_leaves_out_entries_but_not_nan():
  elsewhere = np.arange(3) != 1
  goldens.compare(FILE, KEY, moved(1.0), atol=0, where=elsewhere)
  with pytest.raises(AssertionError, match='nan'):
    goldens.compare(FILE, KEY, moved(np.nan), atol=0, where=elsewhere)


def test_the_table_shows_what_comes_nearest_to_its_limit():
  goldens.compare(FILE, KEY, moved(0.01, np.float64), atol=1.0)
  goldens.compare(FILE, KEY, moved(0.001, np.float64), atol=0.002)
  rows = [row for row in goldens.table().splitlines() if row.startswith(f'| {FILE} ')]
  assert rows[0] == f'| {FILE} | float64 | 1 of 1 | 1.0e-03 of 2.0e-03 | `{KEY}` | – |  |'
  assert rows[1] == f'| {FILE} | float32 | 0 of 1 | – |  | – |  |'
  assert f'{FILE} float32: {KEY}' in goldens.missing()
  assert not any(line.startswith(f'{FILE} float64') for line in goldens.missing())


def test_results_are_told_from_inputs():
  inputs = set(goldens.load('camera')) - goldens.outputs('camera')
  assert inputs == {'fixed/pitch_yaw'} | {
    f'{mode}/{name}'
    for mode in ('gaussian', 'uniform', 'spherical_uniform')
    for name in ('draw_yaw', 'draw_pitch', 'h_stddev_v_stddev_h_mean_v_mean')
  } | {'truncated_gaussian/draw_yaw_4', 'truncated_gaussian/draw_pitch_4'}
