"""Small leaves of a tree as one vector, for what is done to each number alone.

A network has about a hundred leaves, most of them small, and an optimizer has a dozen operations
for each. Taken together they are a few operations, instead of a fifth of what is compiled for the
step of a small network, and on an accelerator one kernel instead of one for each.
"""

from collections.abc import Callable

import flax
import jax
import jax.numpy as jnp
import numpy as np

# Numbers in a leaf: larger ones stay as they are, as copying them would cost more than it spares.
LARGEST = 4096


@flax.struct.dataclass
class Joined:
  """A tree's leaves.

  Attributes:
    large: The leaves with more than `LARGEST` numbers, by their places in the tree.
    small: The others' numbers one after another, [n], by their dtype.
  """

  large: dict[int, jax.Array]
  small: dict[str, jax.Array]


class Layout:
  """How trees of one structure are joined.

  Args:
    tree: Arrays, or shapes with dtypes.
  """

  def __init__(self, tree):
    leaves, self._structure = jax.tree.flatten(tree)
    self._shapes = [leaf.shape for leaf in leaves]
    self._small: dict[str, list[int]] = {}
    for i, leaf in enumerate(leaves):
      if leaf.size <= LARGEST:
        self._small.setdefault(str(leaf.dtype), []).append(i)

  def join(self, tree) -> Joined:
    """A tree of this structure; leaf by leaf it may have another dtype."""
    large = dict(enumerate(self._structure.flatten_up_to(tree)))
    small = {
      dtype: jnp.concatenate([large.pop(i).reshape(-1) for i in places])
      for dtype, places in self._small.items()
    }
    return Joined(large, small)

  def split(self, joined: Joined):
    """The inverse of `join`."""
    leaves = dict(joined.large)
    for dtype, places in self._small.items():
      parts = jnp.split(joined.small[dtype], self._ends(places)[:-1])
      leaves |= {i: part.reshape(self._shapes[i]) for i, part in zip(places, parts, strict=True)}
    return self._structure.unflatten([leaves[i] for i in range(len(leaves))])

  def join_within(self, tree):
    """A tree with each part of this structure joined, such as the moments of an optimizer."""
    return jax.tree.map(lambda x: self.join(x) if self._fits(x) else x, tree, is_leaf=self._fits)

  def split_within(self, tree):
    """The inverse of `join_within`."""
    is_joined = lambda x: isinstance(x, Joined)  # noqa: E731
    return jax.tree.map(lambda x: self.split(x) if is_joined(x) else x, tree, is_leaf=is_joined)

  def first(self, holds: Callable, joined: Joined, none: int) -> jax.Array:
    """The place in the tree of the first leaf with a number for which `holds`, or `none`; int32."""
    count = len(self._shapes)
    firsts = [jnp.where(jnp.any(holds(x)), i, count) for i, x in joined.large.items()]
    for dtype, places in self._small.items():
      found = holds(joined.small[dtype])
      leaf = jnp.sum(jnp.argmax(found) >= np.array(self._ends(places)[:-1], np.int32))
      firsts.append(jnp.where(jnp.any(found), jnp.asarray(places, jnp.int32)[leaf], count))
    first = jnp.min(jnp.stack(firsts))
    return jnp.where(first < count, first, none).astype(jnp.int32)

  def _ends(self, places):
    return np.cumsum([int(np.prod(self._shapes[i], dtype=np.int64)) for i in places])

  def _fits(self, tree) -> bool:
    leaves, structure = jax.tree.flatten(tree)
    return structure == self._structure and [x.shape for x in leaves] == self._shapes
