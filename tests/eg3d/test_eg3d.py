"""EG3D's generator: official stages, the library's contract, training's assumptions."""

import dataclasses
import functools
import pathlib
import subprocess
import sys

import goldens
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_eg3d import OPTIONS, error, model, nhwc, state, without_noise

from jax3dgan import cameras, generators, trained
from jax3dgan import config as config_lib
from jax3dgan.convert import eg3d_generator
from jax3dgan.devices import ray_parallel
from jax3dgan.errors import UserError
from jax3dgan.generators.eg3d import EG3D
from jax3dgan.rendering.hierarchical import Draws


@functools.cache
def official_scene(example: int, const_noise: bool):
  generator, variables = model()
  if not const_noise:
    variables = without_noise(variables)
  stages = goldens.load('G_small_stages')

  @jax.jit
  def prepare(z, label):
    w = generator.apply(variables, z, label, method='map')
    return generator.apply(variables, w, method='prepare')

  rows = slice(example, example + 1) if example >= 0 else slice(None)
  return prepare(stages['z'][rows], stages['c_cond'][rows])


def test_styles():
  generator, variables = model()
  stages = goldens.load('G_small_stages')
  average = jnp.broadcast_to(variables['buffers']['w_average'], (14, 512))
  map_ = functools.partial(generator.apply, variables, stages['z'], stages['c_cond'], method='map')
  w = map_()
  assert w.shape == (2, 14, 512) and error(w[:, 3], stages['ws']) < 2e-6
  cut = map_(truncation_psi=0.7, average_w=average, truncation_cutoff=8)
  assert error(cut[:, [0, 7, 8, 13]], stages['ws_trunc_psi0.7_cutoff8']) < 2e-6
  half = map_(truncation_psi=0.5, average_w=average)
  assert error(half[:, 0], stages['ws_trunc_psi0.5']) < 2e-6


@pytest.mark.parametrize('noise', ['const', 'none'])
def test_planes(noise):
  stages = goldens.load('G_small_stages')
  planes = np.asarray(official_scene(-1, noise == 'const').planes)[:, :, 1:-1, 1:-1]
  planes = np.moveaxis(planes, -1, 2)  # [2, 3, 32, 256, 256]
  flat = planes.reshape(2, -1)[:, stages['planes_flat_idx']]
  assert error(flat, stages[f'planes_{noise}_sel']) < 1e-5
  channels = planes.reshape(2, 96, -1)
  assert error(channels.mean(-1), stages[f'planes_{noise}_chan_mean']) < 1e-5
  assert error(channels.std(-1, ddof=1), stages[f'planes_{noise}_chan_std']) < 1e-5


def test_the_field_of_points():
  generator, variables = model()
  stages = goldens.load('G_small_stages')
  scene = official_scene(-1, True)
  query = functools.partial(generator.apply, variables, method='query')
  density, features = query(scene, stages['points'])
  assert error(density, stages['points_sigma'][..., 0]) < 1e-5
  assert error(features, stages['points_rgb']) < 1e-5


@pytest.mark.parametrize('name', ['G_small_nrr16', 'G_small_nrr64'])
def test_pictures(name):
  generator, variables = model()
  arrays = goldens.load(name)
  scene = official_scene(-1, True) if name.endswith('16') else official_scene(0, False)
  b, size = len(arrays['c']), arrays['feature_image'].shape[-1]
  draws = Draws(jitter=arrays['u_coarse'][..., 0], pdf=arrays['u_fine'].reshape(b, -1, 6))
  options = dataclasses.replace(OPTIONS, low_resolution=size)
  camera = cameras.from_label(arrays['c'])

  @functools.partial(jax.jit, static_argnums=2)
  def render(scene, draws, method):
    return generator.apply(variables, scene, camera, draws, options=options, method=method)

  out = render(scene, draws, 'synthesize')
  rendered = render(scene, draws, 'render_features')
  features = rendered.colour
  shape = (b, size, size, 32)
  assert error(2 * features.reshape(shape) - 1, nhwc(arrays['feature_image'])) < 5e-5
  assert error(out.image, nhwc(arrays['image'])) < 5e-5
  depth = (rendered.depth / rendered.opacity).reshape(b, size, size)
  assert error(depth, arrays['image_depth'][:, 0]) < 1e-5
  raw = arrays['image_raw_as_returned' if name.endswith('64') else 'image_raw']
  assert error(out.low_res, nhwc(raw)) < 5e-5
  if name.endswith('64'):  # without the release's oversight
    own = dataclasses.replace(generator, raw_alias=False)
    true = jax.jit(lambda s: own.apply(variables, s, camera, draws, options, method='synthesize'))(
      scene
    )
    assert error(true.low_res, nhwc(arrays['image_raw_true'])) < 5e-5
    np.testing.assert_allclose(true.image, out.image, atol=5e-6)


def test_the_official_names_make_the_whole_tree():
  generator, variables = model()
  fresh = jax.eval_shape(functools.partial(generators.init, generator), jax.random.key(0))
  assert jax.tree.map(jnp.shape, variables) == jax.tree.map(jnp.shape, fresh)
  with pytest.raises(UserError, match="'backbone.synthesis.b4.extra' is no parameter"):
    eg3d_generator.generator_params(state() | {'backbone.synthesis.b4.extra': np.zeros(1)})
  few = {k: v for k, v in state().items() if not k.startswith('decoder')}
  with pytest.raises(UserError, match='are missing'):
    eg3d_generator.model_fields(few)


@functools.cache
def tiny(superres: bool = True):
  """(config, generator, variables) of images of 16²."""
  config = config_lib.base_config()
  config_lib.set_model(
    config, 'eg3d', **({} if superres else dict(super_channels=(), super_ups=()))
  )
  config.render.update(
    marcher='midpoints', strata='forward', importance='smoothed', near=2.25, far=3.3, radius=2.7
  )
  config = config_lib.tiny(config)
  generator = generators.create(config)
  return config, generator, generators.init(generator, jax.random.key(0))


def inputs(num=2):
  generator = tiny()[1]
  z = jax.random.normal(jax.random.key(1), (num, generator.z_dim))
  camera = cameras.orbit(jnp.linspace(0, 0.5, num), jnp.zeros(num), 2.7, 18.0)
  return z, camera


@functools.cache
def picture(superres: bool = True):
  config, generator, variables = tiny(superres)
  options = generators.render_options(config)

  @jax.jit
  def run(z, camera, key):
    label = camera.label()
    w = generator.apply(variables, z, label, method='map')
    return generator.apply(variables, w, camera, key, options, method='synthesize')

  return run


@pytest.mark.parametrize('superres', [True, False])
def test_the_contract(superres):
  config, generator, variables = tiny(superres)
  z, camera = inputs()
  out = picture(superres)(z, camera, None)
  low = 8 if superres else 16
  assert out.image.shape == (2, 16, 16, 3) and out.low_res.shape == (2, low, low, 3)
  assert out.depth.shape == out.opacity.shape == (2, 16, 16)
  assert np.isfinite(out.image).all() and 0 <= out.opacity.min() <= out.opacity.max() <= 1.00001
  # Each example depends on its own latent, camera and key alone.
  twice = jax.tree.map(lambda x: x[np.array([1, 1])], (z, camera))
  np.testing.assert_allclose(picture(superres)(*twice, None).image[0], out.image[1], atol=2e-5)
  keys = jax.random.split(jax.random.key(3), 2)
  drawn = picture(superres)(z, camera, keys)
  assert np.abs(drawn.image - out.image).max() > 1e-4
  np.testing.assert_array_equal(drawn.image, picture(superres)(z, camera, keys).image)


def test_a_scene_stands_for_its_styles():
  config, generator, variables = tiny()
  options = generators.render_options(config)
  z, camera = inputs()
  points = jax.random.uniform(jax.random.key(0), (2, 7, 3), minval=-0.4, maxval=0.4)

  @jax.jit
  def run(z, camera):
    apply = functools.partial(generator.apply, variables)
    synthesize = lambda scene: apply(scene, camera, None, options, method='synthesize')  # noqa: E731
    w = apply(z, camera.label(), method='map')
    scene = apply(w, method='prepare')
    first = jax.tree.map(lambda x: x[:1], scene)
    twice = jax.tree.map(lambda x: jnp.repeat(x[:1], 2, axis=0), scene)
    images = [synthesize(form).image for form in (w, scene, first, twice)]
    return images, [apply(form, points, method='query') for form in (w, scene)]

  (one, other, shared, repeated), fields = run(z, camera)
  np.testing.assert_allclose(one, other, atol=1e-5)
  for a, b in zip(*fields, strict=True):
    np.testing.assert_allclose(a, b, atol=1e-5)
  # One scene, several cameras: the same as the scene repeated.
  np.testing.assert_allclose(shared[0], other[0], atol=1e-5)
  np.testing.assert_allclose(shared, repeated, atol=1e-5)


def test_a_trained_model_keeps_its_scene():
  config, generator, variables = tiny()
  model = trained.Trained(config, generator, variables, 1)
  w = model.map(model.latents([3]), psi=1.0)
  assert w.shape[1:] == model.w_shape == (4, 8)
  scene, camera = model.prepare(w), model.orbit([0.0, 0.2, 0.4])
  assert model.prepare(scene) is scene
  several = model.render(w, camera, batch=2)
  for out in (
    model.render(scene, camera, batch=2),
    model.render(np.repeat(w, 3, 0), camera, batch=2),
  ):
    np.testing.assert_allclose(out.image, several.image, atol=1e-5)
  points = np.random.default_rng(0).uniform(-0.4, 0.4, (1, 9, 3))
  for a, b in zip(model.query(w, points), model.query(scene, points), strict=True):
    np.testing.assert_allclose(a, b, atol=1e-5)
  # The style hangs on the camera that the mapping network is told; by default the one in front.
  front = model.map(model.latents([3]), psi=1.0, label=model.front.label())
  np.testing.assert_array_equal(front, w)
  side = model.map(model.latents([3]), psi=1.0, label=model.orbit(1.0).label())
  assert np.abs(side - w).max() > 1e-6
  # Super-resolution looks at neighbours: no cutting along rays; without it there is.
  assert not ray_parallel.cuts_pictures(generator)
  assert ray_parallel.cuts_pictures(tiny(False)[1])


_THREE = """
import dataclasses, sys
import jax
jax.config.update('jax_num_cpu_devices', 3)
sys.path[:0] = [{here!r}, {tests!r}]
import numpy as np
from test_eg3d import tiny
from jax3dgan import trained

first = jax.local_devices()[0]
for superres in (True, False):
  config, generator, variables = tiny(superres)
  many = trained.Trained(config, generator, jax.device_put(variables, first), 1)
  one = dataclasses.replace(many, devices=[first])
  assert many.mesh.size == 3
  styles = np.asarray(many.map(many.latents([3, 4]), psi=1.0))
  for w, views in ((styles[:1], 1), (styles[:1], 4), (styles[[0, 0, 1, 1]], 4)):
    camera = many.orbit(np.linspace(0, 1, views))
    out = one.render(w, camera)
    for form in (w, one.prepare(w), many.prepare(w)):
      for batch in (1, None)[views == 1 :]:
        image = many.render(form, camera, batch=batch).image
        np.testing.assert_allclose(image, out.image, atol=2e-5)
print('equal')
"""


@pytest.mark.thorough
def test_three_devices_render_scenes_as_one():
  """In a process of its own: the number of devices is fixed before JAX starts."""
  here = pathlib.Path(__file__).parent
  code = _THREE.format(here=str(here), tests=str(here.parent))
  done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=900)
  assert done.returncode == 0 and 'equal' in done.stdout, done.stdout + done.stderr[-3000:]


def test_every_parameter_that_is_trained_gets_a_gradient():
  config, generator, variables = tiny()
  options = generators.render_options(config)
  z, camera = inputs()
  keys = jax.random.split(jax.random.key(5), 2)

  @jax.jit
  def gradient(params):
    def loss(params):
      out = generator.apply({**variables, 'params': params}, z, camera, keys, options)
      return jnp.mean(out.image**2) + jnp.mean(out.low_res**2)

    return jax.grad(loss)(params)

  for path, leaf in jax.tree_util.tree_leaves_with_path(gradient(variables['params'])):
    name = jax.tree_util.keystr(path)
    # Noise inputs of the super-resolution are never fed.
    still = 'superresolution' in name and 'noise_strength' in name
    assert np.isfinite(leaf).all() and bool(np.any(leaf)) != still, name


def test_what_the_user_is_told():
  config, generator, variables = tiny()
  z, camera = inputs()
  apply = functools.partial(generator.apply, variables)
  with pytest.raises(UserError, match='conditioned on the camera. Pass its label'):
    apply(z, method='map')
  with pytest.raises(UserError, match='makes pictures of 16², not 32²'):
    options = generators.render_options(config, resolution=32)
    apply(z, camera, None, options)
  with pytest.raises(UserError, match='differ in length'):
    generators.init_params(EG3D(super_ups=(2,)), jax.random.key(0))
  with pytest.raises(UserError, match='Choose one of official, fixed'):
    generators.init_params(EG3D(plane_axes='mine'), jax.random.key(0))
