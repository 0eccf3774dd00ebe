"""EG3D's six losses and their gradients: the official arrays; and what its step draws."""

import functools
import re

import goldens
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_eg3d import error, model, nhwc, without_noise

from jax3dgan import cameras, discriminators, generators, recipes
from jax3dgan import config as config_lib
from jax3dgan.convert import eg3d_generator, eg3d_names
from jax3dgan.losses import regularizers
from jax3dgan.recipes import eg3d_inputs, eg3d_losses
from jax3dgan.recipes.base import Inputs, Networks, Now, Photos
from jax3dgan.rendering.hierarchical import Draws
from jax3dgan.training import schedule, streams


@functools.cache
def setting():
  """(config, losses, networks)."""
  generator, variables = model()
  # The stored gradients are of a generator without noise.
  variables = without_noise(variables)
  weights = goldens.load('D_small_weights')
  config = config_lib.base_config('eg3d')
  config.resolution = 128
  config.batch_size = 4
  config.render.update(
    near=2.25,
    far=3.3,
    num_coarse=6,
    num_fine=6,
    align_corners=False,
    marcher='midpoints',
    strata='forward',
    importance='smoothed',
    low_resolution=16,
  )
  config.loss.update(r1=1.0, pose=0.0)
  config.eg3d.blur_images = 25_000
  fields = eg3d_names.discriminator_fields(weights)
  discriminator = discriminators.create({'name': 'dual', **fields, 'clamp': 256.0})
  stage = schedule.stages(config)[0]
  losses = eg3d_losses.make_losses(config, generator, discriminator, stage)
  params = {
    'generator': variables['params'],
    'discriminator': eg3d_names.discriminator_params(weights),
  }
  return config, losses, Networks(params, {'generator': variables['buffers']})


def photos():
  """The `Inputs` of the photos alone."""
  given = goldens.load('loss_inputs')
  return Inputs(images=nhwc(given['real_image']), image_label=given['real_c'])


def inputs(arrays):
  """The `Inputs` that the official draws make."""
  given = goldens.load('loss_inputs')
  label = given['gen_c']
  other = np.roll(label, 1, axis=0)
  chance = eg3d_inputs.swap_probability(float(arrays['cur_nimg']), 0.5, 1e6)
  condition = np.where(arrays['draw0_rand'].reshape(-1, 1) < chance, other, label)
  draws = None
  if 'draw1_rand_like' in arrays:
    draws = Draws(
      jitter=arrays['draw1_rand_like'][..., 0], pdf=arrays['draw2_rand'].reshape(4, 256, 6)
    )
  return photos()._replace(
    z=given['gen_z'],
    camera=cameras.from_label(label),
    condition=condition,
    label=label,
    keys=draws,
  )


def now_of(arrays):
  return Now(0, float(arrays['cur_nimg']))


@functools.cache
def differentiated(loss):
  """The program of a loss, one for all its inputs of the same shapes."""
  return jax.jit(jax.value_and_grad(loss, has_aux=True))


def value_and_gradients(loss, network, networks, arrays, given=None):
  """((scalar, terms), gradients) of a loss in a network's parameters."""
  given = inputs(arrays) if given is None else given
  return differentiated(loss)(networks.params[network], networks, given, now_of(arrays))


def check_gradients(arrays, gradients, kind, tolerance=1e-3):
  """Compares the gradients that are stored whole, and the norms of all."""
  convert = eg3d_generator.generator_params if kind == 'generator' else None
  whole = {
    name.removeprefix('grad.'): value for name, value in arrays.items() if name.startswith('grad.')
  }
  assert len(whole) >= 10
  flat = {
    jax.tree_util.keystr(path, simple=True, separator='/'): np.asarray(leaf)
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradients)
  }
  if convert:
    state = goldens_state(whole)
    theirs = convert(state)
  else:
    theirs = eg3d_names.discriminator_params(whole)
  names = set()
  for path, leaf in jax.tree_util.tree_leaves_with_path(theirs):
    name = jax.tree_util.keystr(path, simple=True, separator='/')
    if convert and name not in wanted(whole):
      continue
    # Some vanish but for rounding: of what cancels, or of what a penalty does not see.
    worst = np.abs(flat[name] - leaf).max()
    assert worst < tolerance * np.abs(leaf).max() + 1e-6, name
    names.add(name)
  assert len(names) == len(whole)


@functools.cache
def full_state():
  from golden_eg3d import state

  return state()


def goldens_state(whole):
  """The official state dict with gradients where they are stored: names need the whole of it."""
  return {**full_state(), **whole}


def wanted(whole):
  """Our names of some official ones."""
  marked = {
    name: np.full_like(value, np.nan) for name, value in full_state().items() if name in whole
  }
  tree = eg3d_generator.generator_params({**full_state(), **marked})
  return {
    jax.tree_util.keystr(path, simple=True, separator='/')
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    if np.isnan(leaf).all() and leaf.size
  }


def test_the_generators_loss():
  arrays = goldens.load('loss_Gmain')
  _, losses, networks = setting()
  (total, terms), gradients = value_and_gradients(losses.generator, 'generator', networks, arrays)
  np.testing.assert_allclose(total, arrays['report.Loss_G_loss'].mean(), rtol=1e-5)
  assert terms.metrics['generator/adversarial'] == total
  check_gradients(arrays, gradients, 'generator')


# That of monotonic_detach is the sum of both.
@pytest.mark.parametrize(
  'kind', [pytest.param('l1', marks=pytest.mark.thorough), 'monotonic_detach']
)
def test_the_densitys_regularisation(kind):
  arrays = goldens.load(f'loss_Greg_{kind}')
  config, _, networks = setting()
  with_kind = config.copy_and_resolve_references()
  with_kind.eg3d.density_kind = kind.partition('_')[0]
  generator, _ = model()
  stage = schedule.stages(with_kind)[0]
  of_density = eg3d_losses.make_losses(with_kind, generator, None, stage).density
  box = 1.0
  if kind == 'l1':
    points = 2 * arrays['draw1_rand'] - 1
    near = points + 0.004 * arrays['draw2_randn_like']
    places = {}
  else:
    front = 2 * arrays['draw1_rand'] - 1
    points = 2 * arrays['draw3_rand'] - 1
    near = points + box / 256 * arrays['draw4_randn_like']
    places = {'front': front, 'behind': front + np.float32([0, 0, -box / 256])}
  given = inputs(arrays)._replace(extras={'points': points, 'neighbours': near, **places})
  (_, terms), gradients = value_and_gradients(of_density, 'generator', networks, arrays, given)
  metrics = terms.metrics
  np.testing.assert_allclose(metrics['generator/density'], arrays['value.l1_unweighted'], rtol=1e-4)
  if kind != 'l1':
    theirs = arrays['value.monotonic_relu_mean_unweighted']
    np.testing.assert_allclose(metrics['generator/monotonic'], theirs, rtol=1e-4)
  gradients = jax.tree.map(lambda x: with_kind.eg3d.density_every * x, gradients)
  check_gradients(arrays, gradients, 'generator')


@pytest.mark.parametrize('name', ['loss_Dmain', 'loss_Dmain_blur'])
def test_the_discriminators_loss(name):
  arrays = goldens.load(name)
  _, losses, networks = setting()
  (total, terms), gradients = value_and_gradients(
    losses.discriminator, 'discriminator', networks, arrays
  )
  # What is reported is of the real images alone for its real half: softplus of both, averaged.
  fake, real = arrays['report.Loss_scores_fake'], arrays['report.Loss_scores_real']
  theirs = np.logaddexp(0, fake).mean() + np.logaddexp(0, -real).mean()
  np.testing.assert_allclose(total, theirs, rtol=1e-5)
  np.testing.assert_allclose(terms.metrics['discriminator/real_logits'], real.mean(), rtol=1e-4)
  check_gradients(arrays, gradients, 'discriminator')
  assert error(terms.buffers['generator']['w_average'], arrays['w_avg_after']) < 1e-6


def test_lazy_r1():
  arrays = goldens.load('loss_Dreg')
  _, losses, networks = setting()
  parts = (losses.r1, 'discriminator', networks, arrays, photos())
  (total, terms), gradients = value_and_gradients(*parts)
  np.testing.assert_allclose(total, arrays['report.Loss_D_reg'].mean(), rtol=1e-4)
  theirs = arrays['report.Loss_r1_penalty'].mean()
  np.testing.assert_allclose(terms.metrics['discriminator/r1'], theirs, rtol=1e-4)
  check_gradients(arrays, jax.tree.map(lambda x: 16 * x, gradients), 'discriminator')


def keys_of(n):
  return jax.random.split(jax.random.key(0), n)


def test_how_often_the_camera_is_swapped():
  assert eg3d_inputs.swap_probability(0, 0.5, 1e6) == 1
  np.testing.assert_allclose(eg3d_inputs.swap_probability(5e5, 0.5, 1e6), 0.75)
  assert eg3d_inputs.swap_probability(2e6, 0.5, 1e6) == 0.5
  config = config_lib.base_config('eg3d')
  labels = jnp.arange(40.0)[:, None] * jnp.ones(25)
  n = 2000
  draw = jax.jit(functools.partial(eg3d_inputs.draw_cameras, config=config))
  drawn = draw(keys_of(n), labels=labels, swap=0.3)
  other = np.asarray(drawn.label[:, 0] != drawn.condition[:, 0]).mean()
  np.testing.assert_allclose(other, 0.3 * 39 / 40, atol=4 * (0.3 * 0.7 / n) ** 0.5)
  # Every photo's camera comes up.
  assert len(np.unique(drawn.label[:, 0])) == 40
  never = draw(keys_of(50), labels=labels, swap=0.0)
  np.testing.assert_array_equal(never.label, never.condition)


def test_each_phase_draws_its_own():
  config, generator = config_lib.base_config('eg3d'), model()[0]
  labels = jnp.asarray(goldens.load('loss_inputs')['real_c'])
  photos = Photos(jnp.zeros((4, 8, 8, 3)), labels, labels)

  def draw(phase):
    keys = streams.named_keys(keys_of(4), phase)
    return recipes.create('eg3d').draw(keys, phase, config, generator, photos, Now(0, 0), {})

  drawn = [draw(phase).z for phase in ('generator', 'density', 'discriminator')]
  assert np.abs(drawn[0] - drawn[1]).min() > 0 and np.abs(drawn[1] - drawn[2]).min() > 0
  assert draw('r1').z is None


def test_cameras_of_the_prior():
  config = config_lib.base_config('eg3d')
  config.render.update(radius=2.7, fov_degrees=18.0, pivot=(0.0, 0.0, 0.2))
  drawn = eg3d_inputs.draw_cameras(keys_of(100), config, None, 0.0)
  cam2world = drawn.label[:, :16].reshape(-1, 4, 4)
  np.testing.assert_allclose(jnp.linalg.norm(cam2world[:, :3, 3], axis=-1), 2.7, rtol=1e-5)
  # Each looks at the pivot.
  towards = jnp.array([0.0, 0.0, 0.2]) - cam2world[:, :3, 3]
  towards /= jnp.linalg.norm(towards, axis=-1, keepdims=True)
  np.testing.assert_allclose(cam2world[:, :3, 2], towards, atol=1e-5)


def test_pose_targets_are_those_of_the_angles():
  yaw, pitch = jnp.array([0.3, 1.5, 2.0]), jnp.array([1.2, 1.6, 0.8])
  camera = cameras.from_yaw_pitch(yaw, pitch, 2.0)
  for encoding in ('angles', 'direction'):
    np.testing.assert_allclose(
      regularizers.camera_pose_target(camera, encoding),
      regularizers.pose_target(yaw, pitch, encoding),
      atol=1e-5,
    )


def test_the_names_that_are_compared_are_the_stored_ones():
  arrays = goldens.load('loss_Gmain')
  whole = {name.removeprefix('grad.'): v for name, v in arrays.items() if name.startswith('grad.')}
  assert len(wanted(whole)) == len(whole)
  assert 'superresolution/block0/conv0/conv/affine/bias' in wanted(whole)
  assert all(re.fullmatch(r'[\w/]+', name) for name in wanted(whole))


def test_config_makes_what_the_step_needs():
  config, *_ = setting()
  generator, _ = model()
  assert generators.render_options(config).low_resolution == 16
  assert schedule.stages(config)[0].options.low_resolution == 16 and generator.box == 1.0
