"""GIRAFFE here against plain PyTorch, in one run.

  pip install torch
  python -m benchmarks.giraffe
  taskset -c 1 python -m benchmarks.giraffe --processor_time  # a busy machine

| case | what |
|---|---|
| celeba, cars, clevr | the generators with the paper's sizes (random weights): the rendering of 16² rays, and the whole picture |
| gradient | the gradient of all parameters of the mean squared picture, at the sizes of celeba |

PyTorch's side is `benchmarks/torch_giraffe.py`, which evaluates each field at every sample. Both
sides have the same weights, scenes and cameras, take turns, and what they compute is compared.
"""  # noqa: E501

import argparse
import time

import jax
import jax.numpy as jnp
import numpy as np
import torch

from benchmarks import eg3d, torch_giraffe
from benchmarks.style import camera_of, forward, gradients, load, nchw, no_gradient, tensor
from jax3dgan import generators
from jax3dgan.devices import compilation
from jax3dgan.rendering import rays as rays_lib

CASES = {'celeba': 1, 'cars': 1, 'clevr': 1, 'gradient': 4}


def parts_of(case: str, batch: int):
  """{part: (ours, PyTorch's, GFLOP)}."""
  config = load(f'giraffe_{"celeba" if case == "gradient" else case}')
  generator = generators.create(config)
  variables = generators.init(generator, jax.random.key(0))
  options, camera = generators.render_options(config), camera_of(config, batch)
  z = np.random.default_rng(0).standard_normal((batch, generator.z_dim), np.float32)
  w = jax.jit(lambda v: generator.apply(v, z, method='map'))(variables)
  scene = generator.apply(variables, w, method='prepare')
  theirs = torch_giraffe.GIRAFFE(generator, jax.tree.map(np.asarray, variables))
  codes = ('shape', 'appearance', 'background_shape', 'background_appearance')
  poses = ('size', 'position', 'turn', 'presence')
  own = {k: tensor(getattr(scene, k)) for k in codes}
  own |= {k: tensor(getattr(scene.poses, k)) for k in poses}
  rays = rays_lib.camera_rays(camera, generator.low_resolution, options.align_corners)
  rays = [tensor(x) for x in (rays.origins, rays.directions / rays.axis_cosine)]

  def features(variables, w):
    return generator.apply(variables, w, camera, None, options, method='render').features

  def image(variables, w):
    out = generator.apply(variables, w, camera, None, options, method='synthesize')
    return 0.5 * (out.image + 1)

  def their_image():
    return theirs.image(theirs.render(own, *rays, options))

  if case == 'gradient':
    leaf = theirs.p['objects']['block_0']['kernel']
    ours, run = gradients(
      lambda params: jnp.mean(image({'params': params}, w) ** 2),
      lambda: their_image().square().mean(), variables, theirs.parameters, leaf,
    )  # fmt: skip
    return {'gradient': (lambda: ours()['objects']['block_0']['kernel'], run, None)}
  rendered, gflop = forward(features, variables, w)
  whole, all_gflop = forward(image, variables, w)
  side = generator.low_resolution

  def maps():
    return nchw(np.asarray(rendered()).reshape(batch, side, side, -1))

  their_maps = no_gradient(lambda: theirs.render(own, *rays, options))
  error = float((maps() - their_maps()).abs().max() / their_maps().abs().max())
  print(f'{case}: features differ by {error:.1e}, {gflop:.2f} GFLOP of products here')
  difference = np.abs(np.moveaxis(np.asarray(whole()), -1, 1) - their_image().detach().numpy())
  print(f'{case}: pictures differ by {difference.max():.1e}')
  return {
    f'{case}, rendering': (rendered, their_maps, gflop),
    f'{case}, whole': (whole, no_gradient(their_image), all_gflop),
  }


def main():
  """Prints seconds of both, their ratio, and GFLOP/s here."""
  flags = argparse.ArgumentParser(description=__doc__)
  flags.add_argument('--cases', default=','.join(CASES))
  flags.add_argument('--repeats', type=int, default=5)
  flags.add_argument('--processor_time', action='store_true')
  args = flags.parse_args()
  compilation.use_cache()
  clock = time.process_time if args.processor_time else time.perf_counter
  if args.processor_time:
    torch.set_num_threads(1)
  for case in args.cases.split(','):
    for name, (ours, theirs, gflop) in parts_of(case, CASES[case]).items():
      peak = eg3d.peak(clock)
      mine, other, _, _ = eg3d.measure(ours, theirs, args.repeats, clock)
      speed = '' if gflop is None else f', {gflop / mine:.0f} GFLOP/s of {peak:.0f}'
      print(f'{name}: {mine:.3f} s here, {other:.3f} s PyTorch, {other / mine:.2f} times{speed}')


if __name__ == '__main__':
  main()
