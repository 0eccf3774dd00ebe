"""Style mixing."""

import jax
import numpy as np

from jax3dgan.recipes import mixing


def test_styles_change_over_at_the_crossover():
  w, other = np.zeros((3, 4, 2)), np.ones((3, 4, 2))
  mixed = mixing.mix(w, other, np.array([1, 3, 4]))
  np.testing.assert_array_equal(mixed[..., 0], [[0, 1, 1, 1], [0, 0, 0, 1], [0, 0, 0, 0]])
  np.testing.assert_array_equal(mixed[..., 0], mixed[..., 1])


def test_how_often_and_where():
  keys = jax.random.split(jax.random.key(0), 4000)
  drawn = mixing.draw(keys, 5, 4, 0.9)
  assert drawn['mixed z'].shape == (4000, 5) and abs(np.std(drawn['mixed z']) - 1) < 0.02
  share = np.bincount(drawn['crossover'], minlength=5) / 4000
  np.testing.assert_allclose(share, [0, 0.3, 0.3, 0.3, 0.1], atol=0.025)
  assert (mixing.draw(keys[:8], 5, 4, 0.0)['crossover'] == 4).all()
