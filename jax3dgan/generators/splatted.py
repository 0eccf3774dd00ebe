"""What generators of 3D Gaussians have in common: their images are splats
(`rendering.splatting`), and there is no field."""

import flax.struct
import jax

from jax3dgan.cameras import Camera
from jax3dgan.errors import UserError
from jax3dgan.generators.base import Generator, Rendering, Scene
from jax3dgan.rendering import splatting
from jax3dgan.rendering.options import RenderOptions
from jax3dgan.rendering.splatting import Gaussians, Splatting


@flax.struct.dataclass
class GaussianScene(Scene):
  """An object, before any camera.

  Attributes:
    gaussians: leaves [b, n, ...].
  """

  gaussians: Gaussians


class SplattedGenerator(Generator):
  """A generator whose `prepare` returns a `GaussianScene`.

  Subclasses define `raw_attributes(w, key)` and `gaussians_of(raw)`, or `prepare`.

  Attributes:
    splatting: how Gaussians are drawn.
  """

  has_depth = has_gaussians = True
  prepares_scene = True
  not_counted = 'drawing Gaussians, whose work depends on where they are'
  splatting = Splatting()

  def unused_options(self) -> dict[str, str]:
    """See `Generator.unused_options`; near and far are where Gaussians are drawn and their depth
    is coloured, and the grid of pixels is checked."""
    used = ('near', 'far', 'white_back', 'align_corners')
    return {name: why for name, why in super().unused_options().items() if name not in used}

  def check_options(self, options: RenderOptions) -> None:
    """See `Generator.check_options`."""
    if options.align_corners:
      raise UserError(
        "config.render.align_corners is True, and Gaussians are drawn at pixels' centres. Set "
        '--config.render.align_corners=False.'
      )
    if options.last_back:
      raise UserError(
        'config.render.last_back is of rays that end in a field, and Gaussians have none. Set '
        '--config.render.last_back=False.'
      )

  def prepare(self, w, key=None) -> GaussianScene:
    """Styles w [b, ...] → Gaussians, without any camera.

    Args:
      key: per-example keys [b] of what is random in `raw_attributes`; None for nothing.
    """
    if isinstance(w, Scene):
      return w
    return GaussianScene(self.gaussians_of(self.raw_attributes(w, key)))

  def gaussians(self, w) -> Gaussians:
    """See `Generator.gaussians`."""
    return self.prepare(w).gaussians

  def splat(self, scene: GaussianScene, camera: Camera, options: RenderOptions, offsets=None):
    """Draws a scene [b] from cameras [b], or [b, views], or a scene [1] from any: `Splats`.

    Args:
      offsets: see `rendering.splatting.splat`.
    """
    gaussians = scene.gaussians
    if gaussians.means.shape[0] == 1 and camera.cam2world.shape[0] != 1:
      gaussians = jax.tree.map(lambda x: x[0], gaussians)
    size = (options.resolution, options.resolution)
    back = float(options.white_back)
    return splatting.splat(gaussians, camera, size, back, self.splatting, offsets)

  def synthesize(
    self, w, camera: Camera, key=None, options: RenderOptions | None = None, noise_std=0.0
  ) -> Rendering:
    """Images of styles w [b, ...], or of a `Scene`, from cameras [b].

    Args:
      key: per-example keys [b] of what is random in `prepare`; None for a deterministic image.
      options: their resolution and background are used; any resolution fits.
      noise_std: ignored: there is no density.
    """
    del noise_std
    out = self.splat(self.prepare(w, key), camera, options or RenderOptions()).composite
    return Rendering(2 * out.colour - 1, out.depth, out.opacity)

  def query(self, w, points, directions=None):
    """There is none: UserError."""
    raise UserError(
      f'{type(self).__name__} has no field: it is made of Gaussians, without a density at points. '
      'Its meshes are of depth maps; take a model with a field for what needs one.'
    )
