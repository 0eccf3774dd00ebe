"""The convolutional network of a probe: its layers, training and application."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jax3dgan import viz
from jax3dgan.errors import UserError

_BATCH = 64
_RATE = 2e-3
_PRECISION = 'highest'
# Of the augmentation: the weight of the 3×3 mean and the standard deviation of the noise, each
# uniform from 0 to this per image. Generated images are softer and rougher than rendered ones.
_BLUR, _NOISE = 0.7, 0.08


class Network(nn.Module):
  """[b, h, w, c] in [−1, 1] → [b, outputs]: three convolutions of stride 2, two dense layers.

  Attributes:
    outputs: numbers that are read.
    features: channels of the second convolution.
    places: pixels on a side that the dense layers see at most; more are for what is at some place.
    normalised: whether the first dense layer's outputs are normalised. Without it a layer of
      thousands of inputs ends up at its activation's flat side, at rates that suit the rest.
  """

  outputs: int
  features: int = 64
  places: int = 4
  normalised: bool = False

  @nn.compact
  def __call__(self, x):
    sizes = ((4, self.features // 2), (3, self.features), (3, 2 * self.features))
    for size, features in sizes:
      x = nn.Dense(features, precision=_PRECISION)(_patches(x, size))
      x = nn.gelu(nn.LayerNorm()(x))
    pool = (x.shape[1] // self.places,) * 2
    if pool[0] > 1:  # the dense layer's size does not grow with the image
      x = nn.avg_pool(x, pool, pool)
    x = x.reshape(x.shape[0], -1)
    x = nn.Dense(4 * self.features, precision=_PRECISION)(x)
    x = nn.gelu(nn.LayerNorm()(x) if self.normalised else x)
    return nn.Dense(self.outputs, precision=_PRECISION)(x)


def _patches(x, size: int):
  """[b, h, w, c] → [b, h/2, w/2, size²·c]: the patches of a convolution of stride 2.

  On a CPU the gradient of products of patches takes a fraction of the time of XLA's convolutions.
  """
  low = (size - 2) // 2
  x = jnp.pad(x, ((0, 0), (low, size - 2 - low), (low, size - 2 - low), (0, 0)))
  h, w = x.shape[1] - size + 1, x.shape[2] - size + 1
  parts = [x[:, i : i + h : 2, j : j + w : 2] for i in range(size) for j in range(size)]
  return jnp.concatenate(parts, axis=-1)


def fit(
  images: np.ndarray,
  targets: np.ndarray,
  steps: int,
  seed: int = 0,
  say: Callable[[str], None] | None = None,
):
  """Trains a `Network` to regress targets [n, k] from images uint8 [n, h, w, 3].

  Mean squared error, Adam with a cosine schedule; images are slightly blurred and get noise.

  Returns:
    its parameters.
  """
  network = Network(targets.shape[-1])
  params = jax.jit(network.init)(jax.random.key(seed), _to_float(images[:1]))
  optimizer = optax.adam(optax.cosine_decay_schedule(_RATE, max(steps, 1)))

  def loss(params, images, targets):
    return jnp.mean((network.apply(params, images) - targets) ** 2)

  @jax.jit
  def step(params, state, images, targets, key):
    value, gradient = jax.value_and_grad(loss)(params, augment(_to_float(images), key), targets)
    updates, state = optimizer.update(gradient, state, params)
    return optax.apply_updates(params, updates), state, value

  state, rng = jax.jit(optimizer.init)(params), np.random.default_rng(seed)
  targets = np.asarray(targets, np.float32)
  order = np.zeros(0, np.int64)
  for i in range(steps):
    if order.size < _BATCH:
      order = np.concatenate([order, rng.permutation(len(images))])
    if order.size < _BATCH:  # fewer images than a batch
      order = np.resize(order, _BATCH)
    rows, order = order[:_BATCH], order[_BATCH:]
    key = jax.random.key(rng.integers(2**31))
    params, state, value = step(params, state, images[rows], targets[rows], key)
    if say and (i + 1) % 500 == 0:
      say(f'probe: step {i + 1:,} of {steps:,}, squared error {float(value):.3f}')
  return params


def augment(images, key):
  """Blurs images [b, h, w, 3] a little and adds noise, each with its own strength."""
  blur_key, strength_key, noise_key = jax.random.split(key, 3)
  weight = jax.random.uniform(blur_key, (images.shape[0], 1, 1, 1), maxval=_BLUR)
  padded = jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), mode='edge')
  h, w = images.shape[1:3]
  mean = sum(padded[:, i : i + h, j : j + w] for i in range(3) for j in range(3)) / 9
  strength = jax.random.uniform(strength_key, (images.shape[0], 1, 1, 1), maxval=_NOISE)
  noise = strength * jax.random.normal(noise_key, images.shape)
  return images + weight * (mean - images) + noise


def _to_float(images):
  return images.astype(jnp.float32) / 127.5 - 1


def predictor(params, outputs: int, resolution: int) -> Callable[[np.ndarray], np.ndarray]:
  """The function images [n, h, w, 3] → float64 [n, outputs] of a trained network."""
  apply = jax.jit(Network(outputs).apply)

  def predict(images):
    # Through 8 bits: a generator's images are read as they would be stored.
    images = viz.to_uint8(images)
    if images.ndim != 4 or images.shape[1:] != (resolution, resolution, 3):
      raise UserError(
        f'The probes read images of {resolution}², not of shape {images.shape[1:]}. '
        f'Train probes of the same resolution.'
      )
    out = []
    for start in range(0, len(images), 256):
      part = images[start : start + 256]
      padded = np.pad(part, ((0, 256 - len(part)), (0, 0), (0, 0), (0, 0)))  # one shape
      out.append(np.asarray(apply(params, _to_float(padded)))[: len(part)])
    return np.concatenate(out).astype(np.float64) if out else np.zeros((0, outputs))

  return predict


def template(outputs: int, resolution: int):
  """The shapes of a network's parameters, as `fit` returns them."""
  image = jax.ShapeDtypeStruct((1, resolution, resolution, 3), jnp.float32)
  return jax.eval_shape(Network(outputs).init, jax.random.key(0), image)
