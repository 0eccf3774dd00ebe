"""Spectral normalisation (Miyato et al., ICLR 2018, arXiv 1802.05957): a kernel divided by an
estimate of its largest singular value, so that a layer stretches no direction.

A kernel [..., in, out] is the matrix M [out, n] of its transpose. One step of power iteration is
v = Mᵀu/|Mᵀu|, u = Mv/|Mv|, and σ = uᵀMv. The vectors are variables of the collection 'buffers'.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from jax3dgan.nn import precision
from jax3dgan.nn.conv import conv2d, torch_uniform

_EPSILON = 1e-12  # the least length that a vector is divided by
BUFFERS = 'buffers'


def _normalize(x):
  return x / jnp.maximum(jnp.linalg.norm(x), _EPSILON)


def power_step(matrix, u):
  """One step of power iteration: (u [out], v [n]) of a matrix [n, out] and the u before it."""
  v = _normalize(precision.einsum('no,o->n', matrix, u))
  return _normalize(precision.einsum('no,n->o', matrix, v)), v


def sigma(matrix, u, v):
  """vᵀMu of a matrix [n, out], u [out] and v [n]: the estimate of its largest singular value."""
  return precision.einsum('n,n->', v, precision.einsum('no,o->n', matrix, u))


class SpectralNorm(nn.Module):
  """A kernel to the same, divided by its σ.

  Where the collection 'buffers' is mutable, a call makes one step of power iteration and stores
  its vectors: so does each forward pass of training in PyTorch. `recipes.base.advanced` makes the
  step for a whole discriminator.

  Buffers: `u` [out], and `v` [n] without `through_iteration`.

  Attributes:
    through_iteration: False: u and v are constants for the gradient, and without mutable buffers
      the stored ones are taken (PyTorch). True: every call makes its step from the stored u, the
      gradient goes through it, and only u is stored, where buffers are mutable (HoloGAN's release).
  """

  through_iteration: bool = False

  @nn.compact
  def __call__(self, kernel):
    """A kernel [..., in, out] → kernel/σ."""
    matrix = kernel.reshape(-1, kernel.shape[-1])

    def first():
      return _normalize(jax.random.normal(self.make_rng('params'), matrix.shape[-1:]))

    u = self.variable(BUFFERS, 'u', first)
    moves = self.is_mutable_collection(BUFFERS) and not self.is_initializing()
    if self.through_iteration:
      own_u, own_v = power_step(matrix, u.value)
      if moves:
        u.value = jax.lax.stop_gradient(own_u)
      return kernel / sigma(matrix, own_u, own_v)
    constant = jax.lax.stop_gradient(matrix)
    v = self.variable(BUFFERS, 'v', lambda: power_step(constant, u.value)[1])
    if moves:
      u.value, v.value = power_step(constant, u.value)
    return kernel / sigma(matrix, u.value, v.value)


class SpectralConv(nn.Module):
  """A convolution with a normalised kernel: parameters `kernel` [k, k, c, f] and, if any, `bias`.

  Attributes:
    in_features, features: channels of input and output.
    kernel_size, stride, padding: see `nn.conv.conv2d`.
    use_bias: whether there is a bias [f].
    kernel_init: None for PyTorch's.
    matmul_dtype: precision policy, see `nn.precision`.
  """

  in_features: int
  features: int
  kernel_size: int
  stride: int = 1
  padding: int = 0
  use_bias: bool = False
  kernel_init: Callable | None = None
  matmul_dtype: str = 'float32'

  def setup(self):
    shape = (self.kernel_size, self.kernel_size, self.in_features, self.features)
    of_torch = torch_uniform(self.kernel_size**2 * self.in_features)
    self.kernel = self.param('kernel', self.kernel_init or of_torch, shape)
    self.bias = self.param('bias', of_torch, (self.features,)) if self.use_bias else None
    self.norm = SpectralNorm()

  def __call__(self, x):
    """[b, h, w, in_features] → [b, h', w', features]."""
    options = dict(stride=self.stride, padding=self.padding, matmul_dtype=self.matmul_dtype)
    return conv2d(x, self.norm(self.kernel), self.bias, **options)

  def advance(self):
    """The power iteration's step alone, see `SpectralNorm`."""
    self.norm(self.kernel)
