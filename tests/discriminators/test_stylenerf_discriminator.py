"""StyleNeRF's discriminator: official arrays, growth, the prediction of the camera."""

import functools

import goldens
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from layouts import nhwc

from jax3dgan import config as config_lib
from jax3dgan import discriminators
from jax3dgan.convert import stylenerf_names
from jax3dgan.errors import UserError
from jax3dgan.losses import regularizers
from jax3dgan.nn.resample import resize_bilinear
from jax3dgan.nn.stylegan2 import channels_of

FILE = 'stylenerf_D'
CHANNELS = (16, 16, 16, 16, 8)  # at 4² to 64²
# Official groups are strided (image i of 4 is in group i % 2), ours of neighbours.
NEIGHBOURS = np.array([0, 2, 1, 3])


@functools.cache
def official(prefix='D', **fields):
  """(module, parameters) of the golden file."""
  module = discriminators.create(
    dict(name='stylenerf', channels=CHANNELS, lowest=8, group_size=2, **fields)
  )
  weights = goldens.state_dict(FILE, prefix)
  pose = bool(fields.get('pose_dim'))
  names = stylenerf_names.discriminator_names(len(CHANNELS), pose)
  return module, stylenerf_names.from_official(weights, names)


@functools.cache
def judge(module):
  return jax.jit(lambda params, image, fade: module.apply({'params': params}, image, fade))


def logits(module, params, image, fade=1.0):
  """[b, 1] in the order of the images, whose official groups are kept together."""
  out = judge(module)(params, image[NEIGHBOURS], np.float32(fade))
  return np.asarray(out.logits)[NEIGHBOURS][:, None], out


def images(size):
  return nhwc(goldens.load(FILE)[f'img{size}'])


def test_a_new_size_is_faded_in_as_the_release_has_it_written():
  module, params = official(compat='twice')
  found, _ = logits(module, params, images(32), 0.8)
  goldens.compare(FILE, 'logits_a06_fade_img32', found, relative=1e-5)


def test_compat_does_without_the_fade():
  module, params = official(compat='release')
  found, _ = logits(module, params, images(32), 0.8)
  goldens.compare(FILE, 'logits_a06_released_img32', found, relative=1e-5)


def test_the_sizes_of_the_release():
  big = images(64)
  module, params = official()
  for key in ('logits_a1', 'logits_aneg1'):
    goldens.compare(FILE, key, logits(module, params, big)[0], relative=1e-5)
  module, params = official(compat='twice')
  small = {n: np.asarray(resize_bilinear(big, n, antialias=False)) for n in (8, 32)}
  goldens.compare(FILE, 'logits_a0', logits(module, params, small[8])[0], relative=1e-5)
  faded = logits(module, params, small[32], 0.8)[0]
  goldens.compare(FILE, 'logits_a06_fade_img64', faded, relative=1e-5)


def test_r1_is_the_official_one():
  module, params = official()

  @jax.jit
  def slopes(image):
    gradient = jax.grad(lambda x: module.apply({'params': params}, x).logits.sum())(image)
    return regularizers.squared_norms(gradient)

  found = np.asarray(slopes(images(64)[NEIGHBOURS]))[NEIGHBOURS]
  goldens.compare(FILE, 'r1_penalty_a1', found, relative=1e-4)


def test_the_camera_is_predicted_and_decides():
  module, params = official('Dcam', pose_dim=3)
  found, out = logits(module, params, images(64))
  pose = np.asarray(out.heads['pose'])[NEIGHBOURS]
  goldens.compare(FILE, 'cam_pred', pose, relative=1e-5)
  goldens.compare(FILE, 'cam_logits', found, relative=1e-5)
  loss = regularizers.pose_loss(pose, goldens.load(FILE)['cam_uvr'])
  goldens.compare(FILE, 'cam_loss', np.asarray(loss), relative=1e-5)


def test_at_a_share_of_nothing_it_is_the_smaller_one():
  """So that the loss does not jump where a size is new."""
  module, params = official()
  image = images(32)
  half = np.asarray(resize_bilinear(image, 16, antialias=False))
  before, _ = logits(module, params, half)
  np.testing.assert_allclose(logits(module, params, image, 0.0)[0], before, atol=5e-5)
  assert np.abs(logits(module, params, image)[0] - before).max() > 0.1


def test_smallest_images_have_nothing_to_fade_in_from():
  module, params = official()
  image = images(32)[:, :8, :8]
  expected, _ = logits(module, params, image)
  np.testing.assert_array_equal(logits(module, params, image, 0.3)[0], expected)


@pytest.mark.parametrize('size, base, millions', [(256, 16384, 23.1), (512, 32768, 27.8)])
def test_the_papers_number_of_parameters(size, base, millions):
  module = discriminators.create(dict(name='stylenerf', channels=channels_of(size, base)))
  shapes = jax.eval_shape(lambda: discriminators.init_params(module, jax.random.key(0)))
  assert round(sum(x.size for x in jax.tree.leaves(shapes)) / 1e6, 1) == millions


def test_wrong_input_is_a_user_error():
  module, params = official()
  for shape in ((4, 4, 4, 3), (4, 128, 128, 3), (4, 32, 16, 3), (4, 32, 32, 6)):
    with pytest.raises(UserError, match='one of its sizes .8, 16, 32, 64.'):
      module.apply({'params': params}, jnp.zeros(shape))
  with pytest.raises(UserError, match='not conditioned on labels'):
    module.apply({'params': params}, images(32), label=jnp.zeros((4, 25)))
  with pytest.raises(UserError, match='Choose one of none, twice, release'):
    module.clone(compat='both').apply({'params': params}, images(32))
  with pytest.raises(UserError, match=r"channels='\(16, 16, 16, 16, 8, 8\)'"):
    module.check_resolution(128)


def test_fields_without_effect_are_named():
  config = config_lib.base_config()
  config_lib.set_discriminator(config, 'stylenerf', channels=CHANNELS)
  module = discriminators.create(config.discriminator)
  assert module.unused_fields().keys() == {'mapping_layers'}
  assert module.clone(lowest=64, pose_dim=2).unused_fields().keys() == {'compat'}
