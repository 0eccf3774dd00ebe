"""The training step: micro-batches, top-k and devices change its cost, not its result."""

import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax3dgan import config as config_lib
from jax3dgan import discriminators, generators
from jax3dgan.devices import parallel
from jax3dgan.losses import regularizers
from jax3dgan.training import schedule
from jax3dgan.training import state as state_lib
from jax3dgan.training import step as step_lib

BATCH = 8
# Far enough for top-k to drop images: its share of the batch begins at 1.
FIRST_STEP = 1000
TOP_K = {'loss.top_k_interval': 1, 'loss.top_k_floor': 0.6, 'loss.density_noise': 0.5}


def tiny_config(**fields):
  config = config_lib.tiny(config_lib.base_config())
  with config.unlocked():
    config.batch_size = BATCH
    config.resolution = 8
    config.discriminator.update(channels=(4, 8, 8), latent_dim=8)
    config.loss.update(r1=2.0, latent=0.5)
    config.update_from_flattened_dict(fields)
  return config


def tiny_2d():
  """A 2D generator under the same step."""
  config = tiny_config(**{'loss.pose': 0.0, 'loss.latent': 0.0, 'loss.top_k_interval': 0})
  config_lib.set_model(config, 'stylegan2', z_dim=8, w_dim=8, mapping_layers=2, channels=(8, 8))
  return config


def build(config, num_devices=1):
  """A fresh state, and the compiled step of the config's first stage."""
  mesh = parallel.make_mesh(jax.devices()[:num_devices])
  stage = schedule.stages(config, num_devices)[0]
  generator = generators.create(config)
  discriminator = discriminators.create(config.discriminator)
  state = state_lib.create(config, generator, discriminator)
  state = parallel.replicate(state.replace(step=np.int32(FIRST_STEP)), mesh)
  step = step_lib.make_train_step(config, generator, discriminator, stage)
  return state, jax.jit(parallel.data_parallel(step, mesh)), mesh


def images(seed=0, size=8):
  return np.random.default_rng(seed).integers(0, 256, (BATCH, size, size, 3), np.uint8)


def run(config, num_steps=1, num_devices=1):
  """The state and the metrics after some steps."""
  state, step, mesh = build(config, num_devices)
  for i in range(num_steps):
    state, metrics = step(state, parallel.shard({'image': images(i)}, mesh))
  return jax.device_get((state, metrics))


def largest_difference(a, b):
  return max(
    jax.tree.leaves(
      jax.tree.map(lambda x, y: float(np.abs(np.subtract(x, y, dtype=np.float64)).max()), a, b)
    )
  )


@pytest.fixture(scope='module')
def plain():
  """Metrics and state of one step; top-k drops 3 of 8 images."""
  return run(tiny_config(**TOP_K))


@pytest.fixture(scope='module')
def full():
  """The same without top-k."""
  return run(tiny_config(**{**TOP_K, 'loss.top_k_interval': 0}))


def test_step_changes_every_network_and_counts(plain):
  state, metrics = plain
  assert state.step == FIRST_STEP + 1
  fresh, _, _ = build(tiny_config())
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


def test_micro_batches_give_the_gradient_of_the_whole_batch(plain):
  state, metrics = run(tiny_config(**TOP_K, micro_batches=4))
  # Adam divides by the gradient's own size, so compare before it: the norms, and the losses.
  for name, value in plain[1].items():
    np.testing.assert_allclose(metrics[name], value, rtol=2e-4, err_msg=name)


def test_top_k_drops_the_least_convincing(plain, full):
  # A fraction of 1/8 leaves the one image with the highest logit.
  best = run(tiny_config(**{**TOP_K, 'loss.top_k_floor': 0.125}))
  losses = [metrics['generator/adversarial'] for _, metrics in (best, plain, full)]
  assert losses[0] < losses[1] < losses[2]


def test_top_k_of_each_split_and_the_sum_over_splits_as_in_the_release(full):
  """Of a split's two images top-k at .6 keeps both, so all eight train; not so ours, see above."""
  compat = {'compat.top_k_per_split': True, 'compat.sum_micro_batches': True}
  _, metrics = run(tiny_config(**TOP_K, **compat, micro_batches=4))
  for name, value in full[1].items():
    expected = 4 * value if name == 'generator/gradient_norm' else value
    np.testing.assert_allclose(metrics[name], expected, rtol=2e-4, err_msg=name)


def test_lazy_r1_counts_for_the_steps_it_skips():
  always = run(tiny_config(), num_steps=2)[1]
  lazy_config = tiny_config(**{'loss.r1_every': 2})
  state, step, mesh = build(lazy_config)
  values = []
  for i in range(2):
    state, metrics = step(state, parallel.shard({'image': images(i)}, mesh))
    values.append(float(metrics['discriminator/r1']))
  assert values[1] == 0 and always['discriminator/r1'] > 0
  first = run(tiny_config(), num_steps=1)[1]['discriminator/r1']
  np.testing.assert_allclose(values[0], 2 * first, rtol=1e-5)


def test_same_seed_same_step_and_another_seed_another(plain):
  again, _ = run(tiny_config(**TOP_K))
  assert largest_difference(again, plain[0]) == 0
  other, _ = run(tiny_config(seed=1, **TOP_K))
  assert largest_difference(other.networks['generator'], plain[0].networks['generator']) > 0


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
sys.path.insert(0, {tests!r})
import numpy as np
import test_steps as t
for config in (t.tiny_config(**t.TOP_K), t.tiny_2d()):
  one, one_metrics = t.run(config, 20, 1)
  many, many_metrics = t.run(config, 20, 8)
  for name in one_metrics:
    np.testing.assert_allclose(one_metrics[name], many_metrics[name], rtol=1e-4, err_msg=name)
  assert t.largest_difference(one.networks['generator'], many.networks['generator']) < 2e-6
  one, many = one.networks['discriminator'], many.networks['discriminator']
  assert t.largest_difference(one, many) < 1e-6
state, step, mesh = t.build(t.tiny_config(**t.TOP_K), 8)
batch = t.parallel.shard({{'image': t.images()}}, mesh)
flops = step.lower(state, batch).compile().cost_analysis()['flops']
state, step, mesh = t.build(t.tiny_config(**t.TOP_K), 1)
alone = step.lower(state, {{'image': t.images()}}).compile().cost_analysis()['flops']
assert flops < alone / 5, (flops, alone)  # the optimizer's share is the same on every device
print('equal')
"""


def test_eight_devices_train_as_one():
  """In a process of its own: the number of devices is fixed before JAX starts."""
  code = _EIGHT.format(tests=str(pathlib.Path(__file__).parent))
  done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=600)
  assert done.returncode == 0 and 'equal' in done.stdout, done.stderr[-3000:]
