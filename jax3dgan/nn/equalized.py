"""Layers with an equalised learning rate (Karras et al. 2018, Sec. 4.1) and their activations.

Weights are drawn from N(0, 1) and scaled at run time by 1/√fan_in, so that Adam moves every layer
by the same share of its weights. A `lr_multiplier` m slows a layer down: its weights are drawn from
N(0, 1/m²) and scaled by m more.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from jax3dgan.errors import UserError
from jax3dgan.nn import precision
from jax3dgan.nn.resample import conv2d_resample, fir_filter

_SQRT2 = math.sqrt(2)
# Name: (function, gain that keeps the second moment of a normal input about where it is).
ACTIVATIONS = {
  'linear': (lambda x: x, 1.0),
  'relu': (jax.nn.relu, _SQRT2),
  'lrelu': (lambda x: jax.nn.leaky_relu(x, 0.2), _SQRT2),
  'tanh': (jnp.tanh, 1.0),
  'sigmoid': (jax.nn.sigmoid, 1.0),
  'elu': (jax.nn.elu, 1.0),
  'selu': (jax.nn.selu, 1.0),
  'softplus': (jax.nn.softplus, 1.0),
  'swish': (jax.nn.silu, _SQRT2),
  'gelu': (lambda x: jax.nn.gelu(x, approximate=False), _SQRT2),
}


def activate(x, activation: str = 'lrelu', gain: float = 1.0, clamp: float | None = None):
  """act(x) times the activation's own gain times `gain`, then clipped to ±clamp."""
  if activation not in ACTIVATIONS:
    raise UserError(
      f"No activation is called '{activation}'. Choose one of {', '.join(ACTIVATIONS)}."
    )
  function, own = ACTIVATIONS[activation]
  x = function(x)
  if own * gain != 1:
    x = x * (own * gain)
  return x if clamp is None else jnp.clip(x, -clamp, clamp)


def normalize_2nd_moment(x, epsilon: float = 1e-8):
  """x [..., d] divided by the root mean square of its last axis."""
  return x * jax.lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + epsilon)


class EqualizedDense(nn.Module):
  """A dense layer, parameters `kernel` [d, features] and `bias` [features].

  Attributes:
    features: width.
    activation: of `ACTIVATIONS`, with its gain.
    use_bias, bias_init: whether there is a bias, and its value at first.
    lr_multiplier: m, see above; the bias is slowed down too.
    kernel_gain: factor on the weights at first; 0 for a layer that begins as its bias.
    matmul_dtype: policy of `nn.precision`.
  """

  features: int
  activation: str = 'linear'
  use_bias: bool = True
  bias_init: float = 0.0
  lr_multiplier: float = 1.0
  kernel_gain: float = 1.0
  matmul_dtype: str = 'float32'

  @nn.compact
  def __call__(self, x):
    """[..., d] → [..., features]."""
    fan_in, m = x.shape[-1], self.lr_multiplier
    init = nn.initializers.normal(self.kernel_gain / m)
    kernel = self.param('kernel', init, (fan_in, self.features))
    # The input is scaled, not the weights: it is the smaller one of the two.
    y = precision.rows_product(x * (m / math.sqrt(fan_in)), kernel, self.matmul_dtype)
    if self.use_bias:
      init = nn.initializers.constant(self.bias_init / m)
      y = y + m * self.param('bias', init, (self.features,))
    return activate(y, self.activation)


class EqualizedConv(nn.Module):
  """A convolution that may resample, parameters `kernel` [k, k, c, features] and `bias` [features].

  Attributes:
    features, kernel_size: width and k; zero padding of k//2 keeps the size.
    activation: of `ACTIVATIONS`, with its gain.
    use_bias: whether there is a bias, 0 at first.
    up, down: factors of resampling, see `resample.conv2d_resample`.
    fir: taps of the resampling filter.
    clamp: bound of the result (at gain 1), None for none.
    matmul_dtype: policy of `nn.precision`.
  """

  features: int
  kernel_size: int
  activation: str = 'linear'
  use_bias: bool = True
  up: int = 1
  down: int = 1
  fir: tuple[float, ...] = (1, 3, 3, 1)
  clamp: float | None = None
  matmul_dtype: str = 'float32'

  @nn.compact
  def __call__(self, x, gain: float = 1.0):
    """[b, h, w, c] → [b, h·up/down, w·up/down, features]; `gain` is a factor on the result."""
    k, c = self.kernel_size, x.shape[-1]
    kernel = self.param('kernel', nn.initializers.normal(1), (k, k, c, self.features))
    y = conv2d_resample(
      x,
      kernel * (1 / math.sqrt(k * k * c)),
      fir_filter(self.fir),
      up=self.up,
      down=self.down,
      matmul_dtype=self.matmul_dtype,
    )
    if self.use_bias:
      y = y + self.param('bias', nn.initializers.zeros, (self.features,))
    clamp = None if self.clamp is None else self.clamp * gain
    return activate(y, self.activation, gain, clamp)
