"""Styles that StyleGAN2's mapping network makes of a latent, a row for each part of a network, and
their running mean: what `StylePlanes` and CGS-GAN share."""

import jax.numpy as jnp

from jax3dgan.errors import UserError
from jax3dgan.generators.base import BUFFERS, Generator, truncated
from jax3dgan.nn.stylegan2 import MappingNetwork


class MappedStyles(Generator):
  """A mapping network, conditioned on the camera or not, whose w is every row of the styles.

  Subclasses are modules whose fields are `w_dim`, `mapping_layers` and, where they may be
  conditioned, `label_dim` and `label_scale`; they have `num_ws` rows, and call `make_mapping` in
  `setup`. Styles w are [b, num_ws, w_dim]. Buffers: `w_average` [w_dim], the running mean of the
  styles.
  """

  # Subclasses have fields of these names.
  w_dim = 512
  mapping_layers = 2
  label_scale = 1.0

  def make_mapping(self) -> None:
    """The network and the buffer."""
    self.mapping = MappingNetwork(self.w_dim, self.mapping_layers, self.label_dim)
    self.w_average = self.variable(BUFFERS, 'w_average', jnp.zeros, (self.w_dim,))

  def average_w(self):
    """The running mean of the styles, [num_ws, w_dim]."""
    return jnp.broadcast_to(self.w_average.value, (self.num_ws, self.w_dim))

  def map(self, z, label=None, truncation_psi=1.0, average_w=None, truncation_cutoff=None):
    """Latents z [b, z_dim] → styles w [b, num_ws, w_dim].

    Args:
      label: [b, 25] cameras that the mapping is conditioned on; needed where label_dim is 25.
      truncation_psi: pulls w towards `average_w` [num_ws, w_dim]; 1 does nothing.
      truncation_cutoff: how many of the styles, from the first on, are pulled; None for all.
    """
    if self.label_dim:
      if label is None:
        raise UserError(
          'The generator is conditioned on the camera. Pass its label, see Camera.label.'
        )
      label = label * self.label_scale
    w = self.mapping(z, label if self.label_dim else None)
    w = jnp.broadcast_to(w[:, None], (w.shape[0], self.num_ws, self.w_dim))
    pulled = truncated(w, truncation_psi, average_w)
    if truncation_cutoff is None:
      return pulled
    return jnp.concatenate([pulled[:, :truncation_cutoff], w[:, truncation_cutoff:]], axis=1)
