"""Seeds, truncation, mixing, directions and photos make the styles that they say."""

import numpy as np
import pytest

from jax3dgan.errors import UserError
from jax3dgan.viewer.identity import Identity, Styles


class Directions:
  """Stands for `editing.Directions`: moves every style alike."""

  names = ('lighter', 'longer')
  scales = (1.0, 1.0)

  def apply(self, w, strengths, layers=None):
    return np.asarray(w) + sum(strengths.values())


def test_a_seed_is_the_models(tiny_model):
  styles = Styles(tiny_model)
  expected = tiny_model.map(tiny_model.latents([7]), 0.5)
  np.testing.assert_array_equal(styles.w(Identity(7, 0.5)), expected)
  average = styles.w(Identity(7, 0.0))
  np.testing.assert_allclose(average[0], tiny_model.average_w, atol=1e-6)


def test_mixing_takes_the_layers_of_the_other(tiny_model):
  styles = Styles(tiny_model)
  num = styles.num_layers()
  assert num == 3
  own, other = styles.w(Identity(0)), styles.w(Identity(1))
  mixed = styles.w(Identity(0, mix_seed=1, mix_layers=(1, 3)))
  np.testing.assert_array_equal(mixed[:, :1], own[:, :1])
  np.testing.assert_array_equal(mixed[:, 1:], other[:, 1:])
  np.testing.assert_array_equal(styles.w(Identity(0, mix_seed=1, mix_layers=(0, num))), other)
  np.testing.assert_array_equal(styles.w(Identity(0, mix_seed=1, mix_layers=(2, 2))), own)


def test_directions(tiny_model):
  styles = Styles(tiny_model)
  edited = Identity(0, edits=(('lighter', 0.5), ('longer', 0.25)))
  own = styles.w(Identity(0))
  np.testing.assert_array_equal(styles.w(edited), own)  # not found yet
  styles.directions = Directions()
  np.testing.assert_allclose(styles.w(edited), np.asarray(own) + 0.75, rtol=1e-6)
  np.testing.assert_array_equal(styles.w(Identity(0, edits=(('lighter', 0.0),))), own)


def test_a_photo_stands_for_the_seed(tiny_model):
  styles = Styles(tiny_model)
  found = np.asarray(styles.w(Identity(3))) + 0.1
  styles.photos[5] = found
  np.testing.assert_array_equal(styles.w(Identity(0, photo=5)), found)
  with pytest.raises(UserError, match='Upload it again'):
    styles.w(Identity(0, photo=6))


def test_a_scene_is_made_once(tiny_model, monkeypatch):
  calls = []
  prepare = type(tiny_model).prepare
  monkeypatch.setattr(
    type(tiny_model), 'prepare', lambda self, w: calls.append(1) or prepare(self, w)
  )
  styles = Styles(tiny_model)
  first = styles.scene(Identity(0))
  assert styles.scene(Identity(0)) is first and len(calls) == 1
  styles.scene(Identity(1))
  assert len(calls) == 2
  for seed in range(2, 30):
    styles.scene(Identity(seed))
  assert len(styles._scenes) == 8  # of the last few alone: triplanes are large
  # The style of a photo changes while it is searched for.
  styles.photos[0] = np.asarray(first)
  before = styles.scene(Identity(0, photo=0))
  styles.photos[0] = np.asarray(first) + 1
  assert not np.array_equal(before, styles.scene(Identity(0, photo=0)))
