"""Plans: what fits is found in few compilations, counts agree, the table says what was assumed."""

import json
import math

import jax
import pytest

from configs import toys
from jax3dgan import config as config_lib
from jax3dgan.errors import UserError
from jax3dgan.tools import devices, fit, plan, plan_table
from jax3dgan.training import schedule

CONFIG = """
from jax3dgan import config
def get_config():
  c = config.tiny(config.base_config())
  c.num_steps = 30
  c.loss.r1, c.render.num_fine = 0.0, 0  # fewer passes to trace
  c.stages = (dict(from_step=10, resolution=8, batch_size=8, micro_batches=2),)
  return c
"""


def tiny_config():
  config = config_lib.tiny(config_lib.base_config())
  with config.unlocked():
    config.resolution, config.batch_size = 8, 8
    config.discriminator.update(channels=(4, 8, 8), latent_dim=8)
    config.render.ray_chunk = 16
    config.micro_batches = 2
    config.loss.r1, config.render.num_fine = 0.0, 0  # the longest to compile
  return config


@pytest.mark.parametrize('base, slope, start', [(100, 7, 1), (0, 7, 2), (3, 11, 28), (5, 1, 1)])
@pytest.mark.parametrize('limit', [90, 107, 121, 1001, 3500])
def test_the_largest_batch_of_affine_memory(base, slope, start, limit):
  asked = []

  def peak_of(size):
    asked.append(size)
    return base + slope * size

  largest, line = fit.largest_batch(peak_of, start, limit)
  assert largest == max((limit - base) // slope, 0) and line['exact']
  assert len(asked) == len(set(asked)) <= 3
  assert line['deviation'] is None or line['deviation'] == pytest.approx(0, abs=1e-12)


def test_memory_that_bends_is_followed():
  """More for each image from 40 on: the first line is wrong, and its error is facts."""

  def peak_of(size):
    return 100 + 10 * size + 10 * max(size - 40, 0)

  largest, line = fit.largest_batch(peak_of, 4, 1000)
  assert largest == 65 and line['exact']
  assert line['deviation'] == pytest.approx(1500 / 1000 - 1)


def test_memory_that_does_not_grow_has_no_largest_batch():
  largest, line = fit.largest_batch(lambda size: 50, 4, 100)
  assert largest == fit.MAX_BATCH and not line['exact']
  assert fit.largest_batch(lambda size: 150, 1, 100)[0] == 0


@pytest.mark.parametrize(
  'text, expected', [('80GiB', 80 * 2**30), ('16 GB', 16e9), ('1.5mib', 1.5 * 2**20), ('9B', 9)]
)
def test_amounts_of_memory(text, expected):
  assert plan.parse_memory(text) == expected


@pytest.mark.parametrize('text', ['80', 'GiB', '0GiB', '-1GiB', '8 lots', '5iB'])
def test_no_amounts_of_memory(text):
  with pytest.raises(UserError, match='Write it as --memory=80GiB'):
    plan.parse_memory(text)


def test_a_compiled_plan():
  """Against the shapes of the state, and against the program's own figures."""
  config = tiny_config()
  gpu = devices.find('h100')
  step = fit.Step(config, schedule.stages(config)[0], 'gpu')
  compiled = {}
  keep = step.compile

  def compile_once(self, micro_batch):
    if micro_batch not in compiled:
      compiled[micro_batch] = keep(micro_batch)
    return compiled[micro_batch]

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(fit.Step, 'compile', compile_once)
    need = {size: fit.peak_bytes(step.compile(size)[0]) for size in (2, 4)}
    said = []
    # Enough for the configured micro-batches of two, and not for four, if the batch is on one.
    limit = (need[2] + need[4]) // 2
    config.micro_batches = 4  # in all: two on each device
    result = plan.plan(config, gpu, limit, 2, say=said.append)
  (stage,) = result['stages']
  assert (stage['batch'], stage['batch_per_device'], stage['micro_batches']) == (8, 4, 2)
  memory = stage['memory']
  assert memory['fits'] and memory['peak_bytes'] == need[2]
  assert memory['largest_batch'] == 2 * memory['largest_micro_batch']
  assert 2 <= memory['largest_micro_batch'] < 4 and len(said) == len(memory['fit']['points']) == 3
  assert memory['arguments_bytes'] == result['state_bytes'] + 4 * 8 * 8 * 3
  # Both networks' parameters, two moments of Adam each, the averages; step, key and counters.
  g, d = (result['parameters'][name] for name in ('generator', 'discriminator'))
  numbers = 3 * (g + d) + len(config.ema.rates) * g
  assert 0 < result['state_bytes'] - 4 * numbers <= 32
  assert g == sum(math.prod(x.shape) for x in jax.tree.leaves(step.state.networks['generator']))

  counts = stage['flops_per_image']
  # Micro-batches and chunks repeat passes. XLA makes sums of the products of a vector; at this size
  # they count.
  assert counts['model'] < counts['configured']
  assert counts['compiled'] == pytest.approx(counts['configured'], rel=0.1)
  assert counts['model'] < counts['xla'] < 2.5 * counts['model']
  assert stage['seconds_per_step'] == pytest.approx(4 * counts['model'] / (0.4 * 67e12))
  assert stage['all_reduce_seconds'] == pytest.approx(4 * (g + d) / 450e9)

  text = plan_table.table(result)
  for words in ('40 % of 67 TFLOP/s', 'assumed', 'No step has been timed', "machine's cpu", 'yes'):
    assert words in text
  assert 'widen' not in text and ' NO' not in text
  stage['memory'].update(fits=False, micro_batches_that_fit=4)
  text = plan_table.table({**result, 'policy': 'bfloat16'})
  for words in ('may widen bfloat16', ' NO', 'Set micro_batches=4: the batch then fits'):
    assert words in text


def test_what_does_not_fit_is_split(monkeypatch):
  config = tiny_config()
  config.micro_batches = 1
  step = fit.Step(config, schedule.stages(config)[0], 'gpu')
  monkeypatch.setattr(fit, 'peak_bytes', lambda compiled: 10 + 10 * compiled)
  monkeypatch.setattr(step, 'compile', lambda size: (Program(size), 0.0))
  memory = fit.plan_memory(step, 8, 60, lambda line: None)
  assert not memory['fits'] and memory['largest_batch'] == 5
  assert memory['micro_batches_that_fit'] == 2  # 4 images at a time


@pytest.mark.parametrize('num_devices, sizes', [(1, [16, 32, 12]), (8, [2, 4, 8, 12])])
def test_whole_groups_are_compiled(monkeypatch, num_devices, sizes):
  """EG3D's discriminator compares four images, which may lie on two devices."""
  config = config_lib.tiny(config_lib.base_config('eg3d'))
  config.batch_size = 16
  (stage,) = schedule.stages(config, num_devices)
  step = fit.Step(config, stage, 'gpu')
  asked = []
  monkeypatch.setattr(fit, 'peak_bytes', lambda compiled: 10 + 10 * compiled)
  monkeypatch.setattr(step, 'compile', lambda n: (Program(asked.append(n) or n), 0.0))
  memory = fit.plan_memory(step, stage.split.images_per_device, 140, lambda line: None)
  assert asked == sizes and memory['largest_micro_batch'] == 12
  if num_devices == 1:
    assert memory['micro_batches_that_fit'] == 2


class Program(int):
  """Stands for the compiled step of a micro-batch."""

  def memory_analysis(self):
    return type('Memory', (), {'argument_size_in_bytes': 1, 'temp_size_in_bytes': 2})

  def as_text(self):
    return 'HloModule x, num_partitions=1\n\nENTRY %main (x: f32[]) -> f32[] {\n}\n'


@pytest.fixture
def config_file(tmp_path):
  path = tmp_path / 'small.py'
  path.write_text(CONFIG)
  return f'--config={path}'


def test_command_line(config_file, capsys):
  flags = ['plan', config_file, '--fast', '--device=v5e', '--devices=2', '--json']
  assert plan.run([*flags, '--config.batch_size=12', '--memory=1GiB']) == 0
  result = json.loads(capsys.readouterr().out)
  assert result['num_devices'] == 2 and result['memory_bytes'] == 2**30
  first, second = result['stages']
  assert (first['batch'], second['batch']) == (12, 8)
  assert (first['resolution'], second['resolution']) == (16, 8)
  assert (first['to_step'], second['from_step'], second['to_step']) == (10, 10, 30)
  assert first['seconds'] == pytest.approx(10 * first['seconds_per_step'])
  assert result['seconds'] == pytest.approx(first['seconds'] + second['seconds'])
  assert 'memory' not in first and result['mfu_source'] == 'assumed'
  text = plan_table.table(result)
  assert (
    'leave out --fast' in text
    and '4' in text.split('batch a device')[1].splitlines()[0]
    and '10 to 30' in text
  )


@pytest.mark.parametrize(
  'flags, message',
  [
    (['--device=h10'], "No device is called 'h10'. Choose --device= one of h100"),
    (['--device=v5e', '--config.model.matmul_dtype=float16'], 'v5e does not multiply float16'),
    (['--device=h100', '--config.micro_batches=5'], 'more than the 4 images of a batch'),
    (['--devices=0'], '--devices=0 is not possible'),
    (['--mfu=20'], '--mfu=20.0 is not a share'),
    (['--memory=lots'], "'lots' is not an amount of memory"),
    (['--config.bach_size=3'], 'Did you mean --config.batch_size?'),
    (['--fats'], 'There is no flag --fats'),
  ],
)
def test_wrong_flags_are_one_line(config_file, capsys, flags, message):
  assert plan.run(['plan', config_file, '--fast', *flags]) == 1
  output = capsys.readouterr().err
  assert output.startswith('Error: ') and message in output and output.count('\n') == 1


def test_a_cpus_time_is_that_of_the_measurement():
  """The toys' step, measured at .203 s (benchmarks/RESULTS.md), from FLOPs and the table's MFU; no
  less where the same cores are given out as two devices."""
  result = plan.plan(toys.get_config(), devices.find('cpu'), num_devices=2, fast=True)
  assert result['mfu_source'] == 'measured'
  assert result['stages'][0]['seconds_per_step'] == pytest.approx(0.203, rel=0.01)


def test_devices():
  names = {
    'NVIDIA H100 80GB HBM3': 'h100',
    'NVIDIA A100-SXM4-80GB': 'a100',
    'TPU v5 lite': 'v5e',
    'TPU v5': 'v5p',
    'TPU v5p': 'v5p',
    'TPU v6 lite': 'v6e',
    'cpu': 'cpu',
  }
  assert {kind: devices.name_of(kind) for kind in names} == names
  with pytest.raises(UserError, match='peak is not known'):
    devices.name_of('NVIDIA GeForce GTX 1080')
  # Full float32 takes a TPU six passes of bfloat16.
  v5e = devices.find('v5e')
  assert devices.peak(v5e, 'bfloat16') == pytest.approx(6 * devices.peak(v5e, 'float32'))
  assert devices.utilisation(devices.find('cpu'), 'float32', 256) == (0.59, True)
  assert not devices.utilisation(v5e, 'float32', 256)[1]


@pytest.mark.parametrize(
  'seconds, text',
  [
    (0.0412, '41.2 ms'),
    (2.34, '2.34 s'),
    (450, '7.5 min'),
    (11520, '3.2 h'),
    (440_640, '5.1 days'),
  ],
)
def test_durations(seconds, text):
  assert plan_table.duration(seconds) == text


def test_sizes():
  sizes = [plan_table.size(n) for n in (12, 18_600 * 1.024, 53 * 2**20, 1.25 * 2**30)]
  assert sizes == ['12 B', '18.6 KiB', '53 MiB', '1.25 GiB']
