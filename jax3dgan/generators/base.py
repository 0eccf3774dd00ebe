"""What every generator returns."""

import flax.struct
import jax

from jax3dgan.errors import UserError


@flax.struct.dataclass
class Rendering:
  """Images of a generator.

  Attributes:
    image: [b, h, w, 3] in [−1, 1].
    depth: [b, h, w] expected distance along the ray, world units; None without a field.
    opacity: [b, h, w] in [0, 1]; None without a field.
    low_res: [b, h', w', 3] the image before an up-sampler, where the model has one.
  """

  image: jax.Array
  depth: jax.Array | None = None
  opacity: jax.Array | None = None
  low_res: jax.Array | None = None


def truncated(w, truncation_psi, average_w):
  """Styles w [b, ...] pulled towards `average_w` [...]; a psi of 1 does nothing and needs none.

  Raises:
    UserError: Another psi without the average.
  """
  if average_w is not None:
    return average_w + truncation_psi * (w - average_w)
  if not isinstance(truncation_psi, int | float) or truncation_psi != 1:
    raise UserError(
      'Truncation needs the average styles. Pass average_w, see generators.average_w.'
    )
  return w
