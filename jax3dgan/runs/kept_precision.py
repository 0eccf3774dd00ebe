"""`matmul_dtype='auto'` of a run: chosen by its first machine, and kept wherever it goes on."""

from jax3dgan.devices import agreement
from jax3dgan.errors import UserError
from jax3dgan.nn import auto_precision
from jax3dgan.runs import checkpoint_files, workdirs


def resolve(config, workdir):
  """(the config with concrete policies, a line that says which and why or ''); called by all
  processes, which have the same config.

  A run that goes on keeps what its config.json says. To change it there, name another policy.
  """
  groups = auto_precision.asked(config)
  if not groups:
    return config, ''
  # Hosts may have different CPUs: the first one chooses.
  recorded, here = agreement.exchange([_recorded(workdir), auto_precision.choose()])[0]
  kept = {name: policy for name in groups if (policy := recorded.get(name))}
  config = auto_precision.resolve(config, dict.fromkeys(groups, here) | kept)
  each = ', '.join(f'{name} {config[name].matmul_dtype}' for name in groups)
  line = f'matmul_dtype auto: {each}'
  if not kept:
    return config, f'{line}, which suits this machine; the run keeps it.'
  flags = [f'--config.{name}.matmul_dtype={here}' for name in kept if kept[name] != here]
  other = f' This machine alone would take {here}: {" ".join(flags)}.' if flags else ''
  return config, f'{line}, as this run began.{other}'


def _recorded(workdir) -> dict[str, str]:
  """{group: policy} of a run that goes on."""
  if not checkpoint_files.steps(workdir):
    return {}
  try:
    return auto_precision.concrete(workdirs.load_config(workdir))
  except UserError:  # damaged: it is written anew, which is said there
    return {}
