"""What precision policies make of a config's training step: its time and its errors, in one run.

  python -m benchmarks.precision_step --config=configs/toys.py
  taskset -c 1 python -m benchmarks.precision_step --config=configs/celeba.py --batch=4 \\
    --policies=float32,auto --length=1 --processor_time         # a busy machine

Both networks take the policy; 'auto' is what `nn.auto_precision` chooses for this machine. Steps
take turns. Errors are relative to the first policy, at initialisation: the root mean square of a
picture's over that of its deviation from its mean, and L2 of the gradient of a pixel loss with
respect to all parameters of the generator.
"""

import argparse
import time

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import train_step, turns
from jax3dgan import cameras, discriminators, generators
from jax3dgan.devices import compilation, parallel
from jax3dgan.nn import auto_precision
from jax3dgan.training import schedule
from jax3dgan.training import state as state_lib


def with_policy(config, policy):
  """A copy of a config with a policy for both networks, a concrete one."""
  config = config.copy_and_resolve_references()
  for name in auto_precision.GROUPS:
    if (config.get(name) or {}).get('matmul_dtype'):
      config[name].matmul_dtype = policy
  return auto_precision.resolve(config)


def step_of(config):
  """A function that takes a step of the config's first stage."""
  mesh = parallel.make_mesh(jax.devices()[:1])
  stage = schedule.stages(config, mesh.size)[0]
  networks = generators.create(config), discriminators.create(config.discriminator)
  state = jax.jit(lambda: state_lib.create(config, *networks))()
  batch = train_step.examples(config, stage)
  return turns.training_step(config, *networks, stage, jax.device_get(state), batch, mesh)


def outputs(config, batch=2):
  """Pictures [b, h, w, 3] and the gradient, one vector, of a config's generator."""
  generator = generators.create(config)
  options = schedule.stages(config, 1)[0].options
  rng = np.random.default_rng(0)
  z = rng.standard_normal((batch, generator.z_dim), np.float32)
  camera = cameras.orbit(
    np.linspace(-1, 1, batch), np.full(batch, 0.2), config.render.radius, config.render.fov_degrees
  )
  variables = generators.init(generator, jax.random.key(0))

  @jax.jit
  def run(variables):
    def loss(params):
      image = generator.apply({**variables, 'params': params}, z, camera, options=options).image
      target = rng.uniform(-1, 1, image.shape).astype(np.float32)
      return jnp.mean(jnp.square(image - target)), image

    gradient, image = jax.grad(loss, has_aux=True)(variables['params'])
    return image, jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(gradient)])

  return jax.device_get(run(variables))


def apart(found, exact):
  """The two errors."""
  (image, gradient), (exact_image, exact_gradient) = found, exact
  spread = np.sqrt(np.mean(np.square(image - exact_image))) / np.std(exact_image)
  return spread, np.linalg.norm(gradient - exact_gradient) / np.linalg.norm(exact_gradient)


def main():
  """The program."""
  flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  flags.add_argument('--config', default='configs/toys.py')
  flags.add_argument('--policies', default='float32,bfloat16,auto')
  flags.add_argument('--batch', type=int, help="instead of the config's")
  flags.add_argument('--cycles', type=int, default=3)
  flags.add_argument(
    '--length', type=int, default=turns.CYCLE, help='steps of a turn: the lazy phases fall due'
  )
  flags.add_argument('--processor_time', action='store_true', help='of all threads')
  flags.add_argument('--time_only', action='store_true', help='no errors')
  args = flags.parse_args()
  compilation.use_cache()
  config = train_step.load(args.config)
  if args.batch:
    config.batch_size, config.micro_batches = args.batch, 1
  configs = {policy: with_policy(config, policy) for policy in args.policies.split(',')}
  print(f'{args.config}, batch {config.batch_size}, jax {jax.__version__}')
  print('| policy | of the generator | step, s | ratio | picture | gradient |')
  print('|---|---|---|---|---|---|', flush=True)
  now = time.process_time if args.processor_time else time.perf_counter
  distinct = {}  # policies that are one on this machine are measured once
  for policy, own in configs.items():
    distinct.setdefault(own.model.matmul_dtype, policy)
  steps = [step_of(configs[policy]) for policy in distinct.values()]
  seconds = dict(zip(distinct, turns.medians(steps, args.cycles, now, args.length), strict=True))
  measured = {} if args.time_only else distinct
  found = {name: outputs(configs[policy]) for name, policy in measured.items()}
  first = next(iter(seconds))
  for policy, own in configs.items():
    name = own.model.matmul_dtype
    errors = ' | '
    if found:
      errors = ' | '.join(f'{100 * x:.2g} %' for x in apart(found[name], found[first]))
    ratio = seconds[first] / seconds[name]
    print(f'| {policy} | {name} | {seconds[name]:.3f} | {ratio:.2f} | {errors} |', flush=True)


if __name__ == '__main__':
  main()
