"""What separable convolutions save (`nn.separable_conv`): dense against separable, in one run.

  python -m benchmarks.separable                                  # all cases of configs/eg3d_toys.py
  NPROC=1 python -m benchmarks.separable --processor_time         # one thread, on a busy machine
  python -m benchmarks.separable --cases=layers --config=eg3d_ffhq --batch=4 --largest=32

| case | what |
|---|---|
| layers | a convolution of the backbone (filter, style and demodulation included) at each size: forward, and with the gradients of input, weights and style |
| networks | backbone, super-resolution and discriminator: forward, and with the gradients of weights and input; of the discriminator also the gradient of its loss with R1 |
| forms | the depthwise convolution alone: XLA's in the place of dense, ours in that of separable |

A whole training step:

  python -m benchmarks.options --config=configs/eg3d_toys.py \\
    --fields="model.separable=True, discriminator.separable=True"

Both sides take turns, and the least of `--repeats` counts: compare the ratios. GFLOP are those of
the products and of the depthwise convolutions.
"""  # noqa: E501

import argparse
import importlib
import re
import time

import jax
import jax.numpy as jnp
import numpy as np

from jax3dgan import discriminators
from jax3dgan.devices import compilation
from jax3dgan.losses import regularizers
from jax3dgan.nn import backend
from jax3dgan.nn.cpu import depthwise
from jax3dgan.nn.modulated_conv import SynthesisLayer
from jax3dgan.nn.stylegan2 import SynthesisNetwork
from jax3dgan.nn.superresolution import SuperResolution
from jax3dgan.tools import flops

FORMS = {'dense': False, 'separable': True}
FORWARD = 'forward'


def compiled(options, function, *args):
  """(the function with its arguments, compiled; GFLOP as an accelerator would count them)."""
  with backend.reference():
    gflop = flops.products(jax.jit(lambda *args: function(*args)).trace(*args).jaxpr) / 1e9
  run = jax.jit(function).lower(*args).compile(options)
  return lambda: jax.block_until_ready(run(*args)), gflop


def with_gradients(function):
  """The gradients of (parameters, input) of a sum of squares of a function of them."""
  return jax.grad(lambda *args: jnp.sum(jnp.square(function(*args))), (0, 1))


def report(name, make, repeats, clock):
  """Times both forms of a case: `make(separable)` is a function and its arguments."""
  # As training compiles its steps.
  options = {} if name.endswith(FORWARD) else compilation.options_for_convolutions()
  runs = {form: compiled(options, *make(separable)) for form, separable in FORMS.items()}
  least = dict.fromkeys(runs, float('inf'))
  for repeat in range(repeats + 1):
    for form, (run, _) in runs.items():
      began = clock()
      run()
      if repeat:
        least[form] = min(least[form], clock() - began)
  dense, separable = least.values()
  counts = ', '.join(f'{gflop:.2f}' for _, gflop in runs.values())
  print(
    f'| {name} | {1e3 * dense:.1f} | {1e3 * separable:.1f} | {dense / separable:.2f} | {counts} |',
    flush=True,
  )


def normal(*shape):
  """Fixed normals."""
  return np.random.default_rng(0).standard_normal(shape, np.float32)


def drawn(shapes):
  """Normals in the place of a module's fresh parameters, whose values no time depends on."""
  return jax.tree.map(lambda leaf: normal(*leaf.shape), shapes)


def applied(module, *args):
  """(parameters, a function of parameters and the first argument) of a module with arguments."""
  params = drawn(jax.eval_shape(module.init, jax.random.key(0), *args))
  return params, lambda params, x: module.apply(params, x, *args[1:])


def both(function, params, x):
  """The two measurements of a function."""
  yield FORWARD, (function, params, x)
  yield 'with gradients', (with_gradients(function), params, x)


def layer_cases(config, batch, largest):
  """(name, separable → what is measured) of each layer."""
  channels = config.model.channels
  for i, features in enumerate(channels):
    size = 4 << i
    for up, c in ((2, channels[i - 1]), (1, features)) if i else ((1, features),):
      if size > largest:
        continue

      def make(separable, up=up, c=c, features=features, size=size):
        layer = SynthesisLayer(features, up=up, separable=separable)
        x, w = normal(batch, size // up, size // up, c), normal(batch, config.model.w_dim)
        params, function = applied(layer, x, w)
        return dict(both(function, params, x))

      yield f'{c} → {features}, {size}²{", up" if up > 1 else ""}', make


def form_cases(batch):
  """(name, own → what is measured) of depthwise convolutions."""
  for c, size in ((32, 64), (128, 16)):

    def make(own, c=c, size=size):
      form = depthwise.shifted_depthwise if own else depthwise.reference_depthwise
      run = lambda kernel, x: form(x, kernel, 1)  # noqa: E731
      return dict(both(run, normal(3, 3, c), normal(batch, size, size, c)))

    yield f'depthwise, {c} channels, {size}²', make


def network_cases(config, batch):
  """(name, separable → what is measured) of each network."""
  model = config.model

  def backbone(separable):
    network = SynthesisNetwork(tuple(model.channels), 48, use_noise=False, separable=separable)
    w = normal(batch, network.num_ws, model.w_dim)
    params, function = applied(network, w)
    return dict(both(function, params, w))

  def super_resolution(separable):
    network = SuperResolution(
      tuple(model.super_channels), tuple(model.super_ups), model.super_input, separable=separable
    )
    x = normal(batch, model.super_input, model.super_input, model.plane_features)
    params, function = applied(network, x, normal(batch, model.w_dim))
    return dict(both(lambda params, x: function(params, x)[0], params, x))

  def discriminator(separable):
    fields = config.discriminator.copy_and_resolve_references()
    fields.update(name='stylegan2', separable=separable, label_dim=0)
    module = discriminators.create(fields)
    key = jax.random.key(0)
    shapes = jax.eval_shape(lambda key: discriminators.init_params(module, key), key)
    params = {'params': drawn(shapes)}
    x = normal(batch, config.resolution, config.resolution, 3)

    def logits(params, x):
      return module.apply(params, x).logits

    def loss(params, x):
      penalty = regularizers.r1_penalty(lambda x: logits(params, x), x)
      return jnp.mean(jax.nn.softplus(-logits(params, x))) + penalty

    cases = dict(both(logits, params, x))
    return cases | {'gradient of the loss with R1': (jax.grad(loss), params, x)}

  yield 'backbone', backbone
  if model.get('super_channels'):
    yield 'super-resolution', super_resolution
  yield 'discriminator', discriminator


def main():
  flags = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  flags.add_argument('--config', default='eg3d_toys')
  flags.add_argument('--cases', default='layers,networks')
  flags.add_argument('--only', default='', help='pattern of the names of what is measured')
  flags.add_argument('--batch', type=int, default=16)
  flags.add_argument('--largest', type=int, default=64, help='pixels on a side of the layers')
  flags.add_argument('--repeats', type=int, default=3)
  flags.add_argument('--processor_time', action='store_true')
  args = flags.parse_args()
  clock = time.process_time if args.processor_time else time.perf_counter
  config = importlib.import_module(f'configs.{args.config}').get_config()
  print(
    f'{jax.devices()[0].device_kind}, jax {jax.__version__}, {args.config}, {args.batch} images'
  )
  print('\n| | dense, ms | separable, ms | ratio | GFLOP |\n|---|---|---|---|---|')
  cases = []
  if 'forms' in args.cases:
    cases += form_cases(args.batch)
  if 'layers' in args.cases:
    cases += layer_cases(config, args.batch, args.largest)
  if 'networks' in args.cases:
    cases += network_cases(config, args.batch)
  for name, make in cases:
    sides = {separable: make(separable) for separable in FORMS.values()}
    for kind in sides[True]:
      title = f'{name}: {kind}'
      if re.search(args.only, title):
        report(title, lambda s, k=kind, of=sides: of[s][k], args.repeats, clock)


if __name__ == '__main__':
  main()
