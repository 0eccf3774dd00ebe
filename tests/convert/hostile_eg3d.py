"""Hostile pickles of EG3D's kind, and the line each is refused with: the second table of
docs/convert.md (`python -m tests.convert.hostile` prints both)."""

import contextlib
import functools
import pathlib
import struct

import numpy as np
from crafted import (
  EMPTY,
  FLOATS,
  call,
  entries,
  module,
  name,
  number,
  pickled,
  storage,
  text,
  torch_row,
)
from hostile import TOUCH, WRITE, Case
from persistent_pickles import (
  FFHQ,
  Call,
  Name,
  Plain,
  checkpoint,
  dumps,
  generator,
  pack,
  parameter,
  persistent,
  storage_bytes,
  synthetic,
  synthetic_discriminator,
)
from persistent_pickles import module as network

CASES = []


def case(name: str, tries: str, data):
  """Registers bytes, or a function that makes them."""
  CASES.append(Case(name, tries, data if callable(data) else lambda: data))


@functools.cache
def weights():
  return synthetic()


def with_(**more):
  """A sound checkpoint with more entries."""
  return lambda: dumps(checkpoint(generator(weights()), **more))


def attribute(value):
  """A sound checkpoint whose generator has one attribute more."""
  return lambda: dumps(checkpoint(generator(weights(), extra=value)))


def weight(key, value):
  """A sound checkpoint, one of whose weights is another array, or what else stands for one."""

  def make():
    state = {k: v for k, v in weights().items() if k != key} | (
      {} if value is None else {key: value}
    )
    special = not isinstance(value, np.ndarray)
    wrap = (lambda v: v if v is value else parameter(v)) if special else parameter
    inner = network(state, 'TriPlaneGenerator', wrap, rendering_kwargs=FFHQ)
    return dumps(checkpoint(inner))

  return make


def rendering(**changes):
  """A sound checkpoint that renders in another way; None leaves out."""
  values = {k: v for k, v in {**FFHQ, **changes}.items() if v is not None}
  return lambda: dumps(checkpoint(generator(weights(), rendering=values)))


def view(offset=0, shape=(4,), strides=(1,), of=None):
  """A tensor that is wrong."""
  of = Call(LOAD, (storage_bytes(np.float32([1, 2, 3, 4])),)) if of is None else of
  args = (of, offset, shape, strides, False, {})
  return Call(Name('torch._utils', '_rebuild_tensor_v2'), args)


def inner(data: bytes):
  """A tensor whose storage is other bytes than those of a storage."""
  return attribute(view(of=Call(LOAD, (data,))))


def hook(*args):
  """A checkpoint whose generator is a call of the hook."""
  return lambda: dumps({'G_ema': Call(HOOK, args)})


LOAD = Name('torch.storage', '_load_from_bytes')
HOOK = Name('torch_utils.persistence', '_reconstruct_persistent_obj')
SYSTEM = Call(Name('os', 'system'), (TOUCH,))
META = dict(type='class', version=6, module_src='', class_name='X', state={})

# Code.
case('os-system', 'run a command, as an attribute', attribute(SYSTEM))
case('eval', 'evaluate Python', attribute(Call(Name('builtins', 'eval'), (WRITE,))))
case('popen', 'start a process', attribute(Call(Name('subprocess', 'Popen'), (['touch', 'x'],))))
case('nested', "a command's result as the hook's argument", hook(SYSTEM))
case(
  'exec-as-hook',
  'a hook of another module',
  lambda: dumps({'G_ema': Call(Name('builtins', 'exec'), (WRITE,))}),
)
case('setstate', 'a second state for what has one', lambda: dumps({'G_ema': REBUILT}))
REBUILT = Call(HOOK, (META,), {'__setstate__': 1})
case('inst', 'run a command by INST', lambda: b'\x80\x02}U\x01G' + INST + b's.')
INST = f"(S'{TOUCH}'\nios\nsystem\n".encode()
case(
  'obj',
  'run a command by OBJ',
  lambda: pickled(entries(G=b'(' + name('os', 'system') + text(TOUCH) + b'o')),
)
case(
  'stack-global',
  'a function behind an allowed name',
  lambda: b'\x80\x04' + text('torch_utils.persistence') + text('sys.modules') + b'\x93.',
)
case(
  'stack-global-number',
  'a name of a number',
  lambda: b'\x80\x04' + text('os') + number(1) + b'\x93.',
)
case(
  'imported-module',
  'a module inside of a module of executed source',
  attribute(Call(Name('_imported_module_0123.os', 'system'), (TOUCH,))),
)
case('look-alike', 'a module that begins as an allowed one', attribute(Name('trainings.x', 'X')))
case('persistence', "another module's hook", attribute(Call(Name('persistence', HOOK.name), ())))
case('persistent-id', 'a persistent id', lambda: pickled(entries(G=text('x') + b'Q')))
case('persistent-text', 'a persistent id as text', b'\x80\x02Posystem\n.')
case('extension', 'a name from the registry of extensions', b'\x80\x02\x82\x01.')
case('buffer', 'a buffer outside of the pickle', b'\x80\x05\x97.')
case('numpy-load', 'a file by NumPy', attribute(Call(Name('numpy', 'load'), ('x.npy',))))
case(
  'inner-system',
  'a command in the bytes of a storage',
  inner(pickled(call('os', 'system', text(TOUCH)))),
)
case(
  'inner-hook',
  'the hook in the bytes of a storage',
  inner(pickled(call(HOOK.module, HOOK.name, text(WRITE)))),
)

# The hook.
case('hook-text', 'source instead of a dict', hook(WRITE))
case('hook-none', 'no argument', hook())
case('hook-two', 'two arguments', hook(META, META))
case('hook-easydict', 'another class as the dict', hook(Plain(Name('training.x', 'X'), META)))
case('hook-type', 'another type of object', hook({**META, 'type': 'function'}))
case('hook-version', 'a version that is a text', hook({**META, 'version': '6'}))
case('hook-source', 'no source', hook({**META, 'module_src': None}))
case('hook-class', 'a class name that clears the screen', hook({**META, 'class_name': '\x1b[2J'}))
case('hook-state', 'a state that is a list', hook({**META, 'state': [1]}))

# Pickles that swell, or are none.
case(
  'deep',
  '100,000 lists in each other',
  lambda: pickled(entries(G=b']' * 100_000 + b'a' * 99_999)),
)


@functools.partial(case, 'deep-modules', '1,500 modules in each other')
def deep_modules():
  inside = module('X', of='training.x')
  for _ in range(1_500):
    inside = module('X', modules=entries(a=inside), of='training.x')
  return pickled(entries(G_ema=inside))


@functools.partial(case, 'laughs', 'lists of lists, 2^100 when printed')
def laughs():
  return pickled(b']q\x000', b'](h\x00h\x00eq\x000' * 100, entries(G=b'h\x00'))


@functools.partial(case, 'cycle', 'a network inside of itself')
def cycle():
  fields = dict(_parameters={}, _buffers={}, rendering_kwargs=FFHQ)
  fields['_modules'] = {'a': Plain(Name('training.x', 'X'), fields)}
  return dumps({'G_ema': persistent('X', fields)})


case('open', '100,000 brackets that do not close', lambda: pickled(b'(' * 100_000))
case('opcodes', '2,000,000 opcodes', lambda: pickled(b'N0' * 1_000_000, b'N'))
case('memo', 'place 7 of an empty memo', b'\x80\x02h\x07.')
case('memo-far', 'place 2^32 - 1 of the memo', b'\x80\x02Nr\xff\xff\xff\xff.')
case('text', 'a text of 2^62 bytes', b'\x80\x04\x8d' + pack(2**62) + b'x.')
case('long-text', 'a text of 17 MiB', lambda: pickled(text('x' * 17 * 2**20)))
case('bytes', 'bytes of 2^62', b'\x80\x04\x8e' + pack(2**62) + b'x.')
case(
  'bytes-cut', 'bytes that end early', b'\x80\x04B' + struct.pack('<I', 10**9) + b'x' * 99 + b'.'
)
case('protocol', 'protocol 77', b'\x80\x4d}.')
case('frame', 'a frame of 2^60 bytes', b'\x80\x04\x95' + pack(2**60) + b'}.')
case('behind', 'a second pickle behind the first', lambda: with_()() + EMPTY)
case(
  'unhashable', 'a list as a key', lambda: pickled(name('dnnlib.util', 'EasyDict'), b')\x81(]Nu')
)

# Tensors.
ONE = pickled(storage())
case('beyond', 'read behind a storage', attribute(view(1)))
case('strided-beyond', 'the same by a stride', attribute(view(0, (2,), (4,))))
case('negative-stride', 'read before a storage', attribute(view(3, (4,), (-1,))))
case('negative-offset', 'the same by an offset', attribute(view(-1)))
case('overflow', 'sizes whose product overflows', attribute(view(0, (2**33, 2**33), (0, 0))))
case('expanded', '4 TB by a stride of 0', attribute(view(0, (10**12,), (0,))))
case('strides', 'more strides than axes', attribute(view(0, (4,), (1, 1))))
case('no-storage', 'a tensor of a text', attribute(view(of='x')))
case(
  'no-tensor',
  'a parameter of a text',
  attribute(Call(Name('torch._utils', '_rebuild_parameter'), ('x',))),
)
case(
  'short', 'a storage of fewer bytes than it says', inner(torch_row(ONE, rows=((4, FLOATS[:8]),)))
)
case('other-size', 'a storage of another size', inner(torch_row(ONE, rows=((3, FLOATS),))))
case('huge', 'a storage of 2^60 elements', inner(torch_row(pickled(storage(size=2**60)))))
case('inner-tail', 'something behind a storage', inner(torch_row(ONE) + b'x'))
case('inner-cut', 'a storage that is cut', inner(torch_row(ONE)[:-9]))
case('inner-other', 'bytes that are a dict', inner(EMPTY))
case('inner-class', 'a storage of another class', inner(torch_row(pickled(storage(cls='float32')))))
case('inner-endian', 'numbers the other way round', inner(torch_row(ONE, little_endian=False)))
case('load-text', 'a text instead of bytes', attribute(view(of=Call(LOAD, ('x',)))))

# NumPy.


def array(dtype='f4', shape=(2,), data=bytes(8), order='<', kind='ndarray', version=1):
  """An array that is wrong."""
  of = Call(Name('numpy', 'dtype'), (dtype, False, True), (3, order, None, None, None, -1, -1, 0))
  args = (Name('numpy', kind), (0,), b'b')
  state = (version, shape, of, False, data)
  return attribute(Call(Name('numpy.core.multiarray', '_reconstruct'), args, state))


case('numpy-object', 'an array of objects', array('O8', data=[1, 2]))
case('numpy-short', 'an array of fewer bytes', array(shape=(3,)))
case('numpy-huge', 'an array of 2^80 elements', array(shape=(2**40, 2**40)))
case('numpy-negative', 'an array of a negative size', array(shape=(-2,)))
case('numpy-endian', 'numbers the other way round', array(order='>'))
case('numpy-class', 'an array of another class', array(kind='matrix'))
case('numpy-list', 'an array of a list', array(data=[1, 2]))

# Networks that are none, or damaged.
FC = 'backbone.mapping.fc1.bias'
case('nan', 'a weight that is no number', weight(FC, np.full(12, np.nan, np.float32)))
case('inf', 'an infinite weight', weight(FC, np.full(12, np.inf, np.float32)))
case('integers', 'whole numbers as a weight', weight(FC, np.zeros(12, np.int64)))
case('shape', 'a weight of another shape', weight(FC, np.zeros(13, np.float32)))
case('axes', 'a weight of other axes', weight(FC, np.zeros((12, 1), np.float32)))
case('no-numbers', 'a weight without numbers', weight(FC, np.zeros(0, np.float32)))
case('missing', 'a weight that is not there', weight(FC, None))
case('more', 'a weight that no such network has', weight('backbone.x', np.zeros(1, np.float32)))
case('text-weight', 'a text as a weight', weight(FC, 'x'))
case('no-decoder', 'a network without its decoder', weight('decoder.net.0.weight', None))
case(
  'other-super',
  'a super-resolution of another size',
  weight('superresolution.block0.conv1.noise_const', np.zeros((99, 99), np.float32)),
)


@functools.partial(case, 'many-blocks', 'blocks up to 2^18')
def many_blocks():
  state = dict(weights())
  block = 'backbone.synthesis.b16.'
  for i in range(3, 17):
    state |= {
      key.replace('.b16.', f'.b{4 << i}.'): value
      for key, value in weights().items()
      if key.startswith(block)
    }
  return dumps(checkpoint(generator(state)))


case('no-network', 'a number instead of a network', lambda: dumps({'G_ema': 1, 'G': None}))
case('no-generator', 'no generator', lambda: dumps({'G_ema': None, 'G': None}))
case(
  'plain-network',
  'a network that is not persistent',
  lambda: dumps({'G': Plain(Name('training.x', 'X'), {})}),
)
case(
  'no-rendering',
  'a network without its rendering',
  lambda: dumps(checkpoint(network(weights(), 'TriPlaneGenerator'))),
)
case('samples', '10^9 samples on a ray', rendering(depth_resolution=10**9))
case('no-samples', 'no samples', rendering(depth_resolution=None))
case('ends', 'rays that end before they begin', rendering(ray_start=4.0))
case('end-text', "'auto' for one end alone", rendering(ray_start='auto'))
case('pivot', 'a point of two numbers', rendering(avg_camera_pivot=[0, 0]))
case(
  'pivot-nan',
  'a point that is none',
  rendering(avg_camera_pivot=[0, 0, float('nan')], white_back=True),
)
case('box', 'a cube of side 0', rendering(box_warp=0))
case('clamp', 'another nonlinearity', rendering(clamp_mode='relu'))
case('low', 'renderings of 10^9 pixels', lambda: dumps(checkpoint(generator(weights(), 10**9))))
case(
  'size',
  'pictures of another size than it says',
  lambda: dumps(checkpoint(generator(weights(), size=512))),
)
case('step', 'a number of images that is a text', with_(cur_nimg='x'))
case(
  'judge-size',
  'a discriminator of other pictures',
  lambda: dumps(
    checkpoint(generator(weights()), network(synthetic_discriminator((3,) * 5), 'Dual'))
  ),
)
case(
  'judge',
  'a generator as the discriminator',
  lambda: dumps(checkpoint(generator(weights()), generator(weights()))),
)
case(
  'easydict',
  'a cycle through a dict of options',
  lambda: pickled(name('dnnlib.util', 'EasyDict'), b')\x81q\x00', text('a'), b'h\x00s'),
)


def refuse(one: Case, folder: pathlib.Path) -> str:
  """Reads the file as the command line does, short of writing; the error's line.

  Raises AssertionError where the file is not refused.
  """
  from jax3dgan.convert import eg3d, eg3d_runs
  from jax3dgan.errors import UserError

  path = folder / f'{one.name}.pkl'
  path.write_bytes(one.make())
  with contextlib.chdir(folder):
    try:
      read = eg3d.read_checkpoint(path.name)
      eg3d_runs.config_for(path.name, eg3d_runs.curriculum_of(path.name, read), read)
    except UserError as error:
      return str(error)
  raise AssertionError(f'{one.name} is not refused')
