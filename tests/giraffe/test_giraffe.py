"""GIRAFFE's generator: official poses, stages, images and gradients."""

import dataclasses
import functools

import golden_giraffe as golden
import goldens
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from x64 import DTYPES

from jax3dgan.convert import giraffe_names
from jax3dgan.fields.giraffe import FieldLayers
from jax3dgan.generators import giraffe_rendering as rendering
from jax3dgan.rendering import composition
from jax3dgan.rendering import rays as rays_lib

FILE = 'giraffe/generator'
# Relative errors: what float32 costs is the README's; a part of the arrays is stored in it.
DOUBLE = 1e-7
SINGLE = {'field': 2e-3, 'image': 5e-5, 'objects': 5e-4, 'gradient': 1e-3, 'scene': 1e-6}
compare = functools.partial(goldens.compare, FILE)


def allowed(dtype, kind: str) -> float:
  return DOUBLE if dtype == np.float64 else SINGLE[kind]


@functools.cache
def results(dtype):
  """What the tests compare, in one program."""
  with jax.enable_x64(dtype == np.float64), golden.rounded_turns():
    arrays = goldens.load(FILE)
    generator, variables = golden.model(dtype)
    camera, scene = golden.camera(arrays['in/world_mat'], dtype), golden.scene(arrays, dtype)
    numbers = golden.numbers(arrays, dtype=dtype)

    def pixels(params, scene, camera, numbers=None, noise_std=0.0, options=golden.OPTIONS, **own):
      fields = generator.bind({'params': params}).fields().replace(**own)
      rays = rays_lib.camera_rays(camera, 8, True)
      numbers = numbers or rendering.Draws()
      return rendering.render(fields, scene, rays, numbers, options, noise_std)

    def image(params, features):
      renderer = generator.bind({'params': params}).renderer
      return jax.nn.sigmoid(renderer(features.reshape(-1, 8, 8, features.shape[-1])))

    def training(params, scene, camera, numbers):
      features = pixels(params, scene, camera, numbers, 1.0).features
      made = image(params, features)
      return jnp.mean(made**2), (features, made)

    def run(params, scene, camera, numbers):
      def parts(*presences):
        """Scenes [2·n] with these (objects, background)."""
        repeat = functools.partial(jax.tree.map, lambda x: jnp.concatenate([x] * len(presences)))
        objects, background = (jnp.repeat(jnp.asarray(x, dtype), 2, axis=0)
                               for x in zip(*presences, strict=True))  # fmt: skip
        own = repeat(scene)
        poses = own.poses.replace(presence=objects, background_presence=background)
        return own.replace(poses=poses), repeat(camera)

      cases = [((1, 1), 1), ((1, 1), 0), ((0, 0), 1), ((1, 0), 1), ((1, 0), 0)]
      features = pixels(params, *parts(*cases)).features
      ended = dataclasses.replace(golden.OPTIONS, last_interval='none')
      alone = pixels(params, *parts(((1, 0), 0), ((0, 1), 0)), options=ended).opacity
      gradient = jax.value_and_grad(training, (0, 1), has_aux=True)
      (_, (trained, made)), gradients = gradient(params, scene, camera, numbers)
      return dict(
        features=trained,
        image=made,
        gradients=gradients,
        val=jnp.split(features, len(cases)),
        val_images=jnp.split(image(params, features), len(cases)),
        alpha=jnp.split(alone, 2),
        largest=pixels(params, scene, camera, mode='max').features,
      )

    out = jax.jit(run)(variables['params'], scene, camera, numbers)
    return jax.tree.map(np.asarray, out)


@pytest.mark.parametrize('dtype', DTYPES)
def test_images_and_gradients(dtype):
  out, tolerance = results(dtype), functools.partial(allowed, dtype)
  compare('stage/feat_map', golden.maps(out['features']), relative=tolerance('image'))
  compare('stage/image', golden.nchw(out['image']), relative=tolerance('image'))
  params, scene = out['gradients']
  names = list(giraffe_names.generator_names(golden.ALL_FIELDS))
  for name, gradient in giraffe_names.to_official(params, names).items():
    compare(f'grad/{name}', gradient, relative=tolerance('gradient'))
  for ours, theirs in (('shape', 'shape_obj'), ('appearance', 'app_obj'),
                       ('background_shape', 'shape_bg'),
                       ('background_appearance', 'app_bg')):  # fmt: skip
    compare(f'grad_z/{theirs}', getattr(scene, ours), relative=tolerance('gradient'))


@pytest.mark.parametrize('dtype', DTYPES)
def test_parts_of_scenes(dtype):
  out, tolerance = results(dtype), functools.partial(allowed, dtype)
  names = ('', '_no_background', '_only_background', '_first_object_only')
  for name, image in zip(names, out['val_images'], strict=False):
    compare(f'val/image{name}', golden.nchw(image), relative=tolerance('objects'))
  features = [golden.maps(x) for x in (*out['val'], out['largest'])]
  compare('val/feat_map', features[0], relative=tolerance('objects'))
  compare('val/feat_map_no_background', features[1], relative=tolerance('objects'))
  compare('val/feat_map_single_field', features[4], relative=tolerance('objects'))
  compare('val/feat_map_max_composition', features[5], relative=tolerance('objects'))
  alpha = np.stack([x.reshape(2, 8, 8) for x in out['alpha']], axis=1)
  compare('val/alpha_map', alpha, relative=tolerance('objects'))


def recorded(monkeypatch):
  """Outputs of a field's layers, in the order of their computation."""
  outputs, layer = [], FieldLayers._layer

  def record(self, weights, x):
    outputs.append(layer(self, weights, x))
    return outputs[-1]

  monkeypatch.setattr(FieldLayers, '_layer', record)
  return outputs


# A background has no skip, and fewer blocks.
_SHORT = ('fc_in', 'fc_z', *(f'blocks.{i}' for i in range(3)), 'sigma_out', 'fc_z_view', 'fc_view',
          'feat_view')  # fmt: skip
_ORDER = ('fc_in', 'fc_z', *(f'blocks.{i}' for i in range(4)), 'fc_p_skips.0', 'fc_z_skips.0',
          'blocks.4', 'blocks.5', 'blocks.6', 'sigma_out', 'fc_z_view', 'fc_view',
          'feat_view')  # fmt: skip


@functools.cache
def stages(dtype):
  """Every sample of every ray, where the renderer takes a window of an object's."""
  with jax.enable_x64(dtype == np.float64), golden.rounded_turns():
    arrays = goldens.load(FILE)
    generator, variables = golden.model(dtype)

    def run(variables, scene, rays, numbers):
      with pytest.MonkeyPatch.context() as patch:
        outputs = recorded(patch)
        fields = generator.bind(variables).fields()
        distances = golden.distances(rays, numbers.jitter)
        unscaled = rays.directions / rays.axis_cosine
        points = rays.origins[:, :, None] + distances[..., None] * rays.directions[:, :, None]
        flat = points.reshape(2, -1, 3)
        in_boxes, _ = rendering.to_box(scene.poses, flat, flat)
        in_boxes = in_boxes.reshape(2, 2, 64, 10, 3)
        _, directions = rendering.to_box(scene.poses, unscaled, unscaled)
        noise = jnp.moveaxis(numbers.noise, 2, 1)
        density, hidden = rendering.object_densities(
          fields, scene, in_boxes, directions, noise[:, :2]
        )
        of_objects = dict(zip(_ORDER, outputs, strict=True))
        outputs.clear()
        behind, behind_hidden = rendering.background_densities(
          fields, scene, points, rays.directions, noise[:, 2]
        )
        of_background = dict(zip(_SHORT, outputs, strict=True))
      angle = scene.poses.background_turn[:, None]
      features = fields.objects.head(hidden), fields.background.head(behind_hidden)
      densities = jnp.concatenate([density, behind[:, None]], axis=1)
      total, shares = composition.compose(densities)
      every = jnp.concatenate([features[0], features[1][:, None]], axis=1)
      return dict(
        distances=distances * rays.axis_cosine,
        unscaled=unscaled,
        in_boxes=in_boxes,
        directions=directions,
        world=rendering.turned(points, angle[..., None]),
        turned=rendering.turned(unscaled, angle),
        of_objects=of_objects,
        of_background=of_background,
        features=features,
        densities=densities,
        total=total,
        mean=jnp.sum(shares[..., None] * every, axis=1),
        weights=golden.weights_of(total, rays, distances),
      )

    inputs = golden.scene(arrays, dtype), golden.rays(arrays, dtype)
    out = jax.jit(run)(variables, *inputs, golden.numbers(arrays, dtype=dtype))
    return jax.tree.map(np.asarray, out)


@pytest.mark.parametrize('dtype', DTYPES)
def test_stages(dtype):
  out, in_order = stages(dtype), golden.columns_first

  def check(name, x, kind, points=False):
    x = in_order(x)
    x = x.reshape(2, 640, *x.shape[3:]) if points else x
    compare(f'stage/{name}', x, relative=allowed(dtype, kind))

  check('depth_di', out['distances'], 'scene')
  check('ray_vector', golden.theirs(out['unscaled']), 'scene')
  check('bg/points', golden.theirs(out['world']), 'scene', points=True)
  check('bg/rays', golden.theirs(out['turned']), 'scene')
  check('bg/sigma_raw', out['of_background']['sigma_out'][..., 0], 'field', points=True)
  check('bg/feat', out['features'][1], 'field', points=True)
  raw = out['of_objects']['sigma_out'].reshape(2, 2, 64, 10)
  for i in (0, 1):
    check(f'obj{i}/points', golden.theirs(out['in_boxes'][:, i]), 'scene', points=True)
    check(f'obj{i}/rays', golden.theirs(out['directions'][:, i]), 'scene')
    check(f'obj{i}/sigma_raw', raw[:, i], 'field', points=True)
    check(f'obj{i}/feat', out['features'][0][:, i], 'field', points=True)
  stack = np.stack([in_order(out['densities'][:, i]) for i in range(3)])
  compare('stage/sigma_stack', stack, relative=allowed(dtype, 'field'))
  check('sigma_sum', out['total'], 'field')
  check('feat_weighted', out['mean'], 'field')
  # Behind the last sample is an interval of 1e10: there float32 decides whether it is opaque.
  where = np.arange(10) < (10 if dtype == np.float64 else 9)
  compare('stage/weights', in_order(out['weights']), relative=allowed(dtype, 'field'), where=where)


@pytest.mark.parametrize('dtype', DTYPES)
def test_layers(dtype):
  out, arrays = stages(dtype), goldens.load(FILE)
  objects = {k: x.reshape(2, 2, *x.shape[1:])[:, 0] for k, x in out['of_objects'].items()}
  features = {'dec': out['features'][0][:, 0], 'bg': out['features'][1]}
  for field, layers in (('dec', objects), ('bg', out['of_background'])):
    for name, x in {**layers, 'feat_out': features[field]}.items():
      key = f'layer/{field}.{name}'
      x = golden.first_points(x, arrays[key].shape)
      compare(key, x, relative=allowed(dtype, 'field'))
