"""The metrics of a step as one array.

Each array that a host fetches from a device is a transfer of its own, and a line of the log needs
those of about fifty steps of thirty metrics.
"""

from collections.abc import Mapping

import flax
import jax
import jax.numpy as jnp
import numpy as np

from jax3dgan.errors import UserError


@flax.struct.dataclass
class Packed:
  """Scalars by name.

  Attributes:
    values: [n], float32: whole numbers are exact up to 2^24.
    names: Of the values.
  """

  values: jax.Array
  names: tuple[str, ...] = flax.struct.field(pytree_node=False)

  def unpack(self) -> dict[str, np.ndarray]:
    """The scalars, once the values are on the host."""
    return dict(zip(self.names, np.asarray(self.values), strict=True))


def pack(metrics: Mapping[str, jax.Array]) -> Packed:
  """Packs scalars; part of the compiled step.

  Raises:
    UserError: A metric is no scalar.
  """
  names = tuple(sorted(metrics))
  for name in names:
    if jnp.shape(metrics[name]):
      raise UserError(
        f"The metric '{name}' has the shape {jnp.shape(metrics[name])}. Let the loss return "
        'scalars, such as its mean.'
      )
  values = [jnp.asarray(metrics[name], jnp.float32) for name in names]
  return Packed(jnp.stack(values) if values else jnp.zeros(0), names)
