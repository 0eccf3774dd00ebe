"""What becomes of Gaussians in a fixed number of slots, one by one."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jax3dgan.generators.gaussians import logit
from jax3dgan.recipes import densification
from jax3dgan.recipes.densification import Thresholds

N = 12
SMALL, LARGE, HUGE = 0.01, 0.2, 2.0
THRESHOLDS = Thresholds(gradient=1.0, large=0.1, least_opacity=0.05, too_large=1.0)
# Of the slots 0 to 7; those behind are not in use, whatever is in them.
SCALES = [SMALL, SMALL, LARGE, LARGE, SMALL, HUGE, HUGE, SMALL, SMALL, SMALL, SMALL, HUGE]
OPACITIES = [0.5, 0.5, 0.5, 0.5, 0.01, 0.5, 0.5, 0.5, 0.5, 0.5, 0.01, 0.5]
GRADIENTS = [3.0, 0.5, 2.0, 0.5, 9.0, 0.5, 5.0, 1.0, 9.0, 9.0, 9.0, 9.0]
KEY = 3


@functools.cache
def parameters():
  rng = np.random.default_rng(0)
  shapes = dict(means=(3,), quaternions=(4,), colours=(1, 3), harmonics=(3, 3))
  params = {name: rng.normal(size=(N, *shape)) for name, shape in shapes.items()}
  scales = np.log(np.array(SCALES)[:, None] * [0.3, 1.0, 0.8])
  params |= {'log_scales': scales, 'opacities': np.array([logit(o) for o in OPACITIES])}
  return {name: np.float32(x) for name, x in params.items()}


@functools.cache
def _compiled():
  return jax.jit(densification.densify, static_argnames='thresholds')


def densify(alive=8, gradients=GRADIENTS):
  alive = np.arange(N) < alive
  out = _compiled()(
    parameters(), alive, np.float32(gradients), jax.random.key(KEY), thresholds=THRESHOLDS
  )
  return jax.device_get(out)


def test_which_are_cloned_split_and_removed():
  out = densify()
  # 4 is transparent, 5 too large; 6 is too large and will be split, 7 is at the threshold.
  expected = dict(cloned=2, split=2, removed=2, without_slot=0, alive=10)
  assert out.counts == expected
  # The slots that are free, in their order, for the largest gradients first: 6, 0, 2, 7.
  expected = [True] * 10 + [False] * 2
  assert out.alive.tolist() == expected
  fresh = np.isin(np.arange(N), [4, 5, 8, 9, 2, 6, 10, 11])
  assert out.fresh.tolist() == fresh.tolist()
  for name, x in parameters().items():
    for slot in (0, 1, 3, 7):
      np.testing.assert_array_equal(out.params[name][slot], x[slot], err_msg=name)
    # A clone is the same.
    np.testing.assert_array_equal(out.params[name][5], x[0], err_msg=name)
    np.testing.assert_array_equal(out.params[name][9], x[7], err_msg=name)


def test_the_halves_of_one_are_drawn_from_it():
  out, before = densify(), parameters()
  drawn = np.asarray(jax.random.normal(jax.random.key(KEY), (N, 3)))
  for source, slots in ((6, (6, 4)), (2, (2, 8))):
    w, *v = before['quaternions'][source] / np.linalg.norm(before['quaternions'][source])
    for slot in slots:
      for name in ('quaternions', 'opacities', 'colours', 'harmonics'):
        np.testing.assert_array_equal(out.params[name][slot], before[name][source])
      scales = np.exp(before['log_scales'][source])
      np.testing.assert_allclose(np.exp(out.params['log_scales'][slot]), scales / 1.6, rtol=1e-5)
      step = scales * drawn[slot]
      turned = step + 2 * np.cross(v, np.cross(v, step) + w * step)  # by the quaternion
      moved = out.params['means'][slot] - before['means'][source]
      np.testing.assert_allclose(moved, turned, rtol=1e-4, atol=1e-5)


def test_what_has_no_slot_is_counted_and_stays_as_it_is():
  gradients = np.float32([3, 2, 4, 0, 0, 0, 6, 5, 8, 7, 0, 0])
  out, before = densify(N, gradients), parameters()
  # 4 and 10 are transparent, 5 and 11 too large: four slots for seven.
  expected = dict(cloned=3, split=1, removed=4, without_slot=3, alive=12)
  assert out.counts == expected
  for slot, source in ((4, 8), (5, 9), (11, 7)):
    np.testing.assert_array_equal(out.params['means'][slot], before['means'][source])
  np.testing.assert_array_equal(out.params['opacities'][10], before['opacities'][6])
  for slot in (0, 1, 2):  # 2 is large, and not smaller now
    np.testing.assert_array_equal(out.params['log_scales'][slot], before['log_scales'][slot])
    assert not out.fresh[slot]


def test_without_any_that_are_wanted_nothing_moves():
  out = densify(4, np.zeros(N))
  assert out.counts == dict(cloned=0, split=0, removed=0, without_slot=0, alive=4)
  for name, x in parameters().items():
    np.testing.assert_array_equal(out.params[name], x)
  assert out.fresh.tolist() == [False] * 4 + [True] * (N - 4)


def test_moments_and_averages_by_name():
  params = {'means': jnp.ones((2, 3)), 'opacities': jnp.ones(2)}
  moments = optax.chain(optax.identity(), optax.scale_by_adam()).init(params)
  named = []

  def note(name, x, of_moments):
    named.append((name, x.shape, of_moments))
    return len(name) * x + of_moments

  moments, averages = densification.of_rest((moments, {'0.9': params}), note)
  of = [('means', (2, 3)), ('opacities', (2,))]
  assert sorted(named) == sorted([(*x, m) for x in of for m in (True, True, False)])
  assert moments[1].count == 0 and (moments[1].nu['means'] == 1).all()
  assert (averages['0.9']['means'] == 5).all() and (averages['0.9']['opacities'] == 9).all()


def test_opacities_are_lowered():
  params = {'means': jnp.ones(2), 'opacities': jnp.array([-3.0, 1.0])}
  moments = optax.scale_by_adam().init(params)
  moments = moments._replace(mu=params, nu=params)
  for due, low, moment in ((False, 1, 1), (True, -2, 0)):
    new, rest = densification.lowered(params, (moments, {'0': params}), due, -2.0)
    for own in (new, rest[1]['0']):
      assert own['opacities'].tolist() == [-3, low] and own['means'].tolist() == [1, 1]
    for own in (rest[0].mu, rest[0].nu):
      assert own['opacities'].tolist() == [-3 * moment, moment] and own['means'].tolist() == [1, 1]
