"""`matmul_dtype='auto'` of a config: the precision policy that suits the machine.

| machine | policy | why |
|---|---|---|
| TPU | bfloat16 | its units multiply that; float32 takes six passes |
| NVIDIA GPU from Ampere on | tensorfloat32 | its tensor cores take float32 and keep 11 bits of it |
| CPU with AVX512_BF16 or AMX_BF16 | bfloat16_wide | wide products of half the bits are faster |
| any other | float32 | nothing is faster |

Networks know concrete policies only, and a run keeps the one that it began with
(`runs.kept_precision`), so that it is computed the same wherever it goes on or is shown.
"""

import jax

from jax3dgan.nn import backend, cpu_features, precision

GROUPS = ('model', 'discriminator')  # of a config, that may have a `matmul_dtype`
_AMPERE = 8  # its compute capability


def choose() -> str:
  """The policy that suits the platform of the current trace (`backend.lowering_for`), which is this
  machine's where nothing else is said."""
  platform = backend.platform()
  if platform == 'tpu':
    return 'bfloat16'
  if platform == 'gpu':
    return 'tensorfloat32' if _has_tensorfloat32() else 'float32'
  return 'bfloat16_wide' if cpu_features.multiplies_bfloat16() else 'float32'


def _has_tensorfloat32() -> bool:
  # Lowering for a GPU on another machine there is nothing to ask.
  if jax.default_backend() == 'cpu':
    return True
  capability = str(getattr(jax.devices()[0], 'compute_capability', ''))
  major = capability.partition('.')[0]  # of AMD's it is no number: 'gfx942'
  return major.isdecimal() and int(major) >= _AMPERE


def asked(config) -> list[str]:
  """The groups of a config whose policy is to be chosen."""
  return [name for name in GROUPS if (config.get(name) or {}).get('matmul_dtype') == precision.AUTO]


def concrete(config) -> dict[str, str]:
  """{group: policy} of the networks of a config whose policy is chosen."""
  found = {name: (config.get(name) or {}).get('matmul_dtype') for name in GROUPS}
  return {name: policy for name, policy in found.items() if policy in precision.POLICIES}


def resolve(config, policies=None):
  """A config with concrete policies: itself where none is to be chosen, else a copy.

  Args:
    config: of a run.
    policies: {group: policy} that are taken instead of the machine's.
  """
  groups = asked(config)
  if not groups:
    return config
  config = config.copy_and_resolve_references()
  for name in groups:
    config[name].matmul_dtype = (policies or {}).get(name) or choose()
  return config
