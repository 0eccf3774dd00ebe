"""Codes of images, as the weights of a face model: read with their images, mirrored, as a table."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax3dgan import cameras, recipes
from jax3dgan import config as config_lib
from jax3dgan.data import arrays, feed, labels, order, pipeline, records
from jax3dgan.data.builders.ict_faces import mirror
from jax3dgan.devices import parallel
from jax3dgan.errors import UserError
from jax3dgan.training import schedule, step

SIZES = {'identity': 100, 'expression': 57}
COUNT = 5
_LABELS = np.asarray(cameras.orbit(0.1 * np.arange(COUNT), np.zeros(COUNT), 2.7, 13.0).label())
_RNG = np.random.default_rng(0)
_CODES = {name: _RNG.normal(size=(COUNT, k)).astype(np.float32) for name, k in SIZES.items()}
_ICT = pathlib.Path(__file__).parents[3] / 'shared/data/ict_face_3dmm/ict_face_model_light.npz'


def write(folder, source='ict_faces', left_out=None):
  """Pictures with codes; record `left_out` has no expression."""

  def example(i):
    codes = {name: code[i] for name, code in _CODES.items()}
    if i == left_out:
      del codes['expression']
    image = np.full((16, 16, 3), 40 * i, np.uint8)
    image[:, 0] = 255  # what is mirrored
    return {'image': image, 'label': _LABELS[i], 'key': str(i), 'extras': codes}

  examples = [example(i) for i in range(COUNT)]
  records.write_dataset(folder, examples, resolution=16, extra={'source': source})
  return str(folder)


def opened(folder, flip=True, **fields):
  return pipeline.open_dataset({'source': folder, 'flip': flip} | fields, 16, codes=SIZES)


def expected(positions, seed, stands_in=None):
  """The batch by the definition."""
  index = order.shuffled_index(np.asarray(positions), COUNT, seed)
  if stands_in is not None:
    index = np.where(index == stands_in, (stands_in + 1) % COUNT, index)
  flips = order.flipped(np.asarray(positions), COUNT, seed)[:, None]
  batch = {'label': np.where(flips, labels.mirror(_LABELS[index]), _LABELS[index])}
  for name, (places, sign) in mirror.CODES.items():
    code = _CODES[name][index]
    batch[name] = np.where(flips, code[:, places] * sign, code)
  return batch


def assert_has(batch, wanted):
  assert set(batch) == {'image', *wanted}
  for name, array in wanted.items():
    np.testing.assert_array_equal(batch[name], array, name)


def test_codes_come_with_their_images(tmp_path):
  dataset = opened(write(tmp_path))
  wanted = expected(np.arange(3, 11), 5)
  assert len(np.unique(order.flipped(np.arange(3, 11), COUNT, 5))) == 2
  assert_has(next(pipeline.batches(dataset, 8, 3, seed=5)), wanted)
  resident = arrays.resident(dataset, progress=False)
  drawn = arrays.draw(resident, jnp.uint32(3), 8, 5, True, codes=dataset.codes)
  assert_has(drawn, wanted)


def test_a_record_without_its_codes_is_a_damaged_one(tmp_path):
  dataset = opened(write(tmp_path, left_out=2))
  told = []
  dataset.skips.say = told.append
  assert_has(next(pipeline.batches(dataset, 8, 0, seed=5)), expected(np.arange(8), 5, stands_in=2))
  assert "it has no 57 finite numbers 'expression'" in told[0]


def test_data_without_codes_is_refused(tmp_path):
  folder = write(tmp_path, source='ours', left_out=0)
  with pytest.raises(UserError, match="no codes, as record 0 of .*'expression'. Use data whose"):
    opened(folder)
  folder = write(tmp_path, source='ours')
  with pytest.raises(UserError, match='identity, expression of .* Set --config.data.flip=False.'):
    opened(folder)
  assert_has(opened(folder, flip=False).codes.split(np.zeros((1, 182))) | {'image': 0}, {
    'label': np.zeros((1, 25)), **{name: np.zeros((1, k)) for name, k in SIZES.items()}
  })  # fmt: skip


@pytest.mark.parametrize('on_device', [True, False])
def test_a_step_gets_codes_and_the_table_of_all(on_device, tmp_path, monkeypatch):
  monkeypatch.setattr(recipes.Recipe, 'needs_codes', lambda self, config: SIZES)
  config = config_lib.tiny(config_lib.base_config('eg3d'))
  config.data.update(source=write(tmp_path), loader='arrays', flip=True, on_device=on_device)
  config.data.update(use_labels=True)
  config.resolution, config.batch_size = 16, 4
  mesh = parallel.make_mesh(jax.devices()[:1])
  stage = schedule.stages(config, 1)[0]
  source = feed.Feed(config, mesh, stage)
  source.enter(stage, 0)

  def photos(state, batch):
    return state, step.photos_of(source.examples(batch), stage.batch_size)

  of_step = jax.jit(parallel.data_parallel(photos, mesh, source.spec))
  _, out = of_step(0, source.batch(0))
  wanted = expected(np.arange(4), config.seed)
  assert out.image.shape == (4, 16, 16, 3)
  assert_has({'label': out.label, 'image': 0, **out.codes}, wanted)
  assert set(out.table) == {'label', *SIZES}
  np.testing.assert_array_equal(out.table['label'], [*_LABELS, *labels.mirror(_LABELS)])
  for name, (places, sign) in mirror.CODES.items():
    whole = [*_CODES[name], *(_CODES[name][:, places] * sign)]
    np.testing.assert_array_equal(out.table[name], whole)
  config.data.num_images = COUNT
  shapes = jax.eval_shape(lambda: feed.shapes(config, 4, 16))
  assert shapes[feed.TABLE]['expression'].shape == out.table['expression'].shape
  assert set(feed.specs(config)) == set(shapes)


@pytest.mark.skipif(not _ICT.exists(), reason='the face model is not here')
def test_the_mirror_of_the_face_model():
  """Codes of a mirrored face make the mirrored vertices."""
  with np.load(_ICT, allow_pickle=False) as file:
    names = file['expression_names'].tolist()
    neutral, shapes = file['neutral'], file['identity'][:20].astype(np.float32)
  order_of, _ = mirror.CODES['expression']
  for i, name in enumerate(names):
    other = names[order_of[i]]
    side = {'L': 'R', 'R': 'L', 'Left': 'Right', 'Right': 'Left'}
    ends = [end for end in side if name.endswith(('_' + end) if len(end) == 1 else end)]
    assert other == (name[: -len(ends[0])] + side[ends[0]] if ends else name)
  # Vertices of the front, each with the one that it becomes in the mirror.
  front = np.flatnonzero(neutral[:9409, 2] > 4)[::7]
  distance = np.abs(neutral[front, None] * (-1, 1, 1) - neutral[None, :9409]).sum(-1)
  twin, far = distance.argmin(1), distance.min(1)
  front, twin = front[far < 0.02], twin[far < 0.02]
  assert len(front) > 300
  sign = mirror.CODES['identity'][1]
  for i in range(20):
    moved, mirrored = shapes[i][front] * (-1, 1, 1), sign[i] * shapes[i][twin]
    # With the other sign it would be twice the shape.
    assert np.abs(moved - mirrored).mean() < 0.1 * np.abs(moved).mean()
