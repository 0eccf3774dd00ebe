"""Generators whose image is the volume rendering of a radiance field."""

import jax
import jax.numpy as jnp

from jax3dgan.cameras import Camera
from jax3dgan.errors import not_written
from jax3dgan.generators.base import Generator, Rendering
from jax3dgan.generators.occupied import Occupied
from jax3dgan.rendering import hierarchical, parts
from jax3dgan.rendering import rays as rays_lib
from jax3dgan.rendering.options import RenderOptions


class FieldGenerator(Occupied, Generator):
  """A generator whose image is its radiance field's volume rendering, pixel by pixel.

  Subclasses define `radiance_field` and `map`.
  """

  has_field = True

  @property
  def pixels_alone(self) -> bool:
    """A pixel is its ray's."""
    return True

  def radiance_field(self, scene, options: RenderOptions | None = None):
    """The radiance field of styles or a scene: see `hierarchical.Field`, with a `width`."""
    raise not_written(self, 'radiance_field')

  def coarse_field(self, scene, options: RenderOptions | None = None):
    """The field of the coarse pass where that has one of its own (NeRF, Sec. 5.2); else None."""
    del scene, options

  def _fields(self, w, options: RenderOptions):
    """(field, fine_field) of `hierarchical.render_images`."""
    scene = self.prepare(w)
    field = self.radiance_field(scene, options)
    coarse = self.coarse_field(scene, options) if options.num_fine else None
    return (field, None) if coarse is None else (coarse, field)

  def render_rays(
    self,
    w,
    rays: rays_lib.Rays,
    key=None,
    options: RenderOptions | None = None,
    noise_std=0.0,
    return_coarse: bool = False,
  ):
    """Composite with leaves [b, r, ...] of rays [b, r] through the field.

    Args:
      key: Per-example keys [b], the numbers themselves (`hierarchical.Draws`), or None.
      return_coarse: See `hierarchical.render_rays`.
    """
    options = options or RenderOptions()
    noise = not (isinstance(noise_std, int | float) and noise_std == 0)
    field, fine = self._fields(w, options)
    return hierarchical.render_images(
      field,
      rays,
      options,
      key,
      noise_std,
      noise,
      fine_field=fine,
      return_coarse=return_coarse,
      grid=self.grid(),
    )

  def synthesize(self, w, camera: Camera, key=None, options=None, noise_std=0.0) -> Rendering:
    """See `Generator.synthesize`; `key` may be the random numbers themselves, `Draws`."""
    options = options or RenderOptions()
    rays = rays_lib.camera_rays(camera, options.resolution, options.align_corners)
    out = self.render_rays(w, rays, key, options, noise_std)
    size = (out.depth.shape[0], options.resolution, options.resolution)
    return Rendering(
      image=2 * out.colour[..., :3].reshape(*size, 3) - 1,
      depth=out.depth.reshape(size),
      opacity=out.opacity.reshape(size),
    )

  def synthesize_part(self, w, camera: Camera, index, count: int, options=None) -> Rendering:
    """See `Generator.synthesize_part`."""
    options = options or RenderOptions()
    rays = rays_lib.camera_rays(camera, options.resolution, options.align_corners)
    field, fine = self._fields(w, options)
    out = parts.render_part(field, rays, options, index, count, fine, self.grid())
    return Rendering(2 * out.colour[..., :3] - 1, out.depth, out.opacity)

  def query(self, w, points, directions=None):
    """See `Generator.query`."""
    if directions is None:
      directions = jnp.broadcast_to(jnp.array([0.0, 0.0, -1.0], points.dtype), points.shape)
    density, colour = self.radiance_field(self.prepare(w))(points[:, :, None], directions)
    return density[:, :, 0], colour[:, :, 0]

  def initialise(self, z):
    """Uses every parameter once, for `init`: z [1, z_dim]."""
    label = jnp.zeros((z.shape[0], self.label_dim)) if self.label_dim else None
    points = jnp.zeros((z.shape[0], 1, 3), z.dtype)
    w = self.map(z, label)
    self.coarse_field(self.prepare(w))
    return jax.tree.map(jnp.sum, self.query(w, points))
