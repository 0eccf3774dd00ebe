"""The PyTorch versions of the benchmarks compute what this library computes."""

import jax
import numpy as np
import pytest

from benchmarks import speed
from jax3dgan import discriminators, generators
from jax3dgan.convert import pigan

torch = pytest.importorskip('torch', reason='it compares with PyTorch')
torch_pigan = pytest.importorskip('benchmarks.torch_pigan')

CONFIG = speed.make_config(8, 2)


def load(module, arrays):
  """Gives a PyTorch module the arrays, in the order of its own parameters."""
  parameters = list(module.parameters())
  assert [tuple(p.shape) for p in parameters] == [a.shape for a in arrays]
  with torch.no_grad():
    for parameter, array in zip(parameters, arrays, strict=True):
      parameter.copy_(torch.from_numpy(np.array(array)))


def test_the_same_field_and_mapping():
  generator = generators.create(CONFIG)
  params = jax.device_get(generators.init_params(generator, jax.random.key(0)))
  rng = np.random.default_rng(0)
  z = rng.standard_normal((2, 256), np.float32)
  points = rng.uniform(-0.1, 0.1, (2, 4, 3, 3)).astype(np.float32)
  directions = rng.standard_normal((2, 4, 3), np.float32)

  @jax.jit
  def ours(params):
    w = generator.apply({'params': params}, z, method='map')
    return generator.apply({'params': params}, w, method=lambda g, w: g.field.fold(w))(
      points, directions
    )

  theirs = torch_pigan.Generator()
  official = pigan.to_official(params)
  layers = [f'siren.network.{i}.layer' for i in range(8)]
  layers += ['siren.final_layer', 'siren.color_layer_sine.layer', 'siren.color_layer_linear.0']
  layers += [f'siren.mapping_network.network.{i}' for i in (0, 2, 4, 6)]
  load(theirs, [official[f'{name}.{kind}'] for name in layers for kind in ('weight', 'bias')])
  with torch.no_grad():
    gamma, beta = theirs.styles(torch.from_numpy(z))
    flat = torch.from_numpy(points.reshape(2, 12, 3))
    views = torch.from_numpy(np.repeat(directions, 3, axis=1))
    out = theirs.field(flat, views, gamma, beta).numpy().reshape(2, 4, 3, 4)
  density, colour = ours(params)
  # Eight layers of frequencies of 30 amplify the rounding of float32.
  np.testing.assert_allclose(out[..., 3], density, atol=2e-4)
  np.testing.assert_allclose(out[..., :3], colour, atol=2e-4)


def test_the_same_discriminator():
  module = discriminators.create(CONFIG.discriminator)
  params = jax.device_get(discriminators.init_params(module, jax.random.key(0)))
  image = np.random.default_rng(0).uniform(-1, 1, (2, 8, 8, 3)).astype(np.float32)
  out = jax.jit(lambda p: module.apply({'params': p}, image))(params)
  blocks = [params[f'block_{size}'] for size in (8, 4)]
  layers = [params['from_rgb_8']]
  layers += [block[name] for block in blocks for name in ('conv_0', 'conv_1', 'shortcut')]
  layers.append(params['final'])
  theirs = torch_pigan.Discriminator(8)
  load(
    theirs,
    [a for p in layers for a in (np.transpose(p['kernel'], (3, 2, 0, 1)), p['bias'])],
  )
  with torch.no_grad():
    logits, pose = theirs(torch.from_numpy(np.transpose(image, (0, 3, 1, 2)).copy()))
  np.testing.assert_allclose(logits, out.logits, atol=1e-5)
  np.testing.assert_allclose(pose, out.heads['pose'], atol=1e-5)


def test_model_flops_of_a_case_are_those_of_the_step():
  parts = ('discriminator_step_32x4', 'generator_step_32x4')
  whole = speed.model_flops('training_step_32x4')
  assert sum(map(speed.model_flops, parts)) == pytest.approx(whole, rel=1e-6)
  assert speed.model_flops('forward_64x1') == pytest.approx(103.6e9, rel=0.01)
