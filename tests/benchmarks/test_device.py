"""The measurements of a device: resumed, within their time, and what follows from them."""

import importlib.util
import json
import re
import sys

import jax
import pytest

from benchmarks import device, device_cases, device_report, input_pipeline
from benchmarks.device import Case, Records
from jax3dgan.tools import devices

RUN = {
  'device': 'NVIDIA H100 80GB HBM3',
  'platform': 'gpu',
  'num_devices': 1,
  'jax': '0.10.2',
  'commit': 'abc',
  'tiny': False,
}


def cases_of(done, **seconds):
  """Cases that note in `done` that they ran; 'bad' fails, 'end' ends the process."""

  def run(name):
    done.append(name)
    if name == 'bad':
      raise RuntimeError('RESOURCE_EXHAUSTED: no memory\nand more')
    if name == 'end':
      sys.exit(9)
    return {'ms': 1.5, 'MFU, %': 20.0}

  return [Case(name, lambda name=name: run(name), time) for name, time in seconds.items()]


def run(cases, records, minutes=1):
  """Without the search for unused objects: a process that ran many tests has many."""
  return device.run(cases, records, minutes, collect=lambda: None)


def test_what_is_measured_is_not_measured_again(tmp_path):
  path, done = tmp_path / 'out.jsonl', []
  cases = cases_of(done, first=1, bad=1, end=1, last=1)
  for _ in range(device.ATTEMPTS):
    with pytest.raises(SystemExit):
      run(cases, Records(path, RUN))
  assert done == ['first', 'bad', 'end', 'end']
  with path.open('a') as file:
    file.write('{"case": "la')  # ended while it wrote
  assert run(cases, Records(path, RUN)) == []
  assert done[4:] == ['last']
  states = [line['state'] for line in Records(path, RUN).own() if line['case'] == 'last']
  assert states == ['begun', 'done']
  lines = [line for line in Records(path, RUN).own() if line['state'] != 'begun']
  assert [(line['case'], line['state']) for line in lines] == [
    ('first', 'done'), ('bad', 'failed'), ('last', 'done')
  ]  # fmt: skip
  assert lines[1]['error'] == 'RuntimeError: RESOURCE_EXHAUSTED: no memory'
  # Another commit is another run.
  run(cases_of(done, first=1), Records(path, {**RUN, 'commit': 'def'}))
  assert done[-1] == 'first'


def test_a_case_begins_only_if_its_time_is_left(tmp_path):
  done = []
  left_out = run(cases_of(done, short=10, long=100, other=10), Records(tmp_path / 'x', RUN))
  assert (done, left_out) == (['short', 'other'], ['long'])


def test_the_report(tmp_path, capsys):
  path = tmp_path / 'out.jsonl'
  records = Records(path, RUN)
  records.add('step/bfloat16/1', 'done', figures={'step, ms': 123.456, 'MFU, %': 20.0})
  records.add('step/bfloat16/2', 'done', figures={'step, ms': 12345.6})
  records.add('agree', 'done', figures={'rays': 1e-7, 'the same bits': True})
  assert device.main([f'--out={path}', '--report']) == 0
  text = capsys.readouterr().out
  assert '| case | step, ms | MFU, % |' in text and '| step/bfloat16/1 | 123 | 20 |' in text
  assert (
    '| step/bfloat16/2 | 12,346 |  |' in text
    and '| rays | 1e-07 |\n| the same bits | True |' in text
  )
  planned, _ = devices.utilisation(devices.find('h100'), 'bfloat16', 256)
  assert f'bfloat16: 0.2 measured, {planned:.3g} assumed ({0.2 / planned - 1:+.0%})' in text
  assert device.main([f'--out={tmp_path / "none"}', '--report']) == 1
  assert 'none has no measurement' in capsys.readouterr().err
  assert device_report.changes([], {**RUN, 'tiny': True})[0].startswith('Nothing')


@pytest.mark.parametrize(
  'flags, cause',
  [
    ('--out=DIR/a/b --tiny', 'b cannot be written: No such file or directory. Name a file'),
    ('--out=DIR --tiny', 'cannot be read: .*Is a directory.*Name another file'),
    ('--out=DIR/other --report', 'other has no measurement'),
    ('--out=DIR/x --tiny --cases=agree,stepp', "begins with 'stepp'. There are torch/float32, "),
    ('--out=DIR/x', 'JAX uses the CPU.*Add --tiny'),
  ],
)
def test_what_cannot_be_measured_is_one_line(tmp_path, capsys, flags, cause):
  (tmp_path / 'other').write_text('5\n{"loader": "arrays"}\n')
  assert device.main(flags.replace('DIR', str(tmp_path)).split()) == 1
  text = capsys.readouterr().err
  assert re.fullmatch(f'Error: .*{cause}.*\n', text), text


def test_a_missing_package_is_named(tmp_path, capsys, monkeypatch):
  monkeypatch.setitem(sys.modules, 'benchmarks.device_cases', None)
  monkeypatch.delattr('benchmarks.device_cases')
  assert device.main([f'--out={tmp_path}/x', '--tiny']) == 1
  assert 'is not installed' in capsys.readouterr().err


def test_another_loader_is_not_measured_in_the_place_of_one(monkeypatch, capsys):
  plain = importlib.util.find_spec

  def find_spec(name, *of):
    return None if name == 'tensorflow' else plain(name, *of)

  monkeypatch.setattr(importlib.util, 'find_spec', find_spec)
  with pytest.raises(RuntimeError, match='TensorFlow is not installed'):
    device_cases.loop(device_cases.TINY, 'tfdata')
  with pytest.raises(SystemExit):
    input_pipeline.main([])
  assert 'TensorFlow is not installed' in capsys.readouterr().err


def test_a_case_for_real(tmp_path):
  path = tmp_path / 'out.jsonl'
  assert device.main([f'--out={path}', '--tiny', '--cases=agree']) == 0
  (done,) = [line for line in map(json.loads, path.read_text().splitlines()) if 'figures' in line]
  assert done['run']['device'] == jax.devices()[0].device_kind and done['run']['tiny']
  figures = done['figures']
  assert set(figures.values()) == {0.0}  # here the device is the CPU
  assert len(figures) == 10


def test_names_and_sizes(tmp_path):
  names = [case.name for case in device_cases.cases(device_cases.FULL, tmp_path)]
  assert len(names) == len(set(names)) and names[0] == 'torch/float32'
  assert {name.split('/')[0] for name in names} == set(device_report.HEADINGS)
  for policy in device_cases.POLICIES:
    assert {f'step/{policy}/1', f'step/{policy}/2'} <= set(names)
