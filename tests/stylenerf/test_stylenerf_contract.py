"""StyleNeRF's generator in the library: what training and apps rely on."""

import dataclasses
import functools
import types

import golden_stylenerf as golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax3dgan import cameras, editing, generators, trained
from jax3dgan import config as config_lib
from jax3dgan.convert import stylenerf_generator
from jax3dgan.errors import UserError
from jax3dgan.generators.base import GROWTH
from jax3dgan.generators.stylenerf import Path, StyleNeRF
from jax3dgan.losses import nerf_path
from jax3dgan.nn import resample

SIZE = 16


@functools.cache
def model(**fields):
  """(generator, variables) of images of 16² from renderings of 4²."""
  generator = StyleNeRF(**{**StyleNeRF().tiny(SIZE), **fields})
  variables = generators.init(generator, jax.random.key(0))
  return generator, variables


def inputs(generator, num: int = 4):
  """Styles, cameras and keys."""
  z = jax.random.normal(jax.random.key(1), (num, generator.z_dim))
  camera = cameras.orbit(jnp.linspace(-0.3, 0.3, num), jnp.linspace(0.1, -0.1, num))
  w = generator.apply(model()[1], z, method='map')
  return w, camera, jax.random.split(jax.random.key(2), num)


def options(generator, **changes):
  changes = dict(num_coarse=4, num_fine=3, **changes)
  return dataclasses.replace(generator.default_options(), **changes)


@functools.partial(jax.jit, static_argnums=0)
def train(options, variables, w, camera, keys):
  """Images, the NeRF path's loss with its gradient, and powers."""
  generator, _ = model()
  index, uv = nerf_path.pixel_grid(jax.vmap(lambda k: jax.random.uniform(k, (2,)))(keys), SIZE, 4)

  def loss(w):
    out = generator.apply(
      variables, w, camera, keys, options, 1.0, 0.3, Path(uv, keys),
      method='synthesize_for_training',
    )  # fmt: skip
    return nerf_path.nerf_path_loss(out.rendering.image, out.path_colours, index).sum(), out

  (_, out), gradient = jax.value_and_grad(loss, has_aux=True)(w)
  return out, gradient


def test_an_image_depends_on_its_own_example_alone():
  generator, variables = model()
  arrays = inputs(generator)
  out, gradient = train(options(generator), variables, *arrays)
  # Two examples twice each: of the same program.
  halves = [
    train(options(generator), variables, *jax.tree.map(lambda x, of=of: x[of], arrays))
    for of in (np.array([0, 1, 0, 1]), np.array([2, 3, 2, 3]))
  ]
  for whole, *parts in (
    (out.rendering.image, *(half.rendering.image[:2] for half, _ in halves)),
    (out.path_colours, *(half.path_colours[:2] for half, _ in halves)),
    (gradient, *(of_half[:2] for _, of_half in halves)),
  ):
    assert np.allclose(whole, jnp.concatenate(parts), atol=1e-4, rtol=1e-4)
  # What devices give of their parts is, on average, what one device gives of the batch.
  powers = (halves[0][0].powers + halves[1][0].powers) / 2
  assert np.allclose(out.powers, powers, rtol=1e-6) and not np.allclose(out.powers, 1, rtol=1e-6)


def test_chunks_change_memory_alone():
  generator, variables = model()
  arrays = inputs(generator)
  out, gradient = train(options(generator), variables, *arrays)
  chunked, of_chunks = train(options(generator, ray_chunk=4), variables, *arrays)
  assert np.allclose(out.path_colours, chunked.path_colours, atol=1e-5)
  assert np.allclose(out.powers, chunked.powers, rtol=1e-6)
  assert np.allclose(gradient, of_chunks, atol=1e-4, rtol=1e-4)


@functools.partial(jax.jit, static_argnums=(0, 1))
def synthesize(generator, options, variables, w, camera):
  return generator.apply(variables, w, camera, None, options, method='synthesize')


def test_the_rendering_alone():
  generator, variables = model()
  w, camera, _ = inputs(generator, 1)
  alone = generator.without_super_resolution()
  assert alone.resolution is None and alone.resolutions == ()
  low = synthesize(alone, options(generator, resolution=4), variables, w, camera)
  whole = synthesize(generator, options(generator), variables, w, camera)
  assert np.allclose(low.image, whole.low_res, atol=1e-6)
  assert np.all((whole.opacity >= 0) & (whole.opacity <= 1 + 1e-6))
  points = jnp.array([[[0.01, 0.02, -0.03], [0.0, 0.0, 0.05]]])
  query = jax.jit(
    lambda variables: [
      which.apply(variables, w, points, method='query') for which in (generator, alone)
    ]
  )
  (density, features), (other, own) = query(variables)
  assert np.allclose(density, other) and np.allclose(features[..., 3:], own[..., 3:], atol=1e-6)
  assert not np.allclose(features[..., :3], own[..., :3])


def test_a_size_that_is_not_trained_has_no_share_in_pictures():
  generator, variables = model()
  w, camera, _ = inputs(generator, 1)

  def grown(growth):
    own = {**variables['buffers'], GROWTH: jnp.float32(growth)}
    return synthesize(generator, options(generator), {**variables, 'buffers': own}, w, camera)

  none, one, between, all_of_it = (grown(growth) for growth in (0.0, 1.0, 1.4, 2.0))
  enlarged = resample.resize_bilinear(resample.resize_bilinear(none.low_res, 8), SIZE)
  assert np.allclose(none.image, enlarged, atol=1e-5)
  assert np.allclose(between.image, 0.6 * one.image + 0.4 * all_of_it.image, atol=1e-5)
  whole = synthesize(generator, options(generator), variables, w, camera)
  assert np.allclose(all_of_it.image, whole.image, atol=1e-5)
  assert not np.allclose(one.image, whole.image, atol=1e-3)


def test_a_trained_model_knows_how_far_it_has_grown():
  generator, variables = model()
  config = config_lib.base_config('stylenerf')
  config.num_steps, config.resolution, config.loss.fade_steps = 100, 4, 10
  config.stages = (dict(from_step=20, resolution=8), dict(from_step=50, resolution=16))

  def growth(step):
    return trained.Trained(config, generator, variables, step).variables['buffers'].get(GROWTH)

  found = [growth(step) for step in (0, 20, 24, 40, 50, 53, 60, 100)]
  assert np.allclose(found[:6], [0, 0, 0.4, 1, 1, 1.3]) and found[6:] == [None, None]
  half = trained.Trained(config, generator, variables, 53)
  assert half.with_params(half.params, 24).variables['buffers'][GROWTH] == np.float32(0.4)
  assert GROWTH not in half.with_params(half.params, 100).variables['buffers']
  assert GROWTH not in variables['buffers']


def test_a_run_from_one_with_fewer_blocks_begins_with_their_powers():
  generator, variables = model()
  fresh = {'w_average': np.zeros(8), 'powers': np.ones((2, 2))}
  there = {'w_average': np.arange(8.0), 'powers': np.array([[3.0, 5.0]])}
  same, other = (types.SimpleNamespace(low_resolution=size) for size in (4, 8))
  found = generator.fitted_buffers(there, fresh, same)
  assert found['powers'].tolist() == [[3, 5], [1, 1]] and found['w_average'] is there['w_average']
  assert 'powers' not in generator.fitted_buffers(there, fresh, other)
  assert fresh['powers'].max() == 1


def test_a_part_of_an_image():
  generator, variables = model()
  w, camera, _ = inputs(generator, 1)
  assert not generator.pixels_alone
  alone = generator.without_super_resolution()
  assert alone.pixels_alone
  of_alone = options(generator, resolution=4)
  whole = synthesize(alone, of_alone, variables, w, camera)
  part = jax.jit(
    lambda variables, index: alone.apply(
      variables, w, camera, index, 3, of_alone, method='synthesize_part'
    )
  )
  pieces = [part(variables, index) for index in range(3)]
  for name in ('image', 'depth', 'opacity'):
    joined = jnp.concatenate([getattr(piece, name) for piece in pieces], axis=1)[:, :16]
    assert np.allclose(joined.reshape(getattr(whole, name).shape), getattr(whole, name), atol=1e-6)


def test_what_passes_a_foreground_without_background():
  generator, variables = model(background=False)
  w, camera, _ = inputs(model()[0], 1)
  alone = generator.without_super_resolution()
  dark, white = (
    synthesize(
      alone,
      options(generator, resolution=4, last_back=False, white_back=is_white),
      variables,
      w[:, :-1],
      camera,
    )
    for is_white in (False, True)
  )
  passing = 1 - dark.opacity[..., None]
  assert passing.max() > 0.5
  assert np.allclose(white.image - dark.image, passing, atol=1e-6)


@pytest.mark.parametrize(
  'changes, message',
  [
    (dict(resolution=32), 'images of 4², 8², 16², not 32²'),
    (dict(low_resolution=8), 'made for 4²'),
    (dict(white_back=True), 'white_back would be ignored'),
  ],
)
def test_refused_options(changes, message):
  generator, variables = model()
  w, camera, _ = inputs(generator, 1)
  with pytest.raises(UserError, match=message):
    jax.eval_shape(
      lambda w: generator.apply(
        variables, w, camera, None, options(generator, **changes), method='synthesize'
      ),
      w,
    )


def test_refused_and_unused_fields():
  with pytest.raises(UserError, match='at most that'):
    generators.init(StyleNeRF(**{**StyleNeRF().tiny(SIZE), 'background_dim': 9}), jax.random.key(0))
  assert 'background_dim' in StyleNeRF(background=False).unused_fields()
  assert 'clamp' in StyleNeRF(channels=()).unused_fields()
  assert 'upsampling_blur' in StyleNeRF(upsampling='bilinear').unused_fields()
  assert not StyleNeRF().unused_fields()


def test_closed_form_directions_leave_the_background():
  generator, variables = model()
  flat = jax.tree_util.tree_leaves_with_path(variables['params'])
  names = {jax.tree_util.keystr(path, simple=True, separator='/') for path, _ in flat}
  rows = generator.style_rows()
  assert rows.keys() == {name for name in names if name.endswith('affine/kernel')}
  assert sorted(set(rows.values())) == list(range(generator.num_styles))
  config = config_lib.base_config()
  config_lib.set_model(config, 'stylenerf')
  model_of = trained.Trained(config, generator, variables, 0, 'tiny')
  vectors = editing.sefa(model_of, count=2, num=4).vectors
  assert np.all(vectors[:, -1] == 0) and np.all(np.abs(vectors[:, :-1]).sum(-1) > 0)


def test_official_names_there_and_back():
  state = golden.weights()
  generator, _ = golden.model()
  fields = golden.fields_of(generator)
  arrays = stylenerf_generator.generator_arrays(state, fields)
  back = stylenerf_generator.generator_state(arrays, fields)
  given = {name for name in state if not name.endswith(('resample_filter', 'alpha'))}
  assert back.keys() == given
  for name, value in back.items():
    assert value.shape == state[name].shape and np.array_equal(value, state[name]), name
  with pytest.raises(UserError, match="'mapping.fc1.bias' is missing"):
    del state['mapping.fc1.bias']
    stylenerf_generator.generator_arrays(state, fields)
