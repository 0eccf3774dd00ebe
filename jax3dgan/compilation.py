"""Compiled programs kept on the disk, so that the second run of a program starts at once."""

import os
import pathlib

import jax


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
