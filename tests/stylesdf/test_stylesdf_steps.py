"""StyleSDF's training steps: what they train, their random numbers, devices; what is refused."""

import functools
import importlib
import pathlib

import jax
import numpy as np
import pytest
import tiny_steps

from jax3dgan import discriminators, generators, recipes
from jax3dgan.errors import UserError
from jax3dgan.training import checks, schedule

NUM_STEPS = 4
STAGES = ('stage1', 'stage2')


@functools.cache
def trained(name):
  """The program of a config, its state and metrics after some steps, its first step's draws."""
  program = tiny_steps.program(tiny_steps.stylesdf(name), 1, name == 'stage2')
  program.run()
  drawn = list(program.drawn)
  return program, *program.run(NUM_STEPS), drawn


@pytest.mark.parametrize('name', STAGES)
def test_a_step_changes_what_is_trained(name):
  program, state, metrics, _ = trained(name)
  assert state.step == NUM_STEPS and all(np.isfinite(v) for v in metrics[0].values()), metrics[0]
  fresh = jax.device_get(program.create())
  for network in ('generator', 'discriminator'):
    old = dict(jax.tree_util.tree_leaves_with_path(fresh.networks[network]))
    for path, leaf in jax.tree_util.tree_leaves_with_path(state.networks[network]):
      path_name = jax.tree_util.keystr(path)
      frozen = name == 'stage2' and ('mapping' in path[0].key or path[0].key == 'field')
      frozen = frozen and not path_name.startswith("['decoder")
      # Without a hidden surface or a signal of its own, as at 4², a leaf may have no gradient.
      assert bool(np.any(leaf != old[path])) != frozen, path_name
  if name == 'stage2':
    assert state.optimizers['generator'][1].mu.keys() == {'decoder', 'decoder_mapping'}
    moved = state.ema['generator'][str(program.config.ema.display_rate)]['field']['beta']
    assert moved == fresh.networks['generator']['field']['beta']
    # The first lengths move the mean by a hundredth.
    mean = state.buffers['path_length']['mean']
    assert 0 < mean < 0.03 * metrics[0]['generator/path_length']
  else:
    assert metrics[0]['generator/eikonal'] > 0 and metrics[0]['generator/minimal_surface'] > 0
    first, last = (metrics[i]['generator/beta'] for i in (0, -1))
    model = program.config.model
    np.testing.assert_allclose(first, model.beta + model.beta_floor, rtol=1e-6)
    assert last != first


# Draws of an example in a step: in each of three phases z, the other one, where they change over,
# whether, yaw, pitch, jitter, noise; and the directions of paths. The first stage has fewer.
def test_no_two_streams_of_a_step_share_a_key():
  tiny_steps.assert_no_shared_keys(trained('stage2')[-1], 3 * 8 + 1)


def test_lazy_terms_are_due_now_and_then():
  terms = ('generator/path_length', 'discriminator/r1')
  due = [tuple(bool(np.isfinite(m[term])) for term in terms) for m in trained('stage2')[2]]
  assert due == [(True, True), (False, False), (True, False), (False, True)]


@pytest.mark.thorough
@pytest.mark.parametrize('name', STAGES)
def test_eight_devices_train_as_one(tmp_path, name):
  """Eight devices, whose discriminator of the second stage compares four images of two of them."""
  _, state, metrics, _ = trained(name)
  program = f"tiny_steps.program(tiny_steps.stylesdf('{name}'), 8)"
  many = tiny_steps.run_on_devices(program, tmp_path / 'eight.npz', NUM_STEPS, (state, metrics))
  for expected, found in zip(metrics, many[1], strict=True):
    for key in expected:
      np.testing.assert_allclose(found[key], expected[key], rtol=2e-4, atol=1e-6, err_msg=key)
  assert tiny_steps.largest_difference(state.networks, many[0].networks) < 5e-6


def refusal(name, **flat):
  config = tiny_steps.stylesdf(
    name, **{key.replace('__', '.'): value for key, value in flat.items()}
  )
  networks = generators.create(config), discriminators.create(config.discriminator)
  with pytest.raises(UserError) as error:
    recipes.check(config, *networks, schedule.stages(config))
  assert '\n' not in str(error.value)
  return str(error.value)


@pytest.mark.parametrize(
  ('name', 'field', 'value', 'message'),
  [
    ('stage1', 'data__use_labels', True, 'Set --config.data.use_labels=False'),
    ('stage1', 'render__density', 'softplus', 'Set --config.render.density=field'),
    ('stage1', 'model__decoder_channels', (8, 8), "--config.model.decoder_channels='()'"),
    ('stage1', 'model__use_noise', False, 'there is no decoder'),
    ('stage1', 'stylesdf__penalise_every', 0, 'Set --config.stylesdf.penalise_every to 1 or more'),
    ('stage1', 'loss__pose_encoding', 'view', 'Set --config.discriminator.pose_dim=2'),
    ('stage1', 'render__low_resolution', 4, 'Set --config.render.low_resolution=0'),
    ('stage2', 'stylesdf__random_renderer', False, 'neither is set. Set --config.init_from'),
    ('stage2', 'init_from', 'runs/a', 'Set --config.stylesdf.random_renderer=False'),
    ('stage2', 'model__decoder_channels', (), 'or take the recipe'),
    ('stage2', 'render__low_resolution', 8, 'Set --config.render.low_resolution=0'),
    ('stage2', 'stylesdf__mixing', 1.5, 'Set --config.stylesdf.mixing to a number from 0 to 1'),
  ],
)
def test_what_is_refused_in_one_line(name, field, value, message):
  assert message in refusal(name, **{field: value})


def test_a_sphere_that_no_ray_leaves_is_refused():
  depth = tiny_steps.stylesdf('stage1').render.far - tiny_steps.stylesdf('stage1').render.near
  message = refusal('stage1', stylesdf__sphere_steps=3, stylesdf__sphere_radius=5.0)
  assert f'Set --config.stylesdf.sphere_radius below {depth / 2:.3g}, or 0 for a quart' in message
  config = tiny_steps.stylesdf('stage2', **{'model.input_scale': 0.0})
  with pytest.raises(UserError, match='Set --config.model.input_scale to a number above 0'):
    checks.check(config)


def test_networks_have_the_published_sizes():
  def millions(name):
    config = importlib.import_module(f'configs.{name}').get_config()
    networks = generators.create(config), discriminators.create(config.discriminator)
    shapes = (
      jax.eval_shape(lambda n=network, i=init: i(n, jax.random.key(0)))['params']
      for network, init in zip(networks, (generators.init, discriminators.init), strict=True)
    )
    return [round(sum(x.size for x in jax.tree.leaves(s)) / 1e6, 2) for s in shapes]

  assert millions('stylesdf_stage1_ffhq') == [1.91, 12.10]
  assert millions('stylesdf_ffhq256') == [7.67, 28.86]
  assert [millions(f'stylesdf_{name}')[0] for name in ('afhq512', 'ffhq1024')] == [7.91, 8.01]


def test_a_decoder_of_nothing():
  config = tiny_steps.stylesdf('stage2', **{'model.low_resolution': 0})
  with pytest.raises(UserError, match='has nothing to begin with'):
    generators.init(generators.create(config), jax.random.key(0))


@pytest.mark.parametrize('name', ['toys', 'ict_faces', 'ffhq256', 'afhq512'])
def test_a_config_of_the_second_stage_has_its_first_ones_cameras(name):
  """As `init_from.check` asks of the run that it starts from."""
  second = importlib.import_module(f'configs.stylesdf_{name}').get_config()
  first = importlib.import_module(f'configs.{pathlib.Path(second.init_from).name}').get_config()
  fields = recipes.create(second.recipe).frozen_fields(second)
  values = [
    [getattr(config[group], field) for group, field in (x.split('.') for x in fields)]
    for config in (first, second)
  ]
  assert values[0] == values[1] and None not in values[0]
