"""What every generator returns."""

import flax.struct
import jax


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
