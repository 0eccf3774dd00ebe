"""An end to what XLA merges into one loop.

XLA's CPU back end computes a cheap value again in each loop that reads it, and what it was computed
from in turn, so that work may grow exponentially with the depth of a formula; it takes no notice of
`optimization_barrier`. The gradient of the projection of Gaussians takes a tenth of the time with
three such ends.
"""

import jax
import jax.numpy as jnp

from jax3dgan.nn import backend


def reference_apart(tree):
  """`apart`, which is the arrays themselves."""
  return tree


@jax.custom_vjp
def looped_apart(tree):
  """The arrays, as what a loop returns that XLA does not know to be empty."""
  first = jax.tree.leaves(tree)[0]
  count = (first.reshape(-1)[0] == 0).astype(jnp.int32) - 1  # 0 or less

  def negative(state):  # what is not changed would be taken out of the loop
    return state[0] + 1, jax.tree.map(jnp.negative, state[1])

  return jax.lax.while_loop(lambda state: state[0] < count, negative, (jnp.int32(0), tree))[1]


looped_apart.defvjp(lambda tree: (looped_apart(tree), None), lambda _, g: (looped_apart(g),))


def apart(tree):
  """The arrays [...] of a tree; on a CPU they are computed once, whoever reads them, and so are the
  cotangents of floats."""
  return looped_apart(tree) if backend.cpu_forms() else reference_apart(tree)
