"""Small leaves as one vector: joined, split again, in trees of moments, and the first of a kind."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jax3dgan.training import small_leaves

SHAPES = {'a': (3,), 'b': {'bias': (), 'kernel': (80, 60)}, 'c': (2, 0), 'd': (5, 2)}


def tree_of(seed=0):
  rng = np.random.default_rng(seed)
  shapes, structure = jax.tree.flatten(SHAPES, is_leaf=lambda x: isinstance(x, tuple))
  return structure.unflatten([rng.normal(size=shape).astype(np.float32) for shape in shapes])


def same(a, b):
  jax.tree.map(np.testing.assert_array_equal, a, b)
  assert jax.tree.structure(a) == jax.tree.structure(b)


def test_what_is_joined_is_split_again():
  tree = tree_of()
  layout = small_leaves.Layout(tree)
  joined = layout.join(tree)
  assert joined.large.keys() == {2} and joined.large[2] is tree['b']['kernel']
  assert {dtype: x.shape for dtype, x in joined.small.items()} == {'float32': (3 + 1 + 10,)}
  same(layout.split(joined), tree)
  same(layout.split(jax.tree.map(lambda x: 2 * x, joined)), jax.tree.map(lambda x: 2 * x, tree))


def test_of_two_types():
  tree = {'a': np.ones(2, np.float32), 'b': np.arange(3), 'c': np.zeros((2, 1), np.float32)}
  layout = small_leaves.Layout(tree)
  joined = layout.join(tree)
  assert not joined.large and [len(x) for x in joined.small.values()] == [4, 3]
  same(layout.split(joined), tree)


@pytest.mark.parametrize('made', [optax.scale_by_adam(), optax.scale_by_rms()])
def test_an_optimizers_step_is_that_of_each_leaf(made):
  transform = optax.chain(optax.clip_by_global_norm(1.0), made)
  tree, gradients = tree_of(), tree_of(1)
  layout = small_leaves.Layout(tree)
  state = transform.init(tree)
  same(layout.split_within(layout.join_within(state)), state)
  expected = transform.update(gradients, state)
  updates, moments = transform.update(layout.join(gradients), layout.join_within(state))
  found = layout.split(updates), layout.split_within(moments)
  assert jax.tree.structure(found) == jax.tree.structure(expected)
  # The norm is a sum in another order.
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), found, expected)


def test_the_first_leaf_of_a_kind():
  tree = tree_of()
  layout = small_leaves.Layout(tree)
  find = jax.jit(lambda tree: layout.first(jnp.isnan, layout.join(tree), -1))
  assert find(tree) == -1
  leaves, structure = jax.tree.flatten(tree)
  for last in reversed(range(len(leaves))):
    if leaves[last].size:
      leaves[last] = leaves[last].copy()
      leaves[last].reshape(-1)[-1] = np.nan
      assert find(structure.unflatten(leaves)) == last
