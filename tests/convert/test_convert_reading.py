"""The safe reader: what PyTorch and pickle write comes back, and nothing of it is run."""

import os
import pathlib
import pickle
from collections import OrderedDict

import crafted
import hypothesis
import hypothesis.strategies as st
import ml_dtypes
import numpy as np
import pytest
from crafted import FLOATS, call, entries, module, name, number, pickled, storage, tensor, text

from jax3dgan import convert
from jax3dgan.convert import tensors
from jax3dgan.errors import UserError

DATA = pathlib.Path(__file__).resolve().parent.parent / 'data' / 'convert'


@pytest.fixture(scope='module')
def expected():
  with np.load(DATA / 'expected.npz', allow_pickle=False) as file:
    return dict(file)


def part(arrays, of):
  return {k.removeprefix(f'{of}/'): v for k, v in arrays.items() if k.startswith(f'{of}/')}


@pytest.fixture
def read(tmp_path):
  """Reads bytes as a file."""

  def run(data, **options):
    (tmp_path / 'x.pth').write_bytes(data)
    return convert.read(tmp_path / 'x.pth', **options)

  return run


@pytest.mark.parametrize(
  'file, prefix, of, dtype',
  [
    ('generator.pth', '', 'generator', np.float32),
    ('generator_tall_legacy.pth', '', 'generator', np.float32),
    ('generator_parallel.pth', 'module.', 'generator', np.float32),
    ('state_dict.pth', '', 'generator', np.float32),
    ('state_dict_half.pth', '', 'generator', np.float16),
    ('state_dict_bfloat16_legacy.pth', '', 'generator', ml_dtypes.bfloat16),
    ('discriminator.pth', '', 'discriminator', np.float32),
  ],
)
def test_weights_of_files_made_by_pytorch(file, prefix, of, dtype, expected):
  weights = convert.state_dict(convert.read(DATA / file))
  wanted = part(expected, of)
  assert list(weights) == [prefix + key for key in wanted]  # in PyTorch's order
  for key, value in wanted.items():
    actual = weights[prefix + key]
    assert actual.dtype == dtype and not actual.flags.writeable
    np.testing.assert_array_equal(actual, value.astype(dtype))


def test_attributes_and_classes_are_returned():
  tree = convert.read(DATA / 'generator.pth')
  assert str(tree.cls) == 'generators.generators.ImplicitGenerator3d'
  attributes = tree.attributes()
  assert attributes['step'] == 1234 and attributes['z_dim'] == 4
  siren = attributes['_modules']['siren']
  assert siren.cls == siren.cls and siren.cls.name == 'SPATIALSIRENBASELINE'
  device = attributes['device']
  assert str(device.cls) == 'torch.device' and device.args == ('cuda', 0)
  assert repr(device) == '<torch.device, not made>'
  ema = convert.read(DATA / 'ema.pth').attributes()
  assert ema['decay'] == 0.999 and ema['num_updates'] == 1234 and len(ema['shadow_params']) == 30


def test_views():
  views = {key: value.numpy() for key, value in convert.read(DATA / 'views.pth').items()}
  np.testing.assert_array_equal(views['expanded'], [[0, 1, 2]] * 2)
  np.testing.assert_array_equal(views['transposed'], [[0, 3], [1, 4], [2, 5]])
  np.testing.assert_array_equal(views['part'], [2, 5])
  assert views['scalar'].shape == () and views['scalar'] == 2.5
  assert views['empty'].shape == (0, 3)
  np.testing.assert_array_equal(views['bool'], [True, False])
  np.testing.assert_array_equal(views['bytes'], [1, 255])
  np.testing.assert_array_equal(views['complex'], [1 + 2j])
  kinds = ['float32', 'int64', 'int16', 'float64', 'float32', 'bool', 'uint8', 'complex64']
  assert [value.dtype.name for value in views.values()] == kinds


def test_source_code_stays_a_text(tmp_path, monkeypatch):
  """In old files and in persistent objects: running it would leave a file and exit."""
  for file in ('generator_tall_legacy.pth', 'persistent.pkl'):
    assert b"open('CANARY', 'w')" in (DATA / file).read_bytes()
  monkeypatch.chdir(tmp_path)
  convert.read(DATA / 'generator_tall_legacy.pth')
  tree = convert.read(DATA / 'persistent.pkl')
  assert not list(tmp_path.iterdir())
  generator = tree['G_ema']
  assert generator.args[0].items['module_src'].startswith('open(')
  assert generator.attributes()['neural_rendering_resolution'] == 64
  weights = convert.state_dict(generator)
  assert {k: v.tolist() for k, v in weights.items()} == {
    'weight': [0, 1, 2, 3],
    'w_avg': [1, 1],
    'inner.bias': [7],
  }
  assert tree['training_set_kwargs'].items == {'path': 'cats.zip'}


def test_temporary_buffers_are_left_out(read):
  state = entries(
    _modules=b'}',
    _parameters=entries(a=tensor(), none=b'N'),
    _buffers=entries(kept=tensor(0, (2,)), grid=tensor(2, (2,))),
    _non_persistent_buffers_set=call('builtins', 'set', b'](' + text('grid') + b'e'),
  )
  data = crafted.torch_zip(pickled(name('siren.siren', 'X') + b')\x81' + state + b'b'), s0=FLOATS)
  weights = convert.state_dict(read(data))
  assert {k: v.tolist() for k, v in weights.items()} == {'a': [1, 2, 3, 4], 'kept': [1, 2]}


def test_one_module_in_two_places(read):
  inner = module('X', parameters=entries(w=tensor())) + b'q\x00'
  data = crafted.torch_zip(pickled(module('X', entries(a=inner, b=b'h\x00'))), s0=FLOATS)
  assert list(convert.state_dict(read(data))) == ['a.w', 'b.w']


def test_parts_of_storages_in_old_files(read):
  view = b'(' + text('v') + number(1) + number(2) + b't'
  program = pickled(entries(all=tensor(), some=tensor(0, (2,), of=storage(more=view))))
  tree = read(crafted.torch_row(program))
  assert tree['all'].numpy().tolist() == [1, 2, 3, 4] and tree['some'].numpy().tolist() == [2, 3]
  assert read(crafted.torch_row(pickled(entries(all=tensor(of=storage(more=b'N'))))))


def test_any_byte_is_a_bool(read):
  """NumPy takes other bytes than 0 and 1 for the same number here and another there."""
  data = crafted.torch_zip(
    pickled(entries(a=tensor(of=storage(cls='BoolStorage')))), s0=bytes([0, 1, 2, 255])
  )
  assert read(data)['a'].numpy().tolist() == [False, True, True, True]


@pytest.mark.parametrize('name', tensors.STORAGES)
def test_every_type(name, read):
  dtype = tensors.STORAGES[name]
  values = np.array([0, 1, 0, 1]).astype(dtype)
  program = pickled(entries(a=tensor(of=storage(cls=name))))
  for data in (
    crafted.torch_zip(program, s0=values.tobytes()),
    crafted.torch_row(program, rows=((4, values.tobytes()),)),
  ):
    array = read(data)['a'].numpy()
    assert array.dtype == dtype
    np.testing.assert_array_equal(array, values)


def test_a_tensor_behind_an_odd_place(read):
  """Old files do not align: the array may begin anywhere."""
  for padding in range(4):
    program = pickled(entries(a=tensor(), b=text('x' * padding)))
    array = read(crafted.torch_row(program))['a'].numpy()
    np.testing.assert_array_equal(np.float32(array) * 2, [2, 4, 6, 8])


SCALARS = (
  st.none()
  | st.booleans()
  | st.integers(-(2**60), 2**60)
  | st.floats(-1e15, 1e15)
  | st.text()
  | st.binary(max_size=300)
)
TREES = st.recursive(
  SCALARS | st.integers(-(2**400), 2**400),
  lambda inner: (
    st.lists(inner)
    | st.lists(inner).map(tuple)
    | st.dictionaries(SCALARS, inner)
    | st.dictionaries(st.text(), inner).map(OrderedDict)
    | st.sets(SCALARS)
    | st.frozensets(SCALARS)
  ),
  max_leaves=20,
)


def typed(tree):
  """With the types, which == does not look at."""
  if isinstance(tree, dict):
    return type(tree), [(typed(key), typed(value)) for key, value in tree.items()]
  if isinstance(tree, list | tuple):
    return type(tree), [typed(item) for item in tree]
  if isinstance(tree, set | frozenset):
    return type(tree), {(type(item), item) for item in tree}
  return type(tree), tree


@hypothesis.given(TREES, st.integers(0, 5))
@hypothesis.settings(max_examples=200, deadline=None, database=None)
def test_plain_data_of_every_protocol(tmp_path_factory, tree, protocol):
  path = tmp_path_factory.getbasetemp() / 'tree.pkl'
  path.write_bytes(pickle.dumps(tree, protocol))
  assert typed(convert.read(path)) == typed(tree)


@pytest.mark.parametrize('protocol', range(6))
def test_arrays_and_numbers_of_numpy(protocol, tmp_path):
  rng = np.random.default_rng(0)
  arrays = [
    np.float32(rng.normal(size=(2, 3))),
    np.asfortranarray(rng.normal(size=(3, 2))),
    rng.integers(0, 9, size=(2, 1, 2), dtype=np.int16),
    np.array([True, False]),
    np.array(7, np.uint8),
    np.zeros((0, 3)),
    rng.normal(size=(60, 60)) if protocol > 1 else np.zeros(3),  # more than a line of text has
    np.complex64([1 + 2j]),
  ]
  numbers = [np.float64(2.5), np.int32(-3), np.bool_(True), np.float16(0.5)]
  path = tmp_path / 'x.pkl'
  path.write_bytes(pickle.dumps([arrays, numbers, np.dtype('f4')], protocol))
  read, scalars, dtype = convert.read(path)
  for actual, wanted in zip(read, arrays, strict=True):
    actual = actual.numpy()
    assert actual.dtype == wanted.dtype and actual.shape == wanted.shape
    np.testing.assert_array_equal(actual, wanted)
  assert scalars == [2.5, -3, True, 0.5] and dtype.dtype == np.float32
  assert not any(isinstance(value, np.generic) for value in scalars)


def test_long_bytes_stay_in_the_file(tmp_path):
  long, path = bytes(range(256)) * 20, tmp_path / 'x.pkl'
  for protocol in (3, 4, 5):
    path.write_bytes(pickle.dumps([b'short', long, long], protocol))
    short, first, second = convert.read(path)
    assert short == b'short' and first is second and len(first) == len(long)
    assert isinstance(first, convert.Bytes) and first.tobytes() == long
    assert repr(first) == '<5,120 bytes>'


def test_a_pipe_is_not_waited_for(tmp_path):
  os.mkfifo(tmp_path / 'pipe')
  with pytest.raises(UserError, match='no regular file'):
    convert.read(tmp_path / 'pipe')


def test_objects_may_be_in_themselves(read):
  """Modules that know the one around them: their representation is short."""
  tree = read(pickled(name('siren.siren', 'X') + b')\x81q\x00' + entries(me=b'h\x00') + b'b'))
  assert tree.attributes()['me'] is tree and repr(tree) == '<siren.siren.X, not made>'
  assert repr(tree.attributes()) == "{'me': <siren.siren.X, not made>}"


@pytest.mark.parametrize(
  'path, words',
  [
    ('nowhere.pth', 'No such file or directory'),
    ('.', 'no regular file'),
    ('/dev/null', 'no regular file'),
  ],
)
def test_what_is_no_file(path, words, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  with pytest.raises(UserError, match=words) as error:
    convert.read(path)
  assert '\n' not in str(error.value)
