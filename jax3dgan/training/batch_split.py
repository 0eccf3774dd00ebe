"""How the images of a step are divided among devices and, one after another, on each of them."""

import dataclasses

from jax3dgan.errors import UserError


@dataclasses.dataclass(frozen=True)
class BatchSplit:
  """A batch in equal micro-batches, dealt to the devices in order.

  Where they do not divide among the devices, the last devices compute images of the next batch,
  which do not count: the gradient is that of the batch, as on one device.

  Attributes:
    batch_size: Images that count.
    num_devices: Of all hosts.
    micro_batches: Of each device, one after another.
    micro_batch_size: Images of one.
  """

  batch_size: int
  num_devices: int
  micro_batches: int
  micro_batch_size: int

  @property
  def padding(self) -> int:
    """Images that are computed, but do not count."""
    return self.num_devices * self.images_per_device - self.batch_size

  @property
  def images_per_device(self) -> int:
    """Images that a device computes in a step."""
    return self.micro_batches * self.micro_batch_size

  def __str__(self):
    text = f'batch {self.batch_size}: {self.images_per_device} image(s) on each of '
    text += f'{self.num_devices} device(s)'
    if self.micro_batches > 1:
      text += f', in {self.micro_batches} micro-batches'
    if self.padding:
      text += f'; {self.padding} more are computed that do not count, as the batch does not divide'
    return text


def split(batch_size: int, at_least: int, num_devices: int, group_size: int = 1) -> BatchSplit:
  """The division of a batch that takes the least time.

  Args:
    batch_size: Images of a step, of all devices together.
    at_least: Least number of equal micro-batches in all, which bounds the memory: a micro-batch has
      at most batch_size / at_least images, on any number of devices.
    num_devices: Of all hosts.
    group_size: Images that the discriminator compares with each other; groups are the same on any
      number of devices. A group may lie on several devices, but not in several micro-batches of
      one.

  Raises:
    UserError: The batch does not consist of whole groups, or the micro-batches do not.
  """
  group = group_size or 1
  for name, value in (('batch_size', batch_size), ('micro_batches', at_least)):
    if value < 1:
      raise UserError(f'{name} is {value}. Set --config.{name} to a positive number.')
  if at_least > batch_size:
    raise UserError(
      f'micro_batches is {at_least}, more than the {batch_size} images of a batch. Set '
      f'--config.micro_batches to {batch_size} or less.'
    )
  if batch_size % group:
    raise UserError(
      f'batch_size {batch_size} does not consist of whole groups of {group} images, which the '
      'discriminator compares (minibatch standard deviation). Set --config.batch_size to a '
      f'multiple of {group}, or --config.discriminator.group_size to a divisor of {batch_size}.'
    )

  def keeps_groups(number):
    size = batch_size // number
    if not size % group:
      return True
    return number <= num_devices and not group % size

  numbers = [n for n in range(at_least, batch_size + 1) if not batch_size % n and keeps_groups(n)]
  if not numbers:
    raise UserError(
      f'micro_batches {at_least} divides the {batch_size} images of a batch into fewer than the '
      f'{group} that the discriminator compares (minibatch standard deviation). Set '
      f'--config.micro_batches to {batch_size // group} or less, or '
      f'--config.discriminator.group_size to {batch_size // at_least} or less.'
    )

  def cost(number):
    """Images of a device, then its micro-batches."""
    rounds = -(-number // num_devices)
    return rounds * (batch_size // number), rounds

  best = min(numbers, key=cost)
  return BatchSplit(batch_size, num_devices, -(-best // num_devices), batch_size // best)
