"""StyleSDF and StyleNeRF here against plain PyTorch, in one run.

  pip install torch
  python -m benchmarks.style                                # every case: seconds, ratio, GFLOP/s
  taskset -c 1 python -m benchmarks.style --cases=sdf_256 --processor_time  # a busy machine

| case | what |
|---|---|
| sdf_256, nerf_256 | the generators of 256² with the papers' sizes (random weights, batch 1): rendering, decoder or up-sampler, and the whole picture |
| sdf_gradient, nerf_gradient | the gradient of all parameters of the small generators (configs/stylesdf_toys.py, stylenerf_toys.py, 64², batch 4), of nerf_gradient against its discriminator |

PyTorch's side is `benchmarks/torch_stylesdf.py` and `torch_stylenerf.py`. Both sides have the same
weights, cameras and draws, take turns, and what they compute is compared. The matrix peak is that
of a product of 2048² matrices, before or after each part, whichever is larger.
"""  # noqa: E501

import argparse
import functools
import importlib
import time

import jax
import jax.numpy as jnp
import numpy as np
import torch

from benchmarks import eg3d, torch_stylenerf, torch_stylesdf
from jax3dgan import cameras, discriminators, generators
from jax3dgan.devices import compilation
from jax3dgan.rendering import rays as rays_lib
from jax3dgan.rendering.hierarchical import Draws
from jax3dgan.tools import flops

CASES = ('sdf_256', 'nerf_256', 'sdf_gradient', 'nerf_gradient')


def load(name, **fields):
  """The config of a file, changed."""
  config = importlib.import_module(f'configs.{name}').get_config()
  with config.unlocked():
    config.update_from_flattened_dict(fields)
  return config


def camera_of(config, b):
  """Cameras [b] near the front."""
  render = config.render
  return cameras.orbit(
    np.linspace(-0.2, 0.3, b), np.full(b, 0.1), render.radius, render.fov_degrees
  )


def their_rays(camera, size):
  """Origins, and directions of length 1 along the camera's axis, as PyTorch's side takes them."""
  rays = rays_lib.camera_rays(camera, size)
  return [torch.tensor(np.asarray(x)) for x in (rays.origins, rays.directions / rays.axis_cosine)]


def tensor(x):
  """An array as PyTorch's."""
  return torch.tensor(np.asarray(x))


def nchw(x):
  """Images [b, h, w, c] as PyTorch's [b, c, h, w]."""
  return tensor(np.ascontiguousarray(np.moveaxis(np.asarray(x), -1, 1)))


def forward(function, *arguments):
  """(a compiled function without arguments, the GFLOPs of its products)."""
  traced = jax.jit(function).trace(*arguments)
  run = functools.partial(traced.lower().compile(), *arguments)
  return run, flops.products(traced.jaxpr) / 1e9


class Sdf:
  """StyleSDF with random weights on both sides."""

  def __init__(self, config, b):
    self.generator = generators.create(config)
    # Densities of fresh weights are fog; so are those of PyTorch's side.
    self.variables = generators.init(self.generator, jax.random.key(0))
    self.options = generators.render_options(config)
    self.camera = camera_of(config, b)
    rng = np.random.default_rng(0)
    size = self.generator.low_resolution if self.generator.decoder_channels else config.resolution
    self.size = size
    self.z = rng.standard_normal((b, self.generator.z_dim), np.float32)
    offset = rng.random((b, size**2), np.float32)
    self.draws, self.offset = Draws(jitter=jnp.asarray(offset[..., None])), tensor(offset)
    self.theirs = torch_stylesdf.StyleSDF(self.generator, jax.tree.map(np.asarray, self.variables))
    self.rays = their_rays(self.camera, size)

  def picture(self, variables, w):
    """Ours."""
    run = functools.partial(self.generator.apply, options=self.options, method='synthesize')
    return run(variables, w, self.camera, self.draws).image

  def their_picture(self, w):
    """PyTorch's, NCHW."""
    _, features = self.theirs.render(w, *self.rays, self.options, self.offset)
    b, size = len(w), self.size
    return self.theirs.decode(features.transpose(1, 2).reshape(b, -1, size, size), w)

  def gflop(self):
    """Of the products of the rendering."""
    f, b = self.generator, len(self.z)
    point = 2 * (3 * f.hidden_dim + f.num_layers * f.hidden_dim**2 + 4 * f.hidden_dim)
    return b * self.size**2 * self.options.num_coarse * point / 1e9


class Nerf:
  """StyleNeRF with random weights on both sides."""

  def __init__(self, config, b, resolution):
    self.generator = generators.create(config)
    self.variables = generators.init(self.generator, jax.random.key(0))
    self.options = generators.render_options(config, resolution=resolution)
    self.camera = camera_of(config, b)
    rng = np.random.default_rng(0)
    self.z = rng.standard_normal((b, self.generator.z_dim), np.float32)
    self.size = self.generator.low_resolution
    self.theirs = torch_stylenerf.StyleNeRF(
      self.generator, jax.tree.map(np.asarray, self.variables)
    )
    rays = their_rays(self.camera, self.size)
    if self.options.limits_along == 'ray':
      rays[1] = rays[1] / rays[1].norm(dim=-1, keepdim=True)
    self.rays = rays
    latent = self.generator.latent_dim
    self.latent, self.code = tensor(self.z[:, :latent]), tensor(self.z[:, latent:])

  def picture(self, variables, w):
    """Ours."""
    run = functools.partial(self.generator.apply, options=self.options, method='synthesize')
    return run(variables, w, self.camera).image

  def their_pixels(self, w):
    """PyTorch's colour and features, NCHW."""
    values = self.theirs.render(w, self.code, *self.rays, self.options)
    return values.transpose(1, 2).reshape(len(w), -1, self.size, self.size)

  def gflop(self):
    """Of the products of the rendering here: a colour and features of each pixel."""
    f, rays = self.generator, len(self.z) * self.size**2
    h, own = f.hidden_dim, self.options.num_coarse + self.options.num_fine
    total = own * 2 * (6 * f.num_frequencies * h + (f.num_layers - 1) * h**2 + h)
    total += 2 * f.feature_dim * (h + 3)
    if f.background:
      h = f.background_hidden
      layers = 8 * f.background_frequencies * h + (f.background_layers - 1) * h**2 + h
      total += f.background_samples * 2 * layers + 2 * f.feature_dim * (h + 3)
    return rays * total / 1e9


def no_gradient(function):
  """A function without arguments that records nothing."""

  def run():
    with torch.no_grad():
      return function()

  return run


def sdf_256():
  """{part: (ours, PyTorch's, GFLOP)}."""
  m = Sdf(load('stylesdf_ffhq256'), 1)
  apply, size = m.generator.apply, m.size
  w = jax.jit(lambda v: apply(v, m.z, method='map'))(m.variables)
  style = tensor(w[:, 0, : m.generator.w_dim])

  def render(variables, w):
    run = functools.partial(apply, has_features=True, method='render')
    return run(variables, w, m.camera, m.draws, m.options).colour

  def decode(variables, features, w):
    return apply(variables, features, w[:, 1:], method='decode')

  ours, _ = forward(render, m.variables, w)
  features = ours()[..., 3:].reshape(1, size, size, -1)
  decoder, gflop = forward(decode, m.variables, features, w)
  image, _ = forward(m.picture, m.variables, w)
  their = nchw(features)

  def rendered():
    rgb, features = m.theirs.render(style, *m.rays, m.options, m.offset)
    return torch.cat([(rgb + 1) / 2, features], -1)

  return {
    'rendering 64²': (ours, no_gradient(rendered), m.gflop()),
    'decoder': (decoder, no_gradient(lambda: m.theirs.decode(their, style)), gflop),
    'whole': (image, no_gradient(lambda: m.their_picture(style)), gflop + m.gflop()),
  }


def nerf_256():
  """{part: (ours, PyTorch's, GFLOP)}."""
  m = Nerf(load('stylenerf_ffhq256'), 1, 256)
  apply, size = m.generator.apply, m.size
  w = jax.jit(lambda v: apply(v, m.z, method='map'))(m.variables)
  style = tensor(w[:, 0])

  def render(variables, w):
    pixels = apply(variables, w, method=functools.partial(_pixels, m.camera, m.options))
    return jnp.concatenate([pixels.rgb, pixels.features], -1)

  def upsample(variables, values, w):
    return apply(variables, values, w, method=_upsampled)

  ours, _ = forward(render, m.variables, w)
  values = ours().reshape(1, size, size, -1)
  upsampler, gflop = forward(upsample, m.variables, values, w)
  image, _ = forward(m.picture, m.variables, w)
  their = nchw(values)

  def rendered():
    return m.theirs.render(style, m.code, *m.rays, m.options)

  return {
    'rendering 32²': (ours, no_gradient(rendered), m.gflop()),
    'up-sampler': (upsampler, no_gradient(lambda: m.theirs.upsample(their, style)), gflop),
    'whole': (
      image, no_gradient(lambda: m.theirs.upsample(m.their_pixels(style), style)),
      gflop + m.gflop(),
    ),
  }  # fmt: skip


def _pixels(camera, options, generator, w):
  from jax3dgan.generators import stylenerf_rendering

  layers = generator.layers(generator.prepare(w))
  rays = rays_lib.camera_rays(camera, generator.low_resolution)
  draws = stylenerf_rendering.Draws()
  return stylenerf_rendering.render(layers, rays, draws, options, generator.background_samples)


def _upsampled(generator, values, w):
  from jax3dgan.nn import stylenerf_upsampler

  layers, powers = generator.layers(generator.prepare(w)), generator.powers.value
  rgb, features = values[..., :3], values[..., 3:]
  return stylenerf_upsampler.upsample(layers.blocks, features, rgb, powers)[0]


def gradients(ours, theirs, variables, parameters, leaf):
  """(ours, PyTorch's) functions that give a leaf of the gradient of a loss.

  Args:
    ours: loss of our parameters; theirs: loss without arguments.
    leaf: function of our tree's gradient; the PyTorch parameter's is that of the same tree.
  """
  compiled = jax.jit(jax.grad(ours)).lower(variables['params']).compile()
  for value in parameters():
    value.requires_grad_(True)

  def run():
    for value in parameters():
      value.grad = None
    theirs().backward()
    return leaf.grad

  return functools.partial(compiled, variables['params']), run


def sdf_gradient():
  """{part: (ours, PyTorch's, None)}."""
  fields = {'render.white_back': False, 'render.last_interval': 'infinite'}
  fields['render.lock_view_direction'] = False
  m = Sdf(load('stylesdf_toys', **fields), 4)
  z = tensor(m.z)

  def loss(params):
    variables = {**m.variables, 'params': params}
    w = m.generator.apply(variables, m.z, method='map')
    return jnp.mean(m.picture(variables, w) ** 2)

  leaf = m.theirs.p['field']['film_1_kernel']
  ours, theirs = gradients(
    loss, lambda: m.their_picture(m.theirs.map(z)).square().mean(), m.variables,
    m.theirs.parameters, leaf,
  )  # fmt: skip
  return {'gradient': (lambda: ours()['field']['film_1_kernel'], theirs, None)}


def nerf_gradient():
  """{part: (ours, PyTorch's, None)}."""
  fields = {'render.white_back': False, 'discriminator.pose_dim': 0, 'discriminator.group_size': 4}
  config = load('stylenerf_toys', **fields)
  m = Nerf(config, 4, 64)
  judge = discriminators.create(config.discriminator)
  params = discriminators.init_params(judge, jax.random.key(1))
  their_judge = torch_stylenerf.Discriminator(judge, jax.tree.map(np.asarray, params))

  def loss(own):
    variables = {**m.variables, 'params': own}
    w = m.generator.apply(variables, m.z, method='map')
    logits = judge.apply({'params': params}, m.picture(variables, w)).logits
    return jnp.mean(jax.nn.softplus(-logits))

  def their_loss():
    w = m.theirs.map(m.latent)
    image = m.theirs.upsample(m.their_pixels(w), w)
    return torch.nn.functional.softplus(-their_judge(image)).mean()

  leaf = m.theirs.p['foreground']['fc_1']['kernel']
  ours, theirs = gradients(loss, their_loss, m.variables, m.theirs.parameters, leaf)
  return {'gradient': (lambda: ours()['foreground']['fc_1']['kernel'], theirs, None)}


def apart(a, b):
  """max|Δ| / max|theirs|."""
  a, b = np.asarray(a), b.detach().numpy()
  if a.ndim == 4:
    b = np.moveaxis(b, 1, -1)
  return np.abs(a - b).max() / np.abs(b).max()


def clock(processor_time: bool):
  """The clock of the measurements; on a machine with other work the processor's time, of one
  thread of PyTorch's, which would wait actively for others. Give it one core: `taskset -c 1`."""
  if processor_time:
    torch.set_num_threads(1)
    return time.process_time
  return time.perf_counter


def main(cases=None, about=__doc__):
  """The program.

  Args:
    cases: {name: function that gives {part: (ours, PyTorch's, GFLOP or None)}}; None for this
      module's.
    about: what it says of itself.
  """
  cases = cases or {name: globals()[name] for name in CASES}
  flags = argparse.ArgumentParser(description=about.splitlines()[0])
  flags.add_argument('--cases', default=','.join(cases))
  flags.add_argument('--repeats', type=int, default=3)
  flags.add_argument('--processor_time', action='store_true', help='see `clock`')
  args = flags.parse_args()
  compilation.use_cache()
  now = clock(args.processor_time)
  print(f'{torch.get_num_threads()} threads')
  print('| case | part | PyTorch | jax3dgan | ratio | GFLOP | of the peak | apart |')
  print('|---|---|---|---|---|---|---|---|')
  peaks = []
  for case in args.cases.split(','):
    for name, (ours, theirs, gflop) in cases[case]().items():
      peaks.append(eg3d.peak(now))
      own, their, a, b = eg3d.measure(ours, theirs, args.repeats, now)
      peaks.append(eg3d.peak(now))  # what else a machine does changes meanwhile
      top = max(peaks[-2:])
      share = f'{gflop:.1f} | {gflop / own / top:.0%}' if gflop else '|'
      print(
        f'| {case} | {name} | {their:.3f} s | {own:.3f} s | {their / own:.2f} | {share} '
        f'| {apart(a, b):.1e} |',
        flush=True,
      )
  print(f'Matrix peak {min(peaks):.0f} to {max(peaks):.0f} GFLOP/s')


if __name__ == '__main__':
  main()
