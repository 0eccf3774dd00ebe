"""StyleGAN2's discriminator: official parts, the standard deviation of a minibatch, training."""

import functools

import goldens
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_steps
from layouts import nchw, nhwc

from jax3dgan import config as config_lib
from jax3dgan import discriminators, generators, old_configs
from jax3dgan.convert import eg3d_names
from jax3dgan.devices import parallel
from jax3dgan.discriminators import stylegan2
from jax3dgan.errors import UserError
from jax3dgan.losses import real_images, regularizers
from jax3dgan.nn.minibatch_stddev import minibatch_stddev
from jax3dgan.runs import workdirs

TAIL = 'D_small_tail'


def tiny(**fields):
  """(module, parameters) for images of 16²."""
  module = discriminators.create(dict(name='stylegan2', channels=(8, 6, 4), **fields))
  return module, discriminators.init_params(module, jax.random.key(0))


def run(module, params, x, **kwargs):
  """module(x), compiled."""
  return jax.jit(lambda p, x: module.apply({'params': p}, x, **kwargs))(params, x)


def images(num=4, size=16, seed=1):
  return jax.random.normal(jax.random.key(seed), (num, size, size, 3))


def labels(num=4):
  return jax.random.normal(jax.random.key(2), (num, 5))


@functools.cache
def tail_params():
  arrays = goldens.load(TAIL)
  return eg3d_names.discriminator_params({k: v for k, v in arrays.items() if '.' in k})


def test_a_block_is_the_official_one():
  block = stylegan2.ResidualBlock(32, 32, clamp=256)
  x = nhwc(goldens.load(TAIL)['block16_x'])
  y = jax.jit(block.apply)({'params': tail_params()['b8']}, x)
  goldens.compare(TAIL, 'block8_x', nchw(y), relative=1e-5)


def test_the_label_and_the_verdict_are_the_official_ones():
  arrays, params = goldens.load(TAIL), tail_params()
  mapping = stylegan2.LabelMapping(32)
  cmap = jax.jit(mapping.apply)({'params': params['mapping']}, arrays['c'])
  goldens.compare(TAIL, 'cmap', cmap, relative=1e-5)
  epilogue = stylegan2.Epilogue(32, cmap_dim=32, clamp=256)
  logits, pose = jax.jit(epilogue.apply)({'params': params['b4']}, nhwc(arrays['block8_x']), cmap)
  goldens.compare(TAIL, 'logits', logits[:, None], relative=1e-5)
  assert pose is None


@pytest.mark.parametrize(
  'key, group, num_channels', [('g4', 4, 1), ('g4_F2', 4, 2), ('g2_n6', 2, 1), ('gNone', None, 1)]
)
def test_minibatch_stddev_is_the_official_one_up_to_who_is_whose_neighbour(
  key, group, num_channels
):
  arrays = goldens.load('minibatch_stddev')
  x = nhwc(arrays['xi'])[: len(arrays[f'mbstd_{key}'])]
  # Official groups are strided: of b images in m groups, image i is in group i % m.
  b = len(x)
  groups = b // (group or b)
  order = np.arange(b).reshape(-1, groups).T.reshape(-1)
  y = np.empty((*x.shape[:3], 4 + num_channels), np.float32)
  y[order] = minibatch_stddev(x[order], group, num_channels)
  np.testing.assert_array_equal(y[..., :4], x)
  goldens.compare('minibatch_stddev', f'mbstd_{key}', nchw(y)[:, 4:], relative=1e-6)


def test_parts_with_whole_groups_are_as_good_as_the_batch():
  x = images(8, 4)
  whole = minibatch_stddev(x, 4)
  parts = np.concatenate([minibatch_stddev(x[:4], 4), minibatch_stddev(x[4:], 4)])
  np.testing.assert_array_equal(whole, parts)
  assert np.abs(whole[0, 0, 0, 3] - whole[4, 0, 0, 3]) > 1e-3
  # Fewer than a group are one; one alone differs from nothing, and still has a gradient.
  three = minibatch_stddev(x[:3], 4)[..., 3]
  np.testing.assert_allclose(three, np.std(x[:3], axis=0).mean(), rtol=1e-5)
  np.testing.assert_allclose(minibatch_stddev(x[:1], 4)[..., 3], 1e-4, rtol=1e-4)
  assert np.isfinite(jax.jit(jax.grad(lambda x: minibatch_stddev(x, 4).sum()))(x[:1])).all()
  with pytest.raises(UserError, match='6 images .* groups of 4.*group_size'):
    minibatch_stddev(x[:6], 4)


def test_the_papers_widths_and_size():
  """EG3D's table: 31.36 M for 512² and 31.24 M for 256², labels included; here without raw."""
  module = discriminators.create(dict(name='stylegan2', label_dim=25))
  shapes = jax.eval_shape(lambda: discriminators.init_params(module, jax.random.key(0)))
  count = sum(x.size for x in jax.tree.leaves(shapes))
  c = stylegan2.channels_of(256)
  expected = (3 + 1) * c[-1]
  for small, big in zip(c[:-1], c[1:], strict=True):
    expected += 9 * big * big + big + 9 * big * small + small + big * small
  expected += 9 * 513 * 512 + 512 + 16 * 512 * 512 + 512 + 513 * 512
  expected += 26 * 512 + 8 * 513 * 512
  assert count == expected and round(count / 1e6, 2) == 31.24


def test_labels_decide_and_are_asked_for():
  module, params = tiny(label_dim=5, cmap_dim=7, mapping_layers=2, pose_dim=2)
  assert params['b4']['out']['kernel'].shape == (8, 7)
  judge = jax.jit(lambda x, label: module.apply({'params': params}, x, 0.5, label=label))
  out, other = judge(images(), labels()), judge(images(), -labels())
  assert (
    out.logits.shape == (4,) and out.heads['pose'].shape == (4, 2) and out.heads.keys() == {'pose'}
  )
  assert np.abs(out.logits - other.logits).min() > 1e-4
  np.testing.assert_array_equal(out.heads['pose'], other.heads['pose'])
  for wrong in (None, labels(3), labels()[:, :4]):
    with pytest.raises(UserError, match=r'Pass label \[4, 5\]'):
      module.apply({'params': params}, images(), label=wrong)


def test_initial_logits_are_of_order_one():
  module, params = tiny()
  logits = np.asarray(run(module, params, images(64)).logits)
  assert 0.01 < logits.std() < 3


def test_activations_are_bounded():
  module, params = tiny(clamp=1e-3)
  free = module.clone(clamp=None)
  x = images()
  logits = run(module, params, x).logits
  assert np.abs(logits - run(free, params, x).logits).max() > 1e-3
  # What all clamped layers let through; the last two are not clamped.
  assert np.abs(logits).max() < 0.1


@pytest.mark.parametrize('shape', [(4, 8, 8, 3), (4, 16, 16, 6), (4, 16, 8, 3)])
def test_wrong_images_are_user_errors(shape):
  module, params = tiny()
  with pytest.raises(UserError, match='16x16x3, not'):
    module.apply({'params': params}, jnp.zeros(shape))


def test_wrong_fields_are_user_errors():
  with pytest.raises(UserError, match="block is not a field.*'stylegan2'.*set_discriminator"):
    discriminators.create(dict(name='stylegan2', block='ccs'))
  with pytest.raises(UserError, match='block.*channels'):
    config_lib.set_discriminator(config_lib.base_config(), 'stylegan2', block='ccs')
  with pytest.raises(UserError, match='two sizes'):
    discriminators.init_params(
      discriminators.create(dict(name='stylegan2', channels=(4,))), jax.random.key(0)
    )


def test_bfloat16_stays_near():
  module, params = tiny()
  rounding = module.clone(matmul_dtype='bfloat16')
  a, b = (run(m, params, images()).logits for m in (module, rounding))
  assert b.dtype == np.float32 and 1e-6 < np.abs(a - b).max() < 0.05


def test_the_short_cut_of_r1_is_only_for_those_who_judge_alone():
  """The trick of `real_images` is exact without groups, and wrong with them: hence the flag."""
  for group_size, alone in ((0, True), (4, False)):
    module = discriminators.create(dict(name='stylegan2', channels=(8, 6), group_size=group_size))
    params = discriminators.init_params(module, jax.random.key(0))
    assert module.independent_logits is alone

    # Large logits of unlike images have unlike slopes.
    def fn(p, x, m=module):
      return 10 * m.apply({'params': p}, x).logits

    x = images(size=8) * np.array([0.3, 1, 2, 4])[:, None, None, None]

    def total(terms, params, fn=fn, x=x):
      out = terms(fn, params, x)
      return out.loss + out.r1

    a, b = (
      jax.jit(jax.grad(functools.partial(total, terms)))(params)
      for terms in (real_images.real_terms, real_images.reference_terms)
    )
    worst = max(
      float(np.abs(u - v).max() / (np.abs(v).max() + 1e-6))
      for u, v in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )
    assert (worst < 1e-3) is alone


def test_r1_is_the_squared_slope():
  """Against differences of the sum of logits along the gradient."""
  module, params = tiny()
  x = images().astype(jnp.float32)

  def logits_of(x):
    return module.apply({'params': params}, x).logits

  total = jax.jit(lambda x: logits_of(x).sum())
  gradient = jax.jit(jax.grad(total))(x)
  penalty = jax.jit(lambda x: regularizers.r1_penalty(logits_of, x))(x)
  unit = gradient / jnp.linalg.norm(gradient)
  slope = (total(x + 1e-2 * unit) - total(x - 1e-2 * unit)) / 2e-2
  np.testing.assert_allclose(slope**2, 4 * penalty, rtol=2e-2)


def stylegan2_config(**fields):
  config = config_lib.base_config()
  config_lib.set_model(config, 'stylegan2')
  config_lib.set_discriminator(config, 'stylegan2', **fields)
  config = config_lib.tiny(config)
  with config.unlocked():
    config.loss.update(pose=0.0, top_k_interval=0)
  return config


def test_configs_are_built_completed_and_shrunk():
  config = stylegan2_config(group_size=2)
  assert config.discriminator.channels == (8, 8, 8) and config.resolution == 16
  assert discriminators.create(config.discriminator).resolutions == (16,)
  older = workdirs.plain(config)
  whole = workdirs.plain(config)
  del older['discriminator']['pose_dim'], older['discriminator']['clamp']
  read = old_configs.complete(workdirs.config_from(older))
  assert workdirs.plain(read) == whole and 'block' not in read.discriminator
  config.discriminator.clamp = 256.0
  assert discriminators.create(config.discriminator).clamp == 256
  older['discriminator'] = {'name': 'of_tomorrow', 'width': 3}
  later = old_configs.complete(workdirs.config_from(older))
  assert workdirs.plain(later.discriminator) == older['discriminator']


@pytest.mark.thorough  # a program of its own; gradients are compared above, steps elsewhere
def test_a_training_step_lowers_its_loss():
  config = stylegan2_config()
  config.resolution = 8
  config.model.update(generators.create(config).tiny(8))
  config.discriminator.update(channels=(8, 8))
  config.optimizer.lr_discriminator = 2e-3
  program = tiny_steps.Program(config)
  state, losses = program.create(), []
  reals = (255 * np.random.default_rng(0).random((4, 8, 8, 1)) * [1, 0.2, 0]).astype(np.uint8)
  for _ in range(12):
    state, metrics = program.step(state, parallel.shard({'image': reals}, program.mesh))
    losses.append(float(metrics['discriminator/adversarial']))
    assert np.isfinite(losses[-1]) and metrics['discriminator/r1'] > 0
  assert losses[-1] < losses[0] - 0.05
