"""The recipe of one scene's Gaussians: a step, devices, points of a file, what is refused."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_steps

from jax3dgan import discriminators, generators, recipes, splats
from jax3dgan.errors import UserError
from jax3dgan.recipes import Networks, unused
from jax3dgan.training import schedule

NUM_STEPS = 6


@functools.cache
def trained():
  """The program, and its state and metrics after some steps."""
  program = tiny_steps.gaussians_program()
  return program, *program.run(NUM_STEPS)


def test_gaussians_come_and_go():
  program, state, metrics = trained()
  fresh = jax.device_get(program.create())
  for name, x in fresh.networks['generator'].items():
    changed = np.any(x != state.networks['generator'][name])
    # Harmonics above degree 0 come later.
    assert changed == (name != 'harmonics'), name
  alive = [of['gaussians/alive'] for of in metrics]
  assert np.isnan(alive[::2]).all()
  counts = [{k[10:]: v for k, v in of.items() if k.startswith('gaussians/')} for of in metrics]
  before = fresh.buffers['generator']['alive'].sum()
  assert before == 64
  for of in counts[1::2]:
    assert of['alive'] == before + of['cloned'] + of['split'] - of['removed']
    assert of['alive'] <= 72
    before = of['alive']
  # All have some gradient, and eight slots are free.
  assert counts[1]['cloned'] + counts[1]['split'] > 0 and counts[1]['without_slot'] > 0
  assert state.buffers['generator']['alive'].sum() == before
  # Gathered since.
  gathered = state.buffers['densification']
  assert not gathered['counts'].any() and not gathered['gradients'].any()


def test_what_is_not_in_use_has_no_moments():
  program, state, _ = trained()
  dead = ~state.buffers['generator']['alive']
  adam = state.optimizers['generator'][1]
  assert adam.count == NUM_STEPS
  for name in ('means', 'opacities'):
    assert not adam.mu[name][dead].any() and not adam.nu[name][dead].any()
  # The sixth step lowered all opacities.
  opacities = 1 / (1 + np.exp(-state.networks['generator']['opacities']))
  assert opacities.max() <= 0.01 * (1 + 1e-5) and not adam.mu['opacities'].any()


def test_training_lowers_the_loss():
  """One batch again and again, without any that come or go after its first step."""
  program, _, _ = trained()
  state, losses = program.create(first_step=9), []
  for _ in range(8):
    state, metrics = program.step(state, program.batch(0))
    losses.append(float(metrics['generator/loss']))
  assert np.all(np.diff(losses) < 0), losses
  assert losses[-1] < 0.98 * losses[0], losses


@pytest.mark.thorough  # a process and a program of its own
def test_two_devices_do_what_one_does(tmp_path):
  _, state, metrics = trained()
  found = tiny_steps.run_on_devices(
    'tiny_steps.gaussians_program(2)', tmp_path / 'x.npz', NUM_STEPS, (state, metrics), 2
  )
  np.testing.assert_array_equal(
    found[0].buffers['generator']['alive'], state.buffers['generator']['alive']
  )
  assert tiny_steps.largest_difference(found[0].networks, state.networks) < 1e-3
  for ours, theirs in zip(found[1], metrics, strict=True):
    for name in ('generator/loss', 'gaussians/split', 'gaussians/without_slot'):
      np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-4, err_msg=name)


def test_the_one_stream_of_a_step():
  program, _, _ = trained()
  keys = {key for _, key in program.drawn}
  # The noise of halves, in the steps that make some.
  assert len(keys) == len(program.drawn) == NUM_STEPS // 2


def networks_of(config):
  return generators.create(config), discriminators.create(config.discriminator)


def refusal(**fields):
  config = tiny_steps.gaussians(**fields)
  with pytest.raises(UserError) as error:
    recipes.check(config, *networks_of(config), schedule.stages(config))
  assert '\n' not in str(error.value)
  return str(error.value)


@pytest.mark.parametrize(
  'fields, words',
  [
    ({'data.flip': True}, 'Set --config.data.flip=False'),
    ({'data.use_labels': False}, 'Set --config.data.use_labels=True'),
    ({'loss.ssim': 1.5}, 'config.loss.ssim to a number from 0 to 1'),
    ({'gaussians.position_rate_end': 0.0}, 'position_rate_end to a number above 0'),
    ({'model.num_points': 0}, 'points names no file'),
    ({'gaussians.points': 'x.npy'}, 'Set --config.model.num_points=0'),
    ({'gaussians.points': 'x.npy', 'model.num_points': 0}, 'x.npy cannot be read'),
    ({'render.num_coarse': 5}, 'num_coarse is 5 and would be ignored'),
  ],
)
def test_one_line_says_what_does_not_go_together(fields, words):
  assert words in refusal(**fields)


def test_what_is_switched_off_is_said():
  config = tiny_steps.gaussians(**{'gaussians.densify_until': 0, 'model.sh_degree': 0})
  note = unused.of_weights(config, recipes.create('gaussians'))
  for words in ('gaussians.densify_from (2)', 'degree_every (1500) beside config.model.sh_degree'):
    assert words in note
  assert not unused.of_weights(tiny_steps.gaussians(), recipes.create('gaussians'))


def test_points_of_a_file(tmp_path):
  rng = np.random.default_rng(0)
  points = np.concatenate([rng.normal(size=(9, 3)), rng.uniform(size=(9, 3))], axis=1)
  path = tmp_path / 'points.npy'
  np.save(path, points)
  with_file = {'gaussians.points': str(path), 'model.num_points': 0}
  assert 'Set --config.model.capacity=18' in refusal(**with_file, **{'model.capacity': 8})
  config = tiny_steps.gaussians(**with_file)
  generator, recipe = networks_of(config)[0], recipes.create('gaussians')
  before = jax.eval_shape(lambda: generators.init(generator, jax.random.key(0)))
  before = jax.tree.map(lambda x: np.ones(x.shape, x.dtype), before)
  networks = Networks({'generator': before['params']}, {'generator': before['buffers']})
  found = recipe.warm_up(config, generator, networks, (), None)
  params = found.params['generator']
  assert found.buffers['generator']['alive'].tolist() == [True] * 9 + [False] * 63
  np.testing.assert_allclose(params['means'][:9], points[:, :3], rtol=1e-6)
  assert (params['means'][9:] == 1).all() and (params['opacities'] == 1).all()
  variables = {'params': params, 'buffers': found.buffers['generator']}
  scene = generator.apply(variables, jnp.zeros((1, 0)), method='gaussians')
  nearest = np.sort(np.linalg.norm(points[0, :3] - points[:, :3], axis=1))[1:4]
  np.testing.assert_allclose(scene.scales[0, 0], nearest.mean(), rtol=1e-4)
  np.testing.assert_allclose(
    splats.of_gaussians(jax.device_get(scene)).colours, points[:, 3:], atol=1e-6
  )
  np.save(path, points[:, :2])
  assert 'Give points [m, 3]' in refusal(**with_file)
