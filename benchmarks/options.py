"""A training step of a config with other fields against the config's own, in one run.

  python -m benchmarks.options --config=configs/toys.py \\
    --fields="loss.adversarial=relativistic, loss.r2=3.0"
  python -m benchmarks.options --config=configs/eg3d_toys.py --batch=4 --cycles=2 \\
    --fields="eg3d.views=2"
  python -m benchmarks.options --config=configs/eg3d_toys.py --flops --fields="eg3d.views=2"

The compiled steps take turns at 16 steps on one device, so that each lazy term counts as often as
in training. Seconds are those of the processor, all cores together: what else a machine does counts
little. The images are random; the first stage's step is measured. --flops compiles nothing: it
counts the products of each phase's gradient, which it traces, and divides them by the steps that
the phase is due in one of. Passes that the compiler finds to be equal, and merges, count twice.
"""

import argparse
import ast
import time

import jax

from benchmarks import cores, train_step, turns
from jax3dgan import discriminators, generators, recipes
from jax3dgan.devices import compilation, parallel
from jax3dgan.tools import flops
from jax3dgan.training import schedule, streams
from jax3dgan.training import state as state_lib
from jax3dgan.training import step as step_lib


def parse(fields: str) -> dict:
  """{field: value} of 'group.field=value, …'; what is no Python literal is a string."""
  values = {}
  for field in filter(None, (part.strip() for part in fields.split(','))):
    name, value = field.split('=', 1)
    try:
      values[name] = ast.literal_eval(value)
    except (ValueError, SyntaxError):
      values[name] = value
  return values


def phase_flops(config) -> dict[str, float]:
  """FLOPs of the products of each phase of the first stage, an image and a step."""
  mesh = parallel.make_mesh(jax.devices()[:1])
  stage = schedule.stages(config, 1)[0]
  networks = generators.create(config), discriminators.create(config.discriminator)
  recipe, b = recipes.create(config.recipe), stage.padded_batch_size
  state = jax.eval_shape(lambda: state_lib.create(config, *networks))
  phases = recipe.phases(config, *networks, stage)

  def gradients_of(phase):
    def gradients(state, batch):
      now = recipes.Now(state.step, stage.position_at(state.step))
      keys = parallel.example_keys(streams.step_key(state.key, state.step), b)
      photos = step_lib.photos_of(batch, stage.batch_size)
      inputs = recipe.draw(keys, phase.name, config, networks[0], photos, now, state.buffers)
      own = recipes.Networks(state.networks, state.buffers)
      return step_lib.gradients_of(phase, own, inputs, now, stage.micro_batches)

    return parallel.data_parallel(gradients, mesh)

  batch = train_step.examples(config, stage)
  return {
    phase.name: flops.products(jax.make_jaxpr(gradients_of(phase))(state, batch).jaxpr)
    / (b * phase.every)
    for phase in phases
  }


def main(argv=None):
  """The program."""
  flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  flags.add_argument('--config', required=True)
  flags.add_argument('--fields', required=True, help='group.field=value, …')
  flags.add_argument('--batch', type=int)
  flags.add_argument('--cycles', type=int, default=3)
  flags.add_argument('--flops', action='store_true', help='count products, and time nothing')
  args = flags.parse_args(argv)
  compilation.use_cache()
  config = train_step.load(args.config)
  if args.batch:
    config.batch_size = args.batch
  other = config.copy_and_resolve_references()
  other.update_from_flattened_dict(parse(args.fields))
  if args.flops:
    counts = [phase_flops(each) for each in (config, other)]
    print(f'{args.config}, GFLOP an image of a step, own and with {args.fields}')
    for name in counts[0] | counts[1]:
      print(f'  {name}: {counts[0].get(name, 0) / 1e9:.4f}, {counts[1].get(name, 0) / 1e9:.4f}')
    own, changed = (sum(count.values()) for count in counts)
    print(f'  together: {own / 1e9:.4f}, {changed / 1e9:.4f}, ratio {changed / own:.3f}')
    return
  steps = [cores.build(each, 1) for each in (config, other)]
  own, changed = turns.medians(steps, args.cycles, time.process_time)
  print(f'{args.config}, batch {config.batch_size}, {config.resolution}², jax {jax.__version__}')
  print(
    f'own {own:.4f} s, with {args.fields}: {changed:.4f} s of the processor, ratio '
    f'{changed / own:.3f}'
  )


if __name__ == '__main__':
  main()
