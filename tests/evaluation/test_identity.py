"""Disentanglement of embeddings with known variances."""

import numpy as np
import pytest
import standin

from jax3dgan.errors import UserError
from jax3dgan.evaluation import identity


def additive(latent, view, noise, shape=(400, 40), d=6, seed=0):
  """Embeddings [l, v, d] of an additive model with these standard deviations."""
  rng = np.random.default_rng(seed)
  l, v = shape
  return (
    latent * rng.standard_normal((l, 1, d))
    + view * rng.standard_normal((1, v, d))
    + noise * rng.standard_normal((l, v, d))
  )


def test_distances_are_those_of_all_pairs():
  x = additive(1, 0.5, 0.3, (5, 4), d=3)
  pairs = [((x[i, a] - x[i, b]) ** 2).sum() for i in range(5) for a in range(4) for b in range(a)]
  assert identity.within_distance(x) == pytest.approx(np.mean(pairs))
  pairs = [((x[i, a] - x[j, a]) ** 2).sum() for a in range(4) for i in range(5) for j in range(i)]
  assert identity.across_distance(x) == pytest.approx(np.mean(pairs))


def test_shares_of_an_additive_model():
  shares = identity.variance_shares(additive(1.0, 0.5, 0.7))
  total = 1 + 0.25 + 0.49
  assert shares['latent'] == pytest.approx(1 / total, abs=0.04)
  assert shares['view'] == pytest.approx(0.25 / total, abs=0.04)
  assert shares['interaction'] == pytest.approx(0.49 / total, abs=0.04)
  assert sum(shares.values()) == pytest.approx(1)


def test_ratio_of_an_additive_model_and_of_its_floor():
  # The noise is the embedding's: real objects show it too.
  generated = additive(1.0, 0.4, 0.5)
  real = additive(2.0, 0.0, 0.5, seed=1)
  values = identity.disentanglement(generated, real)
  assert values['identity/ratio'] == pytest.approx((0.16 + 0.25) / 1.25, abs=0.03)
  assert values['identity/floor'] == pytest.approx(0.25 / 4.25, abs=0.01)
  # Without noise: what the view moves over what the latent moves.
  assert values['identity/ratio_above_floor'] == pytest.approx(0.16, abs=0.03)


@pytest.mark.parametrize(('latent', 'noise', 'expected'), [(1, 0, 0), (0, 1, 1)])
def test_the_two_ends(latent, noise, expected):
  values = identity.disentanglement(additive(latent, 0, noise))
  assert values['identity/ratio'] == pytest.approx(expected, abs=0.02)
  assert 'identity/floor' not in values


def test_a_perfect_generator_lies_on_the_floor():
  values = identity.disentanglement(additive(1, 0, 0.5), additive(1, 0, 0.5, seed=1))
  assert values['identity/ratio_above_floor'] == pytest.approx(0, abs=0.01)


def test_latents_that_differ_by_noise_alone_have_no_identity_to_keep():
  values = identity.disentanglement(additive(0, 0, 0.1), additive(1, 0, 0.5))
  assert np.isnan(values['identity/ratio_above_floor'])


def test_identity_that_the_camera_cannot_move_is_kept(tiny_model):
  """A generator that answers no camera keeps identity to the last bit; so do these real objects."""
  model = standin.Generator(lambda z: z[:, 0], lambda z: z[:, 2:6], has_camera=True)
  model.prior_of, model.params = tiny_model.prior_of, tiny_model.params
  model.orbit = tiny_model.orbit

  def views(num, azimuth, seed):
    z = np.random.default_rng(seed).standard_normal((num, 4))
    angles = np.broadcast_to(azimuth, (num, np.shape(azimuth)[1]))
    flat = standin.draw(angles.ravel(), np.repeat(z, angles.shape[1], axis=0))
    return flat.reshape(*angles.shape, 2, 2, 3) * 127.5 + 127.5

  result = identity.measure(model, standin.probes(views=views), num_latents=16)
  assert result.values['identity/ratio'] == pytest.approx(0, abs=1e-9)
  assert result.values['identity/floor'] == pytest.approx(0, abs=1e-9)
  assert result.values['identity/latent_share'] == pytest.approx(1)
  assert result.sheet.dtype == np.uint8


def test_a_generator_without_a_camera_is_not_praised_for_it():
  model = standin.Generator(lambda z: z[:, 0], lambda z: z[:, 2:6])
  result = identity.measure(model, standin.probes())
  assert not result.values and 'pose_direction' in result.skipped


def test_without_an_embedding_nothing_is_measured():
  probes = standin.probes()
  probes.embedding = None
  result = identity.measure(None, probes)
  assert not result.values and result.skipped


def test_what_cannot_be_measured_is_said():
  with pytest.raises(UserError, match='num_latents'):
    identity.disentanglement(np.ones((1, 4, 3)))
  with pytest.raises(UserError, match='not a number'):
    identity.disentanglement(np.full((2, 4, 3), np.nan))
