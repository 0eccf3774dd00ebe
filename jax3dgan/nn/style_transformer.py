"""Transformer blocks of points that a style modulates, as of GSGAN (Hyun & Heo, NeurIPS 2024, arXiv
2406.02968, Sec. 3.3): AdaIN before, and a gain of each channel (layer scale: Touvron et al. 2021,
arXiv 2103.17239) after attention and after an MLP."""

import math

import flax.linen as nn
import jax

from jax3dgan.nn import precision
from jax3dgan.nn.equalized import EqualizedDense
from jax3dgan.nn.instance_norm import instance_norm

_WIDENING = 4  # of the MLP
# Maps of the style in a block.
STYLE_MAPS = tuple(
  f'{branch}_{name}' for branch in ('attention', 'mlp') for name in ('scale', 'offset', 'gain')
)


class SelfAttention(nn.Module):
  """Each point attends to all points of its example: layers `qkv` and `out`.

  Attributes:
    num_heads: of which each has an equal share of the channels.
    matmul_dtype: policy of `nn.precision`; weights are made in float32.
  """

  num_heads: int
  matmul_dtype: str = 'float32'

  @nn.compact
  def __call__(self, x):
    """[b, n, c] → the same shape."""
    b, n, c = x.shape

    def dense(name, features):
      return EqualizedDense(features, matmul_dtype=self.matmul_dtype, name=name)

    size = c // self.num_heads
    qkv = dense('qkv', 3 * c)(x).reshape(b, n, 3, self.num_heads, size)
    q, k, v = (qkv[:, :, i] for i in range(3))  # [b, n, heads, size]
    q = q * (1 / math.sqrt(size))
    weights = jax.nn.softmax(precision.einsum('bqhd,bkhd->bhqk', q, k, self.matmul_dtype))
    y = precision.einsum('bhqk,bkhd->bqhd', weights, v, self.matmul_dtype)
    return dense('out', c)(y.reshape(b, n, c))


class StyleBlock(nn.Module):
  """x + gain·attention(AdaIN(x)), then the same with an MLP.

  The statistics of AdaIN are over an example's points. Its scales and offsets, and the gains, are
  affine in the style; gains are 0 at first, so that a fresh block changes nothing.

  Attributes:
    num_heads, matmul_dtype: see `SelfAttention`.
  """

  num_heads: int
  matmul_dtype: str = 'float32'

  @nn.compact
  def __call__(self, x, w):
    """x [b, n, c] and a style w [b, w_dim] → the shape of x."""
    c = x.shape[-1]

    def of_style(name, **options):
      return EqualizedDense(c, name=name, **options)(w)[:, None]  # [b, 1, c]

    def normalised(branch):
      scale, offset = of_style(f'{branch}_scale', bias_init=1.0), of_style(f'{branch}_offset')
      return instance_norm(x, scale, offset)

    attention = SelfAttention(self.num_heads, self.matmul_dtype, name='attention')
    y = attention(normalised('attention'))
    x = x + of_style('attention_gain', kernel_gain=0.0) * y
    y = EqualizedDense(_WIDENING * c, 'gelu', matmul_dtype=self.matmul_dtype, name='mlp_in')(
      normalised('mlp')
    )
    y = EqualizedDense(c, matmul_dtype=self.matmul_dtype, name='mlp_out')(y)
    return x + of_style('mlp_gain', kernel_gain=0.0) * y
