"""Names and layouts of EG3D's official parameters, as their state dict has them, in our trees."""

import re
from collections.abc import Mapping

import numpy as np

from jax3dgan.errors import UserError

# Buffers: constants of the architecture.
_BUFFERS = ('resample_filter',)


def discriminator_params(state: Mapping[str, np.ndarray]) -> dict:
  """An official discriminator's state dict → parameters of `discriminators.dual` (or `.stylegan2`).

  Kernels [out, in, kh, kw] become [kh, kw, in, out], dense weights [out, in] their transpose, and
  `b4.fc` takes its 4²·c inputs pixel by pixel instead of channel by channel.

  Args:
    state: arrays by their official names, such as 'b8.conv0.weight'.

  Raises:
    UserError: a name that no such discriminator has.
  """
  params = {}
  for name, value in state.items():
    path = name.split('.')
    if path[-1] in _BUFFERS:
      continue
    value = np.asarray(value, np.float32)
    if not re.fullmatch(r'(b\d+|mapping)\.\w+\.(weight|bias)', name):
      raise UserError(f"'{name}' is no parameter of an EG3D discriminator. Is it the generator's?")
    if path[-1] == 'weight':
      path[-1] = 'kernel'
      if value.ndim == 4:
        value = value.transpose(2, 3, 1, 0)
      elif path[:2] == ['b4', 'fc']:
        out = value.shape[0]
        value = value.reshape(out, -1, 4, 4).transpose(2, 3, 1, 0).reshape(-1, out)
      else:
        value = value.T
    path = [f'fc_{part[2:]}' if part[:2] == 'fc' and part[2:] else part for part in path]
    here = params
    for part in path[:-1]:
      here = here.setdefault(part, {})
    here[path[-1]] = np.ascontiguousarray(value)
  return params


def discriminator_fields(state: Mapping[str, np.ndarray]) -> dict:
  """Fields of `config.discriminator` that an official state dict shows: name, channels, ...

  The bound of activations is no parameter; official networks have 256.
  """
  sizes = sorted(int(n[1 : -len('.conv0.weight')]) for n in state if n.endswith('.conv0.weight'))
  if not sizes or 'b4.conv.weight' not in state:
    raise UserError("These are not an EG3D discriminator's parameters. Are they the generator's?")
  first = state[f'b{sizes[-1]}.fromrgb.weight']
  mapping = [n for n in state if n.startswith('mapping.fc') and n.endswith('.weight')]
  dual = first.shape[1] % 2 == 0
  fields = dict(
    name='dual' if dual else 'stylegan2',
    # conv1 of a block leads to the next smaller size.
    channels=(
      *(state[f'b{size}.conv1.weight'].shape[0] for size in sizes),
      first.shape[0],
    ),
    image_channels=first.shape[1] // (2 if dual else 1),
  )
  if 'mapping.embed.weight' in state:
    cmap_dim, label_dim = state['mapping.embed.weight'].shape
    fields.update(label_dim=label_dim, cmap_dim=cmap_dim, mapping_layers=len(mapping))
  return fields
