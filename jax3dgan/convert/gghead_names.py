"""Names and layouts of GGHead's official weights and ours, both ways.

Mapping and synthesis network are EG3D's (`eg3d_generator`); the rest is one convolution, and three
buffers of the template.
"""

import math
from collections.abc import Mapping

import numpy as np

from jax3dgan.convert import eg3d_generator
from jax3dgan.errors import UserError

_WRONG = "These weights are not those of GGHead's generator"
_HINT = 'Convert a file of the release.'
_POSITION = '_zero_conv_position'
_POINTS, _PLACES, _MAP = '_flame_vertices', '_uv_grid', '_uv_position_map'
_OTHERS = 3 + 3 + 3 + 1  # channels that are no colours
# Of the release: log s = −3 − softplus(2 − raw).
START_SCALE = math.exp(-3 - math.log1p(math.exp(2)))
# Fields of the release that no weight shows.
RELEASED = dict(
  template='given',
  rotation='axis_angle',
  start_scale=START_SCALE,
  max_scale=math.exp(-3),
  reach=0.25,
  compat=True,
  separable=False,
)


def _array(state: Mapping, name: str, axes: int) -> np.ndarray:
  """A weight with so many axes.

  Raises:
    UserError: It is missing, or has others.
  """
  value = state.get(name)
  if value is None or value.ndim != axes or not value.size:
    what = 'is missing' if value is None else f'has the shape {list(value.shape)}'
    raise UserError(f"{_WRONG}: '{name}' {what}. {_HINT}")
  return value


def model_fields(state: Mapping[str, np.ndarray]) -> dict:
  """The fields of `generators.gghead.GGHead` that follow from the shapes of a state dict, and those
  of the release.

  Raises:
    UserError: It is no generator of GGHead.
  """
  first = _array(state, 'backbone.mapping.fc0.weight', 2)
  blocks = eg3d_generator.numbers(state, r'backbone\.synthesis\.b(\d+)\.torgb\.weight')
  if not blocks or blocks != [4 << i for i in range(len(blocks))]:
    raise UserError(f'{_WRONG}: its blocks are {blocks}. {_HINT}')
  torgb = [_array(state, f'backbone.synthesis.b{n}.torgb.weight', 4) for n in blocks]
  degree = math.isqrt(max(torgb[0].shape[0] - _OTHERS, 0) // 3) - 1
  if degree not in range(4) or any(x.shape[0] != _OTHERS + 3 * (degree + 1) ** 2 for x in torgb):
    raise UserError(
      f'{_WRONG}: its maps have {torgb[0].shape[0]} channels, and those of Gaussians with colours '
      f'of degree 0 to 3 have 13, 22, 37 or 58. {_HINT}'
    )
  points = _array(state, _POINTS, 3)
  label_dim, embedded = 0, 0
  if 'backbone.mapping.embed.weight' in state:
    embedded, label_dim = _array(state, 'backbone.mapping.embed.weight', 2).shape
  return dict(
    z_dim=first.shape[1] - embedded,
    w_dim=len(first),
    mapping_layers=len(eg3d_generator.numbers(state, r'backbone\.mapping\.fc(\d+)\.weight')),
    label_dim=label_dim,
    channels=tuple(x.shape[1] for x in torgb),
    use_noise='backbone.synthesis.b4.conv1.noise_strength' in state,
    num_given=points.shape[1],
    sh_degree=degree,
    **RELEASED,
  )


def generator_params(state: Mapping[str, np.ndarray]) -> dict:
  """Parameters and buffers of `generators.gghead.GGHead`, in one tree, of a state dict.

  Raises:
    UserError: A name that is none of the generator's, or a missing one.
  """
  backbone = {name: x for name, x in state.items() if name.startswith('backbone.')}
  rest = {f'{_POSITION}.weight', f'{_POSITION}.bias', _POINTS, _PLACES, _MAP}
  if unknown := sorted(state.keys() - backbone.keys() - rest):
    raise UserError(f"'{unknown[0]}' is no parameter of GGHead's generator. {_HINT}")
  kernel = _array(state, f'{_POSITION}.weight', 4)
  return {
    **eg3d_generator.backbone_params(backbone),
    'position': {
      'kernel': np.float32(kernel[:, :, 0, 0].T),
      'bias': np.float32(_array(state, f'{_POSITION}.bias', 1)),
    },
    'template_points': np.float32(_array(state, _POINTS, 3)[0]),
    'template_places': np.float32(_array(state, _PLACES, 4)[0, :, 0]),
  }


def generator_state(tree: Mapping) -> dict[str, np.ndarray]:
  """The official names and layouts of parameters and buffers: the inverse of `generator_params`,
  without constants (`resample_filter`) and `_uv_position_map`, which nothing reads."""
  own = ('position', 'template_points', 'template_places')
  state = eg3d_generator.generator_state({k: v for k, v in tree.items() if k not in own}, ())
  kernel = np.asarray(tree['position']['kernel'])
  return state | {
    f'{_POSITION}.weight': kernel.T[:, :, None, None].copy(),
    f'{_POSITION}.bias': np.asarray(tree['position']['bias']),
    _POINTS: np.asarray(tree['template_points'])[None],
    _PLACES: np.asarray(tree['template_places'])[None, :, None],
  }
