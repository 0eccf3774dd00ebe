"""Exp-GAN's weights by official names: small ones, and the names and shapes of the release."""

import golden_expgan
import goldens
import jax
import numpy as np
import pytest

from jax3dgan import discriminators, generators
from jax3dgan.convert import expgan, expgan_names, named_weights
from jax3dgan.discriminators.expgan import ExpGANDiscriminator
from jax3dgan.errors import UserError
from jax3dgan.generators.expgan import ExpGAN

_NAMES = goldens._SHARED / 'expgan' / 'names_expgan_ffhq256.txt'


def small_state():
  """A checkpoint of the small networks."""
  state = goldens.load('expgan/G_small_weights')
  state = {f'{expgan.GENERATOR}.{k.removeprefix("param/")}': x for k, x in state.items()}
  for key, x in goldens.load('expgan/D_small').items():
    net, _, name = key.partition('/param/')
    if name:
      state[f'{expgan.FULL if net == "D256" else expgan.LOW}.{name}'] = x
  state[f'{expgan.GENERATOR}.mean_w'] = np.ones((8, 16), np.float32)
  state[f'{expgan.FULL}.convs.0.conv2.0.kernel'] = np.ones((4, 4), np.float32)
  return state


def assert_equal(a, b):
  jax.tree.map(np.testing.assert_array_equal, a, b)


def test_small_networks():
  state = small_state()
  own = expgan.part_of(state, expgan.GENERATOR)
  fields = expgan.generator_fields(own)
  assert fields == {name: getattr(golden_expgan.generator(), name) for name in fields}
  assert_equal(expgan.generator_params(own, golden_expgan.RAYS), golden_expgan.weights())
  np.testing.assert_array_equal(expgan.w_average(own), np.ones(16))
  pair = (expgan.part_of(state, name) for name in (expgan.FULL, expgan.LOW))
  assert_equal(expgan.discriminator_params(*pair), golden_expgan.discriminator_weights())


def test_other_weights_are_refused():
  own = expgan.part_of(small_state(), expgan.GENERATOR)
  with pytest.raises(UserError, match='mapping_network.fc8.bias. is missing'):
    expgan.generator_params({**own, 'mapping_network.fc8.weight': own['mapping_network.fc7.bias']})
  with pytest.raises(UserError, match="not those of Exp-GAN's generator"):
    expgan.generator_params({})


def test_names_and_shapes_of_the_release():
  if not _NAMES.exists():
    pytest.skip('the names of the release are not here')
  lines = [line.split('\t') for line in _NAMES.read_text().splitlines() if line[0] != '#']
  shapes = {name: tuple(map(int, s.split('x'))) for name, s, kind in lines if kind == 'param'}

  def empty(init, network):
    """Our parameters in memory of one number."""
    found = jax.eval_shape(lambda: init(network, jax.random.key(0)))
    return jax.tree.map(lambda x: np.broadcast_to(np.int8(0), x.shape), found)

  tree = empty(generators.init_params, ExpGAN())
  names = [
    *expgan_names.generator_names(dict(mapping_layers=8, channels=(0,) * 7)),
    *expgan_names.upsampler_names(2, 64),
  ]
  found = {k: x.shape for k, x in named_weights.to_official(tree, names).items()}
  own = expgan.part_of(shapes, expgan.GENERATOR)
  for second, first in expgan_names.second_biases(2).items():
    assert own.pop(second) == (1, *own[first], 1, 1)
  assert found == own
  pose = dict(pose_dim=6, expression_dim=53, identity_dim=100)
  trees = empty(discriminators.init_params, ExpGANDiscriminator(**pose))
  for part, network, num in (('full', expgan.FULL, 7), ('low', expgan.LOW, 5)):
    names = expgan_names.discriminator_names(num, True)
    found = {k: x.shape for k, x in named_weights.to_official(trees[part], names).items()}
    for kind in ('weight', 'bias'):
      first, rest = (found.pop(f'final_linear.1.{of}.{kind}') for of in ('logit', 'guesses'))
      found[f'final_linear.1.{kind}'] = (first[0] + rest[0], *rest[1:])
    for i in range(2):
      bias = found.pop(f'fromRGB.{i}.model.bias')
      found |= {f'fromRGB.{i}.model.{j}.bias': bias for j in range(2)}
    own = expgan.part_of(shapes, network)
    # From-RGB layers of sizes that are never images.
    unused = {name for name in own if name.startswith('fromRGB.') and name[8] not in '01'}
    assert found == {name: shape for name, shape in own.items() if name not in unused}
