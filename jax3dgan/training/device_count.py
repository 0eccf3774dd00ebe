"""How many devices can share the batch of a config."""

from jax3dgan import discriminators
from jax3dgan.errors import UserError
from jax3dgan.training import schedule


def largest(config, limit: int) -> int:
  """The largest number of devices, up to `limit`, that can share the batch of every stage.

  Each device gets whole groups of the images that the discriminator compares with each other
  (minibatch standard deviation), so that the number of devices does not change the result.

  Args:
    config: Of a run.
    limit: Such as the number of cores.

  Returns:
    1 for a config with an error, which is reported when training begins.
  """
  try:
    discriminator = discriminators.create(config.discriminator)
    group = 1 if discriminator is None else discriminator.group_size or 1
  except UserError:
    return 1
  for number in range(limit, 1, -1):
    try:
      stages = schedule.stages(config, number)
    except UserError:
      continue
    if all(not stage.batch_size // (number * stage.micro_batches) % group for stage in stages):
      return number
  return 1
