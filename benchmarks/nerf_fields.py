"""NeRF's fields and Gaussians at equal time: PSNR of held-out views after so many seconds of the
processor.

  python -m benchmarks.nerf_fields --source=data/lego --seconds=120

trains `configs/nerf_lego.py` with each field, its sizes and rates below, and
`configs/gaussians_lego.py`, and measures views of the split test on the way. Seconds are those of
the process on all its cores, so that other work on the machine does not count; compilation does not
count either.
"""

import argparse
import time

import jax
import numpy as np

from configs import gaussians_lego, nerf_lego
from jax3dgan import config as config_lib
from jax3dgan import generators, programs, recipes, trained
from jax3dgan.data import feed
from jax3dgan.devices import parallel
from jax3dgan.evaluation import held_out
from jax3dgan.inversion import quality
from jax3dgan.training import schedule
from jax3dgan.training import state as state_lib
from jax3dgan.training import step as step_lib

GAUSSIANS = 'gaussians'
# Of each field: its sizes, and what else differs from the config.
FIELDS = {
  'triplane': (nerf_lego.TRIPLANE, {}),
  'siren': (nerf_lego.SIREN, {'optimizer.lr_generator': 7e-4}),
  'mlp': (nerf_lego.MLP, {'optimizer.lr_generator': 3e-3}),
}


def run(name, source, seconds, num_views, overrides=()):
  """Trains one field, or `GAUSSIANS`; yields (seconds, steps, training PSNR, held-out PSNR) three
  times."""
  if name == GAUSSIANS:
    config, other = gaussians_lego.get_config(), {}
  else:
    config = nerf_lego.get_config()
    fields, other = FIELDS[name]
    config_lib.set_model(config, 'nerf', **fields)
  with config.unlocked():
    config.data.source = source
    config.update_from_flattened_dict({**other, **dict(overrides)})
  mesh = parallel.make_mesh()
  stage = schedule.stages(config, mesh.size)[0]
  generator = generators.create(config)
  recipes.check(config, generator, None, [stage])
  create = jax.jit(lambda: state_lib.create(config, generator, None))
  state = parallel.replicate(create(), mesh)
  data = feed.Feed(config, mesh, stage)
  data.enter(stage, 0)
  train_step = step_lib.make_train_step(config, generator, None, stage)

  def shard_step(state, batch):
    return train_step(state, data.examples(batch))

  step = jax.jit(parallel.data_parallel(shard_step, mesh, data.spec), donate_argnums=0)
  step = step.lower(state, data.example(0)).compile()
  views = held_out.open_views(config.data, config.resolution)
  images, labels = zip(*(views[i] for i in range(min(num_views, len(views)))), strict=True)
  photos = np.stack(images).astype(np.float32) / 127.5 - 1
  from jax3dgan import cameras

  camera = cameras.from_label(np.stack(labels))
  model = trained.Trained(config, generator, None, 0)
  spent, steps, marks = 0.0, 0, [seconds / 4, seconds / 2, seconds]
  while marks:
    began = time.process_time()
    while spent + time.process_time() - began < marks[0]:
      state, metrics = step(state, data.batch(steps))
      steps += 1
      if steps % 8 == 0:
        jax.block_until_ready(metrics)
    jax.block_until_ready(state)
    spent += time.process_time() - began
    marks.pop(0)
    variables = state_lib.averaged_variables(state, str(config.ema.display_rate))
    model = model.with_variables(jax.tree.map(lambda x: x.addressable_data(0), variables), steps)
    out = model.render(model.map(model.latents([0]), psi=1), camera)
    psnr = quality.psnr(np.clip(out.image, -1, 1), photos).mean()
    yield spent, steps, float(metrics['generator/psnr']), float(psnr)


def main(argv=None):
  flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  flags.add_argument('--source', default='data/lego')
  flags.add_argument('--seconds', type=float, default=120.0)
  flags.add_argument('--views', type=int, default=4, help='held-out views to measure')
  flags.add_argument('--fields', default=','.join((*FIELDS, GAUSSIANS)))
  flags.add_argument('--set', action='append', default=[], help='FIELD=NUMBER of the config')
  args = flags.parse_args(programs.arguments(argv))
  overrides = {}
  for text in args.set:
    key, _, value = text.partition('=')
    overrides[key] = float(value) if set('.e') & set(value) else int(value)
  print(f'{jax.device_count()} x {jax.devices()[0].device_kind}, jax {jax.__version__}')
  print('field       CPU s   steps   training   held-out, dB')
  for name in args.fields.split(','):
    for spent, steps, training, psnr in run(name, args.source, args.seconds, args.views, overrides):
      print(f'{name:10s} {spent:6.0f} {steps:7d} {training:10.2f} {psnr:10.2f}', flush=True)


if __name__ == '__main__':
  main()
