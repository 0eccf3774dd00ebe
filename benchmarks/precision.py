"""What each precision policy costs in accuracy, against float64; prints markdown tables.

  python -m benchmarks.precision

Models: π-GAN with the fields of configs/celeba.py at initialisation, and the pretrained toys. For
each policy the relative error of the raw density σ (root mean square, and largest, both over the
root mean square of σ), of the pixels in [−1, 1], and of the gradient of a pixel loss with respect
to all parameters (relative L2). All samples of a ray are taken in one pass, so that all policies
are compared at the same points.

A CPU does not have the units that the policies are for, so only accuracy is measured, not speed.
The rounding is real: inputs are cast, and XLA is configured to keep every cast. TF32, which no CPU
has, is emulated by cutting the mantissa to 10 bits. 'saved phases' are those of
render.saved_activations=phases (`nn/phases.py`). 'everything in bfloat16' (phases and sines too) is
not a policy; the figures show why.
"""

import argparse
import contextlib
import dataclasses
import functools
import importlib
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

from jax3dgan import cameras, generators, trained
from jax3dgan.nn import precision
from jax3dgan.rendering import hierarchical, sampling
from jax3dgan.rendering import rays as rays_lib

RESOLUTION, BATCH = 16, 2
EXACT = 'float64'
EVERYTHING = 'everything in bfloat16'
FLOAT32_BACKWARD = ', float32 backward products'
PHASES = ', saved phases'
ROWS = (
  'float32',
  'tensorfloat32',
  'float16',
  'float16' + FLOAT32_BACKWARD,
  'bfloat16',
  'bfloat16' + FLOAT32_BACKWARD,
  'float32' + PHASES,
  'bfloat16' + PHASES,
  EVERYTHING,
)


def models():
  """(name, generator, float64 parameters, config) of what is measured."""
  config = importlib.import_module('configs.celeba').get_config()
  generator = generators.create(config)
  params = generators.init_params(generator, jax.random.key(0))
  yield 'π-GAN CelebA at initialisation, hidden 256', generator, params, config
  toys = trained.load(pretrained='toys')
  yield 'pretrained toys, hidden 64', toys.generator, toys.params, toys.config


def tf32(x):
  """float32 with a mantissa of 10 bits."""
  return jax.lax.reduce_precision(x, exponent_bits=8, mantissa_bits=10)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def tf32_einsum(spec, x, w):
  return jnp.einsum(spec, tf32(x), tf32(w), precision='highest')


def _tf32_backward(spec, saved, g):
  x, w = saved
  x_axes, w_axes, y_axes = spec.replace('->', ',').split(',')
  return (
    tf32_einsum(f'{y_axes},{w_axes}->{x_axes}', g, w),
    tf32_einsum(f'{x_axes},{y_axes}->{w_axes}', x, g),
  )


tf32_einsum.defvjp(lambda spec, x, w: (tf32_einsum(spec, x, w), (x, w)), _tf32_backward)


@contextlib.contextmanager
def emulated(row):
  """Traces inside multiply as the row says; yields the generator's matmul_dtype."""
  policy = row.removesuffix(FLOAT32_BACKWARD).removesuffix(PHASES)
  if row == 'tensorfloat32':

    def einsum(spec, x, w, policy='float32'):
      if policy == 'tensorfloat32':
        return tf32_einsum(spec, x, w)
      return plain(spec, x, w, policy)

    plain = precision.einsum
    with mock.patch.object(precision, 'einsum', einsum):
      yield policy
  elif row.endswith(FLOAT32_BACKWARD):
    rule = precision.POLICIES[policy]._replace(backward='float32')
    with mock.patch.dict(precision.POLICIES, {policy: rule}):
      yield policy
  else:
    yield policy if policy in precision.POLICIES else 'float32'


def evaluate(row, generator, params, inputs, options):
  """(σ [b, r, s], pixels [b, r, 3], gradient) of a row, as float64 numpy arrays."""
  exact = row == EXACT
  dtype = np.float64 if exact else np.float32
  cast = functools.partial(jax.tree.map, lambda x: np.asarray(x, dtype))
  target = cast(inputs['target'])

  def loss(params, z, rays):
    def field(points, directions):
      folded = generator.apply({'params': params}, z, method=lambda m, z: m.field.fold(m.map(z)))
      if row.endswith(PHASES):
        folded = folded.replace(saved_activations='phases')
      if row == EVERYTHING:
        low = functools.partial(jax.tree.map, lambda x: x.astype(jnp.bfloat16))
        folded = low(folded).replace(matmul_dtype='tensorfloat32')
        return jax.tree.map(lambda x: x.astype(dtype), folded(low(points), low(directions)))
      return folded(points, directions)

    depths = sampling.stratified_depths(options.near, options.far, options.num_coarse)
    points = hierarchical.points_at(
      rays, jnp.broadcast_to(depths, (BATCH, RESOLUTION**2, *depths.shape))
    )
    sigma, _ = field(points, rays.directions)
    pixels = 2 * hierarchical.render_rays(field, rays, options).colour - 1
    return jnp.mean(jnp.square(pixels - target)), (sigma, pixels)

  # Without this XLA may drop a cast to a lower precision and back.
  compiler_options = {'xla_allow_excess_precision': False}
  with jax.enable_x64(exact), emulated(row) as policy:
    generator = generator.clone(matmul_dtype=policy)
    run = jax.jit(jax.value_and_grad(loss, has_aux=True), compiler_options=compiler_options)
    arguments = cast((params, inputs['z'], inputs['rays']))
    (_, (sigma, pixels)), gradient = jax.device_get(run(*arguments))
  gradient = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(gradient)])
  return tuple(np.float64(x) for x in (sigma, pixels, gradient))


def scene(generator, config):
  """Latents, rays and a target image, the same for every row; and the options: all samples in one
  pass, so that every row has them at the same depths."""
  options = generators.render_options(config, resolution=RESOLUTION)
  num = options.num_coarse + options.num_fine
  options = dataclasses.replace(options, num_coarse=num, num_fine=0)
  rng = np.random.default_rng(0)
  prior = cameras.pose_prior(**config.pose_prior)
  keys = jax.random.split(jax.random.key(1), BATCH)
  yaw, pitch = jax.vmap(functools.partial(cameras.sample_angles, prior))(keys)
  camera = cameras.from_yaw_pitch(yaw, pitch, config.render.radius, config.render.fov_degrees)
  inputs = dict(
    z=rng.normal(size=(BATCH, generator.z_dim)),
    rays=rays_lib.camera_rays(camera, RESOLUTION, options.align_corners),
    target=rng.uniform(-1, 1, (BATCH, RESOLUTION**2, 3)),
  )
  return inputs, options


def errors(actual, exact):
  """Root mean square and largest error of σ, those of the pixels, and that of the gradient."""
  result = []
  for a, e in zip(actual[:2], exact[:2], strict=True):
    size = np.sqrt(np.mean(e**2))
    result += [np.sqrt(np.mean((a - e) ** 2)) / size, np.abs(a - e).max() / size]
  return [*result, np.linalg.norm(actual[2] - exact[2]) / np.linalg.norm(exact[2])]


def main():
  argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
  print(f'{jax.devices()[0].device_kind}, jax {jax.__version__}')
  for name, generator, params, config in models():
    inputs, options = scene(generator, config)
    exact = evaluate(EXACT, generator, params, inputs, options)
    print(f'\n{name}\n')
    print('| policy | σ, rms | σ, largest | pixels, rms | pixels, largest | gradient |')
    print('|---|---|---|---|---|---|')
    for row in ROWS:
      figures = errors(evaluate(row, generator, params, inputs, options), exact)
      print(f'| {row} | ' + ' | '.join(f'{100 * x:.2g} %' for x in figures) + ' |', flush=True)


if __name__ == '__main__':
  main()
