"""EG3D's training step: parts and devices change its cost, not its result; lazy terms; switches."""

import functools
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest
import tiny_steps

from jax3dgan import config as config_lib
from jax3dgan import discriminators, generators, recipes
from jax3dgan.augment import AdaState
from jax3dgan.data import feed
from jax3dgan.errors import UserError
from jax3dgan.training import schedule
from jax3dgan.training import state as state_lib
from jax3dgan.training import step as step_lib

CONFIGS = {'labels': tiny_steps.eg3d, 'pose_free': tiny_steps.pose_free}
NUM_DEVICES = 8  # which share groups of four images
NUM_STEPS = 6


@functools.cache
def trained(name):
  """The program of a config, its state and metrics after some steps, its first step's draws."""
  program = tiny_steps.program(CONFIGS[name](), notes_draws=True)
  program.run()
  drawn = list(program.drawn)
  return program, *program.run(NUM_STEPS), drawn


def test_a_step_changes_what_is_trained():
  program, _, (metrics, *_), _ = trained('labels')
  fresh, (state, _) = jax.device_get(program.create()), program.run()
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


# Draws of an example in a step: in each phase that renders z, cameras and their swap, and of the
# renderer the jitter and the importance sampling; the density's points; label noise, augmentation.
@pytest.mark.parametrize('name, least', [('labels', 30), ('pose_free', 12)])
def test_no_two_streams_of_a_step_share_a_key(name, least):
  tiny_steps.assert_no_shared_keys(trained(name)[-1], least)


def test_lazy_terms_are_due_now_and_then():
  _, _, metrics, _ = trained('labels')
  terms = ('generator/density', 'discriminator/r1')
  due = [tuple(bool(np.isfinite(of_step[term])) for term in terms) for of_step in metrics[:4]]
  assert due == [(True, True), (False, False), (True, False), (False, True)]


def test_the_optimizers_know_of_lazy_terms():
  def factors(config):
    networks = generators.create(config), discriminators.create(config.discriminator)
    phases = state_lib.phases_of(config, *networks)
    return {name: factor for name, (_, factor) in state_lib.optimizers(config, phases).items()}

  config = tiny_steps.eg3d(**{'loss.r1_every': 16, 'eg3d.density_every': 4})
  assert state_lib.lazy_factor((16,)) == 16 / 17 and state_lib.lazy_factor(()) == 1
  assert factors(config) == {'generator': 4 / 5, 'discriminator': 16 / 17}
  config.eg3d.density, config.loss.r1 = 0.0, 0.0
  assert factors(config) == {'generator': 1, 'discriminator': 1}
  pigan = config_lib.tiny(config_lib.base_config())
  pigan.loss.update(r1=1.0, r1_every=16)  # one step for both there
  assert factors(pigan) == {'generator': 1, 'discriminator': 1}


def test_without_labels_cameras_come_from_the_prior():
  _, state, (metrics, *_), _ = trained('pose_free')
  assert all(np.isfinite(v) for v in metrics.values()) and metrics['generator/pose_error'] > 0
  # Other photos' poses cannot matter: there are none.
  assert feed.names(tiny_steps.pose_free()) == ('image',)
  # The pose prior learns.
  assert np.abs(state.networks['generator']['camera_generator']['out']['kernel']).max() > 1e-3


def test_adaptive_augmentation_moves_with_the_signs():
  program, state, metrics, _ = trained('labels')
  # Up by the batch over 100 images, from 0.5 to 1 at most.
  moved = np.minimum(0.5 + 0.16 * np.arange(NUM_STEPS + 1), 1.0)
  assert moved[-3] == 1 > moved[-4]
  of_steps = [float(of_step['discriminator/augment_p']) for of_step in metrics]
  np.testing.assert_allclose(of_steps, moved[:-1], rtol=1e-5)
  np.testing.assert_allclose(state.buffers['augment'].p, moved[-1], rtol=1e-5)
  lazy = ('density', 'monotonic', 'r1')  # NaN where they are not due
  for of_step in metrics:
    assert all(np.isfinite(v) for k, v in of_step.items() if not any(x in k for x in lazy))
  new = metrics[0].keys() - trained('pose_free')[2][0].keys()
  assert {k for k in new if not any(x in k for x in lazy)} == {'discriminator/augment_p'}


def phases_of(config, state=None):
  """phase(name) → f(p, keys): gradients, loss and metrics, once the blur is gone."""
  networks = generators.create(config), discriminators.create(config.discriminator)
  recipe, now = recipes.create('eg3d'), recipes.Now(0, 10**6)
  phases = {
    phase.name: phase for phase in recipe.phases(config, *networks, schedule.stages(config)[0])
  }
  if state is None:
    state = jax.jit(lambda: state_lib.create(config, *networks))()
  batch = tiny_steps.batch_of(config)
  label = jax.numpy.asarray(batch['label'])
  photos = recipes.Photos(step_lib.to_float(batch['image']), label, label)

  def compiled(name, differentiate=True):
    phase = phases[name]

    def run(p, keys):
      own = {**state.buffers, 'augment': AdaState.create(p)}
      own = own if config.augment.name != 'none' else state.buffers
      all_networks = recipes.Networks(state.networks, own)
      inputs = recipe.draw(keys, name, config, networks[0], photos, now, own)
      params = all_networks.params[phase.network]
      if differentiate:
        return phase.gradients(params, all_networks, inputs, now)
      return phase.loss(params, all_networks, inputs, now)

    return jax.jit(run)

  return compiled


KEYS = jax.random.split(jax.random.key(0), tiny_steps.BATCH)


def test_r1_is_of_the_augmented_photos():
  """The discriminator's gradient is penalised where it is trained: on photos as they come to it."""
  gradient = phases_of(tiny_steps.eg3d(**{'augment.name': 'fixed'}))('r1')
  (plain, (value, _)), (augmented, (penalised, _)), (other, _) = jax.device_get(
    [gradient(p, key) for p, key in ((0.0, KEYS), (1.0, KEYS), (1.0, KEYS[::-1]))]
  )
  assert abs(penalised - value) > 1e-3 * value
  for a, b in ((plain, augmented), (augmented, other)):
    scale = tiny_steps.largest_difference(a, jax.tree.map(np.zeros_like, a))
    assert tiny_steps.largest_difference(a, b) > 1e-2 * scale > 0


def test_augmentation_without_strength_is_none():
  """Of single pictures: what was rendered comes and goes through another size on its way."""
  config = tiny_steps.eg3d(**{'augment.name': 'none'})
  config_lib.set_discriminator(config, 'stylegan2', channels=(8, 8), label_dim=25, cmap_dim=8)
  config.model.update(super_channels=(), super_ups=())
  networks = generators.create(config), discriminators.create(config.discriminator)
  state = jax.jit(lambda: state_lib.create(config, *networks))()
  without = phases_of(config, state)
  config = config.copy_and_resolve_references()
  config.augment.update(name='fixed', p=0.0)
  augmented = phases_of(config, state)
  # The discriminator's phase has both, fakes and photos.
  (expected, terms), (value, others) = (
    phases('discriminator', differentiate=False)(0.0, KEYS) for phases in (without, augmented)
  )
  np.testing.assert_allclose(value, expected, rtol=1e-4)
  for key, metric in terms.metrics.items():
    np.testing.assert_allclose(others.metrics[key], metric, rtol=1e-4, atol=1e-6, err_msg=key)


@pytest.mark.parametrize(
  'fields, words',
  [
    ({'recipe': 'eg4d'}, 'Choose one of pigan, eg3d'),
    ({'eg3d.density_kind': 'l2'}, 'Choose one of l1, monotonic'),
    ({'augment.name': 'bgc'}, 'Choose one of none, fixed, ada'),
  ],
)
def test_what_is_not_there(fields, words):
  config = tiny_steps.eg3d(**fields)
  networks = generators.create(config), discriminators.create(config.discriminator)
  with pytest.raises(UserError, match=words):
    step_lib.make_train_step(config, *networks, schedule.stages(config)[0])


_SEVERAL = """
import sys
import jax
jax.config.update('jax_num_cpu_devices', 8)
sys.path[:0] = [{tests!r}, {own!r}, {root!r}]
import test_eg3d_steps as t
program = t.tiny_steps.program(t.CONFIGS['labels'](), t.NUM_DEVICES)
t.tiny_steps.save({file!r}, program.run(t.NUM_STEPS))
"""


def test_several_devices_train_as_one(tmp_path):
  """Also where a device has fewer images than a group; their number is fixed before JAX starts."""
  own, file = pathlib.Path(__file__).parent, str(tmp_path / 'several.npz')
  code = _SEVERAL.format(
    tests=str(own.parent), own=str(own), root=str(own.parent.parent), file=file
  )
  done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=900)
  assert done.returncode == 0, done.stdout + done.stderr[-3000:]
  one = trained('labels')[1:3]
  many = tiny_steps.load(file, one)
  for expected, metrics in zip(one[1], many[1], strict=True):
    for key in expected.keys() - {'discriminator/real_signs'}:
      np.testing.assert_allclose(metrics[key], expected[key], rtol=1e-3, atol=1e-5, err_msg=key)
  assert tiny_steps.largest_difference(one[0].networks, many[0].networks) < 2e-4
