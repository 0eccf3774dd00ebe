"""Compiler options, and the cache of compiled programs, by which a second run starts at once."""

import functools
import gc
import os
import pathlib

import jax

from jax3dgan.nn import backend


def cache_root() -> pathlib.Path:
  """Returns the folder of all caches.

  It is $JAX3DGAN_CACHE, $XDG_CACHE_HOME/jax3dgan or ~/.cache/jax3dgan.
  """
  chosen = os.environ.get('JAX3DGAN_CACHE')
  base = os.environ.get('XDG_CACHE_HOME') or '~/.cache'
  return pathlib.Path(chosen or f'{base}/jax3dgan').expanduser()


def use_cache() -> None:
  """Caches compiled programs in the user's cache folder, unless JAX is configured otherwise.

  JAX_COMPILATION_CACHE_DIR chooses another folder, JAX_ENABLE_COMPILATION_CACHE=false turns the
  cache off. Call it before the first compilation. Python looks through its objects less often from
  then on: tracing makes many that stay, and a tenth of its time went by in that.
  """
  gc.set_threshold(50_000, 20, 50)
  if jax.config.jax_compilation_cache_dir is None:
    jax.config.update('jax_compilation_cache_dir', str(cache_root() / 'xla'))
  if 'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS' not in os.environ:
    # By default JAX caches what took a second to compile; an app's programs take about half of one.
    jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.2)


# For XLA's CPU backend: YNNPACK computes sums, but not products and convolutions, because XLA's own
# kernels compute their gradients up to four times as fast (jax 0.10; a training step of
# configs/eg3d_toys.py takes 10 % less time). Networks that are mostly products of matrices with
# many rows, such as a SIREN, are faster without this option.
_CONVOLUTION_OPTIONS = {'xla_cpu_experimental_ynn_fusion_type': 'LIBRARY_FUSION_TYPE_REDUCE'}


def options_for_convolutions() -> dict[str, str]:
  """Options of `jax.stages.Lowered.compile` that speed up gradients of convolutions.

  Empty on platforms that do not need them and for versions of JAX that do not know them.
  """
  if backend.platform() != 'cpu':
    return {}
  return dict(_CONVOLUTION_OPTIONS) if _are_supported(tuple(_CONVOLUTION_OPTIONS.items())) else {}


@functools.cache
def _are_supported(options: tuple[tuple[str, str], ...]) -> bool:
  """Whether the compiler accepts options, (name, value) each."""
  try:
    jax.jit(lambda: 0).lower().compile(dict(options))
  except jax.errors.JaxRuntimeError:
    return False
  return True
