"""What accelerators are given: steps and renderings of every config, lowered for CUDA and TPU.

Lowering needs neither the device nor a compilation, so that full-size models are looked at. The
program's text shows what a run on the device would find out late: types that are slow or missing
there, calls back to the host, products in another precision than the policy's, work done twice.
"""

import collections
import functools
import importlib
import pathlib
import re

import jax
import numpy as np
import pytest
from jax.sharding import AbstractMesh, AxisType

from jax3dgan import cameras, discriminators, generators, trained
from jax3dgan.data import feed
from jax3dgan.devices import parallel
from jax3dgan.evaluation import fakes
from jax3dgan.nn import backend
from jax3dgan.rendering import hierarchical
from jax3dgan.training import schedule
from jax3dgan.training import state as state_lib
from jax3dgan.training import step as step_lib

CONFIGS = ('carla', 'cats', 'cats_small', 'celeba', 'toys')
# The stages differ in shapes and chunks; the first and the last show all there is.
CASES = [(name, 'cuda', i) for name in CONFIGS for i in (0, -1)]
CASES = [case for case in CASES if case[0] in ('carla', 'cats_small') or case[2] == 0]
CASES += [(name, 'tpu', 0) for name in CONFIGS]
FILES = sorted(
  path.stem for path in (pathlib.Path(__file__).parent.parent / 'configs').glob('*.py')
)
# Annotations of shard_map for XLA's partitioner: no code behind them.
KNOWN_CALLS = {'Sharding', 'SPMDFullToShardShape', 'SPMDShardToFullShape'}


def load(name, **fields):
  config = importlib.import_module(f'configs.{name}').get_config()
  with config.unlocked():
    config.update_from_flattened_dict(fields)
  return config


def lowered(traced, *platforms):
  """The text of a program for a platform, or of one program for several."""
  with backend.lowering_for(platforms[0]):
    return traced.lower(lowering_platforms=platforms).as_text()


def traced_step(config, stage_index=0, mesh=None, platform='cuda'):
  """The trace of a training step, the same for all accelerators, and its stage."""
  mesh = mesh or parallel.make_mesh()
  stage = schedule.stages(config, mesh.size)[stage_index]
  generator = generators.create(config)
  discriminator = discriminators.create(config.discriminator)
  state = jax.eval_shape(lambda: state_lib.create(config, generator, discriminator))
  step = step_lib.make_train_step(config, generator, discriminator, stage)
  step = jax.jit(parallel.data_parallel(step, mesh), donate_argnums=0)
  with backend.lowering_for(platform):
    return step.trace(state, feed.shapes(config, stage.batch_size, stage.resolution)), stage


def lowered_step(config, platform, stage_index=0, mesh=None):
  """The program of a training step, and its stage."""
  traced, stage = traced_step(config, stage_index, mesh, platform)
  return lowered(traced, platform), stage


def abstract_model(config):
  """A `Trained` whose parameters are shapes."""
  generator = generators.create(config)
  networks = generator, discriminators.create(config.discriminator)
  state = jax.eval_shape(lambda: state_lib.create(config, *networks))
  rate = str(config.ema.display_rate)
  return trained.Trained(config, generator, state_lib.averaged_variables(state, rate), 0)


def traced_rendering(config):
  """The trace of `Trained.render` for two images, with the display's samples."""
  model = abstract_model(config)
  generator, variables = model.generator, model.variables
  z = jax.ShapeDtypeStruct((2, generator.z_dim), np.float32)
  camera = jax.eval_shape(lambda: cameras.orbit(np.zeros(2), np.zeros(2), 1.0, 12.0))
  label = jax.ShapeDtypeStruct((2, 25), np.float32) if model.is_conditioned else None
  w = jax.eval_shape(
    lambda v, z, label: generator.apply(v, z, label, method='map'), variables, z, label
  )
  with backend.lowering_for('cuda'):
    return model._synthesize.trace(variables, w, camera, model.options())


def traced_evaluation(config):
  """The trace of what makes the images of the distribution metrics, four at a time."""
  model = abstract_model(config)
  step = jax.jit(fakes.Fakes(model, parallel.make_mesh(), batch_size=4)._step(fixed=False))
  with backend.lowering_for('cuda'):
    return step.trace((model.variables, None), (np.arange(4), None))


def counts(text):
  return collections.Counter(re.findall(r'stablehlo\.(\w+)', text))


def dot_types(text):
  """(left, right, result) element types of every product, counted."""
  lines = [line for line in text.splitlines() if 'stablehlo.dot_general' in line]
  types = (re.findall(r'[x<]([a-z]+\d+)>', line.rpartition(' : ')[2]) for line in lines)
  return collections.Counter(map(tuple, types))


def field_products(config):
  """Products of one question to the field: forward, backward, and those the policy may round.

  Forward one per layer, the density, the view direction, the colour layer and the colour. Backward
  two each, but none for the points and directions, which have no gradient.
  """
  layers = config.model.num_layers
  return layers + 4, 2 * (layers + 4) - 2, layers + 2


def expected_products(config, stage):
  """(all, rounded) products of a step in which nothing is computed twice but what must be."""
  forward, backward, rounded = field_products(config)
  mapping = config.model.mapping_layers + 1
  render = 2 * forward + 1 + 1  # coarse and fine; compositing; turning the rays
  # D's images; G's images; with top-k over micro-batches G's logits before them.
  passes = 2 + bool(config.loss.top_k_interval and stage.micro_batches > 1)
  gradient = 2 * backward + 2 + 2 * mapping - 1  # z has no gradient
  # Chunks of rays are rematerialised: their field is asked once more in the backward pass.
  rays = stage.resolution**2
  again = hierarchical.divisor(rays, stage.options.ray_chunk) < rays
  total = passes * (render + mapping) + gradient + again * 2 * forward
  return total, 2 * rounded * (passes + 2 + again)


def check(text):
  """What holds for any program."""
  assert not re.search(r'[x<]f64>', text), 'float64'
  assert 'complex<' not in text
  operations = counts(text)
  assert not {'infeed', 'outfeed', 'send', 'recv'} & operations.keys()
  calls = set(re.findall(r'custom_call @([\w.$-]+)', text))
  assert len(re.findall(r'custom_call', text)) == len(re.findall(r'custom_call @', text))
  assert calls <= KNOWN_CALLS, calls - KNOWN_CALLS
  return operations


@functools.cache
def trace_of(name, stage_index):
  return traced_step(load(name), stage_index)


@functools.cache
def rendering_of(name):
  return traced_rendering(load(name))


@functools.cache
def traces_of_test(name):
  """Of a config's test version: the last stage's step, the display, the images of metrics."""
  config = importlib.import_module(f'configs.{name}').get_test_config()
  return traced_step(config, -1)[0], traced_rendering(config), traced_evaluation(config)


@functools.cache
def step_of(name, platform, stage_index):
  traced, stage = trace_of(name, stage_index)
  return lowered(traced, platform), stage


def test_no_code_tells_one_accelerator_from_another():
  """So that what was traced once can be lowered for each."""
  asked, forms = [], 0
  for path in (pathlib.Path(__file__).parent.parent / 'jax3dgan').rglob('*.py'):
    if path.name != 'backend.py':
      text = path.read_text('utf-8')
      asked += re.findall(r'backend\.platform\(\)(.{0,9})', text)
      forms += text.count('backend.cpu_forms()')
  assert forms > 5 and asked and all(re.match(r" [!=]= 'cpu'", words) for words in asked), asked


@pytest.mark.parametrize('name, platform, stage_index', CASES)
def test_training_step(name, platform, stage_index):
  config = load(name)
  text, stage = step_of(name, platform, stage_index)
  operations = check(text)
  total, _ = expected_products(config, stage)
  assert 0 < operations['dot_general'] <= total
  # Full precision must be asked for: the device's default is less.
  assert dot_types(text).keys() == {('f32', 'f32', 'f32')}
  # The device's own sine, one per FiLM layer, and its convolutions instead of patches.
  sines = 2 * (config.model.num_layers + 1)
  assert operations['sine'] >= 2 * sines and operations['cosine'] >= sines
  assert operations['convolution'] > 50


@pytest.mark.parametrize('name', FILES)
def test_every_config_has_programs_for_accelerators(name):
  """Whatever the model: the test config's last stage, its display, the images of its metrics."""
  step, rendering, evaluation = (lowered(traced, 'cuda', 'tpu') for traced in traces_of_test(name))
  assert check(step)['dot_general'] and check(rendering)['dot_general']
  operations = check(evaluation)
  assert operations['dot_general'] and operations['all_gather'] == 2  # the images, by platform


@pytest.mark.parametrize('platform', ['cuda', 'tpu'])
def test_what_does_not_belong_there_is_seen(platform):
  def called(x):
    return jax.pure_callback(np.sin, jax.ShapeDtypeStruct(x.shape, x.dtype), x)

  def printed(x):
    jax.debug.print('{}', x)
    return x

  shape = jax.ShapeDtypeStruct((3,), np.float32)
  for function in (called, printed):
    # A call back needs the platform's own client: without the device it is refused right away.
    with pytest.raises((AssertionError, ValueError)):
      check(jax.jit(function).trace(shape).lower(lowering_platforms=(platform,)).as_text())
    with pytest.raises(AssertionError):
      check(jax.jit(function).lower(shape).as_text())
  with pytest.raises(AssertionError, match='float64'):
    check('%0 = stablehlo.sine %arg0 : tensor<3xf64>')


@pytest.mark.parametrize('platform', ['cuda', 'tpu'])
@pytest.mark.parametrize('name', CONFIGS)
def test_display_rendering(name, platform):
  config = load(name)
  operations = check(lowered(rendering_of(name), platform))
  forward, _, _ = field_products(config)
  assert 0 < operations['dot_general'] <= 2 * forward + 2
  assert operations['sine'] >= 2 * (config.model.num_layers + 1)
  assert not operations['cosine'] and not operations['convolution']


@pytest.mark.parametrize('policy, forward', [('bfloat16', 'bf16'), ('float16', 'f16')])
def test_rounded_products(policy, forward):
  """Hidden products take the policy's type, the backward ones bfloat16; all sums are float32."""
  fields = {'model.matmul_dtype': policy, 'discriminator.matmul_dtype': policy}
  config = load('toys', **fields)
  text, stage = lowered_step(config, 'cuda')
  check(text)
  total, rounded = expected_products(config, stage)
  types = dot_types(text)
  assert types.keys() == {(t, t, 'f32') for t in (forward, 'bf16', 'f32')}
  assert types.total() <= total
  assert types[forward, forward, 'f32'] + types['bf16', 'bf16', 'f32'] * (policy != 'bfloat16') == (
    rounded
  )
  # Convolutions: entries and heads in float32, those of the blocks rounded, R1's as well.
  lines = [line for line in text.splitlines() if 'stablehlo.convolution' in line]
  inputs = collections.Counter(
    re.findall(r'x([a-z]+\d+)>', line.rpartition(' : ')[2])[0] for line in lines
  )
  assert inputs.keys() == {forward, 'bf16', 'f32'}
  assert sum(inputs.values()) - inputs['f32'] > inputs['f32']


def test_saved_phases_spare_the_hidden_products_a_second_time():
  config = load('celeba', **{'render.saved_activations': 'phases'})
  text, stage = lowered_step(config, 'cuda')
  check(text)
  total, _ = expected_products(config, stage)
  forward, _, _ = field_products(config)
  # Again are only the density (h to 1) and the colour (h to 3), for the compositing.
  assert counts(text)['dot_general'] <= total - 2 * forward + 2 * 2
  # Half of the generator's passes in this step have a gradient or prepare one.
  assert text.count('i16>') > 2 * (config.model.num_layers + 1)


def test_many_devices():
  """The collectives of a mesh of eight TPUs: top-k's gather, and gradients averaged once a
  network."""
  mesh = AbstractMesh((8,), (parallel.AXIS,), axis_types=(AxisType.Auto,))
  config = load('celeba', micro_batches=1)
  text, _ = lowered_step(config, 'tpu', mesh=mesh)
  operations = check(text)
  assert operations['all_gather'] == 1
  assert operations['all_reduce'] > 0
  alone = counts(step_of('celeba', 'tpu', 0)[0])
  assert alone['all_reduce'] == operations['all_reduce']


def test_a_cpus_step_is_another_program():
  """Else the tests above would pass whatever the platform."""
  text, _ = lowered_step(load('toys'), 'cpu')
  operations, other = counts(text), counts(step_of('toys', 'tpu', 0)[0])
  assert operations['sine'] < 10 < other['sine']
  assert operations['convolution'] < other['convolution']
  assert operations['dot_general'] > other['dot_general']
