"""Official StyleGAN2 arrays under this library's names."""

import jax.numpy as jnp
import numpy as np
from layouts import hwio


def official_params(arrays, prefix):
  """{'fc_0': {'kernel': ...}, ...} of official arrays whose names begin with `prefix`.

  Kernels of up-sampling layers (conv0) are turned, see `tests/data/style/README.md`.
  """
  tree = {}
  for name, value in arrays.items():
    parts = name.removeprefix(prefix).split('.')
    if not name.startswith(prefix) or parts[-1] in ('resample_filter', 'noise_const', 'w_avg'):
      continue
    if parts[-1] == 'weight' and value.ndim == 4:
      value = hwio(value)[::-1, ::-1] if parts[-2] == 'conv0' else hwio(value)
      parts[-1:] = ['conv', 'kernel']
    elif parts[-1] == 'weight':
      value, parts[-1] = value.T, 'kernel'
    elif parts[-1] == 'const':
      value = np.moveaxis(value, 0, -1)
    if 'affine' in parts:
      parts.insert(parts.index('affine'), 'conv')
    parts = [f'fc_{p[2:]}' if p[:2] == 'fc' else p for p in parts]
    here = tree
    for part in parts[:-1]:
      here = here.setdefault(part, {})
    here[parts[-1]] = jnp.asarray(value)
  return tree
