"""The contract of a generator: what every part of the library may ask of any of them.

A new generator is a subclass of `Generator`, or of `field_generator.FieldGenerator` where it is a
radiance field that the ray renderer draws. What it does not say is answered by the defaults here.
"""

import dataclasses
from typing import Any

import flax.linen as nn
import flax.struct
import jax

from jax3dgan.cameras import Camera
from jax3dgan.errors import UserError, not_written
from jax3dgan.rendering.options import RenderOptions

NO_DIRECTIONS = 'has colours that do not depend on the direction of view'
NO_SINES = 'has no sines whose phases could be kept'
BUFFERS = 'buffers'  # the Flax collection of arrays that no optimizer trains
# The buffer of a generator that has not grown to its end, which `trained.Trained` gives it: how
# many of `Generator.resolutions` it has beyond the first one, such as 1.4 with a third that counts
# by .4. Pictures, and colours of `query`, then have no share of what is not trained yet.
GROWTH = 'growth'


@flax.struct.dataclass
class Rendering:
  """Images of a generator.

  Attributes:
    image: [b, h, w, 3] in [−1, 1].
    depth: [b, h, w] expected distance along the ray, world units; None without a field.
    opacity: [b, h, w] in [0, 1]; None without a field.
    low_res: [b, h', w', 3] the image before an up-sampler, where the model has one.
    normals: [b, h, w, 3] unit vectors in camera axes (x right, y down, z forward), out of the
      surface, where they are known; else None.
  """

  image: jax.Array
  depth: jax.Array | None = None
  opacity: jax.Array | None = None
  low_res: jax.Array | None = None
  normals: jax.Array | None = None


class Scene:
  """Base class of what `Generator.prepare` computes once for all views.

  Subclasses are `flax.struct.dataclass`es of arrays [b, ...].
  """


class Generator(nn.Module):
  """Latents and cameras to images.

  Subclasses are Linen modules; any attribute below may be a field, a property or a class attribute
  of theirs. Arrays that are not trained (running means, constant noise) are variables of the
  collection 'buffers'.

  Attributes:
    z_dim: Length of a latent z; 0 without one (a single scene).
    label_dim: Length of the camera label that `map` is conditioned on; 0 for none.
    num_ws: Number of styles of an image that may be mixed; None where styles are not a list.
    uses_camera: Whether images depend on the camera; False for a 2D generator.
    has_field: Whether there is a 3D field: `query`, depth and opacity.
    has_depth: Whether renderings have a depth and an opacity; as `has_field` where nothing else is
      said: Gaussians have them without a field that points could be asked of.
    has_gaussians: Whether an object is 3D Gaussians (`gaussians`).
    has_surface: Whether pictures show a surface beside the field, of which `query` says nothing
      (`without_surface`); meshes are made of depth then.
    parallel_rays: Whether a camera's rays are parallel: depth is no distance from its place then,
      and what needs one is refused (warping, normals, meshes).
    field_kind: What `query` returns first: 'density' (before its activation) or 'sdf' (a signed
      distance, negative inside).
    prepares_scene: Whether `prepare` computes something that views of an object share.
    resolution: Pixels on a side where the generator makes images of one size alone, or of a few
      (`resolutions`), of which it is the largest; None for any.
    resolutions: The sizes of a generator that grows with its training, ascending; () for one that
      does not.
    low_resolution: Pixels on a side that are rendered before an up-sampler where the options do not
      say it; 0 without an up-sampler.
    box: Side of the cube around the origin that the field covers, world units; 0 for no bound.
    makes_pairs: Whether a rendering has its image before an up-sampler too (`low_res`), which a
      dual discriminator needs.
    pixels_alone: Whether a pixel depends on its own ray alone, so that an image may be cut into
      parts (`synthesize_part`).
    not_counted: What of its work `tools.plan` cannot count in advance; '' where all is counted.
    choices: {field: words}, of its fields that are one of some words.
    initial_fields: Names of its fields that say what fresh parameters begin with, and nothing else.
    object_layout: Where the styles say the poses of several objects (`giraffe_scene.Layout`), which
      may then be moved; None for a generator without.
    code_sizes: {name: how many numbers} of a face model's codes that the styles carry, 'identity'
      and 'expression', which may then be changed (`map_codes`, `with_codes`); {} for none.
    own_recipe: Name of the recipe that alone, with those made of it, gives the network what it
      needs; '' for any.
    user_buffers: Names of its buffers that are from a file of the user's, as a face model, whose
      licence they have.
  """

  z_dim = 0
  label_dim = 0
  num_ws = None
  uses_camera = True
  has_field = False
  has_gaussians = False
  has_surface = False
  parallel_rays = False
  field_kind = 'density'
  prepares_scene = False
  resolution = None
  resolutions = ()
  low_resolution = 0
  box = 0.0
  makes_pairs = False
  pixels_alone = False
  not_counted = ''
  object_layout = None
  code_sizes = {}
  choices = {}
  initial_fields = ()
  own_recipe = ''
  user_buffers = ()

  @property
  def has_depth(self) -> bool:
    """See the class."""
    return self.has_field

  def map(self, z, label=None, truncation_psi=1.0, average_w=None):
    """Latents z [b, z_dim] → styles w [b, ...].

    Args:
      label: [b, label_dim] cameras that the styles are conditioned on; ignored with label_dim 0.
      truncation_psi: Pulls w towards `average_w` [...]; 1 does nothing.
    """
    raise not_written(self, 'map')

  def latents(self, z):
    """(latent [b, d], identity, expression) that `map` makes styles of, of z [b, z_dim]. Only where
    there are `code_sizes`, as the three methods below."""
    raise not_written(self, 'latents')

  def map_codes(self, latent, identity, expression, truncation_psi=1.0, average_w=None):
    """Styles w of what `latents` returns, or of other codes [b, k] with the same latents; see
    `map`."""
    raise not_written(self, 'map_codes')

  def codes(self, w):
    """(identity [b, k], expression [b, e]) of styles; without parameters."""
    raise not_written(self, 'codes')

  def with_codes(self, w, identity=None, expression=None):
    """Styles w with other codes [b, ...], None for their own, where there are no latents to map
    anew, as of an inverted photo; without parameters."""
    raise not_written(self, 'with_codes')

  def prepare(self, w, key=None):
    """Styles w [b, ...] → what does not depend on the camera: a `Scene`, or w itself.

    Args:
      key: Per-example keys [b] of what is random in it; None for a deterministic scene.
    """
    del key
    return w

  def synthesize(self, w, camera: Camera, key=None, options=None, noise_std=0.0) -> Rendering:
    """Images of styles w [b, ...], or of what `prepare` returned, from cameras [b].

    Args:
      key: Per-example keys [b] of all that is random; None for a deterministic image.
      options: `RenderOptions`, static; of a generator that grows their resolution is one of its
        own.
      noise_std: Standard deviation of the density noise, scalar.

    A generator that grows moreover takes `fade` in [0, 1], which may be traced: the share of the
    layers of the options' size in the image; the rest is the image of half the size. None, the
    default, is for the shares that the buffer `GROWTH` says, and 1 without it.
    """
    raise not_written(self, 'synthesize')

  def __call__(self, z, camera: Camera, key=None, options=None, noise_std=0.0, label=None):
    """`map`, conditioned on the camera itself where no other label is given, then `synthesize`."""
    if self.label_dim and label is None:
      label = camera.label()
    return self.synthesize(self.map(z, label), camera, key, options, noise_std)

  def synthesize_part(self, w, camera: Camera, index, count: int, options=None) -> Rendering:
    """Part `index` (may be traced) of `count` equal parts of every image, without randomness.

    Only where `pixels_alone`.

    Returns:
      Rendering of pixels in a row: leaves [b, p, ...], see `parts.render_part`.
    """
    raise not_written(self, 'synthesize_part')

  def query(self, w, points, directions=None):
    """The field at points [b, n, 3]: density or signed distance [b, n], and features [b, n, c].

    The first three features are the colour in [0, 1]. Only where `has_field`.

    Args:
      directions: [b, n, 3] unit view directions; None observes from the front, (0, 0, −1).
    """
    raise not_written(self, 'query')

  def gaussians(self, w):
    """The 3D Gaussians of styles w [b, ...] or of a scene: `rendering.splatting.Gaussians`, leaves
    [b, n, ...]. Only where `has_gaussians`."""
    raise not_written(self, 'gaussians')

  def colours_of(self, features):
    """Colours [..., 3] in [0, 1] of the features [..., c] that `query` returns."""
    return features[..., :3]

  def object_maps(self, w, camera: Camera, options: RenderOptions | None = None):
    """What of each rendered pixel is which object's, and at last the background's, [b, h, w, n + 1]
    of styles or a scene from cameras [b]. Only where there is an `object_layout`."""
    raise not_written(self, 'object_maps')

  def average_w(self):
    """A running mean of the styles [...] that the generator keeps in its buffers; None where it
    keeps none, and the mean is computed from latents (`generators.average_w`)."""
    return None

  def style_rows(self) -> dict[str, int] | None:
    """Which row of the styles [num_ws, w_dim] each affine map takes, by the path of its kernel,
    such as 'foreground/fc_0/affine/kernel'; None where names and rows are StyleGAN2's, or there are
    no such maps."""
    return None

  def without_super_resolution(self) -> 'Generator':
    """The same generator with its rendering as the image, of any resolution; itself without an
    up-sampler. The variables fit both."""
    return self

  def without_surface(self) -> 'Generator':
    """The same generator without the samples that a face model's surface adds to its rays, so that
    the volume is seen alone; itself where there are none. The variables fit both."""
    return self

  def check_options(self, options: RenderOptions) -> None:
    """UserError in one line for options that it does not render with; training asks before anything
    is compiled."""
    del options

  def unused_fields(self) -> dict[str, str]:
    """{field: reason} of fields that have no effect with the values of the others; training refuses
    them where they are not at their defaults."""
    return {}

  def unused_options(self) -> dict[str, str]:
    """{field of `RenderOptions`: reason} of those that have no effect on its images; training
    refuses them where they are not at their defaults. A reason goes on after the model's name:
    'has no up-sampler'. Without a field those of marching, all but the resolution."""
    if self.has_field:
      return {}
    names = (field.name for field in dataclasses.fields(RenderOptions))
    reason = 'has no field for rays to march through'
    return {name: reason for name in names if name not in ('resolution', 'low_resolution')}

  def fitted_buffers(self, buffers, fresh, model):
    """The buffers of a run that another one begins with, as this generator would have them.

    Args:
      buffers: By name, NumPy, of the run with `config.model` = `model`.
      fresh: This generator's, whose values stand for what is not there; also shapes.
    """
    del fresh, model
    return buffers

  def initialise(self, z):
    """Uses every parameter and buffer once, for `init`: z [1, z_dim]."""
    raise not_written(self, 'initialise')

  def tiny(self, resolution: int) -> dict[str, Any]:
    """Fields of a small generator of the same structure, for tests: images of `resolution`."""
    raise not_written(self, 'tiny')


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


def needs_resolution(generator: Generator, options: RenderOptions | None, what: str) -> None:
  """UserError where options ask for images of another size than a generator makes."""
  sizes = generator.resolutions or (generator.resolution,)
  if options is None or generator.resolution is None or options.resolution in sizes:
    return
  raise UserError(
    f'The generator makes images of {", ".join(f"{size}²" for size in sizes)}, not '
    f'{options.resolution}²: {what}'
  )
