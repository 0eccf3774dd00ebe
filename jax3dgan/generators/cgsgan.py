"""CGS-GAN: 3D Consistent Gaussian Splatting GANs for High Resolution Human Head Synthesis (Barthel
et al., NeurIPS 2025, arXiv 2505.17590), on the hierarchy of GSGAN (Hyun & Heo, NeurIPS 2024, arXiv
2406.02968).

A transformer moves a few hundred learned points as the latent says, and after each of its last
blocks splits them into a level of 3D Gaussians: each near an anchor of the level above, and no
larger. All levels are splatted together (`rendering.splatting`). Nothing of the camera reaches the
generator and colours are the same from everywhere, so that views of an object agree exactly.

What the paper leaves open is, here: the first level's Gaussians begin where its anchors do, as both
have no parent; the anchors' bounds on attributes are applied at each level; layers of the style's
gains begin with a bias of 0; and what `cgsgan_networks` says of itself.

Parameters: `mapping` (`nn.stylegan2.MappingNetwork`), `points` [num_points, 3] before their tanh,
`code` (`PointCode`), `blocks_{i}` (`StyleBlock`), of level i `splitting_{i}`, `heads_{i}` and, but
for the last one, `anchor_heads_{i}`. Buffers: `w_average` [w_dim].
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jax3dgan.errors import UserError
from jax3dgan.generators import cgsgan_hierarchy
from jax3dgan.generators.cgsgan_hierarchy import Attributes
from jax3dgan.generators.cgsgan_networks import Heads, PointCode, Splitting
from jax3dgan.generators.gaussians import logit
from jax3dgan.generators.mapped_styles import MappedStyles
from jax3dgan.generators.splatted import SplattedGenerator
from jax3dgan.nn.style_transformer import STYLE_MAPS, StyleBlock
from jax3dgan.rendering.options import RenderOptions
from jax3dgan.rendering.splatting import Gaussians

_RADIUS = 0.5 * 0.6  # of the sphere that the points begin on


class Hierarchy(NamedTuple):
  """An object by levels, before activations.

  Attributes:
    anchors: of all levels but the last, [b, n_i, ...].
    levels: Gaussians that are drawn, [b, n_i, ...].
  """

  anchors: tuple[Attributes, ...]
  levels: tuple[Attributes, ...]


def _on_sphere(key, shape):
  """Random directions of length `_RADIUS`, [n, 3]."""
  x = jax.random.normal(key, shape)
  return _RADIUS * x / jnp.linalg.norm(x, axis=-1, keepdims=True)


class CGSGAN(SplattedGenerator, MappedStyles):
  """The generator. Styles w are [b, num_ws, w_dim], a row for each block of the transformer.

  Attributes:
    z_dim, w_dim, mapping_layers: sizes of latent, style and mapping network.
    num_points: points of the transformer.
    width, num_heads: of its features and its attention.
    num_blocks: its blocks before the first level; each further level has one more.
    ratios: into how many points a level splits those of the level above.
    channels: features of a level's points.
    target_resolution: of the images that it is trained for, which scales of Gaussians come down to.
    box: side of the cube that Gaussians are within, world units.
    log_scale: logarithm of the first level's scales where its head gives 0; a fresh one gives −1.
    start_opacity: of the first level where its head gives 0.
    matmul_dtype: precision policy of the transformer and of splitting, see `nn.precision`.
  """

  z_dim: int = 512
  w_dim: int = 512
  mapping_layers: int = 2
  num_points: int = 512
  width: int = 512
  num_heads: int = 8
  num_blocks: int = 6
  ratios: tuple[int, ...] = (1, 4, 4, 4, 2, 2)
  channels: tuple[int, ...] = (512, 256, 128, 64, 32, 16)
  target_resolution: int = 512
  box: float = 1.0
  log_scale: float = -5.0
  start_opacity: float = 0.1
  matmul_dtype: str = 'float32'

  def setup(self):
    self._check_fields()
    self.make_mapping()
    self.points = self.param('points', _on_sphere, (self.num_points, 3))
    self.code = PointCode(self.width)
    policy = self.matmul_dtype
    self.blocks = [StyleBlock(self.num_heads, policy) for _ in range(self.num_ws)]
    sizes = zip(self.points_split, self.channels, strict=True)
    self.splitting = [Splitting(r, c, policy) for r, c in sizes]
    self.heads = [Heads() for _ in self.ratios]
    self.anchor_heads = [Heads() for _ in self.ratios[1:]]

  def _check_fields(self) -> None:
    """UserError in one line for fields that make no Gaussians."""
    if not self.ratios or len(self.ratios) != len(self.channels):
      raise UserError(
        f'config.model.ratios is {self.ratios} and config.model.channels {self.channels}: each '
        'level has one of both. Give as many, and at least one.'
      )
    if min(self.num_points, self.num_blocks, self.num_heads, *self.ratios, *self.channels) < 1:
      raise UserError(
        'config.model.num_points, num_blocks, num_heads, ratios and channels count things. Set '
        'each to 1 or more.'
      )
    if self.width % 2 or self.width % self.num_heads or self.width < 1:
      raise UserError(
        f'config.model.width {self.width} has no two halves, or no equal parts for '
        f'{self.num_heads} heads. Set it to an even multiple of config.model.num_heads.'
      )
    if self.target_resolution <= 16 or self.box <= 0 or not 0 < self.start_opacity < 1:
      raise UserError(
        f'config.model.target_resolution is {self.target_resolution}, box {self.box} and '
        f'start_opacity {self.start_opacity}. Set them above 16, above 0, and between 0 and 1.'
      )

  @property
  def num_ws(self) -> int:
    """Styles of an object: one for each block."""
    return self.num_blocks + len(self.ratios) - 1

  @property
  def points_split(self) -> tuple[int, ...]:
    """Gaussians of each level that one point of the transformer becomes."""
    return tuple(math.prod(self.ratios[: i + 1]) for i in range(len(self.ratios)))

  @property
  def num_gaussians(self) -> int:
    """Gaussians of an object."""
    return self.num_points * sum(self.points_split)

  @property
  def scales(self) -> cgsgan_hierarchy.Scales:
    """What scales begin with and end at."""
    return cgsgan_hierarchy.Scales(
      self.num_points, self.target_resolution, self.box / 2, self.log_scale
    )

  def style_rows(self) -> dict[str, int]:
    """See `Generator.style_rows`."""
    return {f'blocks_{i}/{name}/kernel': i for i in range(self.num_ws) for name in STYLE_MAPS}

  def check_options(self, options: RenderOptions) -> None:
    """See `Generator.check_options`."""
    self._check_fields()
    super().check_options(options)

  def raw_attributes(self, w, key=None) -> Hierarchy:
    """Levels of styles w [b, num_ws, w_dim]; nothing in them is random."""
    del key
    code = self.code(jnp.tanh(self.points))
    x = jnp.broadcast_to(code, (w.shape[0], *code.shape))
    anchors, levels = [], []
    for i, block in enumerate(self.blocks):
      x = block(x, w[:, i])
      level = i + 1 - self.num_blocks
      if level < 0:
        continue
      features = self.splitting[level](x)
      levels.append(self._composed(anchors, self.heads[level](features)))
      if level < len(self.anchor_heads):
        anchors.append(self._composed(anchors, self.anchor_heads[level](features)))
    return Hierarchy(tuple(anchors), tuple(levels))

  def _composed(self, anchors, out: Attributes) -> Attributes:
    """What a head says beside the anchors of the level above, the last ones there are."""
    if not anchors:
      return cgsgan_hierarchy.first(out, self.scales, logit(self.start_opacity))
    return cgsgan_hierarchy.children(anchors[-1], out, self.scales)

  def gaussians_of(self, raw: Hierarchy) -> Gaussians:
    """The Gaussians [b, n] of all levels, level by level."""
    return cgsgan_hierarchy.gaussians(list(raw.levels), self.box / 2)

  def initialise(self, z):
    """Uses every parameter and buffer once, for `init`: z [1, z_dim]."""
    return jax.tree.map(jnp.sum, self.prepare(self.map(z)))

  def tiny(self, resolution: int) -> dict:
    """See `Generator.tiny`."""
    del resolution
    sizes = dict(z_dim=8, w_dim=8, mapping_layers=1, num_points=16, width=8, num_heads=2)
    levels = dict(num_blocks=1, ratios=(1, 2), channels=(8, 4), target_resolution=32)
    return sizes | levels | dict(log_scale=-1.0, start_opacity=0.5)
