"""Initialisers of π-GAN's release: kernels [in, out], Flax's layout."""

import math

import jax
import jax.numpy as jnp


def uniform_bound(bound: float):
  """U(−bound, bound)."""
  return lambda key, shape, dtype=jnp.float32: jax.random.uniform(key, shape, dtype, -bound, bound)


def uniform_fan_in(fan_in: int):
  """U(±1/√fan_in): what PyTorch gives biases."""
  return uniform_bound(1 / math.sqrt(fan_in))


def film_siren(fan_in: int):
  """U(±√(6/fan_in)/25): FiLM-SIREN's hidden layers, whose frequencies are about 30 (π-GAN's
  release)."""
  return uniform_bound(math.sqrt(6 / fan_in) / 25)


def first_film_siren(fan_in: int):
  """U(±1/fan_in): the first layer (SIREN, Sec. 3.2)."""
  return uniform_bound(1 / fan_in)


def kaiming_normal(negative_slope: float, scale: float = 1.0):
  """Kaiming normal, fan in, for LeakyReLU, times `scale`."""
  gain = math.sqrt(2 / (1 + negative_slope**2)) * scale

  def init(key, shape, dtype=jnp.float32):
    return jax.random.normal(key, shape, dtype) * (gain / math.sqrt(shape[0]))

  return init
