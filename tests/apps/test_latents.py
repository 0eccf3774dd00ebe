"""Ways between latents and styles: exact at their keys, smooth, closed; style mixing."""

import numpy as np
import pytest

from jax3dgan.apps import latents
from jax3dgan.errors import UserError

rng = np.random.default_rng(0)


def test_slerp_turns_evenly_and_passes_lengths_on():
  a, b = np.array([2.0, 0, 0]), np.array([0, 4.0, 0])
  third = latents.slerp(a, b, 1 / 3)
  length = 2 + 2 / 3
  angle = np.pi / 6
  np.testing.assert_allclose(third, length * np.array([np.cos(angle), np.sin(angle), 0]))
  many = latents.slerp(a, b, [0.0, 1 / 3, 1.0])
  np.testing.assert_allclose(many, [a, third, b], atol=1e-12)


def test_slerp_of_normal_latents_stays_on_their_sphere():
  a, b = rng.standard_normal((2, 512))
  lengths = np.linalg.norm(latents.slerp(a, b, np.linspace(0, 1, 11)), axis=1)
  expected = np.linspace(np.linalg.norm(a), np.linalg.norm(b), 11)
  np.testing.assert_allclose(lengths, expected)
  assert np.linalg.norm(latents.lerp(a, b, 0.5)) < 0.8 * expected[5]  # a straight line does not


def test_slerp_of_the_same_and_of_opposite_directions():
  a = rng.standard_normal(16)
  np.testing.assert_allclose(latents.slerp(a, a, 0.3), a)
  np.testing.assert_allclose(latents.slerp(a, 3 * a, 0.5), 2 * a)
  np.testing.assert_allclose(latents.slerp(a, 0 * a, 0.5), a / 2)
  with pytest.raises(UserError, match='opposite'):
    latents.slerp(a, -a, 0.5)


@pytest.mark.parametrize('arc', [False, True])
def test_a_closed_way_passes_its_keys_and_is_smooth(arc):
  keys = rng.standard_normal((3, 8) if arc else (3, 4, 2, 8)).astype(np.float32)
  num = 300
  frames = latents.along(keys, num, closed=True, arc=arc).reshape(num, -1)
  flat = keys.reshape(3, -1)
  for i in range(3):
    np.testing.assert_allclose(frames[i * num // 3], flat[i], atol=1e-6)
  steps = np.diff(np.concatenate([frames, frames[:1]]), axis=0)
  speed = np.linalg.norm(steps, axis=1)
  # No jump, the closing one included, and at the keys it stands still: velocity is continuous.
  longest = max(np.linalg.norm(flat[i] - flat[(i + 1) % 3]) for i in range(3))
  assert speed.max() < 3 * longest / (num / 3)
  assert np.linalg.norm(np.diff(steps, axis=0), axis=1).max() < 0.12 * speed.max()
  assert speed[[0, num // 3, 2 * num // 3, -1]].max() < 0.1 * speed.max()


def test_an_open_way_ends_at_the_last_key():
  keys = rng.standard_normal((3, 5)).astype(np.float32)
  frames = latents.along(keys, 9, closed=False)
  np.testing.assert_allclose(frames[[0, 4, 8]], keys, atol=1e-6)
  one = latents.along(keys[:1], 4, closed=False)
  np.testing.assert_allclose(one, np.repeat(keys[:1], 4, 0))


def test_layers():
  assert latents.layers_of('coarse', 14) == [0, 1, 2, 3, 4]
  assert latents.layers_of('middle', 14) == [5, 6, 7, 8, 9]
  assert latents.layers_of('fine', 14) == [10, 11, 12, 13]
  assert latents.layers_of('3,0-1', 4) == [0, 1, 3]
  for wrong, message in (('4', 'no layer 4: the generator has 4'), ('top', 'names no layers')):
    with pytest.raises(UserError, match=message):
      latents.layers_of(wrong, 4)
  with pytest.raises(UserError, match="2 rows of styles, too few for a 'fine' third"):
    latents.layers_of('fine', 2)  # a shape and an appearance


@pytest.mark.parametrize('shape', [(4, 2, 8), (14, 16)])  # π-GAN's styles; StyleGAN's, EG3D's
def test_mixing_takes_layers_whole(shape):
  a, b = rng.standard_normal((2, 3, *shape))
  mixed = latents.mix(a, b, [0, 2])
  np.testing.assert_array_equal(mixed[:, [0, 2]], b[:, [0, 2]])
  np.testing.assert_array_equal(mixed[:, 3:], a[:, 3:])
  np.testing.assert_array_equal(mixed[:, 1], a[:, 1])
  np.testing.assert_array_equal(latents.mix(a, b, range(shape[0])), b)
  np.testing.assert_array_equal(latents.mix(a, b, []), a)
  assert latents.mix(a[:1], b, [0]).shape == b.shape  # one with many
