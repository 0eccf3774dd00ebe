"""Several views of each object in the step of EG3D's generator: which cameras, their losses' mean,
one scene, refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_steps

from jax3dgan import config as config_lib
from jax3dgan import discriminators, generators, recipes
from jax3dgan.cameras import camera_generator
from jax3dgan.errors import UserError
from jax3dgan.nn import batch_axis
from jax3dgan.recipes import Inputs, Networks, Now, Photos, eg3d_inputs
from jax3dgan.training import schedule, streams
from jax3dgan.training import state as state_lib

BATCH = 4


def tiny(**fields):
  """With noisy labels, and nothing beside the adversarial loss."""
  config = tiny_steps.eg3d(**{'augment.name': 'none', 'eg3d.density': 0.0, 'eg3d.blur': 0.0})
  config.batch_size = BATCH
  config.eg3d.views = 2
  config.update_from_flattened_dict(fields)
  return config


def networks_of(config):
  return generators.create(config), discriminators.create(config.discriminator)


def test_cameras_go_on_with_what_was_drawn_with_them():
  """Through the whole batch, whatever the devices; all streams of a view are its own."""
  n = 8
  label = jnp.asarray(tiny_steps.labels(n))
  keys = jax.random.split(jax.random.key(0), n)
  extras = {'label_noise': label + 1, 'augment fakes': streams.named_keys(keys, 'augment fakes')}
  inputs = Inputs(z=jnp.zeros((n, 2)), label=label, keys=keys, extras=extras)

  def second(inputs):
    view = eg3d_inputs.view_of(eg3d_inputs.with_views(inputs, 3, n), 2)
    data = [jax.random.key_data(x) for x in (view.keys, view.extras['augment fakes'])]
    return view.camera.label(), view.label, view.extras['label_noise'], *data

  alone = jax.jit(second)(inputs)
  np.testing.assert_allclose(alone[0], np.roll(label, -2, axis=0), atol=1e-6)
  np.testing.assert_array_equal(alone[1], np.roll(label, -2, axis=0))
  np.testing.assert_array_equal(alone[2], np.roll(label, -2, axis=0) + 1)
  drawn = [jax.random.key_data(x) for x in (keys, extras['augment fakes'])] + list(alone[3:])
  assert len(np.unique(np.concatenate(drawn), axis=0)) == 4 * n
  with batch_axis.divided('data', 4):
    parts = jax.tree.map(lambda x: x.reshape(4, 2, *x.shape[1:]), inputs)
    divided = jax.jit(jax.vmap(second, axis_name='data'))(parts)
  for found, expected in zip(divided, alone, strict=True):
    np.testing.assert_array_equal(found.reshape(expected.shape), expected)


def test_cameras_of_a_learned_prior_are_moved():
  config = tiny_steps.pose_free(**{'eg3d.views': 2})
  keys = jax.random.split(jax.random.key(1), BATCH)

  @jax.jit
  def labels():
    own = camera_generator.init_params(config, jax.random.key(0))
    own['out']['kernel'] += 0.3
    params = {camera_generator.PARAMS: own}
    inputs = eg3d_inputs.draw_cameras(keys, config)
    inputs = eg3d_inputs.with_views(inputs._replace(keys=keys), 2, BATCH)
    seen = [eg3d_inputs.view_of(inputs, number) for number in (0, 1)]
    moved = [eg3d_inputs.move_cameras(config, params, view).label for view in seen]
    return inputs.label, *moved

  given, first, second = labels()
  assert np.abs(first - given).max() > 1e-3
  np.testing.assert_allclose(second, np.roll(first, -1, axis=0), atol=1e-6)


def test_the_loss_is_the_mean_of_the_views_of_one_scene():
  config = tiny()
  generator, discriminator = networks_of(config)
  recipe, stage, now = recipes.create('eg3d'), schedule.stages(config)[0], Now(0, 10**6)
  label = jnp.asarray(tiny_steps.labels(BATCH))
  photos = Photos(jnp.zeros((BATCH, 8, 8, 3)), label, label)
  keys = jax.random.split(jax.random.key(2), BATCH)
  phase = recipe.phases(config, generator, discriminator, stage)[0]

  @jax.jit
  def run():
    state = state_lib.create(config, generator, discriminator)
    networks = Networks(state.networks, state.buffers)
    inputs = recipe.draw(keys, 'generator', config, generator, photos, now, state.buffers)
    prepared = phase.prepare(networks, inputs, now, 1)
    found, terms = phase.loss(networks.params['generator'], networks, prepared, now)
    variables, judge = networks.variables('generator'), networks.variables('discriminator')
    w = generator.apply(variables, inputs.z, inputs.condition, method='map')
    scene_keys = streams.named_keys(inputs.keys, 'scene')
    scene = generator.apply(variables, w, scene_keys, method='prepare')
    losses = []
    for view in range(2):
      own_keys = streams.named_keys(inputs.keys, 'view 1') if view else inputs.keys
      camera = jax.tree.map(lambda x, view=view: jnp.roll(x, -view, axis=0), inputs.camera)
      out = generator.apply(variables, scene, camera, own_keys, stage.options, method='synthesize')
      noisy = jnp.roll(inputs.label + inputs.extras['label_noise'], -view, axis=0)
      logits = discriminator.apply(judge, (out.image, out.low_res), label=noisy).logits
      losses.append(jnp.log1p(jnp.exp(-logits)).mean())
    return found, terms.metrics['generator/adversarial'], jnp.stack(losses)

  found, logged, losses = run()
  assert abs(losses[0] - losses[1]) > 1e-5
  np.testing.assert_allclose([found, logged], losses.mean(), rtol=1e-5)


def test_one_view_prepares_nothing():
  config = tiny(**{'eg3d.views': 1})
  assert state_lib.phases_of(config, *networks_of(config))[0].prepare is None
  assert config_lib.base_config('eg3d').eg3d.views == 1


@pytest.mark.thorough  # two programs
def test_several_devices_do_what_one_does(tmp_path):
  program = "tiny_steps.program(tiny_steps.eg3d(**{'eg3d.views': 2}), %d)"
  state, metrics = eval(program % 1).run(1)
  found = tiny_steps.run_on_devices(
    program % 4, tmp_path / 'x.npz', 1, (state, metrics), num_devices=4
  )
  assert tiny_steps.largest_difference(found[0].networks, state.networks) < 1e-4
  name = 'generator/adversarial'
  np.testing.assert_allclose(found[1][0][name], metrics[0][name], rtol=1e-4)


@pytest.mark.parametrize(
  'model, fields, words',
  [
    ('', {'eg3d.views': 5}, 'views is 5, more than the 4 cameras of a batch.*views=4'),
    ('stylegan2', {}, "views is 2, but images of 'stylegan2' do not depend on the camera.*views=1"),
  ],
)
def test_one_line_says_what_does_not_go_together(model, fields, words):
  config = tiny(**fields)
  if model:
    config_lib.set_model(config, model)
    config.model.update(generators.create(config).tiny(8))
    config_lib.set_discriminator(config, 'coordconv')
    config.discriminator.update(discriminators.create(config.discriminator).tiny(8))
    config.data.use_labels = False
    config.eg3d.label_noise = 0.0
  with pytest.raises(UserError, match=words) as error:
    recipes.check(config, *networks_of(config), schedule.stages(config))
  assert '\n' not in str(error.value)
