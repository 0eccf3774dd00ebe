"""StyleNeRF's networks: latents to styles to layers of its fields and up-sampler (Gu et al., ICLR
2022, arXiv 2110.08985, Sec. 3.2). `generators.stylenerf` makes images of the layers.
"""

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from jax3dgan.errors import UserError
from jax3dgan.fields import stylenerf as fields
from jax3dgan.generators.base import BUFFERS, Generator, Scene, truncated
from jax3dgan.generators.stylenerf_rendering import Layers
from jax3dgan.nn import feature_upsampling
from jax3dgan.nn.stylegan2 import MappingNetwork
from jax3dgan.nn.stylenerf_upsampler import Upsampler


@flax.struct.dataclass
class StyleNeRFScene(Scene):
  """An object and its background, before any camera.

  Attributes:
    styles: [b, n, w_dim] of the foreground, then of the up-sampler.
    code: [b, background_dim] of the background; None without one.
  """

  styles: jax.Array
  code: jax.Array | None = None


class StyleNeRFNetworks(Generator):
  """From latents to styles to layers; what the fields say of sizes.

  Attributes:
    latent_dim, w_dim, mapping_layers: sizes of an object's latent, of a style, of the mapping.
    hidden_dim, num_layers, num_frequencies: of the foreground, see `fields.stylenerf.Foreground`.
    feature_dim: features of a pixel before the up-sampler.
    density_gain: factor on the foreground's raw density; 1 is the release's.
    background: whether there is one; without it, `render.last_back` gives the light that passes all
      samples to the last one (the release), `render.white_back` makes it white.
    background_dim, background_hidden, background_layers, background_frequencies: length of its
      code, and its network, see `fields.stylenerf.Background`.
    background_samples: along a ray.
    low_resolution: pixels on a side that are rendered.
    channels: of the up-sampler's blocks, each of twice the size of the one before; none for none:
      the rendering is the image.
    upsampling, upsampling_blur: see `nn.feature_upsampling`.
    upsampling_border: what its filters see beyond the image: 'zeros' (the release) or 'repeat'.
    clamp: bound of activations in the up-sampler; 0 for none.
    compat_powers_first: training divides by running means that this batch is in already, as the
      release does: an image then depends on its batch, and training on the number of devices. For
      comparison with it alone.
    matmul_dtype: precision policy of products, see `nn.precision`.
  """

  latent_dim: int = 512
  w_dim: int = 512
  mapping_layers: int = 8
  hidden_dim: int = 128
  num_layers: int = 8
  num_frequencies: int = 10
  feature_dim: int = 256
  density_gain: float = 1.0
  background: bool = True
  background_dim: int = 32
  background_hidden: int = 64
  background_layers: int = 4
  background_frequencies: int = 10
  background_samples: int = 4
  low_resolution: int = 32
  channels: tuple[int, ...] = (512, 256, 128)
  upsampling: str = 'nn_cat'
  upsampling_blur: bool = True
  upsampling_border: str = 'zeros'
  clamp: float = 256.0
  compat_powers_first: bool = False
  matmul_dtype: str = 'float32'

  def setup(self):
    if self.background and self.background_dim > self.w_dim:
      raise UserError(
        f'config.model.background_dim is {self.background_dim}, and a row of styles has '
        f'{self.w_dim} numbers. Set --config.model.background_dim to at most that.'
      )
    if self.channels and self.low_resolution < 1:
      raise UserError(
        f'config.model.low_resolution is {self.low_resolution}, and an up-sampler needs something '
        'to begin with. Set it to the pixels that are rendered, such as 32.'
      )
    self.mapping = MappingNetwork(self.w_dim, self.mapping_layers)
    self.foreground = fields.Foreground(
      self.hidden_dim,
      self.num_layers,
      self.num_frequencies,
      self.feature_dim,
      self.density_gain,
      self.matmul_dtype,
    )
    if self.background:
      self.background_field = fields.Background(
        self.background_hidden,
        self.background_layers,
        self.background_frequencies,
        self.feature_dim,
        self.matmul_dtype,
        name='background',
      )
    if self.channels:
      self.upsampler = Upsampler(
        tuple(self.channels),
        self.low_resolution,
        self.upsampling,
        self.upsampling_blur,
        self.clamp,
        self.matmul_dtype,
        self.upsampling_border,
      )
      self.powers = self.variable(BUFFERS, 'powers', jnp.ones, (len(self.channels), 2))
    self.w_average = self.variable(BUFFERS, 'w_average', jnp.zeros, (self.w_dim,))

  @property
  def z_dim(self) -> int:
    """Length of a latent: the object's and the background's code."""
    return self.latent_dim + (self.background_dim if self.background else 0)

  @property
  def num_styles(self) -> int:
    """Styles of layers."""
    return self.num_layers + 2 + (2 * len(self.channels) + 1 if self.channels else 0)

  @property
  def num_ws(self) -> int:
    """Rows of w: the styles of layers, and one with the background's code."""
    return self.num_styles + self.background

  @property
  def resolution(self) -> int | None:
    """Pixels on a side of the images, where an up-sampler makes them; else None."""
    return self.low_resolution << len(self.channels) if self.channels else None

  @property
  def resolutions(self) -> tuple[int, ...]:
    """All sizes of images that it makes: the rendering's and those of its blocks; () where the
    rendering is the image, which may have any size."""
    count = len(self.channels) + 1 if self.channels else 0
    return tuple(self.low_resolution << i for i in range(count))

  def style_rows(self) -> dict[str, int]:
    """See `Generator.style_rows`; to-RGB shares the row of the next block's first layer."""
    layers = [f'foreground/fc_{i}' for i in range(self.num_layers)]
    layers += ['foreground/density', 'foreground/feature']
    rows = {layer: row for row, layer in enumerate(layers)}
    for i in range(len(self.channels)):
      block = f'upsampler/b{self.low_resolution << (i + 1)}'
      for j, layer in enumerate(('conv0', 'conv1', 'torgb')):
        rows[f'{block}/{layer}'] = len(layers) + 2 * i + j
    return {f'{layer}/affine/kernel': row for layer, row in rows.items()}

  def average_w(self):
    """The running mean of the styles, [num_ws, w_dim]; that of the background's code is 0."""
    average = jnp.broadcast_to(self.w_average.value, (self.num_styles, self.w_dim))
    return jnp.pad(average, ((0, int(self.background)), (0, 0)))

  def unused_fields(self) -> dict[str, str]:
    """See `Generator.unused_fields`."""
    unused = {}
    if not self.background:
      own = ('dim', 'hidden', 'layers', 'frequencies', 'samples')
      unused |= {f'background_{name}': 'background is off' for name in own}
    if not self.channels:
      own = ('upsampling', 'upsampling_blur', 'upsampling_border', 'clamp', 'compat_powers_first')
      unused |= {name: 'there are no channels for an up-sampler' for name in own}
    elif self.upsampling not in feature_upsampling.WITH_BLUR:
      unused['upsampling_blur'] = f"the upsampling '{self.upsampling}' has no blur"
    return unused

  def map(self, z, label=None, truncation_psi=1.0, average_w=None, truncation_cutoff=None):
    """Latents z [b, z_dim] → styles w [b, num_ws, w_dim].

    Args:
      label: ignored: the mapping is not conditioned on the camera.
      truncation_psi: pulls w towards `average_w` [num_ws, w_dim]; 1 does nothing.
      truncation_cutoff: how many of the rows, from the first on, are pulled; None for all.
    """
    del label
    w = self.mapping(z[:, : self.latent_dim])
    w = jnp.broadcast_to(w[:, None], (w.shape[0], self.num_styles, self.w_dim))
    if self.background:
      code = z[:, self.latent_dim :]
      code = jnp.pad(code, ((0, 0), (0, self.w_dim - self.background_dim)))
      w = jnp.concatenate([w, code[:, None]], axis=1)
    pulled = truncated(w, truncation_psi, average_w)
    if truncation_cutoff is None:
      return pulled
    return jnp.concatenate([pulled[:, :truncation_cutoff], w[:, truncation_cutoff:]], axis=1)

  def prepare(self, w, key=None) -> StyleNeRFScene:
    """Styles w [b, num_ws, w_dim] → the scene; nothing in it is random."""
    del key
    if isinstance(w, Scene):
      return w
    if not self.background:
      return StyleNeRFScene(w)
    return StyleNeRFScene(w[:, :-1], w[:, -1, : self.background_dim])

  def layers(self, scene: StyleNeRFScene) -> Layers:
    """The layers of scenes [b]."""
    first = self.foreground.num_ws
    return Layers(
      self.foreground(scene.styles[:, :first]),
      self.background_field(scene.code) if self.background else None,
      self.upsampler(self.feature_dim, scene.styles[:, first:]) if self.channels else (),
    )

  def fitted_buffers(self, buffers, fresh, model):
    """See `Generator.fitted_buffers`: the `powers` of the blocks that both have."""
    if 'powers' not in buffers or 'powers' not in fresh:
      return buffers
    if model.low_resolution != self.low_resolution:
      return {name: x for name, x in buffers.items() if name != 'powers'}
    powers = np.array(fresh['powers'])
    num = min(len(powers), len(buffers['powers']))
    powers[:num] = buffers['powers'][:num]
    return {**buffers, 'powers': powers}

  def initialise(self, z):
    """Uses every parameter and buffer once, for `init`: z [1, z_dim]."""
    return jax.tree.map(jnp.sum, self.layers(self.prepare(self.map(z))))

  def tiny(self, resolution: int) -> dict:
    """See `Generator.tiny`."""
    fields = dict(latent_dim=8, w_dim=8, mapping_layers=1, hidden_dim=8, num_layers=2)
    fields |= dict(num_frequencies=3, feature_dim=8, low_resolution=resolution)
    if self.channels:
      fields |= dict(low_resolution=resolution // 4, channels=(8, 4))
    if self.background:
      fields |= dict(background_dim=4, background_hidden=8, background_layers=2)
      fields |= dict(background_frequencies=2, background_samples=3)
    return fields
