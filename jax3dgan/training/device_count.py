"""How many devices the batch of a config divides among."""

from jax3dgan.errors import UserError
from jax3dgan.training import schedule


def largest(config, limit: int) -> int:
  """The largest number of devices, up to `limit`, that divides the batch of every stage.

  Other numbers train as well, but compute images that do not count (`training.batch_split`).

  Args:
    config: Of a run.
    limit: Such as the number of cores.

  Returns:
    1 for a config with an error, which is reported when training begins.
  """
  for number in range(limit, 1, -1):
    try:
      stages = schedule.stages(config, number)
    except UserError:
      continue
    if not any(stage.split.padding for stage in stages):
      return number
  return 1
