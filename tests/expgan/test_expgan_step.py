"""Exp-GAN's recipe: what a step changes, what fakes are made of, devices, what is refused."""

import functools

import ict_synthetic
import jax
import numpy as np
import pytest
import tiny_steps

from jax3dgan import config as config_lib
from jax3dgan import discriminators, generators, recipes
from jax3dgan.errors import UserError
from jax3dgan.recipes import Now, Photos, expgan_losses
from jax3dgan.training import schedule

NUM_STEPS = 3
_MIDPOINTS = {'render.density': 'softplus', 'render.last_interval': 'infinite'}


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  return ict_synthetic.write(tmp_path_factory.mktemp('model'))


@functools.cache
def trained(folder):
  """The program, and its state and metrics after some steps."""
  program = tiny_steps.program(tiny_steps.expgan(folder))
  return program, *program.run(NUM_STEPS)


def test_a_step_changes_what_is_trained(folder):
  program, state, metrics = trained(folder)
  fresh = jax.device_get(program.create())
  for network in ('generator', 'discriminator'):
    assert not tiny_steps.unmoved(state, fresh, network)
  # Copies: the state is that of other tests, too.
  old, new = (dict(x.buffers['generator']) for x in (fresh, state))
  assert np.abs(new.pop('w_average') - old.pop('w_average')).max() > 0
  # The face model is as it was read, to the bit and the type.
  assert new['region'].dtype == np.int32 and np.abs(new['mean']).max() > 0.1
  jax.tree.map(np.testing.assert_array_equal, new, old)
  for of_step in metrics:
    assert all(np.isfinite(of_step[name]) for name in ('generator/loss', 'discriminator/loss'))
    # A face is seen of those of all directions that it looks to, and hides what is behind it.
    assert 0.005 < of_step['generator/face_weight'] < 0.6


@pytest.mark.parametrize(
  'network, part, other, field',
  [
    ('generator', 'upsampler', 'planes', 'upsampler_rate'),
    ('discriminator', 'low', 'full', 'low_rate'),
  ],
)
def test_parts_have_rates_of_their_own(folder, network, part, other, field):
  config = tiny_steps.expgan(folder, **{f'expgan.{field}': 0.375})
  ones = {name: {'kernel': np.ones((2, 3)), 'bias': np.ones(3)} for name in (part, other)}
  scaled = recipes.create('expgan').scale_updates(network, ones, config, Now(0, 0))
  expected = {part: {key: 0.375 * x for key, x in ones[part].items()}, other: ones[other]}
  jax.tree.map(np.testing.assert_array_equal, scaled, expected)


@pytest.mark.thorough
def test_eight_devices_do_what_one_does(folder, tmp_path):
  _, state, metrics = trained(folder)
  program = f'tiny_steps.program(tiny_steps.expgan({folder!r}), 8)'
  found = tiny_steps.run_on_devices(program, tmp_path / 'x.npz', NUM_STEPS, (state, metrics))
  assert tiny_steps.largest_difference(found[0].networks, state.networks) < 1e-4
  for ours, theirs in zip(found[1], metrics, strict=True):
    for name in ('generator/low_adversarial', 'generator/face_alpha', 'discriminator/adversarial'):
      np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-3, err_msg=name)


def photos_of(config, seed=0):
  batch = tiny_steps.batch_of(config, seed)
  codes = {name: batch[name] for name in ('identity', 'expression')}
  image = batch['image'].astype(np.float32) / 127.5 - 1
  return Photos(image, batch['label'], batch['label'], None, codes, batch['table'])


def test_a_fake_is_of_three_photos(folder):
  config = tiny_steps.expgan(folder)
  generator, recipe = generators.create(config), recipes.create('expgan')
  photos, n = photos_of(config), tiny_steps.BATCH
  drawn = {}

  def draw():
    for i, phase in enumerate(('generator', 'discriminator', 'r1')):
      keys = jax.random.split(jax.random.wrap_key_data(np.uint32([3, i])), n)
      drawn[phase] = recipe.draw(keys, phase, config, generator, photos, Now(0, 0), {})

  tiny_steps.assert_no_shared_keys(tiny_steps.draws_of(draw), least=4)
  inputs = drawn['discriminator']
  assert inputs.z.shape == (n, config.model.latent_dim) and drawn['r1'].z is None

  def rows_of(values, table):
    return np.array([np.flatnonzero((table == x).all(-1))[0] for x in np.asarray(values)])

  rows = [rows_of(inputs.extras[k], photos.table[k]) for k in ('identity', 'expression')]
  rows.append(rows_of(inputs.camera.label(), photos.table['label']))
  for a, b in ((0, 1), (0, 2), (1, 2)):
    assert (rows[a] != rows[b]).mean() > 0.5
  # What is guessed has mean 0 and deviation 1 among all photos, which here are the batch.
  for name, size in (('pose', 2), ('expression', 3), ('identity', 10)):
    guessed = np.asarray(inputs.extras[f'photo {name}'])
    assert guessed.shape == (n, size)
    np.testing.assert_allclose(guessed.mean(0), 0, atol=1e-5)
    assert np.all(guessed.std(0) < 1 + 1e-5)
  own = photos.codes['expression'][:, list(config.expgan.expressions)]
  np.testing.assert_allclose(
    inputs.extras['photo expression'], (own - own.mean(0)) / own.std(0), atol=1e-4
  )


def test_terms_by_hand():
  rng = np.random.default_rng(0)
  low, picture = rng.normal(size=(2, 2, 2, 3)), rng.normal(size=(2, 4, 4, 3))
  means = np.stack([picture[:, i::2, j::2] for i in range(2) for j in range(2)]).mean(0)
  np.testing.assert_allclose(
    expgan_losses.auxiliary(low, picture), np.mean((low - means) ** 2), rtol=1e-5
  )
  alpha, cover = np.float32([[[0.5, 0.0], [1.0, 0.25]]]), np.float32([[[1.0, 0.5], [1.0, 0.0]]])
  expected = (np.log(2) + 0.5 * np.log(1e8)) / 4
  np.testing.assert_allclose(expgan_losses.face_alpha(alpha, cover), expected, rtol=1e-5)
  heads = {'pose': np.ones((2, 2)), 'low_pose': np.zeros((2, 2)), 'low_logits': np.zeros(2)}
  targets = {'pose': np.float32([[1, 3], [1, 1]])}
  assert expgan_losses.guesses(heads, targets) == {'pose': 1.0}
  assert expgan_losses.guesses(heads, targets, 'low_') == {'pose': 3.0}


@pytest.mark.parametrize(
  'fields, message',
  [
    ({'data.use_labels': False}, 'config.data.use_labels=True'),
    ({'discriminator.low_resolution': 4}, 'config.discriminator.low_resolution=8'),
    ({'discriminator.pose_dim': 3}, 'config.discriminator.pose_dim=2'),
    ({'loss.expression': 0.0}, 'config.discriminator.expression_dim=0'),
    ({'expgan.expressions': (5,)}, 'numbers 0 to 4'),
    ({'model.up_channels': ()}, 'config.model.up_channels'),
    ({'model.surface': False}, 'config.model.surface=True'),
    ({'model.identity_inputs': 101}, 'config.model.identity_inputs'),
    ({'model.identity_inputs': -1}, 'config.model.identity_inputs is -1.* 0 for none'),
    ({'model.channels': ()}, r'config.model.channels is \(\)'),
    ({'model.up_channels': (8, 0)}, r'config.model.up_channels is \(8, 0\)'),
    (
      {'model.low_resolution': 6, 'discriminator.low_resolution': 6},
      'config.model.low_resolution to a power of two',
    ),
    ({'model.num_faces': 0}, 'config.model.num_faces=1'),
    (
      {'model.num_identity': 0, 'loss.identity': 0.0, 'discriminator.identity_dim': 0},
      'config.model.num_identity=1',
    ),
    ({'model.box_half': (0.4, 0.4)}, 'config.model.box_half.* three numbers'),
    ({'model.box_centre': (0.0, 0.0)}, 'config.model.box_centre.* three numbers'),
    (
      {'render.marcher': 'midpoints', **_MIDPOINTS},
      'config.render.marcher=samples',
    ),
    ({'render.align_corners': True}, 'config.render.align_corners=False'),
    ({'model.num_vertices': 1, 'model.num_triangles': 0}, 'config.model.num_triangles='),
  ],
)
def test_what_does_not_train_is_one_line(folder, fields, message):
  config = tiny_steps.expgan(folder, **fields)
  with pytest.raises(UserError, match=message) as error:
    networks = generators.create(config), discriminators.create(config.discriminator)
    recipes.check(config, *networks, schedule.stages(config))
  assert '\n' not in str(error.value)


def test_other_data_need_the_face_models_file(folder):
  config = tiny_steps.expgan(folder, **{'data.source': 'toys', 'model.num_triangles': 0})
  with pytest.raises(UserError, match='config.expgan.face_model'):
    recipes.check(
      config, generators.create(config), discriminators.create(config.discriminator),
      schedule.stages(config),
    )  # fmt: skip


def test_another_recipe_does_not_take_its_networks():
  config = config_lib.base_config('eg3d')
  config_lib.set_model(config, 'expgan')
  with pytest.raises(UserError, match="needs what the recipe 'expgan' gives"):
    recipes.check(
      config, generators.create(config), discriminators.create(config.discriminator),
      schedule.stages(config),
    )  # fmt: skip
