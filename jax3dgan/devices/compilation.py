"""How programs are compiled, and where they are kept, so that the second run starts at once."""

import functools
import os
import pathlib

import jax

from jax3dgan.nn import backend


def cache_root() -> pathlib.Path:
  """Returns where caches are: $JAX3DGAN_CACHE, $XDG_CACHE_HOME/jax3dgan or ~/.cache/jax3dgan."""
  chosen = os.environ.get('JAX3DGAN_CACHE')
  base = os.environ.get('XDG_CACHE_HOME') or '~/.cache'
  return pathlib.Path(chosen or f'{base}/jax3dgan').expanduser()


def use_cache() -> None:
  """Keeps compiled programs under the user's cache folder, unless JAX has been told another place.

  JAX_COMPILATION_CACHE_DIR chooses the place, JAX_ENABLE_COMPILATION_CACHE=false turns it off. Call
  it before the first compilation.
  """
  if jax.config.jax_compilation_cache_dir is None:
    jax.config.update('jax_compilation_cache_dir', str(cache_root() / 'xla'))
  if 'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS' not in os.environ:
    # JAX keeps what took a second; an app's few programs take about half of one each.
    jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.2)


# Of XLA's CPU back end: leave sums to YNNPACK, but not products and convolutions, whose gradients
# its own kernels compute up to four times as fast (jax 0.10; a training step of
# configs/eg3d_toys.py in nine tenths of the time). What is mostly products of many rows, as a
# SIREN is, is faster without.
_FOR_CONVOLUTIONS = {'xla_cpu_experimental_ynn_fusion_type': 'LIBRARY_FUSION_TYPE_REDUCE'}


def options_for_convolutions() -> dict[str, str]:
  """Options of `jax.stages.Lowered.compile` for gradients of convolutions on this platform.

  Empty where they are of no use or this version of JAX does not know them.
  """
  if backend.platform() != 'cpu':
    return {}
  return dict(_FOR_CONVOLUTIONS) if _are_known(tuple(_FOR_CONVOLUTIONS.items())) else {}


@functools.cache
def _are_known(options: tuple[tuple[str, str], ...]) -> bool:
  """Whether the compiler takes options, (name, value) each."""
  try:
    jax.jit(lambda: 0).lower().compile(dict(options))
  except jax.errors.JaxRuntimeError:
    return False
  return True
