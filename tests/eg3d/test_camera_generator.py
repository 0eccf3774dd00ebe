"""A learned pose prior: it begins as the given one, learns through the rendering, and does not
collapse; a trained model draws its cameras from it."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny_steps
from tiny_steps import labels

from jax3dgan import cameras, discriminators, generators, recipes, trained
from jax3dgan import config as config_lib
from jax3dgan.cameras import PosePrior, camera_generator
from jax3dgan.cameras.camera_generator import PARAMS, LearnedPrior
from jax3dgan.errors import UserError
from jax3dgan.evaluation import fakes, pose
from jax3dgan.recipes import eg3d_inputs
from jax3dgan.training import schedule, streams
from jax3dgan.training import state as state_lib

GAUSSIAN = PosePrior('gaussian', yaw_std=0.3, pitch_std=0.15)
AROUND = PosePrior('uniform', yaw_std=math.pi, pitch_mean=1.3, pitch_std=0.25)


def pose_free(**fields):
  """A config without labels, whose pose prior is not learned unless `fields` say so."""
  return tiny_steps.pose_free(**{'camera_generator.angles': 'none'} | fields)


def fresh(given=AROUND, angles='both', seed=0):
  config = pose_free(**{'camera_generator.angles': angles})
  params = camera_generator.init_params(config, jax.random.key(seed))
  return LearnedPrior(params, given, angles)


def shifted(prior, *shift):
  """A learned prior that adds (yaw, pitch), in its units, to each camera."""
  out = {**prior.params['out'], 'bias': np.float32(shift)}
  return prior.replace(params={**prior.params, 'out': out})


def random(prior, seed=1):
  kernel = np.random.default_rng(seed).normal(0, 1, (32, 2)).astype(np.float32)
  return prior.replace(params={**prior.params, 'out': {'kernel': kernel, 'bias': np.zeros(2)}})


@pytest.mark.parametrize('given', [GAUSSIAN, AROUND])
def test_it_begins_as_the_given_prior(given):
  prior = fresh(given)
  keys = jax.random.split(jax.random.key(3), 64)
  drawn = jax.vmap(lambda key: camera_generator.sample_angles(prior, key))(keys)
  plain = jax.vmap(lambda key: camera_generator.sample_angles(given, key))(keys)
  np.testing.assert_array_equal(drawn, plain)
  np.testing.assert_allclose(prior.divergence(), 0, atol=1e-6)
  summary = camera_generator.summarise(prior)
  assert summary.name == given.name
  for name in ('yaw_mean', 'yaw_std', 'pitch_mean', 'pitch_std'):
    assert getattr(summary, name) == pytest.approx(getattr(given, name), abs=1e-6)


def test_a_shift_moves_the_mean_and_costs_its_square():
  prior = shifted(fresh(GAUSSIAN), 0.0, 0.8)
  (mean_0, std_0), (mean, std) = np.asarray(prior.moments())
  np.testing.assert_allclose(mean - mean_0, [0, 0.8 * 0.15], atol=1e-5)
  np.testing.assert_allclose(std, std_0, rtol=1e-5)
  # KL of normals of equal spread.
  expected = 0.5 * ((mean - mean_0) / std_0)[1] ** 2
  np.testing.assert_allclose(prior.divergence(), [expected, 0], rtol=1e-3, atol=1e-6)
  summary = camera_generator.summarise(prior)
  assert summary.pitch_mean == pytest.approx(GAUSSIAN.pitch_mean + 0.12, abs=1e-5)
  metrics = prior.metrics()
  assert metrics['pose_prior/pitch_mean_degrees'] == pytest.approx(np.degrees(mean[1]))
  assert metrics['pose_prior/yaw_std_degrees'] == pytest.approx(np.degrees(std[0]), rel=1e-5)


@pytest.mark.parametrize('angles, still', [('yaw', 1), ('pitch', 0)])
def test_an_angle_that_is_not_learned_stays(angles, still):
  prior = random(fresh(GAUSSIAN, angles))
  angles = jnp.linspace(1.2, 1.9, 9), jnp.linspace(1.4, 1.8, 9)
  moved = prior.move(*angles)
  np.testing.assert_array_equal(moved[still], angles[still])
  assert np.abs(moved[1 - still] - angles[1 - still]).max() > 0.01
  # What does not move costs nothing, whatever the network says of it.
  shift = np.float32([0.0, 0.0])
  shift[still] = 5.0
  more = shifted(prior, *shift)
  np.testing.assert_array_equal(more.divergence(), prior.divergence())
  assert min(prior.divergence()) > 0


def test_where_cameras_go_round_a_full_turn_is_none():
  prior = random(fresh(AROUND))
  yaw, pitch = jnp.linspace(-2, 2, 7), jnp.full(7, 1.2)
  here, turned = prior.move(yaw, pitch), prior.move(yaw + 2 * math.pi, pitch)
  np.testing.assert_allclose(turned[0] - here[0], 2 * math.pi, atol=1e-4)
  np.testing.assert_allclose(turned[1], here[1], atol=1e-4)


def minimise(loss, params, num_steps, rate=0.02):
  """Parameters after steps of Adam, in one program."""
  adam = optax.adam(rate)

  @jax.jit
  def run(params):
    def step(state, index):
      params, moments = state
      updates, moments = adam.update(jax.grad(loss)(params, index), moments)
      return (optax.apply_updates(params, updates), moments), None

    return jax.lax.scan(step, (params, adam.init(params)), jnp.arange(num_steps))[0][0]

  return run(params)


def test_the_divergence_keeps_cameras_from_gathering():
  """A loss that wants all cameras at one pitch: A·s² + λ·KL is least at s² = s₀²·λ/(λ + 2A·s₀²)."""
  prior, weight, pull = fresh(GAUSSIAN), 0.05, 2.0

  def loss(params, index, weight=weight):
    here = prior.replace(params=params)
    _, (_, std) = here.moments()
    return pull * jnp.square(std[1]) + weight * here.divergence()[1]

  (_, (_, std_0)), (_, std) = fresh(GAUSSIAN).moments(), prior.moments()[1]
  left = prior.replace(params=minimise(loss, prior.params, 400))
  _, (_, std) = left.moments()
  wanted = std_0 * np.sqrt(weight / (weight + 2 * pull * np.square(std_0)))
  np.testing.assert_allclose(std[1], wanted[1], rtol=0.03)
  without = prior.replace(params=minimise(functools.partial(loss, weight=0.0), prior.params, 400))
  assert without.moments()[1][1][1] < 0.3 * std[1]


def small(angles):
  """The config of a tiny EG3D without super-resolution."""
  fields = {'camera_generator.angles': angles, 'render.num_fine': 0, 'render.num_coarse': 8}
  return pose_free(**fields, **{'model.super_channels': (), 'model.super_ups': ()})


@functools.cache
def scene():
  """(config, generator, variables)."""
  config = small('pitch')
  generator = generators.create(config)
  return config, generator, generators.init(generator, jax.random.key(5))


@pytest.mark.thorough
def test_it_finds_the_pitch_of_photos_through_the_renderer():
  """A known scene; photos of it from 37° above; a prior that says 25°. What the set of renderings
  differs by from the set of photos (the energy distance) is all that it learns from."""
  config, generator, variables = scene()
  given = cameras.pose_prior(**config.pose_prior)
  truth = dataclasses.replace(given, pitch_mean=given.pitch_mean - math.radians(12))
  z = np.random.default_rng(0).standard_normal((1, generator.z_dim), np.float32)
  world = generator.apply(variables, generator.apply(variables, z, method='map'), method='prepare')
  options = generators.render_options(config, resolution=8)

  def pictures(yaw, pitch):
    camera = cameras.from_yaw_pitch(yaw, pitch, config.render.radius, config.render.fov_degrees)
    several = jax.tree.map(lambda x: jnp.broadcast_to(x, (len(yaw), *x.shape[1:])), world)
    out = generator.apply(variables, several, camera, None, options, method='synthesize')
    return out.image.reshape(len(yaw), -1)

  def draw(prior, key, num=32):
    sample = functools.partial(camera_generator.sample_angles, prior)
    return jax.vmap(sample)(jax.random.split(key, num))

  def apart(a, b):
    square = jnp.square(a[:, None] - b[None]).sum(-1)
    return jnp.sqrt(square + 1e-8).mean()

  photos = jax.jit(lambda: pictures(*draw(truth, jax.random.key(1), 128)))()
  prior = fresh(given, 'pitch')

  def loss(own, index):
    drawn = draw(prior.replace(params=own), jax.random.fold_in(jax.random.key(2), index))
    seen = pictures(*drawn)
    return 2 * apart(seen, photos) - apart(seen, seen)

  learned = prior.replace(params=minimise(loss, prior.params, 250))
  (mean_0, _), (mean, std) = np.degrees(prior.moments()[0]), np.degrees(learned.moments()[1])
  assert mean[1] - mean_0[1] == pytest.approx(-12, abs=2.5)
  assert std[1] == pytest.approx(np.degrees(truth.pitch_std) / math.sqrt(3), rel=0.3)


def models(config, shapes=False):
  """(generator, discriminator, state or its shapes)."""
  generator = generators.create(config)
  discriminator = discriminators.create(config.discriminator)
  create = lambda: state_lib.create(config, generator, discriminator)  # noqa: E731
  return generator, discriminator, jax.eval_shape(create) if shapes else jax.jit(create)()


def test_cameras_learn_from_the_adversarial_loss_alone():
  """They must not move to where their pose is guessed easily."""
  gradients = {}
  for weight in (0.0, 1.0):
    config = small('both')
    config.loss.pose = weight
    generator, discriminator, state = models(config)
    stage = schedule.stages(config)[0]
    recipe = recipes.create('eg3d')
    phase = recipe.phases(config, generator, discriminator, stage)[0]
    keys, now = jax.random.split(jax.random.key(0), 4), recipes.Now(0, 0)
    photos = recipes.Photos(np.zeros((4, 8, 8, 3), np.float32))
    inputs = recipe.draw(keys, phase.name, config, generator, photos, now, state.buffers)
    params = {**state.networks['generator'], PARAMS: random(fresh()).params}
    networks = recipes.Networks(state.networks, state.buffers)

    @jax.jit
    def run(params, networks, phase=phase, inputs=inputs, now=now):
      found, (_, terms) = phase.gradients(params, networks, inputs, now)
      # What is looked at, and not the gradient of the whole network.
      return {PARAMS: found[PARAMS], 'decoder': found['decoder']}, terms.metrics

    gradients[weight], metrics = run(params, networks)
    assert {'generator/adversarial', 'pose_prior/pitch_mean_degrees'} <= metrics.keys()
  own, other = (gradients[weight].pop(PARAMS) for weight in (0.0, 1.0))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-7), own, other)
  assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(own))
  decoder = [gradients[weight]['decoder']['fc_0_kernel'] for weight in (0.0, 1.0)]
  assert np.abs(decoder[0] - decoder[1]).max() > 1e-6


def test_the_state_has_it_and_the_optimizer_its_rate():
  config = pose_free(**{'camera_generator.angles': 'pitch', 'camera_generator.learning_rate': 0.25})
  *networks, state = models(config, shapes=True)
  params, averages = state.networks['generator'], state.ema['generator']
  assert PARAMS in params and all(PARAMS in average for average in averages.values())
  ones = jax.tree.map(lambda x: jnp.ones(x.shape), params)
  transform, _ = state_lib.optimizers(config, state_lib.phases_of(config, *networks))['generator']
  updates, _ = transform.update(ones, transform.init(ones), ones)
  images = config.camera_generator.from_images
  scaled = recipes.create('eg3d').scale_updates(
    'generator', updates, config, recipes.Now(0, images)
  )
  whole = np.asarray(updates['decoder']['fc_0_bias'])[0]
  assert whole > 0.5
  np.testing.assert_allclose(scaled[PARAMS]['out']['bias'], 0.25 * whole, rtol=1e-6)
  jax.tree.map(np.testing.assert_array_equal, {**scaled, PARAMS: 0}, {**updates, PARAMS: 0})
  *_, without = models(pose_free(), shapes=True)
  assert PARAMS not in without.networks['generator']


def test_cameras_are_frozen_until_their_time():
  fields = {'angles': 'both', 'from_images': 40, 'learning_rate': 0.5}
  config = pose_free(**{f'camera_generator.{name}': value for name, value in fields.items()})
  updates = {'decoder': jnp.ones(3), PARAMS: {'out': jnp.ones(2)}}
  scale = recipes.create('eg3d').scale_updates
  for images, share in ((0, 0.0), (39, 0.0), (40, 0.5)):
    scaled = scale('generator', updates, config, recipes.Now(5, jnp.array(images)))
    np.testing.assert_array_equal(scaled['decoder'], 1)
    np.testing.assert_array_equal(scaled[PARAMS]['out'], share)
  assert scale('discriminator', updates, config, recipes.Now(5, 0)) is updates


def test_a_trained_model_draws_from_it():
  """As from a given prior whose mean is where the learned one's is."""
  config, generator, variables = scene()
  own = fresh(cameras.pose_prior(**config.pose_prior), 'pitch')
  unit = camera_generator.scales(own.given)[1][1]
  moved = shifted(own, 0.0, 0.2 / unit).params
  params = variables['params']
  both = {**variables, 'params': {**params, PARAMS: own.params}}
  learned = trained.Trained(config, generator, both, 1)
  before = next(fakes.Fakes(learned, batch_size=4).batches(4))
  assert learned.mean_elevation == pytest.approx(math.pi / 2 - own.given.pitch_mean, abs=1e-5)
  # One program for both, as in evaluations during training.
  generated = fakes.Fakes(learned, batch_size=4)
  generated.model = learned.with_params({**params, PARAMS: moved}, 2)
  after = next(generated.batches(4))
  other = config.copy_and_resolve_references()
  other.pose_prior.pitch_mean += 0.2
  other.camera_generator.angles = 'none'
  given = trained.Trained(other, generator, variables, 1)
  wanted = next(fakes.Fakes(given, batch_size=4).batches(4))
  assert np.abs(after.astype(int) - wanted).max() <= 1 < np.abs(after.astype(int) - before).max()
  model = generated.model
  assert model.mean_elevation == pytest.approx(given.mean_elevation, abs=1e-4)
  assert model.pose_prior.pitch_std == pytest.approx(given.pose_prior.pitch_std, rel=1e-4)
  directions = [pose.prior_cameras(each, 16, 0)[1] for each in (model, given)]
  np.testing.assert_allclose(*directions, atol=1e-4)


@pytest.mark.parametrize(
  'fields, words',
  [
    ({'camera_generator.angles': 'roll'}, 'Choose one of none, yaw, pitch, both'),
    ({'camera_generator.angles': 'yaw', 'recipe': 'pigan'}, 'made for another recipe'),
    ({'camera_generator.angles': 'yaw', 'data.use_labels': True}, 'data.use_labels=False'),
  ],
)
def test_what_cannot_be_learned_is_said(fields, words):
  config = pose_free()
  config.update_from_flattened_dict(fields)
  with pytest.raises(UserError, match=words):
    networks = generators.create(config), discriminators.create(config.discriminator)
    recipes.check(config, *networks, schedule.stages(config))


def test_no_recipe_ignores_another_ones_fields():
  config = config_lib.base_config()
  with config.unlocked():
    config.camera_generator = {'angles': 'yaw'}
  with pytest.raises(UserError, match='camera_generator.angles belongs to another recipe'):
    recipes.check(config, None, None, ())


def test_label_noise_is_in_deviations_of_the_labels():
  of_photos = np.random.default_rng(0).normal(0, np.linspace(0, 3, 25), (64, 25))
  of_photos = of_photos.astype(np.float32)
  keys = jax.random.split(jax.random.key(0), 4096)
  noise = np.asarray(eg3d_inputs.label_noise(keys, 0.5, jnp.asarray(of_photos)))
  np.testing.assert_allclose(noise.std(0), 0.5 * of_photos.std(0), rtol=0.06)
  np.testing.assert_allclose(noise.mean(0), 0, atol=0.1)
  assert not noise[:, 0].any()  # what all cameras share


def test_label_noise_is_of_each_phase_and_of_photos_and_fakes_apart():
  config = tiny_steps.eg3d(**{'augment.name': 'none'})
  generator = generators.create(config)
  keys, now = jax.random.split(jax.random.key(0), 4), recipes.Now(0, 0)
  label = labels(4)
  photos = recipes.Photos(np.zeros((4, 8, 8, 3), np.float32), label, jnp.asarray(label))

  def draw(phase, photos=photos):
    own = streams.named_keys(keys, phase)
    return recipes.create('eg3d').draw(own, phase, config, generator, photos, now, {})

  of_generator, of_discriminator = draw('generator'), draw('discriminator')
  fakes = [inputs.extras['label_noise'] for inputs in (of_generator, of_discriminator)]
  assert np.abs(fakes[0] - fakes[1]).max() > 0.1
  of_photos = of_discriminator.image_label - label
  assert np.abs(of_photos - fakes[1]).max() > 0.1 and np.abs(of_photos).max() > 0.1
  # The cameras that the fakes are rendered from have none.
  np.testing.assert_array_equal(
    cameras.from_label(of_generator.label).cam2world, of_generator.camera.cam2world
  )
  assert np.abs(draw('r1').image_label - label).max() > 0.1
  assert 'label_noise' not in draw('density').extras
  # No labels: none to disturb.
  without = draw('discriminator', photos._replace(label=None, all_labels=None))
  assert 'label_noise' not in without.extras and without.image_label is None
  config.eg3d.label_noise = 0.0
  without = draw('discriminator')
  assert 'label_noise' not in without.extras and without.image_label is label
