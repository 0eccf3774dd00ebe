"""Styles of Exp-GAN: what the mapping network makes of a latent and of codes of a face model, and
the codes themselves, so that whatever renders, averages or optimises styles takes them along."""

import jax
import jax.numpy as jnp

from jax3dgan.generators.base import BUFFERS, Generator, truncated
from jax3dgan.nn.stylegan2 import MappingNetwork


class CodedStyles(Generator):
  """Latents z are [b, latent_dim + 2]: what belongs to no code, and two numbers that choose a
  person and an expression of the buffer `faces`, so that a seed is a whole face. Styles w are
  [b, num_ws, w_dim]: the style of all layers, rows that hold the code of identity, rows with that
  of expression, zero behind them.

  Subclasses are modules whose fields are those below and call `make_mapping` in `setup`; the dict
  `face` of their buffers has `faces` [n, k + e]. Buffers: `w_average` [w_dim], the running mean of
  the style.
  """

  # Subclasses have fields of these names.
  latent_dim = 512
  w_dim = 256
  mapping_layers = 8
  num_identity = 100
  num_expression = 53
  identity_inputs = 100
  expression_inputs = (50, 51, 52)

  def make_mapping(self) -> None:
    """The network and the buffer."""
    self.mapping = MappingNetwork(self.w_dim, self.mapping_layers)
    self.w_average = self.variable(BUFFERS, 'w_average', jnp.zeros, (self.w_dim,))

  @property
  def code_sizes(self) -> dict[str, int]:
    """See `Generator.code_sizes`."""
    return {'identity': self.num_identity, 'expression': self.num_expression}

  @property
  def z_dim(self) -> int:
    """Numbers of a latent: its own, and two that choose codes."""
    return self.latent_dim + 2

  @property
  def num_ws(self) -> int:
    """Rows of the styles: one, and those that hold codes."""
    return 1 + self._rows(self.num_identity) + self._rows(self.num_expression)

  def _rows(self, numbers: int) -> int:
    return -(-numbers // self.w_dim)

  def average_w(self):
    """The mean style, with the mean of the codes of `faces`, [num_ws, w_dim]."""
    codes = self.face['faces'].value.mean(0, keepdims=True)
    identity, expression = jnp.split(codes, [self.num_identity], axis=1)
    return self._packed(self.w_average.value[None], identity, expression)[0]

  def latents(self, z):
    """(latent [b, latent_dim], identity, expression) of z [b, z_dim]: see the module."""
    share = jax.scipy.special.ndtr(z[:, self.latent_dim :])  # [b, 2]
    table = self.face['faces'].value
    rows = jnp.minimum((share * len(table)).astype(jnp.int32), len(table) - 1)
    people, expressions = jnp.split(table, [self.num_identity], axis=1)
    return z[:, : self.latent_dim], people[rows[:, 0]], expressions[rows[:, 1]]

  def map(self, z, label=None, truncation_psi=1.0, average_w=None):
    """See `Generator.map`; truncation pulls the style, and leaves the codes."""
    del label
    return self.map_codes(*self.latents(z), truncation_psi, average_w)

  def map_codes(self, latent, identity, expression, truncation_psi=1.0, average_w=None):
    """Styles w [b, num_ws, w_dim] of a latent [b, latent_dim] and codes.

    Args:
      identity, expression: [b, num_identity] and [b, num_expression].
      truncation_psi, average_w: see `Generator.map`.
    """
    told = expression[:, jnp.asarray(self.expression_inputs, jnp.int32)]
    w = self.mapping(jnp.concatenate([latent, identity[:, : self.identity_inputs], told], axis=-1))
    w = truncated(w, truncation_psi, None if average_w is None else average_w[0])
    return self._packed(w, identity, expression)

  def _packed(self, w, identity, expression):
    parts = [w[:, None]]
    for code in (identity, expression):
      count = self._rows(code.shape[1])
      code = jnp.pad(code, ((0, 0), (0, count * self.w_dim - code.shape[1])))
      parts.append(code.reshape(code.shape[0], count, self.w_dim))
    return jnp.concatenate(parts, axis=1)

  def codes(self, w):
    """(identity [b, num_identity], expression [b, num_expression]) of styles."""
    first = 1 + self._rows(self.num_identity)
    identity, expression = (x.reshape(x.shape[0], -1) for x in (w[:, 1:first], w[:, first:]))
    return identity[:, : self.num_identity], expression[:, : self.num_expression]

  def with_codes(self, w, identity=None, expression=None):
    """Styles w with other codes [b, ...], None for their own; the style stays: what the mapping
    network is told of codes (`expression_inputs`) it hears in `map_codes` alone."""
    own = self.codes(w)
    codes = [a if b is None else b for a, b in zip(own, (identity, expression), strict=True)]
    return self._packed(w[:, 0], *codes)
