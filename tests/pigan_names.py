"""The golden generator's inputs in our names and layouts."""

import functools

import goldens
import numpy as np

from jax3dgan.convert import pigan
from jax3dgan.rendering.hierarchical import Draws

HIDDEN, NUM_STYLES, RESOLUTION = 32, 9, 16  # of the golden generator
NUM_RAYS = RESOLUTION**2


def from_official(arrays, prefix: str = 'param/', dtype=np.float32) -> dict:
  """Our parameter tree, as far as `arrays` has official ones under `prefix`."""
  official = {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
  return pigan.from_official(official, dtype=dtype)


def to_styles(frequencies, phases, dtype):
  """Official raw frequencies and phases [b, n·h] as styles [b, n, 2, h]."""
  split = (x.reshape(-1, NUM_STYLES, HIDDEN).astype(dtype) for x in (frequencies, phases))
  return np.stack(list(split), axis=2)


def from_styles(styles):
  """Official raw frequencies and phases, each [b, n·h], of styles [b, n, 2, h]."""
  return [styles[:, :, i].reshape(len(styles), -1) for i in (0, 1)]


@functools.cache
def inputs(dtype):
  """(parameters, styles, (yaw, pitch), draws) of the golden images."""
  arrays = goldens.load('generator_tiny')

  def draws(name, samples):
    return arrays[f'draw_{name}'].reshape(2, NUM_RAYS, samples).astype(dtype)

  angles = (
    (np.pi / 2 + std * arrays[f'draw_{name}_n'][:, 0].astype(np.float64)).astype(dtype)
    for name, std in (('yaw', 0.3), ('pitch', 0.155))
  )
  return (
    from_official(arrays, dtype=dtype),
    to_styles(arrays['f64/freq_raw'], arrays['f64/phase_raw'], dtype),
    tuple(angles),
    Draws(
      draws('jitter_u', 6),
      draws('noise_coarse_n', 6),
      draws('pdf_u', 6),
      draws('noise_final_n', 12),
    ),
  )


# Every so many rays of the arrays that `tiny` keeps for some.
_STRIDE = 7


def tiny(whole, extra) -> dict:
  """What of generator_small and generator_small_extra makes generator_tiny.

  All but the mapping network, which is large whatever the sizes of the rest: the field's
  parameters and their gradients, draws, images; stages in float64, samples on every 7th ray.
  """
  field = [key for path, key in pigan.names() if path[0] == 'field']
  result = {f'param/{key}': whole[f'param/{key}'] for key in field}
  result |= {key: whole[key] for key in ('avg_frequencies', 'avg_phase_shifts')}
  result |= {f'grad/{key}': extra[f'grad/{key}'] for key in field}
  result |= {key: value for key, value in whole.items() if key.startswith('draw_')}
  result |= {key: value for key, value in extra.items() if key.startswith('variant/')}
  result['stage/pixels'] = whole['stage/pixels']
  for name in ('freq_raw', 'phase_raw', 'depth', 'pixels'):
    result[f'f64/{name}'] = extra[f'f64/{name}']
  for name in ('points_coarse', 'coarse_rgb_sigma', 'z_fine', 'rgb_sigma_all', 'weights_all'):
    result[f'f64/{name}'] = some_rays(extra[f'f64/{name}'])
  return result


def some_rays(values):
  """The rays of [b, r, ...] that `tiny` keeps."""
  return values[:, ::_STRIDE]
