"""What each technique brings on this platform: seconds of its reference divided by its own.

  python -m benchmarks.techniques

Each is one module with a reference that the tests compare it with. Both take turns in one run;
compare the ratios of the medians. Sizes are those of CelebA's networks at 64².
"""

import argparse
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import speed
from jax3dgan import cameras, discriminators, generators
from jax3dgan.fields.siren import scale_frequencies
from jax3dgan.losses import real_images
from jax3dgan.nn import conv
from jax3dgan.nn.cpu import columns, sine, tiles

_RAYS = 256  # of a chunk
_POINTS = _RAYS * 12


def compiled(function, *args, patches=()):
  """The function, traced with its patches, as one without arguments."""
  for patch in patches:
    patch.start()
  # A new function: jit would reuse a trace of the same one that was made without the patches.
  run = jax.jit(lambda *args: function(*args)).lower(*args).compile()
  for patch in patches:
    patch.stop()
  return lambda: jax.block_until_ready(run(*args))


def sines():
  """Value and derivative of the sine of a chunk's phases."""
  x = 30 * jax.random.normal(jax.random.key(0), (256, _POINTS))

  def both(function):
    return compiled(lambda x: jax.jvp(function, (x,), (x,)), x)

  return both(jnp.sin), both(sine.sine)


def field_inputs():
  """Config, generator, parameters, styles [1, n, 2, h] and a chunk's points and directions."""
  config = speed.make_config(64, 1)
  generator = generators.create(config)
  params = generators.init_params(generator, jax.random.key(0))
  w = generator.apply(
    {'params': params}, jax.random.normal(jax.random.key(1), (1, 256)), method='map'
  )
  points = 0.1 * jax.random.normal(jax.random.key(2), (1, _RAYS, 12, 3))
  directions = jnp.broadcast_to(jnp.array([0.0, 0.0, -1.0]), (1, _RAYS, 3))
  return generator, params, w, points, directions


def folded():
  """Gradient of a chunk's field: γ and β of every point, points as rows, against folded weights."""
  generator, params, w, points, directions = field_inputs()
  field = params['field']

  def plain(field, w):
    gamma, beta = scale_frequencies(w[:, :, 0]), w[:, :, 1]
    x = points.reshape(1, -1, 3) * generator.input_scale

    def film(x, name, i):
      x = x @ field[f'{name}_kernel'] + field[f'{name}_bias']
      return sine.sine(gamma[:, i, None] * x + beta[:, i, None])

    for i in range(generator.num_layers):
      x = film(x, f'film_{i}', i)
    density = x @ field['density_kernel'] + field['density_bias']
    views = jnp.repeat(directions, 12, axis=1)
    x = film(jnp.concatenate([views, x], -1), 'colour_film', generator.num_layers)
    colour = jax.nn.sigmoid(x @ field['colour_kernel'] + field['colour_bias'])
    return jnp.mean(density**2) + jnp.mean(colour**2)

  def ours(field, w):
    variables = {'params': params | {'field': field}}
    folded = generator.apply(variables, w, method=lambda g, w: g.field.fold(w))
    density, colour = folded(points, directions)
    return jnp.mean(density**2) + jnp.mean(colour**2)

  return tuple(compiled(jax.grad(f, argnums=(0, 1)), field, w) for f in (plain, ours))


def transposed():
  """Gradient of a chunk's field: products left to autodiff, against transposing the weights."""
  generator, params, w, points, directions = field_inputs()

  def loss(params, w):
    fold = generator.apply({'params': params}, w, method=lambda g, w: g.field.fold(w))
    density, colour = fold(points, directions)
    return jnp.mean(density**2) + jnp.mean(colour**2)

  gradient = jax.grad(loss)
  patch = mock.patch.object(columns, 'product', columns.reference_product)
  return compiled(gradient, params, w, patches=[patch]), compiled(gradient, params, w)


def in_tiles():
  """Gradient of four images of 64²: chunks of rays of all four, against the platform's tiles."""
  generator, params, *_ = field_inputs()
  config = speed.make_config(64, 4)
  options = generators.render_options(config, ray_chunk=1024)
  z = jax.random.normal(jax.random.key(0), (4, 256))
  camera = cameras.from_yaw_pitch(jnp.full(4, 1.5), jnp.full(4, 1.5))
  keys = jax.random.split(jax.random.key(1), 4)

  def loss(params):
    return jnp.mean(generator.apply({'params': params}, z, camera, keys, options).image ** 2)

  whole = mock.patch.object(tiles, 'tile', tiles.reference_tile)
  return compiled(jax.grad(loss), params, patches=[whole]), compiled(jax.grad(loss), params)


def strides():
  """Gradient of loss and R1 of the discriminator at 32²: native convolutions, against patches."""
  gradient, args = discriminator_gradient(real_images.real_terms)
  patch = mock.patch.object(conv, 'choose_implementation', lambda *_: 'lax')
  return compiled(gradient, *args, patches=[patch]), compiled(gradient, *args)


def shared_pass():
  """Gradient of loss and R1 of the discriminator at 32²: autodiff, against the shared pass."""
  return tuple(
    compiled(gradient, *args)
    for gradient, args in map(
      discriminator_gradient, (real_images.reference_terms, real_images.real_terms)
    )
  )


def discriminator_gradient(terms_fn):
  """(gradient function, arguments) of a discriminator's real images, 4 of 32²."""
  module = discriminators.create(speed.make_config(32, 4).discriminator)
  params = discriminators.init_params(module, jax.random.key(0))
  images = jax.random.uniform(jax.random.key(1), (4, 32, 32, 3), minval=-1)

  def logits(params, images):
    return module.apply({'params': params}, images).logits

  def loss(params, images):
    terms = terms_fn(logits, params, images)
    return terms.loss + 0.1 * terms.r1

  return jax.grad(loss), (params, images)


TECHNIQUES = {
  'polynomial sine (`nn/cpu/sine.py`)': sines,
  'folded styles, points as columns (`fields/siren.py`)': folded,
  'transposed weights (`nn/cpu/columns.py`)': transposed,
  'tiles (`nn/cpu/tiles.py`)': in_tiles,
  'strided convolutions as patches (`nn/cpu/convolution.py`)': strides,
  'one pass for loss and R1 (`losses/real_images.py`)': shared_pass,
}


def main():
  flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  flags.add_argument('--repeats', type=int, default=7)
  args = flags.parse_args()
  print(f'{jax.devices()[0].device_kind}, jax {jax.__version__}; medians of {args.repeats}\n')
  print('| technique | reference, ms | own, ms | ratio |\n|---|---|---|---|')
  for name, make in TECHNIQUES.items():
    reference, own = make()
    times = speed.seconds({'reference': reference, 'own': own}, args.repeats)
    a, b = (1e3 * float(np.median(times[key])) for key in ('reference', 'own'))
    print(f'| {name} | {a:.1f} | {b:.1f} | {a / b:.2f} |', flush=True)


if __name__ == '__main__':
  main()
