"""Event files that TensorBoard reads, with and without TensorFlow."""

import sys

import jax
import numpy as np
import pytest

from jax3dgan.runs import writers


def _read(folder):
  """Returns {tag: [step]} and {(tag, step): scalar} of the event files in a folder."""
  from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
  from tensorboard.util import tensor_util

  tags, scalars = {}, {}
  for path in folder.glob('events.*'):
    for event in EventFileLoader(str(path)).Load():
      for value in event.summary.value:
        tags.setdefault(value.tag, []).append(event.step)
        if value.metadata.plugin_data.plugin_name == 'scalars':
          scalars[value.tag, event.step] = float(tensor_util.make_ndarray(value.tensor))
  return tags, scalars


@pytest.mark.filterwarnings('ignore::DeprecationWarning')  # of TensorBoard's reader
def test_scalars_images_and_texts_without_tensorflow(tmp_path):
  writer = writers.create(tmp_path / 'run', backend='tensorboardX')
  writer.write_scalars(3, {'loss/g': np.float32(0.5), 'loss/d': 2})
  writer.write_scalars(4, {'loss/g': 0.25})
  writer.write_images(4, {'one': np.zeros((1, 4, 5, 3), np.uint8), 'two': np.zeros((2, 4, 5, 3))})
  writer.write_texts(4, {'config': 'a: 1'})
  writer.flush()
  writer.close()
  tags, scalars = _read(tmp_path / 'run')
  assert scalars == {('loss/g', 3): 0.5, ('loss/g', 4): 0.25, ('loss/d', 3): 2}
  assert {'one', 'two/0', 'two/1'} <= tags.keys()
  assert any(tag.startswith('config') for tag in tags)


def test_the_choice_of_the_package(tmp_path, monkeypatch):
  monkeypatch.delitem(sys.modules, 'tensorflow', raising=False)
  writer = writers.create(tmp_path)
  assert isinstance(writer, writers.EventWriter)
  writer.close()
  assert 'tensorflow' not in sys.modules  # it costs seconds and hundreds of MiB
  with pytest.raises(ValueError, match='backend'):
    writers.create(tmp_path, backend='csv')


@pytest.mark.filterwarnings('ignore')  # TensorFlow's and TensorBoard's own
def test_clu_where_tensorflow_is_loaded(tmp_path):
  pytest.importorskip('tensorflow')
  writer = writers.create(tmp_path)
  writer.write_scalars(7, {'loss': 1.5})
  writer.write_images(7, {'sheet': np.zeros((1, 4, 5, 3), np.uint8)})
  writer.write_texts(7, {'config': 'a: 1'})
  writer.flush()
  writer.close()
  tags, scalars = _read(tmp_path)
  assert type(writer).__module__.startswith('clu.')
  assert scalars == {('loss', 7): 1.5} and tags['sheet'] == [7] and tags['config'] == [7]


def test_other_processes_write_nothing(tmp_path, monkeypatch):
  monkeypatch.setattr(jax, 'process_index', lambda: 1)
  writer = writers.create(tmp_path / 'run')
  writer.write_scalars(0, {'a': 1.0})
  writer.write_images(0, {})
  writer.write_texts(0, {})
  writer.flush()
  writer.close()
  assert not (tmp_path / 'run').exists()
