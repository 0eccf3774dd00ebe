"""Settings that every test shares; they must be in place before JAX is imported."""

import os
import pathlib

# Tests compare numbers with CPU tolerances, whatever the machine has.
os.environ.setdefault('JAX_PLATFORMS', 'cpu')
# Most of a suite's time is compilation: the second run finds it done.
_CACHE = pathlib.Path(os.environ.get('XDG_CACHE_HOME', '~/.cache')).expanduser()
os.environ.setdefault('JAX_COMPILATION_CACHE_DIR', str(_CACHE / 'jax3dgan' / 'xla'))
os.environ.setdefault('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0.2')
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
