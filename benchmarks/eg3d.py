"""EG3D's generator here against plain PyTorch (`benchmarks/torch_eg3d.py`), in one run.

  pip install torch
  python -m benchmarks.eg3d                                # every case: seconds, ratio, GFLOP/s
  python -m benchmarks.eg3d --cases=512_raw64,gradient_toys --repeats=5

The release's networks at 512² and 256² (random weights, batch 1), by part: the planes of an
identity, rendering of 64² or 128² rays at 48+48 samples, super-resolution; and the whole. A new
view of known planes needs the last two. 'gradient_toys' is the gradient of all parameters of the
small generator of configs/eg3d_toys.py at batch 4. Both sides have the same weights and draws, take
turns, and their pictures are compared. The matrix peak is that of a product of 2048² matrices.
"""

import argparse
import dataclasses
import functools
import time

import jax
import jax.numpy as jnp
import numpy as np
import torch

from benchmarks import torch_eg3d
from configs import eg3d_toys
from jax3dgan import cameras, generators
from jax3dgan.devices import compilation
from jax3dgan.generators import eg3d
from jax3dgan.rendering import rays as rays_lib
from jax3dgan.rendering.hierarchical import Draws

CASES = ('512_raw64', '512_raw128', '256_raw128', 'gradient_toys')
_TWO_56 = dict(super_channels=(128, 64), super_ups=(1, 2))


def tensors_of(rays) -> list:
  """Origins and directions of rays, as PyTorch's side takes them."""
  return [torch.tensor(np.asarray(x)) for x in (rays.origins, rays.directions)]


def models(case):
  """(generator, options, camera [b])."""
  if case == 'gradient_toys':
    config = eg3d_toys.get_config()
    generator = generators.create(config)
    render = config.render
    camera = cameras.orbit(
      np.linspace(-2, 2, 4), np.full(4, 0.4), render.radius, render.fov_degrees
    )
    # The PyTorch version has no white background.
    options = dataclasses.replace(generators.render_options(config), white_back=False)
    return generator, options, camera
  resolution, raw = case.split('_raw')
  generator = eg3d.EG3D(**({} if resolution == '512' else _TWO_56))
  options = dataclasses.replace(generator.default_options(), low_resolution=int(raw))
  return generator, options, cameras.orbit([0.2], [0.1], 2.7, 13.4)


def parts_of(case):
  """{part: (ours, PyTorch's)}: functions without arguments that return arrays; and GFLOPs."""
  generator, options, camera = models(case)
  variables = generators.init(generator, jax.random.key(0))
  apply = functools.partial(generator.apply)
  rng = np.random.default_rng(0)
  b, size = len(camera.cam2world), options.low_resolution or generator.low_resolution
  z = rng.standard_normal((b, generator.z_dim), np.float32)
  draws = Draws(
    jitter=jnp.asarray(rng.random((b, size**2, options.num_coarse), np.float32)),
    pdf=jnp.asarray(rng.random((b, size**2, options.num_fine), np.float32)),
  )
  rays = rays_lib.camera_rays(camera, size)
  label = camera.label()
  reference = torch_eg3d.EG3D(_Fields(generator), jax.tree.map(np.asarray, variables))
  their = [*tensors_of(rays), *(torch.tensor(np.asarray(x)) for x in (draws.jitter, draws.pdf))]

  w = apply(variables, z, label, method='map')
  their_w = reference.map(torch.tensor(z), torch.tensor(np.asarray(label)))

  def planes(variables, w):
    return generator.apply(variables, w, method='prepare')

  def features(variables, scene):
    inputs = (variables, scene, camera, draws, options)
    return generator.apply(*inputs, method='render_features').colour

  def picture(variables, w):
    return generator.apply(variables, w, camera, draws, options=options, method='synthesize')

  if case == 'gradient_toys':

    def loss(params):
      out = picture({**variables, 'params': params}, w)
      return jnp.mean(out.image**2) + jnp.mean(out.low_res**2)

    compiled = jax.jit(jax.grad(loss)).lower(variables['params']).compile()
    for tensor in reference.parameters():
      tensor.requires_grad_(True)
    fixed = their_w.detach()

    def theirs():
      image, low = reference.synthesize(fixed, *their[:2], options, *their[2:])
      total = image.square().mean() + low.square().mean()
      for tensor in reference.parameters():
        tensor.grad = None
      total.backward()
      return reference.p['decoder']['fc_0_kernel'].grad

    ours = lambda: compiled(variables['params'])['decoder']['fc_0_kernel']  # noqa: E731
    return {'gradient': (ours, theirs, _gflop(compiled))}

  scene = jax.jit(planes)(variables, w)
  their_planes = reference.planes(their_w)
  out = jax.jit(features)(variables, scene)
  shape = (b, size, size, -1)
  low = 2 * out.reshape(shape) - 1

  def superresolve(variables, low, w):
    return generator.apply(variables, low, w, method=_superresolution)

  cases = {
    'planes': (planes, (variables, w), lambda: reference.planes(their_w)),
    'render': (
      features,
      (variables, scene),
      lambda: reference.render(their_planes, *their[:2], options, *their[2:]),
    ),
    'super-resolution': (
      superresolve,
      (variables, low, scene.w),
      lambda: reference.superresolve(torch.tensor(np.moveaxis(np.asarray(low), -1, 1)), their_w),
    ),
    'new view': (
      lambda variables, scene: picture(variables, scene).image,
      (variables, scene),
      lambda: reference.synthesize(their_w, *their[:2], options, *their[2:], their_planes)[0],
    ),
    'whole': (
      lambda variables, w: picture(variables, w).image,
      (variables, w),
      lambda: reference.synthesize(their_w, *their[:2], options, *their[2:])[0],
    ),
  }
  result = {}
  for name, (function, arguments, theirs) in cases.items():
    compiled = jax.jit(function).lower(*arguments).compile()
    ours = functools.partial(compiled, *arguments)
    gflop = {
      'render': 0.0,
      'new view': result.get('super-resolution', (0, 0, 0))[2],
      'whole': sum(result[part][2] for part in ('planes', 'super-resolution') if part in result),
    }.get(name)
    # XLA counts the body of a loop, which rendering is, once.
    gflop = _gflop(compiled) if gflop is None else gflop + _rendering_gflop(generator, options, b)
    result[name] = (ours, functools.partial(_without_gradient, theirs), gflop)
  return result


def _rendering_gflop(generator, options, num_images):
  """Of the samples of all rays: twelve corners, and the decoder's two layers."""
  c, hidden = generator.plane_features, generator.decoder_hidden
  # The number of outputs is that of the features of a plane.
  sample = 2 * (12 * c + c * hidden + hidden * (1 + c))
  rays = num_images * (options.low_resolution or generator.low_resolution) ** 2
  return sample * rays * (options.num_coarse + options.num_fine) / 1e9


def _superresolution(generator, low, w):
  return generator.superresolution(low, w)[0]


class _Fields:
  """The fields of a generator, and its noise sizes, outside of `apply`."""

  def __init__(self, generator):
    self._generator = generator
    count = len(generator.channels)
    self.backbone_noise_sizes = (4, *(4 << i for i in range(1, count) for _ in range(2)))

  def __getattr__(self, name):
    return getattr(self._generator, name)


def _without_gradient(function):
  with torch.no_grad():
    return function()


def _gflop(compiled):
  return compiled.cost_analysis()['flops'] / 1e9


def measure(ours, theirs, repeats, clock=time.perf_counter):
  """Seconds of a clock of both, taking turns, and their results."""
  a, b = jax.block_until_ready(ours()), theirs()
  seconds = [[], []]
  for _ in range(repeats):
    for i, function in enumerate((lambda: jax.block_until_ready(ours()), theirs)):
      began = clock()
      function()
      seconds[i].append(clock() - began)
  return np.median(seconds[0]), np.median(seconds[1]), a, b


def peak(clock=time.perf_counter):
  """GFLOP/s of a product of matrices, by the faster of the two."""
  x = np.random.default_rng(0).standard_normal((2048, 2048), np.float32)
  product, a, t = jax.jit(lambda x: x @ x), jnp.asarray(x), torch.tensor(x)
  ours, theirs, _, _ = measure(lambda: product(a), lambda: t @ t, 5, clock)
  return 2 * 2048**3 / min(ours, theirs) / 1e9


def difference(name, a, b):
  """max|Δ| / max|theirs|, where both give the same kind of thing."""
  a, b = np.asarray(a[0] if isinstance(a, tuple) else getattr(a, 'planes', a)), b.numpy()
  if name == 'planes':
    a = np.moveaxis(a[:, :, 1:-1, 1:-1], -1, 2)
  elif name == 'render':
    a = 2 * a - 1
  elif a.ndim == 4:
    b = np.moveaxis(b, 1, -1)
  return np.abs(a - b).max() / np.abs(b).max()


def main():
  """The program."""
  flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  flags.add_argument('--cases', default=','.join(CASES))
  flags.add_argument('--repeats', type=int, default=3)
  args = flags.parse_args()
  compilation.use_cache()
  top = peak()
  print(f'{torch.get_num_threads()} threads; matrix peak {top:.0f} GFLOP/s')
  print('| case | part | PyTorch | jax3dgan | ratio | GFLOP | of the peak | apart |')
  print('|---|---|---|---|---|---|---|---|')
  for case in args.cases.split(','):
    for name, (ours, theirs, gflop) in parts_of(case).items():
      mine, others, a, b = measure(ours, theirs, args.repeats)
      print(
        f'| {case} | {name} | {others:.3f} s | {mine:.3f} s | {others / mine:.2f} | {gflop:.1f} '
        f'| {gflop / mine / top:.0%} | {difference(name, a, b):.1e} |',
        flush=True,
      )


if __name__ == '__main__':
  main()
