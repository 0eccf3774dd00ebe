"""What accelerators are given: steps and renderings of every config, lowered for CUDA and TPU.

Lowering needs neither the device nor a compilation, so that full-size models can be lowered, too.
The program's text shows what a run on the device would find out late: types that are slow or
missing there, calls back to the host, products in another precision than the policy's, work done
twice.
"""

import ast
import collections
import functools
import importlib
import json
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractMesh, AxisType

from jax3dgan.cameras import orbit
from jax3dgan.devices import parallel
from jax3dgan.evaluation import fakes
from jax3dgan.nn import backend
from jax3dgan.rendering import hierarchical, rays
from jax3dgan.tools import products
from jax3dgan.tools.products import Programs, lowered

ROOT = pathlib.Path(__file__).parent.parent
# π-GAN's at full size: stages, which differ in shapes and chunks (the first and the last show all
# there is); micro-batches with top-k. The others differ from these in constants.
CONFIGS = ('carla', 'celeba')
CASES = [('carla', 0), ('carla', -1), ('celeba', 0)]
FILES = sorted(path.stem for path in (ROOT / 'configs').glob('*.py'))
# Annotations of shard_map for XLA's partitioner: no code behind them.
KNOWN_CALLS = {'Sharding', 'SPMDFullToShardShape', 'SPMDShardToFullShape'}


def load(name, small=False, **fields):
  module = importlib.import_module(f'configs.{name}')
  config = module.get_test_config() if small else module.get_config()
  with config.unlocked():
    config.update_from_flattened_dict(fields)
  return config


def choices(config) -> set[tuple[str, str]]:
  """What a config's programs depend on: each of its fields with its value, where numbers count
  only as 0 or others, whole ones and lengths as 0, 1 or others, and fields of no program not at
  all."""

  def of(name, value):
    if isinstance(value, dict):
      for key, field in value.items():
        yield from of(f'{name}.{key}', field)
    elif isinstance(value, list | tuple):
      yield name, len(value) if len(value) < 2 else 'number'
      for item in value:
        yield from of(f'{name}[]', item)
    elif isinstance(value, int | float) and not isinstance(value, bool):
      yield name, value if value in ((0,) if isinstance(value, float) else (0, 1)) else 'number'
    else:
      yield name, value

  fields = json.loads(config.to_json_best_effort())
  for group in ('data', 'eval', 'log', 'checkpoint', 'ema', 'platform'):
    fields.pop(group)
  if config.data.use_labels:  # cameras are the photos'
    fields.pop('pose_prior')
  # A field means the same in every config of its group's kind.
  kinds = {'model': config.model.name, 'discriminator': config.discriminator.name}
  return {
    (f'{kinds.get(name.split(".")[0], "")}:{name}', str(value))
    for group, field in fields.items()
    for name, value in of(group, field)
  } | {('recipe, generator, discriminator', f'{config.recipe}, {kinds}')}


def covering_configs() -> list[str]:
  """Configs, shrunk, that together make every choice that any config makes: the programs of the
  others have no part that these have not. A number that is 0 takes a part away."""
  made = {name: choices(products.full_precision(load(name, small=True))) for name in FILES}
  every = set().union(*made.values())
  off = {(name, zero) for name, zero in every if zero in ('0', '0.0') and (name, 'number') in every}
  missing, chosen = every - off, []
  while missing:
    name = max(made, key=lambda name: (len(made[name] & missing), name))
    chosen.append(name)
    missing -= made[name]
  for name in list(chosen):  # the first ones may have become needless
    others = set().union(*(made[other] for other in chosen if other != name))
    if made[name] - off <= others:
      chosen.remove(name)
  return sorted(chosen)


def one_of_each_kind(names):
  """Parameters of a test: the first config of a recipe, generator and discriminator, always; the
  others, which add choices, with --thorough."""
  kinds = set()
  for name in names:
    config = load(name, small=True)
    kind = config.recipe, config.model.name, config.discriminator.name
    yield name if kind not in kinds else pytest.param(name, marks=pytest.mark.thorough)
    kinds.add(kind)


def lowered_step(config, platform, stage_index=0, mesh=None):
  """The program of a training step, and its stage."""
  traced, stage = Programs(config).step(stage_index, mesh, platform)
  return lowered(traced, platform), stage


def traced_evaluation(model):
  """The trace of what makes the images of the distribution metrics, four at a time."""
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
  """Products of one evaluation of the field: forward, backward, and those the policy may round.

  Forward one per layer but the first, the density, the colour layer and the colour, backward two
  each; points and view directions are multiplied without products of matrices.
  """
  forward = config.model.num_layers + 2
  return forward, 2 * forward, forward


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
def programs_of(name):
  return Programs(load(name))


@functools.cache
def small_programs_of(name):
  """In full precision, with the last stage's step."""
  programs = Programs(products.full_precision(load(name, small=True)))
  return programs, programs.step()[0]


def test_no_code_tells_one_accelerator_from_another():
  """So that what was traced once can be lowered for each."""
  asked, forms = [], 0
  for path in (ROOT / 'jax3dgan').rglob('*.py'):
    if path.name != 'backend.py':
      text = path.read_text('utf-8')
      asked += re.findall(r'backend\.platform\(\) (.= .*?)\b', text)
      forms += text.count('backend.cpu_forms()')
  assert forms > 5 and asked, asked
  # These choose while they are lowered.
  assert {name for name, of in backend.FORMS.items() if of.gpu != of.tpu} == {'planes'}


# Calls that multiply matrices, of JAX and of Flax.
PRODUCTS = {
  *('dot', 'matmul', 'einsum', 'tensordot', 'vdot', 'inner', 'dot_general', 'conv'),
  *('conv_general_dilated', 'conv_with_general_padding', 'conv_transpose', 'Dense', 'DenseGeneral'),
  *('Conv', 'ConvTranspose', 'Einsum', 'MultiHeadDotProductAttention'),
}
# Matrices in NumPy's float64; a function within jax.default_matmul_precision.
OPERATORS = {'cameras/formats.py', 'augment/geometry.py', 'augment/pipeline.py'}


def products_without_precision(source: str, operators: bool) -> list[str]:
  """Calls of `jnp`, `jax.lax` and `nn` that leave the precision to the platform, as written."""
  found = []
  for node in ast.walk(ast.parse(source)):
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult) and not operators:
      found.append(ast.unparse(node))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
      module = ast.unparse(node.func.value)
      named = any(keyword.arg in ('precision', None) for keyword in node.keywords)
      if module in ('jnp', 'jax.numpy', 'jax.lax', 'lax', 'nn') and node.func.attr in PRODUCTS:
        found += [] if named else [ast.unparse(node)]
  return found


def test_every_product_in_the_source_names_its_precision():
  """Also of functions that no step or rendering calls, and that anybody may call on a TPU."""
  for path in sorted((ROOT / 'jax3dgan').rglob('*.py')):
    source, name = path.read_text('utf-8'), path.relative_to(ROOT / 'jax3dgan').as_posix()
    if 'jax.numpy as jnp' in source:
      assert not products_without_precision(source, name in OPERATORS), name
  bad = 'a @ b; jnp.dot(a, b); jax.lax.conv_general_dilated(a, b); nn.Dense(4)(a); np.dot(a, b)'
  assert len(products_without_precision(bad, False)) == 4


@pytest.mark.parametrize('name, stage_index', CASES)
def test_training_step(name, stage_index):
  programs = programs_of(name)
  traced, stage = programs.step(stage_index)
  text = lowered(traced, 'cuda')
  operations = check(text)
  total, _ = expected_products(programs.config, stage)
  assert 0 < operations['dot_general'] <= total
  # Full precision must be asked for: the device's default is less.
  assert dot_types(text).keys() == {('f32', 'f32', 'f32')} and not products.rounded_by_device(text)
  # Polynomials, one per FiLM layer, not the device's sine; its convolutions instead of patches.
  sines = 2 * (programs.config.model.num_layers + 1)
  assert operations['bitcast_convert'] >= 2 * 3 * sines
  assert operations['sine'] + operations['cosine'] < 20  # of cameras
  assert operations['convolution'] > 50


@pytest.mark.parametrize('name', list(one_of_each_kind(covering_configs())))
def test_every_config_has_programs_for_accelerators(name):
  """The test config's last stage, its display, the images of its metrics, of each platform.

  Where the policy is float32 no product is left to a device's default, which is less.
  """
  programs, step = small_programs_of(name)
  rendering = programs.rendering()
  # One program for both, and one for each where a form is chosen while it is lowered.
  each = [('cuda',), ('tpu',)] if 'plane_features' in programs.config.model else [('cuda', 'tpu')]
  texts = [lowered(traced, *of) for of in each for traced in (step, rendering)]
  texts.append(lowered(traced_evaluation(programs.model), 'cuda', 'tpu'))
  for text in texts:
    assert check(text)['dot_general']
    assert not products.rounded_by_device(text)
  assert counts(texts[-1])['all_gather'] == 2  # the images, by platform


def test_a_product_at_default_precision_is_found():
  """In the text as lowered, whatever leaves it out."""
  x = jax.ShapeDtypeStruct((1, 4, 4, 3), np.float32)
  kernel = jax.ShapeDtypeStruct((3, 3, 3, 3), np.float32)
  dimensions = ('NHWC', 'HWIO', 'NHWC')

  def program(precision):
    def run(x, kernel):
      y = jax.lax.conv_general_dilated(
        x, kernel, (1, 1), 'SAME', dimension_numbers=dimensions, precision=precision
      )
      half = jnp.einsum('bhwc,bhwd->cd', y.astype(jnp.bfloat16), y.astype(jnp.bfloat16))
      return jnp.einsum('bhwc,bhwd->cd', y, y, precision=precision) + half

    return lowered(jax.jit(run).trace(x, kernel), 'tpu')

  found = products.count(program('highest'))
  assert found == {
    ('conv', 'f32', 'HIGHEST'): 1,
    ('dot', 'f32', 'HIGHEST'): 1,
    ('dot', 'bf16', 'DEFAULT'): 1,
  }
  assert not products.rounded_by_device(program('highest'))
  for precision in (None, 'default', ('highest', 'default')):
    assert [key[0] for key in products.rounded_by_device(program(precision))] == ['conv', 'dot']
  # Rays of a TPU whose products were left to it would be bent.
  turn = jax.jit(lambda camera: rays.camera_rays(camera, 4)).trace(orbit(np.zeros(1), np.zeros(1)))
  assert products.count(lowered(turn, 'tpu')) == {('dot', 'f32', 'HIGHEST'): 1}


def test_the_table_of_products(capsys):
  assert products.run(['nerf_lego', '--test', '--full_precision']) == 0
  lines = capsys.readouterr().out.splitlines()
  assert lines[-1].endswith(': 0')
  assert [line.split(' | ')[:2] for line in lines if 'HIGHEST' in line] == [
    ['| nerf_lego', 'step'],
    ['| nerf_lego', 'step'],
    ['| nerf_lego', 'rendering'],
  ]
  assert products.run(['of_nobody']) == 1
  assert 'of_nobody does not exist' in capsys.readouterr().err


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
  programs = programs_of(name)
  operations = check(lowered(programs.rendering(), platform))
  forward, _, _ = field_products(programs.config)
  assert 0 < operations['dot_general'] <= 2 * forward + 2
  assert operations['bitcast_convert'] >= 2 * 2 * (programs.config.model.num_layers + 1)
  assert not operations['convolution']


@pytest.mark.parametrize('policy, forward', [('bfloat16', 'bf16'), ('float16', 'f16')])
def test_rounded_products(policy, forward):
  """Hidden products take the policy's type, the backward ones bfloat16; all sums are float32."""
  fields = {'model.matmul_dtype': policy, 'discriminator.matmul_dtype': policy}
  config = load('toys', small=True, **fields)
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
  fields = {'render.saved_activations': 'phases', 'render.ray_chunk': 32}
  config = load('celeba', small=True, **fields)
  text, stage = lowered_step(config, 'cuda')
  check(text)
  total, _ = expected_products(config, stage)
  forward, _, _ = field_products(config)
  # Again are only the density (h to 1) and the colour (h to 3), for the compositing.
  assert counts(text)['dot_general'] <= total - 2 * forward + 2 * 2
  # Half of the generator's passes in this step have a gradient or prepare one.
  assert text.count('i16>') > 2 * (config.model.num_layers + 1)


@functools.cache
def on_one_tpu():
  """A small program of one device, as text."""
  return lowered_step(few(), 'tpu')[0]


def few():
  return load('celeba', small=True, micro_batches=1, batch_size=8)


def test_many_devices():
  """The collectives of a mesh of eight TPUs: top-k's gather, and gradients averaged once a
  network."""
  mesh = AbstractMesh((8,), (parallel.AXIS,), axis_types=(AxisType.Auto,))
  text, _ = lowered_step(few(), 'tpu', mesh=mesh)
  operations = check(text)
  assert operations['all_gather'] == 1
  assert operations['all_reduce'] > 0
  alone = counts(on_one_tpu())
  assert alone['all_reduce'] == operations['all_reduce']


def test_a_cpus_step_is_another_program():
  """Else the tests above would pass whatever the platform."""
  operations, other = counts(lowered_step(few(), 'cpu')[0]), counts(on_one_tpu())
  assert operations['convolution'] < other['convolution']
  assert operations['dot_general'] > other['dot_general']
