"""The patch discriminator: official logits, spectral vectors and R1's second derivatives."""

import contextlib
import functools

import goldens
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import x64
from layouts import nchw

from jax3dgan import config as config_lib
from jax3dgan import discriminators, generators, recipes
from jax3dgan.convert import graf_names
from jax3dgan.errors import UserError
from jax3dgan.losses import regularizers
from jax3dgan.nn import backend
from jax3dgan.nn.instance_norm import instance_norm
from jax3dgan.recipes import base, graf

FILE = 'graf/discriminator'
compare = functools.partial(goldens.compare, FILE, relative=1e-9)


@functools.cache
def network(size):
  """(fields, module, variables, images) in float64."""
  arrays = goldens.load(FILE)
  images = arrays[f's{size}/x_flat'].reshape(2, size, size, 3).astype(np.float64)
  prefix = f's{size}/p/'
  state = {
    name.removeprefix(prefix): x.astype(np.float64)
    for name, x in arrays.items()
    if name.startswith(prefix)
  }
  fields, variables = graf_names.discriminator_params(state)
  return fields, discriminators.create(fields), variables, images


@pytest.mark.parametrize('size', [32, 64, 128])
def test_logits_vectors_and_r1(size):
  fields, module, variables, images = network(size)

  def logits_of(params, buffers, images):
    return module.apply({'params': params, 'buffers': buffers}, images).logits

  def run(variables, images):
    params, buffers = variables['params'], [variables['buffers']]
    for _ in range(2):
      networks = base.Networks({'discriminator': params}, {'discriminator': buffers[-1]})
      buffers.append(base.advanced(module, networks).buffers['discriminator'])
    every = jax.tree.map(lambda *x: jnp.stack(x), *buffers)
    logits = jax.vmap(lambda own: logits_of(params, own, images))(every)

    def r1(params):
      """The release's term of the loss."""
      gradient = jax.grad(lambda x: logits_of(params, buffers[1], x).sum())(images)
      weight = graf.Loss().r1 * (32 / size) ** 2  # of patches of this size
      return 0.5 * weight * regularizers.squared_norms(gradient).mean(), gradient

    return logits, buffers[1], jax.value_and_grad(r1, has_aux=True)(params)

  # The forms for CPUs are for one size; others are in half the time without.
  with contextlib.nullcontext() if size == 32 else backend.reference():
    logits, own, ((reg, gradient), r1) = x64.jit(run)(variables, images)
  for name, x in zip(('eval', 'train', 'train_second_forward'), logits, strict=True):
    compare(f's{size}/logit_{name}', x)
  state = graf_names.discriminator_state({'params': r1, 'buffers': own}, fields)
  for name, x in state.items():
    kind = 'r1_grad' if name.endswith('orig') else 'after_one_forward'
    compare(f's{size}/{kind}/{name}', x)
  squares = np.square(gradient).sum((1, 2, 3))
  compare(f's{size}/grad2_per_image', squares)
  compare(f's{size}/grad2_per_pixel_mean', squares.mean() / size**2)
  np.testing.assert_allclose(reg, 10 * squares.mean() / size**2, rtol=1e-9)
  if size == 32:
    compare('s32/dlogit_dx', gradient.reshape(-1, 3))


def test_the_layers():
  _, module, variables, images = network(32)

  @x64.jit
  def run(variables, images):
    _, moved = module.apply(variables, method='advance', mutable=['buffers'])
    found, x = {}, images
    bound = module.bind({**variables, **moved})
    for i, conv in enumerate(bound.convs):
      x = conv(x)
      found[f'{3 * i}_Conv2d'] = x
      if i < 3:
        x = instance_norm(x)
        found[f'{3 * i + 1}_InstanceNorm2d'] = x
        x = jax.nn.leaky_relu(x, 0.2)
        found[f'{3 * i + 2}_LeakyReLU'] = x
    return found

  for name, x in run(variables, images).items():
    compare(f's32/act/{name}', nchw(x))


def test_mirrored_images():
  _, module, variables, images = network(32)
  keep = goldens.load(FILE)['hflip/keep_bit']

  @x64.jit
  def run(variables, images, flips):
    return module.apply(variables, graf.mirror(images, flips)).logits

  compare('hflip/logit_eval', run(variables, images, keep == 0))


def test_what_it_refuses():
  module = discriminators.create(dict(name='patch', channels=(4, 8)))
  variables = discriminators.init(module, jax.random.key(0))
  assert module.resolutions == (16,) and module.channels_for(32) == (4, 4, 8)
  assert module.channels_for(24) is None
  with pytest.raises(UserError, match='takes images of 16x16x3, not 8x8x3'):
    module.apply(variables, jnp.zeros((1, 8, 8, 3)))
  with pytest.raises(UserError, match='not conditioned on labels'):
    module.apply(variables, jnp.zeros((1, 16, 16, 3)), label=jnp.zeros((1, 25)))
  config = config_lib.base_config('pigan')
  config_lib.set_discriminator(config, 'patch')
  with pytest.raises(UserError, match="the recipe 'pigan' does not move"):
    recipes.create('pigan').check(config, generators.create(config), module)
