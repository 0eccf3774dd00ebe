"""Positional encoding: coordinates as sines and cosines of rising frequencies (NeRF, Mildenhall et
al., ECCV 2020, arXiv 2003.08934, Sec. 5.1, eq. 4)."""

import math

import jax.numpy as jnp

from jax3dgan.nn.cpu.sine import cosine, sine


def num_features(channels: int, num_frequencies: int, include_input: bool = True) -> int:
  """Features of an encoding of `channels` coordinates."""
  return channels * (2 * num_frequencies + include_input)


def encode(x, num_frequencies: int, include_input=True, use_pi=False, axis: int = -1):
  """γ(x) = (x, sin f₀x, cos f₀x, sin f₁x, cos f₁x, ...), each of all coordinates.

  Args:
    x: [..., c, ...] coordinates on `axis`.
    num_frequencies: L.
    include_input: whether x itself comes first, as in NeRF's release; not in the paper.
    use_pi: f_i = 2^i π, as in the paper; 2^i as in its release without it.
    axis: of the coordinates, and of the features.

  Returns:
    [..., c·(2L + include_input), ...].
  """
  parts = [x] if include_input else []
  for i in range(num_frequencies):
    angle = x * (2.0**i * (math.pi if use_pi else 1.0))
    parts += [sine(angle), cosine(angle)]
  return jnp.concatenate(parts, axis=axis)
