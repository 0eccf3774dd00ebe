"""StyleGAN2's generator: official stages, the library's contract, training's assumptions."""

import functools
import re

import flax
import goldens
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import test_lowering
from layouts import nchw
from stylegan2_names import official_params

from jax3dgan import config as config_lib
from jax3dgan import generators, trained
from jax3dgan.errors import UserError
from jax3dgan.generators.stylegan2 import StyleGAN2
from jax3dgan.nn import stylegan2
from jax3dgan.nn.stylegan2 import MappingNetwork, SynthesisNetwork
from jax3dgan.pictures import sheets, turntables


@functools.cache
def tiny():
  """(config, generator, parameters) of images of 16²."""
  config = config_lib.base_config()
  config_lib.set_model(config, 'stylegan2')
  config = config_lib.tiny(config)
  generator = generators.create(config)
  return config, generator, generators.init_params(generator, jax.random.key(0))


def styles(num=2):
  _, generator, params = tiny()
  z = jax.random.normal(jax.random.key(1), (num, generator.z_dim))
  return generator.apply({'params': params}, z, method='map')


@functools.cache
def synthesizer():
  """synthesize(params, w, keys), compiled."""
  _, generator, _ = tiny()

  @jax.jit
  def run(params, w, keys):
    return generator.apply({'params': params}, w, None, keys, method='synthesize')

  return run


def image(w, keys=None, params=None):
  return np.asarray(synthesizer()(tiny()[2] if params is None else params, w, keys).image)


def noisy():
  """The parameters with noise that shows."""

  def strengthen(path, leaf):
    return leaf + 0.3 if 'noise_strength' in jax.tree_util.keystr(path) else leaf

  return jax.tree.map_with_path(strengthen, tiny()[2])


def test_the_mapping_network_is_the_official_one():
  weights, stages = goldens.load('G_small_weights_mapping'), goldens.load('G_small_stages')
  params = official_params(weights, 'backbone.mapping.')
  network = MappingNetwork(w_dim=512, num_layers=2, label_dim=25)
  # This generator is conditioned on the camera's label.
  w = network.apply({'params': params}, stages['z'], stages['c_cond'])
  goldens.compare('G_small_stages', 'ws', w, relative=1e-5)


@pytest.mark.parametrize('noise', ['none', 'const'])
def test_the_synthesis_network_is_the_official_one(noise):
  """EG3D's planes at 4², 8² and 16²: features of 96 channels, from blocks with to-RGB skips."""
  weights, stages = goldens.load('G_small_weights_backbone_lo'), goldens.load('G_small_stages')
  params = official_params(weights, 'backbone.synthesis.')
  network = SynthesisNetwork((32, 32, 32), image_channels=96)
  assert network.noise_sizes == (4, 8, 8, 16, 16)
  names = ('b4.conv1', 'b8.conv0', 'b8.conv1', 'b16.conv0', 'b16.conv1')
  inputs = [weights[f'backbone.synthesis.{name}.noise_const'][None, :, :, None] for name in names]
  inputs = inputs if noise == 'const' else None
  w = jnp.broadcast_to(stages['ws'][:, None], (2, network.num_ws, 512))
  used = {name: params[name] for name in ('b4', 'b8', 'b16')}
  for count in (1, 2, 3):
    part = SynthesisNetwork((32,) * count, image_channels=96)
    planes = jax.jit(part.apply)(
      {'params': dict(list(used.items())[:count])},
      w[:, : part.num_ws],
      None if inputs is None else inputs[: 2 * count - 1],
    )
    size = part.resolution
    goldens.compare('G_small_stages', f'block{size}_{noise}_img', nchw(planes), relative=1e-5)


def test_the_papers_widths_and_size():
  assert stylegan2.channels_of(256) == (512, 512, 512, 512, 512, 256, 128)
  assert stylegan2.channels_of(4) == (512,)
  params = jax.eval_shape(lambda: generators.init_params(StyleGAN2(), jax.random.key(0)))
  sizes = {name: sum(x.size for x in jax.tree.leaves(part)) for name, part in params.items()}
  # 8 dense layers; per layer of f features from c: 3·3·c·f + f + 513 c + 1, to-RGB 3 c + 3 + 513 c.
  channels = stylegan2.channels_of(256)
  pairs = [(512, 512)] + [
    p for a, b in zip(channels[:-1], channels[1:], strict=True) for p in ((a, b), (b, b))
  ]
  synthesis = sum(9 * c * f + f + 513 * c + 1 for c, f in pairs)
  synthesis += sum(516 * c + 3 for c in channels) + 16 * 512
  assert sizes == {'mapping': 8 * 513 * 512, 'synthesis': synthesis}


def test_a_rendering_has_an_image_alone():
  _, generator, params = tiny()
  out = synthesizer()(params, styles(), None)
  assert out.image.shape == (2, 16, 16, 3) and out.depth is out.opacity is out.low_res is None
  assert generator.num_ws == 6 and styles().shape == (2, 6, 8)
  z = jax.random.normal(jax.random.key(1), (2, generator.z_dim))
  called = jax.jit(lambda z: generator.apply({'params': params}, z, None))(z)
  np.testing.assert_allclose(called.image, out.image, atol=1e-5)
  assert np.abs(out.image[0] - out.image[1]).max() > 1e-3


def test_layers_listen_to_their_own_style():
  w = np.asarray(styles(1))
  for i in range(w.shape[1]):
    changed = w.copy()
    changed[:, i] += 1.0
    assert np.abs(image(changed) - image(w)).max() > 1e-4
  # The last is the last to-RGB's: it changes no feature, so what it adds is linear in it.
  steps = [w.copy() for _ in range(3)]
  for i, step in enumerate(steps):
    step[:, -1] += i
  a, b, c = map(image, steps)
  np.testing.assert_allclose(b - a, c - b, atol=1e-4)


def test_noise_is_per_example_and_left_out_without_keys():
  w, keys = styles(), jax.random.split(jax.random.key(2), 2)
  np.testing.assert_allclose(image(w, keys), image(w), atol=1e-6)  # strengths are 0 at first
  params = noisy()
  out = image(w, keys, params)
  np.testing.assert_array_equal(image(w, keys, params), out)
  other = image(w, jnp.stack([keys[0], jax.random.key(9)]), params)
  np.testing.assert_array_equal(other[0], out[0])
  assert np.abs(other[1] - out[1]).max() > 1e-3
  np.testing.assert_allclose(image(w, None, params), image(w), atol=1e-6)


def test_noise_of_each_layer_is_normal_and_its_own():
  network = SynthesisNetwork((4, 4, 4))
  noise = network.draw_noise(jax.random.split(jax.random.key(0), 500))
  assert [n.shape for n in noise] == [(500, s, s, 1) for s in (4, 8, 8, 16, 16)]
  for part in noise:
    assert abs(part.mean()) < 0.05 and abs(part.std() - 1) < 0.03
  # 32,000 products: five standard deviations of their mean.
  assert abs(np.mean(np.asarray(noise[1]) * np.asarray(noise[2]))) < 0.03


def test_truncation():
  _, generator, params = tiny()
  average = generators.average_w(generator, {'params': params}, jax.random.key(5), num=200)
  assert average.shape == (6, 8)
  z = jax.random.normal(jax.random.key(1), (2, generator.z_dim))
  half = generator.apply({'params': params}, z, None, 0.5, average, method='map')
  np.testing.assert_allclose(half, (styles() + average) / 2, atol=1e-5)
  with pytest.raises(UserError, match='average_w'):
    generator.apply({'params': params}, z, truncation_psi=0.5, method='map')


def test_path_length_can_be_regularised():
  """The penalty is a gradient's length (Sec. 3.2); its own gradient, against a small step."""
  _, generator, params = tiny()
  direction = np.random.default_rng(0).standard_normal((2, 16, 16, 3))
  path = ('b8', 'conv0', 'conv', 'kernel')

  def penalty(kernel, params, w):
    flat = flax.traverse_util.flatten_dict(params['synthesis'])
    synthesis = flax.traverse_util.unflatten_dict(flat | {path: kernel})

    def projected(w):
      variables = {'params': {**params, 'synthesis': synthesis}}
      return jnp.sum(generator.apply(variables, w, method='synthesize').image * direction)

    return jnp.mean(jnp.sum(jnp.square(jax.grad(projected)(w)), axis=(1, 2)))

  with jax.enable_x64(True):
    # In double precision, for a step that is too small to turn a leaky ReLU's sign.
    params, w = jax.tree.map(lambda x: np.asarray(x, np.float64), (params, styles()))
    kernel = flax.traverse_util.flatten_dict(params['synthesis'])[path]
    run = jax.jit(jax.value_and_grad(penalty))
    value, gradient = run(kernel, params, w)
    step = 1e-7 * np.asarray(gradient / jnp.linalg.norm(gradient))
    (above, _), (below, _) = (run(kernel + s, params, w) for s in (step, -step))
    assert value > 0
    expected = float(jnp.sum(step * gradient))
    assert float(above - below) / 2 == pytest.approx(expected, rel=1e-3)


def test_another_resolution_is_refused():
  config, generator, params = tiny()
  options = generators.render_options(config, resolution=32)
  with pytest.raises(UserError, match='16², not 32².*config.model.channels'):
    generator.apply({'params': params}, styles(), options=options, method='synthesize')


def test_a_label_where_there_is_to_be_one():
  network = MappingNetwork(w_dim=4, num_layers=1, label_dim=3)
  with pytest.raises(UserError, match=r'label \[b, 3\]'):
    network.init(jax.random.key(0), jnp.zeros((1, 2)))


def test_the_config_has_this_models_fields_alone():
  config, generator, _ = tiny()
  assert 'hidden_dim' not in config.model and config.is_locked and config.model.is_locked
  assert generator.channels == (8, 8, 8)
  with pytest.raises(UserError, match="hidden_dim is not a field of 'stylegan2'.*w_dim"):
    config_lib.set_model(config_lib.base_config(), 'stylegan2', hidden_dim=3)
  with pytest.raises(UserError, match="'stylegan3'.*stylegan2"):
    config_lib.set_model(config_lib.base_config(), 'stylegan3')


@pytest.fixture(scope='module')
def model():
  config, generator, params = tiny()
  return trained.Trained(config, generator, {'params': params}, 3, 'flat')


def test_a_trained_one_renders_without_depth(model):
  assert not model.has_camera and not model.has_depth
  w = model.map(model.latents([0, 1, 2]))
  out = model.render(w, model.orbit(0.0), batch=2)
  assert out.image.shape == (3, 16, 16, 3) and out.depth is None
  turned = model.render(w, model.orbit([0.0, 1.0, 2.0]), batch=2)
  np.testing.assert_array_equal(turned.image, out.image)


def test_apps_say_what_a_2d_model_has_not(model, tmp_path):
  sheet = sheets.sheet(model, range(4), psi=1.0)
  assert sheet.shape[1] >= 4 * 128 and sheet.shape[0] < 2 * 128  # one row, no views
  with pytest.raises(UserError, match='flat has no depth'):
    sheets.sheet(model, range(2), psi=1.0, depth=True)
  with pytest.raises(UserError, match='flat is a 2D model.*--yaws'):
    sheets.sheet(model, range(2), psi=1.0, yaws=(0, 40))
  with pytest.raises(UserError, match='flat is a 2D model.*samples'):
    turntables.write(model, tmp_path / 'x.mp4')
  assert not list(tmp_path.iterdir())


def test_saved_and_loaded(model, tmp_path):
  trained.save_pretrained(model, tmp_path)
  loaded = trained.load(pretrained='flat', directory=tmp_path)
  assert loaded.generator == model.generator
  w = model.map(model.latents([0]))
  expected = model.render(w, model.orbit(0.0)).image
  np.testing.assert_allclose(loaded.render(w, loaded.orbit(0.0)).image, expected, atol=0.02)


@pytest.mark.parametrize('platform', ['cuda', 'tpu'])
def test_an_accelerators_step(platform):
  """No float64, no foreign call, no convolution in groups, products in full precision."""
  text, _ = test_lowering.lowered_step(test_lowering.load('toys_2d'), platform)
  operations = test_lowering.check(text)
  assert test_lowering.dot_types(text).keys() == {('f32', 'f32', 'f32')}
  assert operations['convolution'] > 50
  assert set(re.findall(r'feature_group_count = (\d+)', text)) == {'1'}


def test_an_example_is_the_same_in_any_batch():
  """So that devices may share a batch as they like."""
  keys = jax.random.split(jax.random.key(3), 8)
  whole = image(styles(8), keys, noisy())
  parts = [image(styles(8)[i : i + 1], keys[i : i + 1], noisy()) for i in range(8)]
  np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-5)
