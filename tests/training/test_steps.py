"""The training step: micro-batches, top-k and devices change its cost, not its result."""

import functools
import math
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny_steps

from jax3dgan import config as config_lib
from jax3dgan import discriminators, generators, recipes
from jax3dgan.devices import parallel
from jax3dgan.losses import real_images, regularizers
from jax3dgan.recipes import Networks, Now, Photos
from jax3dgan.tools import hlo
from jax3dgan.training import schedule
from jax3dgan.training import state as state_lib
from jax3dgan.training import step as step_lib

# Far enough for top-k to drop images: its share of the batch begins at 1.
FIRST_STEP = 1000
NUM_STEPS = 8


def tiny_2d():
  """A 2D generator under the same step, with the relativistic loss of pairs, R1 and R2."""
  fields = {'loss.pose': 0.0, 'loss.latent': 0.0, 'loss.r1_every': 1}
  config = tiny_steps.pigan(**fields)
  config.loss.update(adversarial='relativistic', r1=1.0, r2=0.5)
  config.loss.density_noise = 0.0
  config_lib.set_model(config, 'stylegan2', z_dim=8, w_dim=8, mapping_layers=2, channels=(8, 8))
  return config


@pytest.fixture(scope='module')
def program():
  return tiny_steps.program(tiny_steps.pigan(), notes_draws=True)


@pytest.fixture(scope='module')
def plain(program):
  """State and metrics of one step; top-k drops 6 of 16 images."""
  state, (metrics,) = program.run(1, FIRST_STEP)
  return state, metrics, list(program.drawn)


def test_step_changes_every_network_and_counts(program, plain):
  state, metrics, _ = plain
  assert state.step == FIRST_STEP + 1
  fresh = program.create()
  for name in ('generator', 'discriminator'):
    moved = jax.tree.map(
      lambda new, old: bool(np.any(np.asarray(new) != np.asarray(old))),
      state.networks[name],
      fresh.networks[name],
    )
    # Entries of other resolutions than the stage's are not used yet; everything else learns.
    idle = {'from_rgb_4', 'from_rgb_2'} if name == 'discriminator' else set()
    assert all(all(jax.tree.leaves(v)) for k, v in moved.items() if k not in idle), moved
  assert all(np.isfinite(v) for v in metrics.values()), metrics


def test_no_two_streams_of_a_step_share_a_key(plain):
  # In each of two phases z, yaw and pitch, and of the renderer the jitter, the importance sampling
  # and two kinds of noise.
  tiny_steps.assert_no_shared_keys(plain[2], 2 * 7)


def test_lazy_r1_counts_for_the_steps_it_skips(program, plain):
  _, (first, second) = program.run(2, FIRST_STEP)
  assert first['discriminator/r1'] == plain[1]['discriminator/r1']
  assert second['discriminator/r1'] == 0
  discriminator = program.networks[1]

  @jax.jit
  def r1(params, images):
    def logits_of(params, x):
      return discriminator.apply({'params': params}, x, 1.0).logits

    return real_images.reference_terms(logits_of, params, step_lib.to_float(images)).r1

  expected = r1(program.create().networks['discriminator'], program.batch()['image'])
  np.testing.assert_allclose(first['discriminator/r1'], 2 * expected, rtol=1e-5)


def test_same_seed_same_step_and_another_seed_another(program, plain):
  again, _ = program.run(1, FIRST_STEP)
  assert tiny_steps.largest_difference(again, plain[0]) == 0
  config = tiny_steps.pigan(seed=1)
  create = jax.jit(lambda: state_lib.create(config, *program.networks))
  state = jax.device_get(create()).replace(step=np.int32(FIRST_STEP))
  other, _ = program.run(state=parallel.replicate(state, program.mesh))
  assert tiny_steps.largest_difference(other.networks['generator'], plain[0].networks['generator'])


# Top-k and micro-batches: of the generator's phase alone, whose inputs are the same at any step.


@functools.cache
def generators_phase(num_micro_batches, **compat):
  """f(step) → (gradients' norm, metrics) of π-GAN's generator; the share of top-k falls from 1."""
  config = tiny_steps.pigan(**{'loss.density_noise': 0.0, 'loss.top_k_floor': 0.125})
  config.micro_batches = num_micro_batches
  config.compat.update(compat)
  if compat:
    config.loss.top_k_floor = 0.6
  networks = generators.create(config), discriminators.create(config.discriminator)
  recipe, stage = recipes.create('pigan'), schedule.stages(config)[0]
  phase = {phase.name: phase for phase in recipe.phases(config, *networks, stage)}['generator']
  state = jax.jit(lambda: state_lib.create(config, *networks))()
  mesh = parallel.make_mesh(jax.devices()[:1])

  def gradients(step, image):
    now = Now(step, 0)
    photos = Photos(image)
    inputs = recipe.draw(keys, 'generator', config, networks[0], photos, now, state.buffers)
    own = Networks(state.networks, state.buffers)
    gradients, (_, terms) = step_lib.gradients_of(phase, own, inputs, now, num_micro_batches)
    return optax.tree.norm(gradients), terms.metrics

  keys = jax.random.split(jax.random.key(0), tiny_steps.BATCH)
  run = jax.jit(parallel.data_parallel(gradients, mesh))
  image = step_lib.to_float(tiny_steps.batch_of(config)['image'])
  return lambda step: jax.device_get(run(jnp.int32(step), image))


# Top-k's share: all images; 10 of 16; the 2 with the highest logits.
ALL, SOME, BEST = 0, 50, 1000


def test_top_k_drops_the_least_convincing():
  losses = [generators_phase(1)(step)[1]['generator/adversarial'] for step in (BEST, SOME, ALL)]
  assert losses[0] < losses[1] < losses[2]


def test_micro_batches_give_the_gradient_of_the_whole_batch():
  (norm, metrics), (expected_norm, expected) = (generators_phase(n)(SOME) for n in (4, 1))
  np.testing.assert_allclose(norm, expected_norm, rtol=2e-4)
  for name, value in expected.items():
    np.testing.assert_allclose(metrics[name], value, rtol=2e-4, err_msg=name)


def test_top_k_of_each_split_and_the_sum_over_splits_as_in_the_release():
  """Of a split's two images top-k at .6 keeps both, so all train; not so ours, see above."""
  compat = {'top_k_per_split': True, 'sum_micro_batches': True}
  (norm, metrics), (expected_norm, expected) = (
    generators_phase(8, **compat)(BEST), generators_phase(1)(ALL)
  )  # fmt: skip
  np.testing.assert_allclose(norm, 8 * expected_norm, rtol=2e-4)
  for name, value in expected.items():
    np.testing.assert_allclose(metrics[name], value, rtol=2e-4, err_msg=name)


def test_ema_follows_its_definition():
  average, params = {'w': jnp.zeros(3)}, {'w': jnp.ones(3)}
  first = state_lib.ema_update(average, params, 0.999, 1)['w']
  np.testing.assert_allclose(first, 1 - 2 / 11, rtol=1e-6)
  late = state_lib.ema_update(average, params, 0.999, 10**6)['w']
  np.testing.assert_allclose(late, 1e-3, rtol=1e-4)


def test_pose_target_is_continuous_all_the_way_round():
  yaw = jnp.array([-np.pi + 1e-4, np.pi - 1e-4])
  pitch = jnp.full(2, 1.2)
  angles = regularizers.pose_target(yaw, pitch, 'angles')
  np.testing.assert_allclose(angles[:, 0], 1.2, rtol=1e-6)  # pitch first, as the release has it
  directions = regularizers.pose_target(yaw, pitch, 'direction')
  np.testing.assert_allclose(np.linalg.norm(directions, axis=-1), 1, rtol=1e-5)
  np.testing.assert_allclose(directions[0], directions[1], atol=1e-3)


def test_images_are_scaled_to_plus_minus_one():
  np.testing.assert_allclose(step_lib.to_float(np.array([0, 255], np.uint8)), [-1, 1])
  there = np.array([-1, 0.5], np.float32)
  assert step_lib.to_float(there) is there


_EIGHT = """
import sys
import jax
jax.config.update('jax_num_cpu_devices', 8)
sys.path[:0] = [{tests!r}, {own!r}]
import test_steps as t
steps = t.tiny_steps
program = steps.program(steps.pigan(), 8)
steps.save({folder!r} + '/pigan.npz', program.run(t.NUM_STEPS, t.FIRST_STEP))
with open({folder!r} + '/pigan.txt', 'w') as file:
  file.write(program.step.as_text())
program = steps.program(t.tiny_2d(), 3)
steps.save({folder!r} + '/2d.npz', program.run(t.NUM_STEPS, t.FIRST_STEP))
"""


@pytest.fixture(scope='module')
def eight(tmp_path_factory):
  """A folder with what a process of eight devices made: their number is fixed before JAX starts."""
  folder = tmp_path_factory.mktemp('eight')
  own = pathlib.Path(__file__).parent
  code = _EIGHT.format(tests=str(own.parent), own=str(own), folder=str(folder))
  done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=600)
  assert done.returncode == 0, done.stderr[-3000:]
  return folder


@pytest.mark.parametrize('name', ['pigan', '2d'])
def test_several_devices_train_as_one(program, eight, name):
  """π-GAN on eight devices; 2D on three, of which each takes three micro-batches of two images, the
  last of them beyond the batch."""
  program = program if name == 'pigan' else tiny_steps.program(tiny_2d())
  one = program.run(NUM_STEPS, FIRST_STEP)
  many = tiny_steps.load(eight / f'{name}.npz', one)
  for expected, metrics in zip(one[1], many[1], strict=True):
    for key in expected:
      np.testing.assert_allclose(metrics[key], expected[key], rtol=1e-4, err_msg=key)
  of = tiny_steps.largest_difference
  assert of(one[0].networks['generator'], many[0].networks['generator']) < 2e-6
  assert of(one[0].networks['discriminator'], many[0].networks['discriminator']) < 1e-6


def test_a_step_on_eight_devices_is_data_parallel(program, eight):
  """What the compiled program does, by its FLOPs and collectives."""
  alone, many = hlo.read(program.step.as_text()), hlo.read((eight / 'pigan.txt').read_text())
  assert not alone.collectives
  # An eighth, but for what does not depend on the batch (the coordinates' part of CoordConv).
  assert 1 <= 8 * many.flops / alone.flops < 1.05, (many.flops, alone.flops)
  # The gradients of both networks and the metrics of a step, averaged once, in float32.
  state, (metrics,) = program.run()
  sizes = [math.prod(x.shape) for x in jax.tree.leaves(state.networks)]
  averaged = [k for k in metrics if not k.endswith('gradient_norm') and 'fault/' not in k]
  assert len(averaged) == 9, averaged
  sent, needed = many.bytes('all-reduce'), 4 * (sum(sizes) + len(averaged))
  assert sent == needed, (sent, needed)
  # Top-k's logits of the whole batch, and nothing else.
  assert many.bytes('all-gather') == 4 * tiny_steps.BATCH
  kinds = [c.kind for c in many.collectives]
  assert set(kinds) == {'all-reduce', 'all-gather'} and kinds.count('all-gather') == 1
  assert all(c.group == 8 and c.count == 1 for c in many.collectives)
