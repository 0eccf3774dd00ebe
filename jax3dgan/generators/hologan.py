"""HoloGAN: Unsupervised Learning of 3D Representations from Natural Images (Nguyen-Phuoc et al.,
ICCV 2019, arXiv 1904.01326).

A learned constant becomes voxels of features by transposed 3D convolutions, the voxels are turned
as the camera sees them (`rendering.rigid_transform`), and a learned projection makes an image of
them: depth is folded into channels, a 1x1 convolution looks through it, 2D convolutions follow.
There is no field: nothing but training makes two views of an object consistent.
"""

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp

from jax3dgan.cameras import Camera
from jax3dgan.errors import UserError
from jax3dgan.generators.base import Generator, Rendering, Scene, needs_resolution, truncated
from jax3dgan.nn import precision
from jax3dgan.nn.instance_norm import instance_norm
from jax3dgan.nn.transposed_conv import ConvTranspose
from jax3dgan.rendering import rigid_transform
from jax3dgan.rendering.options import RenderOptions
from jax3dgan.rendering.rigid_transform import View

ACTIVATIONS = {'relu': jax.nn.relu, 'lrelu': lambda x: jax.nn.leaky_relu(x, 0.2)}
_EPSILON = 1e-8  # of AdaIN
_INIT = nn.initializers.normal(0.02)


@flax.struct.dataclass
class HoloGANScene(Scene):
  """What the views of an object share.

  Attributes:
    voxels: [b, n, n, n, c] features before they are turned.
    styles: [b, num_ws, z_dim].
  """

  voxels: jax.Array
  styles: jax.Array


class AdaIN(nn.Module):
  """Adaptive instance normalisation: the style's scale, then its offset, both of ReLU(w·kernel +
  bias), neither negative. Parameters `kernel` [z_dim, 2c] and `bias` [2c]."""

  @nn.compact
  def __call__(self, x, w):
    """x [b or 1, ..., c] and a style w [b, z_dim] → [b, ..., c]."""
    c = x.shape[-1]
    kernel = self.param('kernel', _INIT, (w.shape[-1], 2 * c))
    style = precision.einsum('bz,zc->bc', w, kernel)
    style = jax.nn.relu(style + self.param('bias', nn.initializers.zeros, (2 * c,)))
    style = style.reshape(-1, *(1,) * (x.ndim - 2), 2 * c)
    return instance_norm(x, style[..., :c], style[..., c:], _EPSILON)


class HoloGAN(Generator):
  """The generator; by default that of images of 64².

  Styles w are a row of latents in [−1, 1] for each AdaIN, [b, num_ws, z_dim], the same for all
  layers unless they are mixed. A latent z is normal here, as every model's; HoloGAN's, uniform in
  [−1, 1], is erf(z/√2).

  Parameters: `constant` [4, 4, 4, constant_dim], `style_{i}` (`AdaIN`), `voxels_{i}`,
  `projection_{i}`, `fold`, `image_{i}` and `rgb` (`ConvTranspose`).

  Attributes:
    z_dim: length of a latent.
    constant_dim: features of the constant.
    voxel_channels: features of the voxels at 8³, 16³, ...; the last ones are turned.
    projection_channels: of 3D convolutions of the turned voxels; () for none. The release's images
      of 128² have (64, 64).
    fold_dim: features of an image that depth is folded into.
    channels: features of images of twice the voxels' size, four times, ...
    activation: 'relu' or 'lrelu' (the release's, of images of 128²).
    sphere: whether voxels outside of the largest sphere are 0. The paper's cube has a silhouette
      that repeats with each quarter of a turn, which training may take for an object's own.
    fov_degrees: field of view of the cameras at distance 1 whose images show the voxels at scale 1.
    matmul_dtype: precision policy of the convolutions, see `nn.precision`.
  """

  z_dim: int = 128
  constant_dim: int = 512
  voxel_channels: tuple[int, ...] = (128, 64)
  projection_channels: tuple[int, ...] = ()
  fold_dim: int = 1024
  channels: tuple[int, ...] = (256, 64)
  activation: str = 'relu'
  sphere: bool = False
  fov_degrees: float = 12.0
  matmul_dtype: str = 'float32'

  # Not fields.
  prepares_scene = True
  choices = {'activation': tuple(ACTIVATIONS)}

  def setup(self):

    def layer(features, kernel_size, stride):
      return ConvTranspose(features, kernel_size, stride, matmul_dtype=self.matmul_dtype)

    self.constant = self.param('constant', _INIT, (4, 4, 4, self.constant_dim))
    self.style = [AdaIN() for _ in range(self.num_ws)]
    self.voxels = [layer(c, 3, 2) for c in self.voxel_channels]
    self.projection = [layer(c, 3, 1) for c in self.projection_channels]
    self.fold = layer(self.fold_dim, 1, 1)
    self.image = [layer(c, 4, 2) for c in self.channels]
    self.rgb = layer(3, 4, 1)

  @property
  def grid_size(self) -> int:
    """Voxels on a side when they are turned."""
    return 4 << len(self.voxel_channels)

  @property
  def resolution(self) -> int:
    """Pixels on a side of the images, the only size there is."""
    return self.grid_size << len(self.channels)

  @property
  def num_ws(self) -> int:
    """Styles of an image: one for each AdaIN."""
    return 1 + len(self.voxel_channels) + len(self.channels)

  def style_rows(self) -> dict[str, int]:
    """See `Generator.style_rows`."""
    return {f'style_{i}/kernel': i for i in range(self.num_ws)}

  def average_w(self):
    """The mean of the styles, [num_ws, z_dim]: zeros, that of a uniform distribution."""
    return jnp.zeros((self.num_ws, self.z_dim))

  def map(self, z, label=None, truncation_psi=1.0, average_w=None):
    """Latents z [b, z_dim], normal → styles w [b, num_ws, z_dim], uniform in [−1, 1].

    Args:
      label: ignored: nothing is conditioned on the camera.
      truncation_psi: pulls w towards `average_w` [num_ws, z_dim]; 1 does nothing.
    """
    del label
    w = uniform_latents(z)
    w = jnp.broadcast_to(w[:, None], (w.shape[0], self.num_ws, self.z_dim))
    return truncated(w, truncation_psi, average_w)

  def prepare(self, w, key=None) -> HoloGANScene:
    """Styles w [b, num_ws, z_dim] → the voxels' features; nothing in them is random."""
    del key
    if isinstance(w, Scene):
      return w
    act = ACTIVATIONS[self.activation]
    x = act(self.style[0](self.constant[None], w[:, 0]))
    for i, layer in enumerate(self.voxels, 1):
      x = act(self.style[i](layer(x), w[:, i]))
    return HoloGANScene(rigid_transform.inside_sphere(x) if self.sphere else x, w)

  def project(self, scene: HoloGANScene, view: View):
    """Images [b, r, r, 3] in [−1, 1] of scenes as they lie in a view."""
    act = ACTIVATIONS[self.activation]
    x = rigid_transform.image_axes(scene.voxels, view)
    for layer in self.projection:
      x = act(layer(x))
    x = act(self.fold(x.reshape(*x.shape[:3], -1)))  # a channel is depth·c + its own number
    for i, layer in enumerate(self.image, 1 + len(self.voxels)):
      x = act(self.style[i](layer(x), scene.styles[:, i]))
    return jnp.tanh(self.rgb(x))

  def synthesize(
    self, w, camera: Camera, key=None, options: RenderOptions | None = None, noise_std=0.0
  ) -> Rendering:
    """Images of styles w [b, num_ws, z_dim], or of a `HoloGANScene`, from cameras [b].

    Args:
      camera: turns the voxels; its distance and its field of view scale them, see `fov_degrees`.
        There is no perspective.
      key: ignored: nothing is random.
      options: only the resolution is used, and must be the generator's.
      noise_std: ignored: there is no density.
    """
    del key, noise_std
    needs_resolution(
      self,
      options,
      f'from {self.grid_size}³ voxels it has {len(self.channels)} sizes. Set the resolution to '
      f'{self.resolution}, or train one with more or fewer entries in config.model.channels.',
    )
    view = rigid_transform.view_of(camera, self.grid_size, self.fov_degrees)
    return Rendering(image=self.project(self.prepare(w), view))

  def query(self, w, points, directions=None):
    """There is none: UserError."""
    raise UserError(
      "'hologan' has no field: its voxels are features that a learned projection makes an image "
      'of, without density or colour at points. Take a model with a field, such as the packaged '
      'toys.'
    )

  def initialise(self, z):
    """Uses every parameter once, for `init`: z [1, z_dim]."""
    view = View(jnp.eye(3)[None], jnp.ones(1), jnp.zeros((1, 3)))
    return self.project(self.prepare(self.map(z)), view)

  def tiny(self, resolution: int) -> dict:
    """See `Generator.tiny`."""
    sizes = max(resolution.bit_length() - 4, 0)  # beyond 8²
    fields = dict(z_dim=8, constant_dim=8, voxel_channels=(4,), fold_dim=8, channels=(4,) * sizes)
    return fields | (dict(projection_channels=(4,)) if self.projection_channels else {})


def uniform_latents(z):
  """Normal numbers → uniform ones in [−1, 1], entry by entry."""
  return jax.scipy.special.erf(z / jnp.sqrt(2.0).astype(z.dtype))
