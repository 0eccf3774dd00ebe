"""Generators take any number of examples, also one that is not known: what is exported does so."""

import jax
import jax.export
import jax.numpy as jnp
import pytest

from jax3dgan import config as config_lib
from jax3dgan import generators


@pytest.mark.parametrize('name', [name for name in generators.GENERATORS if name != 'nerf'])
def test_styles_and_scenes_of_any_number_of_latents(name):
  config = config_lib.base_config('eg3d' if name == 'eg3d' else 'pigan')
  config_lib.set_model(config, name)
  config.model.update(generators.create(config).tiny(16))
  generator = generators.create(config)
  variables = jax.eval_shape(lambda: generators.init(generator, jax.random.key(0)))
  (b,) = jax.export.symbolic_shape('b')
  z = jax.ShapeDtypeStruct((b, generator.z_dim), jnp.float32)
  label = None
  if generator.label_dim:
    label = jax.ShapeDtypeStruct((b, generator.label_dim), jnp.float32)

  def styles(variables, z, label):
    average = generator.apply(variables, method='average_w')
    psi = 1.0 if average is None else 0.5
    return generator.apply(variables, z, label, psi, average, method='map')

  w = jax.eval_shape(styles, variables, z, label)
  assert w.shape[0] == b
  scene = jax.eval_shape(lambda v, w: generator.apply(v, w, method='prepare'), variables, w)
  assert all(x.shape[0] == b for x in jax.tree.leaves(scene))
