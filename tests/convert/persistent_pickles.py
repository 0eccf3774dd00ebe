"""Pickles as EG3D's release writes them, made without PyTorch and without its classes.

A tree of these stand-ins goes through Python's own pickler, which writes the names and calls that
the real classes would leave: persistent objects with their source, modules, parameters, storages
as bytes of the old torch.save.
"""

import dataclasses
import io
import pickle
import struct
from typing import Any

import crafted
import numpy as np

# Whoever runs it leaves a trace, in the folder where it runs.
CANARY = 'CANARY'
SOURCE = f"open('{CANARY}', 'w').write('run')\nraise SystemExit\n"
STORAGES = {
  'float32': 'FloatStorage', 'float64': 'DoubleStorage', 'float16': 'HalfStorage',
  'int64': 'LongStorage', 'bool': 'BoolStorage',
}  # fmt: skip
BUFFERS = ('resample_filter', 'noise_const', 'w_avg', 'dataset_label_std', 'plane_axes')


@dataclasses.dataclass(frozen=True)
class Name:
  """A name of a module."""

  module: str
  name: str

  def __call__(self):  # the pickler wants it to be callable
    raise AssertionError('never called while writing')


@dataclasses.dataclass(eq=False)
class Call:
  """What calling a name gives, then its attributes."""

  function: Name
  args: tuple
  state: Any = None


@dataclasses.dataclass(eq=False)
class Plain:
  """An instance of a class that is not persistent."""

  cls: Name
  state: Any


class EasyDict(dict):
  """dnnlib's."""


class Pickler(pickle._Pickler):
  """Writes the stand-ins as what they stand for."""

  dispatch = dict(pickle._Pickler.dispatch)

  def save_name(self, value):
    if self.proto >= 4:
      self.save(value.module)
      self.save(value.name)
      self.write(pickle.STACK_GLOBAL)
    else:
      self.write(pickle.GLOBAL + f'{value.module}\n{value.name}\n'.encode())
    self.memoize(value)

  def save_call(self, value):
    self.save_reduce(value.function, value.args, value.state, obj=value)

  def save_new(self, value, cls, state=None, items=None):
    self.save(cls)
    self.save(())
    self.write(pickle.NEWOBJ)
    self.memoize(value)
    if items:
      self._batch_setitems(items.items())
    if state is not None:
      self.save(state)
      self.write(pickle.BUILD)

  dispatch[Name] = save_name
  dispatch[Call] = save_call
  dispatch[Plain] = lambda self, value: self.save_new(value, value.cls, state=value.state)
  dispatch[EasyDict] = lambda self, value: self.save_new(
    value, Name('dnnlib.util', 'EasyDict'), items=value
  )


def dumps(tree, protocol: int = 4) -> bytes:
  """The pickle."""
  out = io.BytesIO()
  Pickler(out, protocol).dump(tree)
  return out.getvalue()


def storage_bytes(array: np.ndarray, key: str = '94', device: str = 'cuda:0') -> bytes:
  """A storage as the old torch.save has it."""
  fields = crafted.text('storage') + crafted.name('torch', STORAGES[array.dtype.name])
  fields += crafted.text(key) + crafted.text(device) + crafted.number(array.size) + b'N'
  program = crafted.pickled(b'(' + fields + b'tQ')
  return crafted.torch_row(program, (key,), ((array.size, array.tobytes()),))


def tensor(array) -> Call:
  """A tensor in C order."""
  array = np.array(array, order='C')
  storage = Call(Name('torch.storage', '_load_from_bytes'), (storage_bytes(array),))
  strides = tuple(stride // array.itemsize for stride in array.strides)
  args = (storage, 0, np.shape(array), strides, False, {})
  return Call(Name('torch._utils', '_rebuild_tensor_v2'), args)


def parameter(array) -> Call:
  """A parameter."""
  return Call(Name('torch._utils', '_rebuild_parameter'), (tensor(array), True, {}))


def persistent(cls: str, state, **changes) -> Call:
  """An object of a persistent class."""
  meta = dict(type='class', version=6, module_src=SOURCE, class_name=cls, state=state)
  return Call(Name('torch_utils.persistence', '_reconstruct_persistent_obj'), (meta | changes,))


def module(state: dict[str, np.ndarray], cls: str, wrap=parameter, buffer=tensor, **attributes):
  """A network of a state dict, with the attributes on its top.

  Args:
    state: by official names.
    cls: of the top; the inner ones are persistent too, but for the decoder and its layers' list.
    wrap, buffer: make parameters and buffers of arrays.
    attributes: 'a__b' of the module a's b.
  """
  inner, own, mine = {}, {}, {}
  for key, value in state.items():
    head, _, rest = key.partition('.')
    if rest:
      inner.setdefault(head, {})[rest] = value
    else:
      own[key] = value
  for key, value in attributes.items():
    head, _, rest = key.partition('__')
    if rest:
      inner.setdefault(head, {})
    else:
      mine[key] = value
  fields = dict(
    training=False,
    _parameters={k: wrap(v) for k, v in own.items() if k not in BUFFERS},
    _buffers={k: buffer(v) for k, v in own.items() if k in BUFFERS},
    _non_persistent_buffers_set=set(),
    _modules={
      name: module(
        part,
        _class_of(name),
        wrap,
        buffer,
        **{k[len(name) + 2 :]: v for k, v in attributes.items() if k.startswith(f'{name}__')},
      )
      for name, part in inner.items()
    },
    **mine,
  )
  if cls == 'OSGDecoder':
    return Plain(Name('training.triplane', cls), fields)
  if cls == 'Sequential':
    return Plain(Name('torch.nn.modules.container', cls), fields)
  return persistent(cls, fields)


def _class_of(name: str) -> str:
  known = {'decoder': 'OSGDecoder', 'net': 'Sequential', 'mapping': 'MappingNetwork'}
  return known.get(name, 'Layer')


FFHQ = dict(
  depth_resolution=48, depth_resolution_importance=48, ray_start=2.25, ray_end=3.3, box_warp=1,
  avg_camera_radius=2.7, avg_camera_pivot=[0, 0, 0.2], image_resolution=512,
  disparity_space_sampling=False, clamp_mode='softplus', white_back=False, c_scale=1,
  c_gen_conditioning_zero=False, superresolution_noise_mode='none', decoder_lr_mul=1,
  sr_antialias=True, density_reg=0.25, gpc_reg_prob=0.5,
)  # fmt: skip


def generator(state, low_resolution=64, rendering=FFHQ, size=128, **attributes):
  """A TriPlaneGenerator. `attributes`: further ones, see `module`."""
  kwargs = EasyDict(
    z_dim=64, c_dim=25, w_dim=512, img_resolution=size, img_channels=3, num_fp16_res=0,
    conv_clamp=None, sr_num_fp16_res=4, rendering_kwargs=rendering,
  )  # fmt: skip
  fields = dict(
    _init_args=(), _init_kwargs=kwargs, z_dim=64, img_resolution=size,
    neural_rendering_resolution=low_resolution, rendering_kwargs=rendering,
  )  # fmt: skip
  return module(state, 'TriPlaneGenerator', **(fields | attributes))


def checkpoint(g, d=None, average=None, **more) -> dict:
  """The whole tree, of networks that are made already."""
  return dict(
    training_set_kwargs=EasyDict(class_name='training.dataset.ImageFolderDataset', path='x.zip'),
    G=g,
    D=d,
    G_ema=g if average is None else average,
    augment_pipe=None,
    **more,
  )


def synthetic(channels=(6, 5, 4), supers=(4, 3), w_dim=12, z_dim=7, seed=0, scale=1.0):
  """The state dict of a small generator of 128² with planes of 4² ... and 4 features."""
  rng = np.random.default_rng(seed)
  state, features, hidden = {}, 4, 6

  def add(name, *shape):
    state[name] = (scale * rng.standard_normal(shape)).astype(np.float32)

  def dense(name, out, fan_in, gain=1.0):
    add(f'{name}.weight', out, fan_in)
    state[f'{name}.weight'] *= np.float32(gain)
    add(f'{name}.bias', out)

  def layer(name, out, fan_in, kernel=3, noise=0):
    add(f'{name}.weight', out, fan_in, kernel, kernel)
    add(f'{name}.bias', out)
    add(f'{name}.affine.weight', fan_in, w_dim)
    add(f'{name}.affine.bias', fan_in)
    if noise:
      add(f'{name}.noise_strength')
      state[f'{name}.resample_filter'] = FILTER
      add(f'{name}.noise_const', noise, noise)

  add('backbone.mapping.w_avg', w_dim)
  dense('backbone.mapping.embed', w_dim, 25)
  for i in range(2):  # of a learning rate of .01
    dense(f'backbone.mapping.fc{i}', w_dim, w_dim if i else z_dim + w_dim, 100 / scale)
  for i, width in enumerate(channels):
    block, size = f'backbone.synthesis.b{4 << i}', 4 << i
    if i:
      layer(f'{block}.conv0', width, channels[i - 1], noise=size)
    else:
      add(f'{block}.const', width, 4, 4)
    state[f'{block}.resample_filter'] = FILTER
    layer(f'{block}.conv1', width, width, noise=size)
    layer(f'{block}.torgb', 3 * features, width, 1)
  before = features
  for i, width in enumerate(supers):
    block, size = f'superresolution.block{i}', 64 << i
    layer(f'{block}.conv0', width, before, noise=size)
    layer(f'{block}.conv1', width, width, noise=size)
    layer(f'{block}.torgb', 3, width, 1)
    before = width
  for i, (out, fan_in) in enumerate(((hidden, features), (1 + features, hidden))):
    dense(f'decoder.net.{2 * i}', out, fan_in)
  return state


def synthetic_discriminator(channels=(4, 5, 6, 5, 4, 3), seed=1, dual=True):
  """The state dict of a small discriminator; features at 4² up to the size of its images."""
  rng = np.random.default_rng(seed)
  state = {}

  def add(name, *shape):
    state[f'{name}.weight'] = rng.standard_normal(shape).astype(np.float32)
    if not name.endswith('skip'):
      state[f'{name}.bias'] = rng.standard_normal(shape[:1]).astype(np.float32)

  for i in reversed(range(1, len(channels))):
    block, c, after = f'b{4 << i}', channels[i], channels[i - 1]
    state[f'{block}.resample_filter'] = FILTER
    if i == len(channels) - 1:
      add(f'{block}.fromrgb', c, 6 if dual else 3, 1, 1)
    add(f'{block}.conv0', c, c, 3, 3)
    add(f'{block}.conv1', after, c, 3, 3)
    add(f'{block}.skip', after, c, 1, 1)
  add('mapping.embed', channels[0], 25)
  for i in range(8):
    add(f'mapping.fc{i}', channels[0], channels[0])
  add('b4.conv', channels[0], channels[0] + 1, 3, 3)
  add('b4.fc', channels[0], channels[0] * 16)
  add('b4.out', channels[0], channels[0])
  return state


FILTER = np.outer([1, 3, 3, 1], [1, 3, 3, 1]).astype(np.float32) / 64


def pack(value: int) -> bytes:
  """Eight bytes of a whole number."""
  return struct.pack('<Q', value)
