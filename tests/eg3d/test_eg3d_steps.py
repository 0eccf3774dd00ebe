"""EG3D's training step: parts and devices change its cost, not its result; lazy terms; switches."""

import functools
import importlib
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest

from jax3dgan import config as config_lib
from jax3dgan import discriminators, generators, recipes
from jax3dgan.augment import AdaState
from jax3dgan.data import feed
from jax3dgan.devices import parallel
from jax3dgan.errors import UserError
from jax3dgan.training import schedule
from jax3dgan.training import state as state_lib
from jax3dgan.training import step as step_lib

BATCH = 8


def tiny_config(**fields):
  config = importlib.import_module('configs.eg3d_toys').get_config()
  config = config_lib.tiny(config)
  with config.unlocked():
    config.batch_size = BATCH
    config.eg3d.update(density_points=8, blur=0.5, blur_images=64, pose_swap_images=64)
    config.update_from_flattened_dict(fields)
  return config


def pose_free(**fields):
  """No labels anywhere: cameras of the prior, networks that are told none, a pose head."""
  none = {
    'data.use_labels': False,
    'model.label_dim': 0,
    'discriminator.label_dim': 0,
    'discriminator.cmap_dim': 0,
    'discriminator.pose_dim': 3,
    'loss.pose': 1.0,
    'loss.pose_encoding': 'direction',
  }
  return tiny_config(**none, **fields)


def labels(n=BATCH, seed=0):
  from jax3dgan import cameras

  azimuth = np.random.default_rng(seed).uniform(-3, 3, n).astype(np.float32)
  return np.asarray(cameras.orbit(azimuth, np.full(n, 0.3), 1.0, 48.0).label())


def batch_of(config, seed=0):
  rng = np.random.default_rng(seed)
  size = config.resolution
  images = rng.integers(0, 256, (config.batch_size, size, size, 3), np.uint8)
  batch = {'image': images, 'label': labels(config.batch_size, seed)}
  return {name: batch[name] for name in feed.names(config)}


def build(config, num_devices=1, first_step=0):
  mesh = parallel.make_mesh(jax.devices()[:num_devices])
  stage = schedule.stages(config, num_devices)[0]
  generator = generators.create(config)
  discriminator = discriminators.create(config.discriminator)
  state = state_lib.create(config, generator, discriminator)
  state = parallel.replicate(state.replace(step=np.int32(first_step)), mesh)
  step = step_lib.make_train_step(config, generator, discriminator, stage)
  return state, jax.jit(parallel.data_parallel(step, mesh)), mesh


def run(config, num_steps=1, num_devices=1):
  state, step, mesh = build(config, num_devices)
  for i in range(num_steps):
    state, metrics = step(state, parallel.shard(batch_of(config, i), mesh))
  return jax.device_get((state, metrics))


def largest_difference(a, b):
  worst = jax.tree.map(lambda x, y: float(np.abs(np.subtract(x, y, dtype=np.float64)).max()), a, b)
  return max(jax.tree.leaves(worst))


@functools.cache
def compiled():
  return build(tiny_config())


@pytest.fixture(scope='module')
def plain():
  return run(tiny_config())


def test_a_step_changes_what_is_trained(plain):
  state, metrics = plain
  fresh = jax.device_get(compiled()[0])
  assert state.step == 1 and all(np.isfinite(v) for v in metrics.values()), metrics
  for network in ('generator', 'discriminator'):
    old = dict(jax.tree_util.tree_leaves_with_path(fresh.networks[network]))
    for path, leaf in jax.tree_util.tree_leaves_with_path(state.networks[network]):
      name = jax.tree_util.keystr(path)
      still = 'superresolution' in name and 'noise' in name
      assert bool(np.any(leaf != old[path])) != still, name
  # Buffers: the noise stays, the running mean moves.
  old, new = fresh.buffers['generator'], state.buffers['generator']
  np.testing.assert_array_equal(new['noise_const'], old['noise_const'])
  assert np.abs(new['w_average'] - old['w_average']).max() > 0
  # The first step's terms are all due.
  for name in ('generator/density', 'discriminator/r1'):
    assert metrics[name] > 0


def test_lazy_terms_are_due_now_and_then():
  config = tiny_config()
  config.loss.r1_every, config.eg3d.density_every = 3, 2
  state, step, mesh = build(config)
  due = []
  for i in range(4):
    state, metrics = step(state, parallel.shard(batch_of(config, i), mesh))
    terms = metrics['generator/density'], metrics['discriminator/r1']
    due.append(tuple(bool(np.isfinite(term)) for term in terms))
  assert due == [(True, True), (False, False), (True, False), (False, True)]


def test_the_optimizers_know_of_lazy_terms():
  def factors(config):
    networks = generators.create(config), discriminators.create(config.discriminator)
    phases = state_lib.phases_of(config, *networks)
    return {name: factor for name, (_, factor) in state_lib.optimizers(config, phases).items()}

  config = tiny_config()
  assert state_lib.lazy_factor((16,)) == 16 / 17 and state_lib.lazy_factor(()) == 1
  assert factors(config) == {'generator': 4 / 5, 'discriminator': 16 / 17}
  config.eg3d.density, config.loss.r1 = 0.0, 0.0
  assert factors(config) == {'generator': 1, 'discriminator': 1}
  pigan = config_lib.tiny(config_lib.base_config())
  pigan.loss.update(r1=1.0, r1_every=16)  # one step for both there
  assert factors(pigan) == {'generator': 1, 'discriminator': 1}


def test_micro_batches_give_the_gradient_of_the_whole_batch(plain):
  _, metrics = run(tiny_config(micro_batches=2))
  for name, value in plain[1].items():
    if name != 'discriminator/real_signs':
      np.testing.assert_allclose(metrics[name], value, rtol=2e-4, atol=1e-6, err_msg=name)


def test_without_labels_cameras_come_from_the_prior():
  config = pose_free()
  state, metrics = run(config)
  assert all(np.isfinite(v) for v in metrics.values()) and metrics['generator/pose_error'] > 0
  # Other photos' poses cannot matter: there are none.
  assert feed.names(config) == ('image',)


def single():
  """Without super-resolution, and a discriminator of single pictures."""
  config = tiny_config()
  config_lib.set_discriminator(config, 'stylegan2', channels=(8, 8, 8), label_dim=25, cmap_dim=8)
  config.model.update(super_channels=(), super_ups=())
  return config


def test_adaptive_augmentation_moves_with_the_signs(plain):
  config = tiny_config()
  # Whatever the signs: never satisfied, and sure of its way at once.
  config.augment.update(name='ada', p=0.5, every=1, target=-2.0, kimg=0.1)
  state, step, mesh = build(config)
  seen = []
  for i in range(2):
    state, metrics = step(state, parallel.shard(batch_of(config, i), mesh))
    seen.append(float(metrics['discriminator/augment_p']))
    lazy = ('density', 'r1') if i else ()  # NaN where they are not due
    assert all(np.isfinite(v) for k, v in metrics.items() if not any(x in k for x in lazy))
  # Up by the batch over 100 images.
  np.testing.assert_allclose(seen, [0.5, 0.58], rtol=1e-5)
  np.testing.assert_allclose(state.buffers['augment'].p, 0.66, rtol=1e-5)
  assert metrics.keys() - plain[1].keys() == {'discriminator/augment_p'}
  with pytest.raises(UserError, match='Choose one of none, fixed, ada'):
    build(tiny_config(**{'augment.name': 'bgc'}))


def test_augmentation_without_strength_is_none():
  """Of single pictures: what was rendered comes and goes through another size on its way."""
  config = single()
  without = run(config)[1]
  config.augment.update(name='fixed', p=0.0)
  state, metrics = run(config)
  assert state.buffers['augment'].p == 0
  for name, value in without.items():
    np.testing.assert_allclose(metrics[name], value, rtol=1e-4, atol=1e-6, err_msg=name)


def test_r1_is_of_the_augmented_photos():
  """The discriminator's gradient is penalised where it is trained: on photos as they come to it."""
  config = tiny_config(**{'augment.name': 'fixed'})
  generator = generators.create(config)
  discriminator = discriminators.create(config.discriminator)
  recipe, now = recipes.create('eg3d'), recipes.Now(0, 10**6)  # after the blur
  stage = schedule.stages(config)[0]
  r1 = {phase.name: phase for phase in recipe.phases(config, generator, discriminator, stage)}['r1']
  params = discriminators.init_params(discriminator, jax.random.key(0))
  batch = batch_of(config)
  photos = recipes.Photos(step_lib.to_float(batch['image']), batch['label'], batch['label'])

  @jax.jit
  def gradient(p, keys):
    buffers = {'augment': AdaState.create(p)}
    networks = recipes.Networks({'discriminator': params}, buffers)
    inputs = recipe.draw(keys, 'r1', config, generator, photos, now, buffers)
    gradients, (value, _) = r1.gradients(params, networks, inputs, now)
    return gradients, value

  keys = jax.random.split(jax.random.key(0), BATCH)
  (plain, value), (augmented, penalised), (other, _) = jax.device_get(
    [gradient(p, key) for p, key in ((0.0, keys), (1.0, keys), (1.0, keys[::-1]))]
  )
  assert abs(penalised - value) > 1e-3 * value
  for a, b in ((plain, augmented), (augmented, other)):
    scale = largest_difference(a, jax.tree.map(np.zeros_like, a))
    assert largest_difference(a, b) > 1e-2 * scale > 0


def test_a_recipe_that_is_not_there():
  config = tiny_config(recipe='eg4d')
  with pytest.raises(UserError, match='Choose one of pigan, eg3d'):
    build(config)
  with pytest.raises(UserError, match='Choose one of l1, monotonic'):
    build(tiny_config(**{'eg3d.density_kind': 'l2'}))


_TWO = """
import sys
import jax
jax.config.update('jax_num_cpu_devices', 8)
sys.path[:0] = [{tests!r}, {root!r}]
import numpy as np
import test_eg3d_steps as t
for config, devices in (
  (t.tiny_config(**{{'eg3d.label_noise': 0.5}}), 2),
  (
    t.pose_free(
      **{{
        'discriminator.group_size': 0,
        'eg3d.density_kind': 'monotonic',
        'camera_generator.angles': 'both',
        'camera_generator.from_images': 40,
      }}
    ),
    8,
  ),
):
  one, one_metrics = t.run(config, 20, 1)
  many, many_metrics = t.run(config, 20, devices)
  for name in one_metrics:
    np.testing.assert_allclose(
      one_metrics[name], many_metrics[name], rtol=1e-3, atol=1e-5, err_msg=name
    )
  if config.camera_generator.angles != 'none':
    assert np.abs(one.networks['generator']['camera_generator']['out']['kernel']).max() > 1e-3
  print(t.largest_difference(one.networks, many.networks))
  assert t.largest_difference(one.networks, many.networks) < 2e-4
print('equal')
"""


def test_several_devices_train_as_one():
  """In a process of its own: the number of devices is fixed before JAX starts."""
  here = pathlib.Path(__file__).parent
  code = _TWO.format(tests=str(here), root=str(here.parent.parent))
  done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=900)
  assert done.returncode == 0 and 'equal' in done.stdout, done.stdout + done.stderr[-3000:]
