"""EG3D's official checkpoints: networks, how they render, and what only attributes of the pickle
say."""

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from jax3dgan import convert
from jax3dgan.convert import (
  eg3d_curricula,
  eg3d_generator,
  eg3d_names,
  eg3d_rendering,
  networks,
  official,
  persistent,
  pigan,
  state_dicts,
  wrapped,
)
from jax3dgan.convert.networks import num_images, shapes
from jax3dgan.convert.tensors import Tensor
from jax3dgan.convert.values import DAMAGED, Global, Inert, Object, show
from jax3dgan.errors import UserError

_CLAMP = 256.0  # of official networks with half-precision blocks
_MAX_BLOCKS = 9  # 1024²
# Number of axes of all weights of the release, by the ends of their names.
_AXES = (
  (r'(conv[01]?|torgb|fromrgb|skip)\.weight', 4),
  (r'\w+\.weight', 2),
  (r'\w+\.bias|w_avg', 1),
  (r'const', 3),
  (r'noise_const|resample_filter', 2),
  (r'noise_strength', 0),
  (r'dataset_label_std', 1),
)
# The axes of the third plane where the error of the first release is corrected.
_FIXED_AXES = np.float32([[0, 0, 1], [0, 1, 0], [1, 0, 0]])


@dataclasses.dataclass
class Network(networks.Network):
  """A network of the file, and the module."""

  module: Object


@dataclasses.dataclass
class Checkpoint:
  """A whole checkpoint.

  Attributes:
    average: The moving average of the generator, `G_ema`.
    generator: As trained; None where the file has only the average.
    discriminator: None where the file has none.
    rendering: The official `rendering_kwargs`.
    low_resolution: Pixels on a side that are rendered.
    num_images: Images that it was trained with; None if the file does not say it.
    notes: What cannot be as in the release, one sentence each.
  """

  average: Network
  generator: Network | None
  discriminator: Network | None
  rendering: dict[str, Any]
  low_resolution: int
  num_images: int | None
  notes: list[str]


def read_checkpoint(
  path,
  say: Callable[[str], None] = lambda line: None,
  curriculum: str | None = None,
  low_resolution: int | None = None,
  entry: str | None = None,
) -> Checkpoint:
  """Reads a pickle of the release, a whole generator, or state dicts.

  Args:
    path: The file.
    say: Called with lines of progress.
    curriculum: Whose rendering state dicts are of: they do not say it.
    low_resolution: Pixels on a side that are rendered, of state dicts; the curriculum's last by
      default.
    entry: The generator's name in a training state, where several are there.

  Raises:
    UserError: It is not a checkpoint of EG3D, is damaged, or has a network that is not supported.
  """
  tree, notes = _networks(path, convert.read(path), entry), []
  modules_ = {name: wrapped.unwrapped(tree.get(name)) for name in ('G_ema', 'G', 'D')}
  for name, module in modules_.items():
    if wrapped.is_state_dict(module):
      modules_[name] = _module_of(path, name, module, curriculum, low_resolution)
    elif module is not None and not wrapped.is_module(module):
      what = repr(module) if isinstance(module, Inert) else show(module)
      raise UserError(
        f'{path}: {name} is {what} and no network: neither a module nor a state dict. Give a '
        'checkpoint of EG3D.'
      )
  weights_alone = any(wrapped.is_state_dict(tree.get(name)) for name in ('G_ema', 'G'))
  if low_resolution is not None and not weights_alone:
    raise UserError(f'{path} says at which resolution it renders. Leave out --low_resolution.')
  shown = modules_['G_ema'] or modules_['G']
  if shown is None:
    raise UserError(f'{path} holds no generator. {DAMAGED}')
  say(f'Checking {", ".join(name for name, module in modules_.items() if module)} ...')
  rendering = eg3d_rendering.read(path, shown)
  if weights_alone:
    notes.append(
      f'The weights do not say how they are rendered: it is {curriculum} at '
      f'{_low_resolution(path, shown)}², which --curriculum and --low_resolution change.'
    )
  average = _generator(path, 'G_ema' if modules_['G_ema'] else 'G', shown, rendering, notes)
  generator = None
  if modules_['G'] is not None and modules_['G'] is not shown:
    generator = _generator(path, 'G', modules_['G'], eg3d_rendering.read(path, modules_['G']), [])
    official.compare_shapes(path, shapes(generator.params), shapes(average.params), 'G_ema')
  discriminator = modules_['D'] and _discriminator(path, modules_['D'])
  return Checkpoint(
    average,
    generator,
    discriminator,
    rendering,
    _low_resolution(path, shown),
    num_images(path, tree),
    notes,
  )


def _networks(path, tree, entry: str | None) -> dict:
  """A tree with G_ema, G or D of a file that may have its generator alone, or by another name."""
  if persistent.is_checkpoint(tree) and entry is None:
    # {'G_ema': {'state_dict': ...}}
    inside = {name: wrapped.parts(tree.get(name)) for name in ('G_ema', 'G', 'D')}
    inside = {name: next(iter(p.values())) for name, p in inside.items() if len(p) == 1}
    return {**tree, **inside}
  generator = tree if official.is_eg3d(tree) else None
  if generator is None or entry is not None:
    generator = wrapped.choose(path, tree, entry, official.is_eg3d, 'generator of EG3D')
  if not official.is_eg3d(generator):
    raise UserError(
      f'{path} {_description(generator)} Give a checkpoint of EG3D, such as ffhq512-128.pkl.'
    )
  return {'G_ema': generator, 'cur_nimg': tree.get('cur_nimg') if isinstance(tree, dict) else None}


def _module_of(path, name: str, state: dict, curriculum, low_resolution) -> Object:
  """A stand-in for the module of a state dict, which renders as a curriculum does."""
  if name != 'D' and not official.is_eg3d(state):
    raise UserError(f'{path}: {name} {_description(state)} Give a checkpoint of EG3D.')
  if curriculum is None:
    raise UserError(
      f'{path}: {name} is a state dict, weights that do not say how they are rendered. Give '
      f'--curriculum={", ".join(eg3d_curricula.CURRICULA)}: the one that they were trained by.'
    )
  rendering = eg3d_curricula.rendering(curriculum)
  fields = dict(_parameters=wrapped.plain_names(state), rendering_kwargs=rendering)
  fields['neural_rendering_resolution'] = low_resolution or eg3d_curricula.last_low_resolution(
    curriculum
  )
  return Object(Global(path, 'state dict'), (), fields)


def _description(tree) -> str:
  """What another file is: the rest of a sentence that begins with its path."""
  if isinstance(tree, Object):
    if tree.cls.module.startswith(tuple(name.removesuffix('.*') for name in pigan.CLASSES)) or (
      tree.cls.module in wrapped.PARALLEL
    ):
      return f'is {tree.cls.name} of π-GAN: convert it with --from=pigan.'
    return f'is {tree!r}.'
  if any(name.startswith('siren.') for name in wrapped.names_of(tree)):
    return 'is a state dict of π-GAN: convert it with --from=pigan.'
  if isinstance(tree, dict) and 'shadow_params' in tree:
    return 'is an average of weights of π-GAN: convert it with --from=pigan.'
  return f'is {show(tree)} without G and G_ema.'


def _weights(path, name: str, module: Object) -> dict[str, np.ndarray]:
  """float32 by official names, each with as many axes as such a weight has."""
  state = state_dicts.weights(f'{path}, {name}', module)
  for key, value in state.items():
    wanted = next((n for end, n in _AXES if re.fullmatch(rf'(.*\.)?({end})', key)), value.ndim)
    if value.ndim != wanted or not value.size:
      raise UserError(
        f'{path}, {name}: {key} is of the shape {list(value.shape)}, which no such weight has. '
        'Give a file of the release.'
      )
  return state


def _generator(path, name: str, module: Object, rendering, notes: list[str]) -> Network:
  state = _weights(path, name, module)
  fields, params = _translated(
    path, name, state, eg3d_generator.model_fields, eg3d_generator.generator_params
  )
  ups = fields['super_ups']
  if len(fields['channels']) > _MAX_BLOCKS or len(ups) > 2 or {*ups} - {1, 2}:
    raise UserError(
      f'{path}, {name} has blocks that the release does not have. Give a file of the release.'
    )
  if fields['plane_features'] < 3:
    raise UserError(f'{path}, {name} has planes of fewer than 3 features. {DAMAGED}')
  kwargs = persistent.settings(module)
  lr = eg3d_rendering.number(path, rendering, 'decoder_lr_mul', 1.0)
  for key in params['decoder']:  # the release scales them where they are used
    params['decoder'][key] = params['decoder'][key] * np.float32(lr)
  scale = eg3d_rendering.number(path, rendering, 'c_scale', 1.0, zero=True)
  default = _CLAMP if kwargs.get('num_fp16_res') else None
  sr_default = _CLAMP if kwargs.get('sr_num_fp16_res', 4) else None
  fields.update(
    label_scale=0.0 if rendering.get('c_gen_conditioning_zero') else scale,
    box=eg3d_rendering.number(path, rendering, 'box_warp', 1.0),
    plane_axes=_plane_axes(module),
    clamp=_clamp(path, module, 'backbone.synthesis.b8.conv0', kwargs.get('conv_clamp', default)),
    super_clamp=_clamp(path, module, 'superresolution.block0.conv1', sr_default),
  )
  strengths = [
    key
    for key, value in state.items()
    if re.fullmatch(r'superres.*\.noise_strength', key) and value
  ]
  if strengths and rendering.get('superresolution_noise_mode', 'none') != 'none':
    notes.append("The noise of the release's super-resolution is left out.")
  return Network(fields, params, module)


def _translated(path, name: str, state: Mapping, fields_of: Callable, params_of: Callable):
  """(fields, parameters) of a state dict, whose errors get the path."""
  try:
    return fields_of(state), params_of(state)
  except UserError as error:
    raise UserError(f'{path}, {name}: {error}') from None
  except KeyError as error:
    raise UserError(f'{path}, {name} has no {error.args[0]}. {DAMAGED}') from None


def _discriminator(path, module: Object) -> Network:
  state = _weights(path, 'D', module)
  state.pop('dataset_label_std', None)
  fields, params = _translated(
    path, 'D', state, eg3d_names.discriminator_fields, eg3d_names.discriminator_params
  )
  if len(fields['channels']) > _MAX_BLOCKS + 1:
    raise UserError(f'{path}, D has {len(fields["channels"])} blocks. Give a file of the release.')
  group = _attribute(module, 'b4.mbstd', 'group_size')
  if isinstance(group, int) and not isinstance(group, bool) and 1 <= group <= 64:
    fields['group_size'] = group
  size = 4 << (len(fields['channels']) - 1)
  fields['clamp'] = _clamp(path, module, f'b{size}.conv0', _CLAMP) or None
  return Network(fields, params, module)


def _attribute(module: Object, where: str, name: str, default=None):
  """An attribute of the module at 'a.b.c' inside of another; the default where there is none."""
  for part in where.split('.'):
    inner = module.attributes().get('_modules')
    module = inner.get(part) if isinstance(inner, dict) else None
    if not isinstance(module, Object):
      return default
  return module.attributes().get(name, default)


def _clamp(path, module: Object, layer: str, default) -> float:
  """The bound of the activations, 0 for none: what a layer says, or what its network was made
  with."""
  value = _attribute(module, layer, 'conv_clamp', default)
  return 0.0 if value is None else eg3d_rendering.number(path, {'conv_clamp': value}, 'conv_clamp')


def _plane_axes(module: Object) -> str:
  """'fixed' for a network that was trained with three different planes."""
  axes = _attribute(module, 'renderer', 'plane_axes')
  if isinstance(axes, Tensor) and axes.shape == (3, 3, 3):
    return 'fixed' if np.array_equal(axes.numpy()[2], _FIXED_AXES) else 'official'
  return 'official'


def _low_resolution(path, module: Object) -> int:
  value = module.attributes().get('neural_rendering_resolution', 64)
  if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 1024:
    raise UserError(
      f'{path} says neural_rendering_resolution {show(value)}, which is no such number. {DAMAGED}'
    )
  return value
