"""EG3D's dual discriminator and its losses: official logits and gradients, names, pairs."""

import functools

import goldens
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from layouts import nchw, nhwc

from jax3dgan import discriminators
from jax3dgan.convert import eg3d_names
from jax3dgan.discriminators import dual
from jax3dgan.errors import UserError
from jax3dgan.losses import adversarial, blur, real_images, regularizers
from jax3dgan.nn import resample

FORWARD, GRADS = 'D_small_forward', 'D_small_grads'


@functools.cache
def released():
  """(module, parameters) of the official small discriminator."""
  weights = goldens.load('D_small_weights')
  fields = eg3d_names.discriminator_fields(weights)
  assert fields == dict(
    name='dual', channels=(32, 32, 32, 32, 16, 8), image_channels=3, label_dim=25, cmap_dim=32,
    mapping_layers=8,
  )  # fmt: skip
  module = discriminators.create(dict(fields, clamp=256))
  return module, eg3d_names.discriminator_params(weights)


def logits_fn(params, pair, label):
  return released()[0].apply({'params': params}, pair, label=label).logits


def official(tree, path=()):
  """Our tree of parameters (or gradients) → {official name: array}."""
  if isinstance(tree, dict):
    return {k: v for key, part in tree.items() for k, v in official(part, (*path, key)).items()}
  x = np.asarray(tree)
  name = '.'.join(path).replace('fc_', 'fc')
  if path[-1] == 'bias':
    return {name: x}
  if x.ndim == 4:
    x = x.transpose(3, 2, 0, 1)
  elif path[:2] == ('b4', 'fc'):
    x = x.T.reshape(-1, 4, 4, x.shape[0] // 16).transpose(0, 3, 1, 2).reshape(x.shape[1], -1)
  else:
    x = x.T
  return {name.removesuffix('kernel') + 'weight': x}


def test_it_is_the_official_one():
  arrays, (_, params) = goldens.load(FORWARD), released()
  pair = nhwc(arrays['image']), nhwc(arrays['image_raw'])

  @jax.jit
  def run(params, pair):
    def fn(pair):
      return logits_fn(params, pair, arrays['c'])

    logits, transpose = jax.vjp(fn, pair)
    return logits, transpose(jnp.ones_like(logits))[0]

  logits, (of_image, of_raw) = run(params, pair)
  goldens.compare(FORWARD, 'logits', logits[:, None], relative=1e-5)
  goldens.compare(FORWARD, 'r1_grad_image', nchw(of_image), relative=1e-4)
  goldens.compare(FORWARD, 'r1_grad_image_raw', nchw(of_raw), relative=1e-4)
  penalty = regularizers.squared_norms((of_image, of_raw))
  goldens.compare(FORWARD, 'r1_penalty', penalty, relative=1e-4)


def compare_gradients(file, gradients):
  ours = official(gradients)
  names = {key.removeprefix('grad.') for key in goldens.load(file) if key.startswith('grad.')}
  # The bias behind the last nonlinearity has no part in a slope.
  assert names <= set(ours) and not any(ours[name].any() for name in set(ours) - names)
  for name in sorted(names):
    goldens.compare(file, f'grad.{name}', ours[name], relative=1e-3)


def test_gradients_of_the_loss_and_r1_are_the_official_ones():
  arrays, grads, (_, params) = goldens.load(FORWARD), goldens.load(GRADS), released()
  pair = nhwc(arrays['image']), nhwc(arrays['image_raw'])

  @jax.jit
  @jax.value_and_grad
  def loss(params):
    def fn(params, pair):
      return logits_fn(params, pair, arrays['c'])

    terms = real_images.reference_terms(fn, params, pair)
    return terms.loss + grads['gamma'] / 2 * terms.r1

  value, gradients = loss(params)
  goldens.compare(GRADS, 'loss_official', value, relative=1e-5)
  compare_gradients(GRADS, gradients)


def real_pair(sigma):
  """Reals and raw reals, blurred."""
  real = nhwc(goldens.load('loss_inputs')['real_image'])
  raw = resample.resize_bilinear(real, 16)
  return blur.gaussian_blur(real, sigma), blur.gaussian_blur(raw, sigma)


def test_lazy_r1_is_the_official_one():
  """EG3D's Dreg: γ = 1, every 16 steps with 16 times the weight; raw images made of the real."""
  file, (_, params) = 'loss_Dreg', released()
  arrays, label = goldens.load(file), goldens.load('loss_inputs')['real_c']
  pair = jax.jit(real_pair)(0.0)

  @jax.jit
  @functools.partial(jax.value_and_grad, has_aux=True)
  def loss(params):
    def fn(pair):
      return logits_fn(params, pair, label)

    r1 = regularizers.r1_penalty(fn, pair)
    return arrays['gain'] * 0.5 * r1, (fn(pair), r1)

  (_, (logits, r1)), gradients = loss(params)
  goldens.compare(file, 'report.Loss_scores_real', logits[:, None], relative=1e-5)
  np.testing.assert_allclose(r1, arrays['report.Loss_r1_penalty'].mean(), rtol=1e-4)
  compare_gradients(file, gradients)


@pytest.mark.parametrize('file, sigma', [('loss_Dmain', 0.0), ('loss_Dmain_blur', 5.0)])
def test_scores_of_reals_are_the_official_ones(file, sigma):
  arrays, (_, params) = goldens.load(file), released()
  np.testing.assert_allclose(blur.blur_sigma(arrays['cur_nimg'], 10, 25_000), sigma)
  label = goldens.load('loss_inputs')['real_c']
  logits = jax.jit(lambda p, sigma: logits_fn(p, real_pair(sigma), label))(params, sigma)
  goldens.compare(file, 'report.Loss_scores_real', logits[:, None], relative=1e-5)


def small():
  module = discriminators.create(dict(name='dual', channels=(6, 4), label_dim=25, mapping_layers=1))
  return module, discriminators.init_params(module, jax.random.key(0))


def test_both_images_count():
  module, params = small()
  image, raw = jax.random.normal(jax.random.key(1), (2, 4, 8, 8, 3))
  label = jax.random.normal(jax.random.key(2), (4, 25))
  judge = jax.jit(lambda pair: module.apply({'params': params}, pair, 1.0, label=label).logits)
  logits = judge((image, raw))
  assert logits.shape == (4,)
  assert np.abs(judge((image, -raw)) - logits).min() > 1e-4
  assert np.abs(judge((-image, raw)) - logits).min() > 1e-4
  # A raw image that is smaller is brought up to size.
  tiny = raw[:, :4, :4]
  np.testing.assert_allclose(
    judge((image, tiny)), judge((image, resample.resize_bilinear(tiny, 8))), atol=1e-6
  )
  assert dual.stack(image, tiny).shape == (4, 8, 8, 6)
  with pytest.raises(UserError, match='8x8x3, not 4x4x3'):
    module.apply({'params': params}, (tiny, tiny), label=label)


def test_names_are_those_of_fresh_parameters():
  """There and back: every official name, with the layouts' inverses."""
  module, params = small()
  state = official(params)
  assert {'b8.fromrgb.weight', 'b4.fc.weight', 'mapping.fc0.bias', 'b8.skip.weight'} < set(state)
  assert state['b8.fromrgb.weight'].shape == (4, 6, 1, 1)
  assert state['b4.fc.weight'].shape == (6, 96)
  state['b8.conv0.resample_filter'] = np.ones((4, 4))
  back = eg3d_names.discriminator_params(state)
  jax.tree.map(np.testing.assert_array_equal, back, params)
  fields = eg3d_names.discriminator_fields(state)
  assert discriminators.create(fields) == module.clone(cmap_dim=6)
  with pytest.raises(UserError, match="'backbone.mapping.fc0.weight'"):
    eg3d_names.discriminator_params({'backbone.mapping.fc0.weight': np.ones((2, 2))})
  with pytest.raises(UserError, match='generator'):
    eg3d_names.discriminator_fields({'backbone.mapping.fc0.weight': np.ones((2, 2))})


def test_the_short_cut_takes_pairs_too():
  module, params = small()
  module = module.clone(group_size=0)
  params['b4']['conv']['kernel'] = params['b4']['conv']['kernel'][:, :, :6]
  pair = tuple(jax.random.normal(jax.random.key(1), (2, 4, 8, 8, 3)))
  label = jax.random.normal(jax.random.key(2), (4, 25))

  def fn(params, pair):
    return module.apply({'params': params}, pair, label=label).logits

  def total(params, terms):
    out = terms(fn, params, pair)
    return out.loss + 0.7 * out.r1

  ours, expected = (
    jax.jit(jax.value_and_grad(functools.partial(total, terms=terms)))(params)
    for terms in (real_images.real_terms, real_images.reference_terms)
  )
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), ours, expected)
  logits = fn(params, pair)
  np.testing.assert_allclose(
    ours[0] - 0.7 * regularizers.r1_penalty(lambda x: fn(params, x), pair),
    adversarial.real_loss(logits),
    rtol=1e-4,
  )
