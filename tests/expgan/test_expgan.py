"""Exp-GAN's generator: codes in styles, rows of its layers, a surface's texture at its rim."""

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict

from jax3dgan import generators
from jax3dgan.generators import expgan_networks
from jax3dgan.generators.expgan import ExpGAN

TINY = ExpGAN(
  w_dim=4,
  num_identity=6,
  num_expression=5,
  jaw=False,
  identity_inputs=2,
  expression_inputs=(1,),
  **{k: v for k, v in ExpGAN().tiny(8).items() if k != 'w_dim'},
)


def test_codes_are_in_the_styles():
  assert TINY.num_ws == 1 + 2 + 2 and TINY.code_sizes == {'identity': 6, 'expression': 5}
  rng = np.random.default_rng(0)
  style, identity, expression = (
    rng.normal(size=(3, n)).astype(np.float32) for n in (4, 6, 5)
  )  # fmt: skip
  w = TINY._packed(style, identity, expression)
  assert w.shape == (3, 5, 4)
  for found, own in zip(TINY.codes(w), (identity, expression), strict=True):
    np.testing.assert_array_equal(found, own)
  other = TINY.with_codes(w, expression=expression + 1)
  np.testing.assert_array_equal(other[:, 0], style)
  np.testing.assert_array_equal(TINY.codes(other)[0], identity)
  np.testing.assert_array_equal(TINY.codes(other)[1], expression + 1)
  # Halfway between two styles is halfway between their codes.
  np.testing.assert_allclose(
    TINY.codes(0.5 * (w + other))[1], expression + 0.5, atol=1e-6
  )  # fmt: skip


def test_a_seed_is_a_face_of_the_table():
  variables = jax.tree.map(
    lambda x: np.zeros(x.shape, x.dtype),
    jax.eval_shape(lambda: generators.init(TINY, jax.random.key(0))),
  )
  faces = np.arange(8 * 11, dtype=np.float32).reshape(8, 11)
  variables['buffers']['faces'] = faces
  z = np.zeros((3, TINY.z_dim), np.float32)
  z[:, -2:] = [[-9, 9], [0.01, -0.01], [9, -9]]
  latent, identity, expression = TINY.apply(variables, z, method='latents')
  np.testing.assert_array_equal(latent, z[:, :-2])
  np.testing.assert_array_equal(identity, faces[[0, 4, 7], :6])
  np.testing.assert_array_equal(expression, faces[[7, 3, 0], 6:])


def test_all_layers_have_the_first_row():
  params = jax.eval_shape(lambda: generators.init_params(TINY, jax.random.key(0)))
  affine = {'/'.join(path) for path in flatten_dict(params) if path[-2:] == ('affine', 'kernel')}
  rows = TINY.style_rows()
  assert rows.keys() == affine and set(rows.values()) == {0}


def test_pixels_beside_a_surface_have_no_share_of_its_texture():
  """Four pixels of a ray, one of them beside the face."""
  texture = np.zeros((1, 2, 2, 2), np.float32)
  texture[0, 0, 0, 0], texture[0, 1, 1, 0] = 1, 3
  texture[..., 1] = [[[0, -20], [20, 20]]]
  uv = np.float32([[[[-1, -1], [-1, -1]], [[-1, -1], [0, 0]]]])  # the last is beside it
  seen = np.array([[[True, True], [True, False]]])
  mask = np.ones((1, 1, 1), bool)
  own = expgan_networks.sample_texture(jnp.asarray(texture), uv, mask, 1, seen)
  np.testing.assert_allclose(own[0], [[[[1]]]])
  np.testing.assert_allclose(own[1], [[[0.5]]])
  release = expgan_networks.sample_texture(jnp.asarray(texture), uv, mask, 1)
  np.testing.assert_allclose(release[0], [[[[1]]]])  # the middle of the texture, 1 here, as well
  assert not np.allclose(release[1], 0.5)
  nothing = expgan_networks.sample_texture(jnp.asarray(texture), uv, mask, 1, np.zeros_like(seen))
  np.testing.assert_array_equal(nothing[1], 0)
