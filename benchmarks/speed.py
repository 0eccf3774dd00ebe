"""π-GAN here against plain PyTorch (`benchmarks/torch_pigan.py`), on the same device in one run.

  pip install torch
  python -m benchmarks.speed                        # every case: seconds, ratio, share of the peak
  python -m benchmarks.speed --cases=forward_64x1,generator_step_32x4 --repeats=9
  python -m benchmarks.speed --memory               # peak memory, a process for each case

CelebA's networks (hidden 256, 12+12 samples, CoordConv discriminator with strides). A case's name
ends in resolution and batch. Both sides take turns, so that a machine which is busy for a while
slows both: compare the ratio of the medians. 'forward' and 'gradient' are the generator's; steps
include everything: fakes, losses, R1, clipping, Adam, averages. The matrix peak is that of a
product of 2048² matrices in this run, by the faster of the two.
"""

import argparse
import functools
import resource
import subprocess
import sys
import time
import types

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import roofline
from configs import celeba
from jax3dgan import discriminators, generators, recipes
from jax3dgan.devices import parallel
from jax3dgan.recipes import Networks, Now, Photos
from jax3dgan.training import schedule, streams
from jax3dgan.training import state as state_lib
from jax3dgan.training import step as step_lib

CASES = (
  'forward_64x1',
  'forward_64x4',
  'forward_128x1',
  'gradient_64x1',
  'gradient_64x4',
  'discriminator_step_32x4',
  'generator_step_32x4',
  'training_step_32x4',
  'training_step_64x2',
)
_NOISE_STD = 0.5


def parse(case):
  """('generator_step', 32, 4) of 'generator_step_32x4'."""
  name, _, size = case.rpartition('_')
  return name, *map(int, size.split('x'))


def make_config(resolution, batch, **fields):
  """CelebA's config at a size, without top-k, which the PyTorch version omits; `fields` by their
  dotted names."""
  config = celeba.get_config()
  config.update(resolution=resolution, batch_size=batch, micro_batches=1)
  config.loss.top_k_interval = 0
  config.update_from_flattened_dict(fields)
  return config


def ours(case, **fields):
  """(function without arguments that runs the case, MiB of temporaries).

  Args:
    fields: of the config, see `make_config`.
  """
  name, resolution, batch = parse(case)
  config = make_config(resolution, batch, **fields)
  stage = schedule.stages(config)[0]
  generator = generators.create(config)
  discriminator = discriminators.create(config.discriminator)
  mesh = parallel.make_mesh(jax.devices()[:1])
  state = state_lib.create(config, generator, discriminator)
  options = generators.render_options(config)
  images = np.random.default_rng(0).integers(0, 256, (batch, resolution, resolution, 3), np.uint8)
  recipe = recipes.create(config.recipe)
  phases = recipe.phases(config, generator, discriminator, stage)
  transforms = state_lib.optimizers(config, phases)

  def inputs(key, name, photos=None):
    keys = streams.named_keys(jax.random.split(key, batch), name)
    return recipe.draw(keys, name, config, generator, photos or Photos(None), Now(0, 0), {})

  def forward(params, key):
    variables, given = {'params': params}, inputs(key, 'generator')
    w = generator.apply(variables, given.z, method='map')
    rendering = (w, given.camera, given.keys, options, _NOISE_STD)
    return jnp.mean(generator.apply(variables, *rendering, method='synthesize').image ** 2)

  def phase_step(phase, state, batch):
    """A step of one phase alone; averages belong to the generator's."""
    name = phase.network
    given = inputs(
      jax.random.wrap_key_data(state.key),
      phase.name,
      step_lib.photos_of(batch, len(batch['image'])),
    )
    networks, now = Networks(state.networks, state.buffers), Now(state.step, 0)
    gradients, (_, terms) = step_lib.gradients_of(phase, networks, given, now)
    params, (transform, _) = state.networks[name], transforms[name]
    updates, moments = transform.update(gradients, state.optimizers[name], params)
    learning_rate = stage.learning_rates[name]
    params = jax.tree.map(lambda p, u: p - learning_rate * u, params, updates)
    own = {
      rate: state_lib.ema_update(average, params, float(rate), state.step)
      for rate, average in state.ema.get(name, {}).items()
    }
    state = state.replace(
      networks={**state.networks, name: params},
      optimizers={**state.optimizers, name: moments},
      ema={**state.ema, **({name: own} if own else {})},
    )
    return state, terms.metrics

  if name in ('forward', 'gradient'):
    function = forward if name == 'forward' else jax.grad(forward)
    args = (state.networks['generator'], jax.random.key(0))
    compiled = jax.jit(function).lower(*args).compile()

    def run():
      jax.block_until_ready(compiled(*args))
  else:
    step = {
      'training_step': step_lib.make_train_step(config, generator, discriminator, stage),
      **{f'{phase.name}_step': functools.partial(phase_step, phase) for phase in phases},
    }[name]
    state = parallel.replicate(state, mesh)
    photos = parallel.shard({'image': images}, mesh)
    wrapped = jax.jit(parallel.data_parallel(step, mesh), donate_argnums=0)
    compiled = wrapped.lower(state, photos).compile()

    def run():
      nonlocal state
      state, metrics = jax.block_until_ready(compiled(state, photos))

  return run, compiled.memory_analysis().temp_size_in_bytes / 2**20


def torch_case(case):
  """The same of PyTorch, on its default device: a function without arguments."""
  import torch

  from benchmarks import torch_pigan

  name, resolution, batch = parse(case)
  config = make_config(resolution, batch)
  options = types.SimpleNamespace(
    resolution=resolution,
    noise_std=_NOISE_STD,
    yaw_std=config.pose_prior.yaw_std,
    pitch_std=config.pose_prior.pitch_std,
    **{k: config.render[k] for k in ('near', 'far', 'num_coarse', 'num_fine', 'fov_degrees')},
  )
  generator = torch_pigan.Generator()
  trainer = torch_pigan.Trainer(generator, torch_pigan.Discriminator(resolution), options)
  real = 2 * torch.rand(batch, 3, resolution, resolution) - 1

  def forward():
    with torch.no_grad():
      trainer.generate(batch)[0].square().mean()

  def gradient():
    generator.zero_grad()
    trainer.generate(batch)[0].square().mean().backward()

  return {
    'forward': forward,
    'gradient': gradient,
    'discriminator_step': lambda: trainer.discriminator_step(real.clone()),
    'generator_step': lambda: trainer.generator_step(batch),
    'training_step': lambda: trainer.step(real.clone()),
  }[name]


def model_flops(case):
  """FLOPs that the case needs, nothing counted twice for rematerialisation."""
  name, resolution, batch = parse(case)
  config = make_config(resolution, batch)
  stage = schedule.stages(config)[0]
  forward, backward = roofline.generator_flops(config, stage)
  once, entry = roofline.discriminator_flops(config, stage)
  parts = {
    'forward': forward,
    'gradient': forward + backward,
    'discriminator_step': forward + 2 * (3 * once - entry) + 2 * once + entry,
    'generator_step': forward + backward + 2 * once,
    'training_step': roofline.step_flops(config, stage) / batch,
  }
  return batch * parts[name]


def seconds(functions, repeats):
  """{name: [seconds]} of functions that take turns, the first turn not counted."""
  result = {name: [] for name in functions}
  for turn in range(repeats + 1):
    for name, function in functions.items():
      began = time.perf_counter()
      function()
      if turn:
        result[name].append(time.perf_counter() - began)
      time.sleep(0.2)  # so that spinning threads release the cores
  return result


def matrix_peak():
  """FLOP/s of a product of 2048² matrices, the faster of JAX and PyTorch."""
  import torch

  a = np.random.default_rng(0).standard_normal((2048, 2048), np.float32)
  ours, theirs = jnp.asarray(a), torch.from_numpy(a)
  product = jax.jit(lambda x: x @ x)
  functions = {'jax': lambda: product(ours).block_until_ready(), 'torch': lambda: theirs @ theirs}
  return 2 * 2048**3 / min(min(times) for times in seconds(functions, 7).values())


def compare(cases, repeats):
  """Prints a table."""
  import torch

  peak = matrix_peak()
  device = jax.devices()[0].device_kind
  print(
    f'{device}, jax {jax.__version__}, torch {torch.__version__} with {torch.get_num_threads()} '
    f'threads; matrix peak {peak / 1e9:.0f} GFLOP/s; medians of {repeats}\n'
  )
  print('| case | torch, s | jax3dgan, s | ratio | GFLOP | share of the peak | temporaries, MiB |')
  print('|---|---|---|---|---|---|---|')
  for case in cases:
    run, temporaries = ours(case)
    times = seconds({'ours': run, 'theirs': torch_case(case)}, repeats)
    mine, theirs = (float(np.median(times[name])) for name in ('ours', 'theirs'))
    flops = model_flops(case)
    print(
      f'| {case} | {theirs:.3f} | {mine:.3f} | {theirs / mine:.2f} | {flops / 1e9:.0f} '
      f'| {100 * flops / mine / peak:.0f} % | {temporaries:.0f} |',
      flush=True,
    )


def peaks(cases):
  """Prints the peak memory of a process that runs one case twice, for either side."""
  print('| case | torch, MiB | jax3dgan, MiB |\n|---|---|---|')
  for case in cases:
    figures = []
    for side in ('theirs', 'ours'):
      command = [sys.executable, '-m', 'benchmarks.speed', '--memory-of', side, '--cases', case]
      figures.append(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    print(f'| {case} | {figures[0].strip()} | {figures[1].strip()} |', flush=True)


def main(argv=None):
  flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  flags.add_argument('--cases', default=','.join(CASES))
  flags.add_argument('--repeats', type=int, default=5)
  flags.add_argument('--memory', action='store_true', help='peak memory instead of time')
  flags.add_argument('--memory-of', choices=('ours', 'theirs'), help=argparse.SUPPRESS)
  args = flags.parse_args(argv)
  cases = args.cases.split(',')
  if args.memory_of:
    run = ours(cases[0])[0] if args.memory_of == 'ours' else torch_case(cases[0])
    run()
    run()
    print(f'{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f}')
  elif args.memory:
    peaks(cases)
  else:
    compare(cases, args.repeats)


if __name__ == '__main__':
  main()
