"""The precision of every product and convolution of a config's programs, as accelerators get them.

  python -m jax3dgan.tools.products configs/*.py
  python -m jax3dgan.tools.products configs/celeba.py --full_precision

Lowers the training step of the last stage and the rendering of the displays for a TPU and for CUDA,
which takes neither of them and compiles nothing, and counts in the programs' text. What a function
does is counted once, however often it is called.

A float32 product at DEFAULT precision is rounded to bfloat16 by a TPU and to TF32 by a GPU: none
may be there but those of the policy 'tensorfloat32'. --full_precision sets the policy of all
networks to float32; then it is an error if there is one.
"""

import argparse
import collections
import functools
import pathlib
import re
import runpy
import sys

import jax
import numpy as np

from jax3dgan import cameras, config_files, discriminators, generators, programs, trained
from jax3dgan.data import feed
from jax3dgan.devices import parallel, platforms
from jax3dgan.errors import UserError
from jax3dgan.nn import backend
from jax3dgan.training import schedule
from jax3dgan.training import state as state_lib
from jax3dgan.training import step as step_lib

PLATFORMS = ('cuda', 'tpu')
_OPERATIONS = {'dot_general': 'dot', 'convolution': 'conv'}


class Programs:
  """A config's programs, traced for accelerators.

  Attributes:
    config: it.
    networks: generator and discriminator.
    state: shapes of the training state.
  """

  def __init__(self, config):
    self.config = config
    self.networks = generators.create(config), discriminators.create(config.discriminator)
    self.state = jax.eval_shape(lambda: state_lib.create(config, *self.networks))

  def step(self, stage_index: int = -1, mesh=None, platform: str = 'cuda'):
    """The trace of a training step, and its stage."""
    mesh = mesh or parallel.make_mesh(jax.local_devices()[:1])
    stage = schedule.stages(self.config, mesh.size)[stage_index]
    step = step_lib.make_train_step(self.config, *self.networks, stage)
    step = jax.jit(parallel.data_parallel(step, mesh, feed.specs(self.config)), donate_argnums=0)
    with backend.lowering_for(platform):
      examples = feed.shapes(self.config, stage.padded_batch_size, stage.resolution)
      return step.trace(self.state, examples), stage

  @functools.cached_property
  def model(self) -> trained.Trained:
    """A `Trained` whose parameters are shapes."""
    variables = state_lib.averaged_variables(self.state, str(self.config.ema.display_rate))
    return trained.Trained(self.config, self.networks[0], variables, 0)

  def rendering(self):
    """The trace of `Trained.render` for two images, with the displays' samples."""
    model = self.model
    generator, variables = model.generator, model.variables
    z = jax.ShapeDtypeStruct((2, generator.z_dim), np.float32)
    camera = jax.eval_shape(lambda: cameras.orbit(np.zeros(2), np.zeros(2), 1.0, 12.0))
    label = jax.ShapeDtypeStruct((2, 25), np.float32) if model.is_conditioned else None
    w = jax.eval_shape(
      lambda v, z, label: generator.apply(v, z, label, method='map'), variables, z, label
    )
    with backend.lowering_for('cuda'):
      return model.compiled.synthesize.trace(variables, w, camera, model.options())


def lowered(traced, *platforms: str) -> str:
  """The text of a program for a platform ('cuda', 'tpu'), or of one program for several."""
  with backend.lowering_for(platforms[0]):
    return traced.lower(lowering_platforms=platforms).as_text()


def count(text: str) -> collections.Counter:
  """Counts the products and convolutions of a lowered program.

  Args:
    text: in StableHLO, `lowered.as_text()`.

  Returns:
    Counts by (operation, element type of the inputs, precision): ('dot', 'f32', 'HIGHEST'), ...;
    types or precisions of two inputs that differ with a slash.
  """
  counts = collections.Counter()
  for line in text.splitlines():
    found = re.search(r'stablehlo\.(dot_general|convolution)\b', line)
    if not found:
      continue
    named = re.search(r'precision(?:_config)? = \[([^\]]*)\]', line)
    precisions = re.findall(r'\b(DEFAULT|HIGH|HIGHEST)\b', named[1] if named else '')
    inputs = re.findall(r'[x<]([a-z]+\w*)>', line.rpartition(' : ')[2].partition('->')[0])
    each = ('/'.join(dict.fromkeys(values)) for values in (inputs, precisions or ['DEFAULT']))
    counts[_OPERATIONS[found[1]], *each] += 1
  return counts


def rounded_by_device(text: str) -> list[tuple]:
  """Those of `count` that have float32 inputs, and of which the device rounds one."""
  return [
    (*key, number)
    for key, number in sorted(count(text).items())
    if 'f32' in key[1] and key[2] != 'HIGHEST'
  ]


def full_precision(config):
  """A copy of a config with the policy float32 for all networks."""
  config = config.copy_and_resolve_references()
  for name in ('model', 'discriminator'):
    if (config.get(name) or {}).get('matmul_dtype'):
      config[name].matmul_dtype = 'float32'
  return config


def load(path: str, test: bool = False):
  """The config of a file, or its test config."""
  return runpy.run_path(path)['get_test_config' if test else 'get_config']()


def table(names, configs) -> tuple[list[str], int]:
  """Lines of a table, by config, program and platform, and how many products a device rounds."""
  lines, rounded = (
    ['| config | program | platform | dots | convolutions |', '|---|---|---|---|---|'],
    0,
  )
  for name, config in zip(names, configs, strict=True):
    programs = Programs(config)
    for program, traced in (('step', programs.step()[0]), ('rendering', programs.rendering())):
      texts = {platform: lowered(traced, platform) for platform in PLATFORMS}
      rounded += sum(of[3] for text in texts.values() for of in rounded_by_device(text))
      cells = {platform: ' | '.join(map(_cell, _by_kind(text))) for platform, text in texts.items()}
      if len(set(cells.values())) == 1:
        cells = {' = '.join(cells): cells[PLATFORMS[0]]}
      lines += [f'| {name} | {program} | {platform} | {cell} |' for platform, cell in cells.items()]
  return lines, rounded


def _by_kind(text):
  counts = count(text)
  return [{key[1:]: n for key, n in counts.items() if key[0] == kind} for kind in ('dot', 'conv')]


def _cell(counts) -> str:
  parts = (f'{n} {kind} {precision}' for (kind, precision), n in sorted(counts.items()))
  return ', '.join(parts) or '–'


def run(argv=None) -> int:
  """The program; returns its exit code."""
  parser = argparse.ArgumentParser(
    prog='python -m jax3dgan.tools.products',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument('configs', nargs='+', help='files of configs')
  parser.add_argument('--full_precision', action='store_true', help='with the policy float32')
  parser.add_argument('--test', action='store_true', help='of the test configs, which are small')
  args = parser.parse_args(programs.arguments(argv))
  try:
    platforms.start()
    paths = [config_files.find(name)[0] for name in args.configs]
    configs = [load(path, args.test) for path in paths]
    if args.full_precision:
      configs = [full_precision(config) for config in configs]
    lines, rounded = table([pathlib.Path(path).stem for path in paths], configs)
  except UserError as error:
    print(f'Error: {error}', file=sys.stderr)
    return 1
  print('\n'.join(lines))
  print(f'float32 products that a device rounds: {rounded}')
  return int(args.full_precision and rounded > 0)


if __name__ == '__main__':
  sys.exit(run())
