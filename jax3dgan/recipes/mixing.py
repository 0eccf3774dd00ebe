"""Style mixing (Karras et al. 2019, arXiv 1812.04948, Sec. 3.1): an image of two latents, whose
styles change over at a random layer, so that neighbouring layers do not rely on each other."""

import jax
import jax.numpy as jnp

from jax3dgan.recipes import base
from jax3dgan.training.streams import named_keys


def draw(keys, z_dim: int, num_ws: int, probability: float) -> dict:
  """For `Inputs.extras`, of per-example keys [b]: 'mixed z' [b, z_dim] and 'crossover' [b], the
  first style of it, at random from the second one on; num_ws where nothing is mixed."""
  z = base.draw_latents(named_keys(keys, 'mixed z'), z_dim)
  place = jax.vmap(lambda key: jax.random.randint(key, (), 1, num_ws))(
    named_keys(keys, 'crossover')
  )
  mixes = jax.vmap(jax.random.uniform)(named_keys(keys, 'mixing')) < probability
  return {'mixed z': z, 'crossover': jnp.where(mixes, place, num_ws)}


def mix(w, other, crossover):
  """Styles [b, num_ws, w_dim]: of w before the crossover [b], of the other from there on."""
  index = jnp.arange(w.shape[1])
  return jnp.where((index < crossover[:, None])[..., None], w, other)
