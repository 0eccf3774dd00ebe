"""π-GAN's official weights become workdirs that render and train, and come back."""

import functools
import importlib.util
import pathlib
import re
import shlex
import subprocess
import sys

import goldens
import jax
import jax.numpy as jnp
import numpy as np
import pigan_names
import PIL.Image
import pytest

from jax3dgan import cameras, convert, discriminators, generators, trained
from jax3dgan import main as main_lib
from jax3dgan.apps import samples
from jax3dgan.convert import __main__ as cli
from jax3dgan.convert import (
  curricula,
  official,
  official_discriminator,
  pigan,
  pigan_runs,
  runs,
  write,
)
from jax3dgan.pictures import of_training
from jax3dgan.rendering import hierarchical, rays
from jax3dgan.runs import checkpoints, ownership, workdirs
from jax3dgan.training import state as state_lib

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
DATA = ROOT / 'tests' / 'data' / 'convert'


def files(*names):
  """Flags of a conversion, such as input='generator.pth'."""
  flags = [f'--{name.partition("=")[0]}={DATA / name.partition("=")[2]}' for name in names]
  return ['--from=pigan', *flags]


@functools.cache
def expected():
  with np.load(DATA / 'expected.npz', allow_pickle=False) as file:
    return dict(file)


def wanted(of):
  """Our parameters of the official ones in expected.npz."""
  official = {k.removeprefix(f'{of}/'): v for k, v in expected().items() if k.startswith(f'{of}/')}
  named = pigan.discriminator_names(official) if of == 'discriminator' else None
  return pigan.from_official(official, named)


def same(actual, reference):
  jax.tree.map(np.testing.assert_array_equal, actual, reference)
  assert jax.tree.structure(actual) == jax.tree.structure(reference)


ALL = files('input=generator.pth', 'ema=ema.pth', 'discriminator=discriminator.pth')


@pytest.fixture(scope='module')
def celeba(tmp_path_factory):
  """A workdir of all files, which no test changes."""
  workdir = tmp_path_factory.mktemp('runs') / 'celeba'
  assert cli.main([*ALL, f'--workdir={workdir}']) == 0
  return workdir


def test_a_release_becomes_a_workdir(celeba):
  step, state = checkpoints.read(celeba)
  assert step == 1234 and state['step'] == 1234
  same(state['networks']['generator'], wanted('generator'))
  averages = {'0.999': wanted('ema'), '0.9999': wanted('generator')}
  same(state['ema'], {'generator': averages})
  same(state['networks']['discriminator'], wanted('discriminator'))
  config = workdirs.load_config(celeba)
  assert dict(config.model) == dict(
    curricula.create('celeba').model,
    z_dim=4,
    hidden_dim=8,
    num_layers=8,
    mapping_dim=8,
    mapping_layers=3,
    input_scale=2 / 0.24,
    density_gain=1.0,
    embedding_channels=0,
  )
  heads = config.discriminator
  assert (heads.block, heads.channels, heads.latent_dim, heads.pose_dim) == ('ccs', (4, 6, 6), 4, 2)
  model = trained.load(workdir=celeba)
  assert model.step == 1234 and model.resolution == 64
  same(model.params, wanted('ema'))


def test_a_converted_workdir_makes_pictures(celeba, tmp_path):
  out = tmp_path / 'x.png'
  samples.main([f'--workdir={celeba}', f'--out={out}', '--seeds=0-1', '--resolution=8'])
  with PIL.Image.open(out) as picture:
    assert np.asarray(picture).std() > 0


def test_what_is_said(tmp_path, capsys):
  workdir = tmp_path / 'my run'
  assert cli.main([*ALL, f'--ema={DATA / "ema_state.pth"}', f'--workdir={workdir}']) == 0
  out = capsys.readouterr().out
  assert f'Reading {DATA / "generator.pth"} (26 kB) ...\n' in out
  assert (
    'Generator: SPATIALSIRENBASELINE, 2,148 parameters (z 4, 8 layers of 8), step 1,234.' in out
  )
  assert f'EMA 0.999: {DATA / "ema.pth"} after 1,234 updates, shown.' in out
  assert f'EMA 0.9999: {DATA / "ema_state.pth"} after 1,234 updates.' in out
  assert (
    'Discriminator: CCSEncoderDiscriminator, ccs blocks, 8² and below, latent 4, pose 2.' in out
  )
  assert f"python -m jax3dgan.apps.samples --workdir='{workdir}' --out=samples.png --depth" in out
  same(checkpoints.read(workdir, 'ema', 'generator', '0.9999')[1], wanted('ema'))


def test_training_goes_on_by_the_command_that_is_said(tmp_path, capsys, monkeypatch):
  """The config file with the flags is the config of the workdir, and its state is taken over."""
  monkeypatch.chdir(ROOT)
  workdir = tmp_path / 'run'
  assert cli.main([*ALL, f'--workdir={workdir}']) == 0
  command = re.search(r'^Training: python -m (jax3dgan\.main .*)$', capsys.readouterr().out, re.M)
  argv = shlex.split(command[1])
  values = main_lib.parse(argv)
  assert workdirs.plain(values.config) == workdirs.plain(workdirs.load_config(workdir))
  small = {
    'num_steps': 1236,
    'batch_size': 4,
    'resolution': 8,
    'loss.r1': 0.0,  # of the discriminator alone, and the longest to compile
    'render.num_coarse': 4,
    'render.num_fine': 0,
    'display.num_coarse': 4,
    'display.num_fine': 4,
    'data.source': 'toys',
    'data.loader': 'arrays',
    'data.num_images': 16,
    'data.cache_dir': str(tmp_path / 'cache'),
  }
  for results in (of_training.sheets, of_training.turntables):  # tested with them
    monkeypatch.setattr(results, 'write', lambda *args, **options: None)
  assert main_lib.main([*argv, *(f'--config.{name}={value}' for name, value in small.items())]) == 0
  assert 'Going on from step 1,234.' in capsys.readouterr().err
  step, params = checkpoints.read(workdir, 'networks', 'generator')
  moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), params, wanted('generator'))
  # Two steps of Adam at 6e-5, which is near enough to where it began to be the same network.
  assert step == 1236 and 0 < max(jax.tree.leaves(moved)) < 2e-4


def test_the_old_format_the_tall_field_and_a_fresh_discriminator(tmp_path, capsys, monkeypatch):
  small = {**curricula.CURRICULA['carla']}
  small['discriminator'] = {**small['discriminator'], 'channels': (4,) * 7}
  monkeypatch.setitem(curricula.CURRICULA, 'carla', small)
  workdir = tmp_path / 'run'
  assert cli.main([*files('input=generator_tall_legacy.pth'), f'--workdir={workdir}']) == 0
  out = capsys.readouterr().out
  assert 'TALLSIREN' in out and 'configs/carla.py' in out and 'a fresh one' in out
  model = trained.load(workdir=workdir)
  assert model.config.model.input_scale == 1 and model.config.render.fov_degrees == 30
  assert model.resolution == 128  # step 60,000 is of the third stage
  same(model.params, wanted('generator'))
  kernel = checkpoints.read(workdir, 'networks', 'discriminator', 'from_rgb_128', 'kernel')[1]
  assert np.abs(kernel).max() > 0


@pytest.mark.parametrize(
  'file, tolerance',
  [
    ('state_dict.pth', 0),
    ('generator_parallel.pth', 0),
    ('state_dict_half.pth', 2**-11),
    ('state_dict_bfloat16_legacy.pth', 2**-8),
  ],
)
def test_other_forms_of_the_generator(file, tolerance):
  generator = official.read_generator(DATA / file, 'spatial')
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=tolerance, atol=1e-6 * bool(tolerance)),
    generator.params(),
    wanted('generator'),
  )
  assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(generator.params()))
  assert generator.step == (1234 if 'parallel' in file else None)


def test_a_bare_field_is_a_generator(tmp_path):
  weights = {k.removeprefix('generator/siren.'): v for k, v in expected().items() if 'siren.' in k}
  weights = {k: v for k, v in weights.items() if not k.startswith('ema/')}
  write.torch(tmp_path / 'siren.pth', weights)
  same(official.read_generator(tmp_path / 'siren.pth', 'tall').params(), wanted('generator'))


def load_config(name):
  spec = importlib.util.spec_from_file_location(name, ROOT / 'configs' / f'{name}.py')
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module.get_config()


@pytest.mark.parametrize('name', curricula.CURRICULA)
def test_the_curricula_are_the_configs(name):
  """But for what makes pictures like the release's."""
  ours, file = curricula.create(name), load_config(name)
  assert ours.is_locked
  found = workdirs.differences(workdirs.plain(file), workdirs.plain(ours))
  changed = {'render.density': ('softplus', 'relu')}
  if name == 'carla':
    changed['render.last_interval'] = ('far', 'infinite')
  assert found == changed
  assert {k.partition('.')[2]: v for k, (v, _) in changed.items()} == curricula.OF_CONFIGS[name]


def golden_render(model, w, arrays):
  """The golden image of a workdir's model with its own options, the official draws put in."""
  *_, angles, draws = pigan_names.inputs(np.float32)
  options = generators.render_options(model.config, resolution=16, num_coarse=6, num_fine=6)
  camera = cameras.from_yaw_pitch(*angles, fov_degrees=model.config.render.fov_degrees)
  every = rays.camera_rays(camera, options.resolution, options.align_corners)

  @jax.jit
  def render(params, w, draws):
    field = model.generator.apply({'params': params}, w, method=lambda g, w: g.field.fold(w))
    return hierarchical.render_rays(field, every, options, draws, 0.5).colour

  colour = render(model.params, w, draws)
  return jnp.moveaxis(2 * colour - 1, -1, 1).reshape(-1, 3, 16, 16)


@pytest.fixture(scope='module')
def quick_fresh_discriminator():
  """Without it each workdir has 13 million parameters that nobody looks at."""
  with pytest.MonkeyPatch.context() as patch:
    small = {**curricula.CURRICULA['celeba']}
    small['discriminator'] = {**small['discriminator'], 'channels': (4,) * 6}
    patch.setitem(curricula.CURRICULA, 'celeba', small)
    yield


def golden_workdir(weights, folder):
  write.torch(folder / 'weights.pth', weights)
  flags = ['--curriculum=celeba', '--field=spatial', '--step=100000']
  source = f'--input={folder / "weights.pth"}'
  assert cli.main(['--from=pigan', source, *flags, f'--workdir={folder / "run"}']) == 0
  return trained.load(workdir=folder / 'run')


def test_the_official_image_through_a_workdir(tmp_path, quick_fresh_discriminator):
  """generator_tiny has no mapping network, which is large: another one, and the official styles."""
  arrays = goldens.load('generator_tiny')
  rng = np.random.default_rng(0)
  weights = {k.removeprefix('param/'): v for k, v in arrays.items() if k.startswith('param/')}
  for i, (fan_in, width) in enumerate([(16, 4), (4, 4), (4, 4), (4, 576)]):
    key = f'siren.mapping_network.network.{2 * i}'
    weights |= {f'{key}.weight': rng.normal(size=(width, fan_in)), f'{key}.bias': np.zeros(width)}
  model = golden_workdir(weights, tmp_path)
  assert model.resolution == 64 and model.config.model.mapping_dim == 4
  image = golden_render(model, pigan_names.inputs(np.float32)[1], arrays)
  # As in test_pigan: the official float32 image is itself that far from float64.
  assert np.abs(image - arrays['f64/pixels']).max() < 2.5e-3
  assert np.abs(image - arrays['stage/pixels']).max() < 2.5e-3
  back = runs.release(tmp_path / 'run').weights
  assert back.keys() == weights.keys()
  for key, value in weights.items():
    np.testing.assert_array_equal(back[key], np.float32(value))


def test_the_official_model_through_a_workdir(tmp_path, quick_fresh_discriminator):
  """With its own mapping network: from z to the image."""
  arrays = goldens.load('generator_small', whole=True)
  weights = {k.removeprefix('param/'): v for k, v in arrays.items() if k.startswith('param/')}
  model = golden_workdir(weights, tmp_path)
  w = model.map(arrays['z'], psi=1)
  np.testing.assert_allclose(w, pigan_names.inputs(np.float32)[1], atol=2e-6)
  assert np.abs(golden_render(model, w, arrays) - arrays['stage/pixels']).max() < 2.5e-3
  assert cli.main(['--to=npz', f'--workdir={tmp_path / "run"}', f'--output={tmp_path / "x"}']) == 0
  with np.load(tmp_path / 'x', allow_pickle=False) as file:
    assert set(file) == set(weights)
    for key in file:
      np.testing.assert_array_equal(file[key], weights[key])
  flags = [f'--workdir={tmp_path / "run"}', f'--output={tmp_path / "x.safetensors"}']
  assert cli.main(['--to=safetensors', *flags]) == 0
  file = pytest.importorskip('safetensors.numpy').load_file(tmp_path / 'x.safetensors')
  assert set(file) == set(weights)
  for key in file:
    np.testing.assert_array_equal(file[key], weights[key])


DISCRIMINATORS = {
  'ProgressiveDiscriminator': ('progressive', 0, 0),
  'ProgressiveEncoderDiscriminator': ('progressive', 256, 2),
  'CCSEncoderDiscriminator': ('ccs', 256, 2),
  'StridedDiscriminator': ('strided', 0, 0),
}


@pytest.mark.parametrize('name', DISCRIMINATORS)
def test_the_four_discriminators(name, tmp_path):
  arrays = goldens.load(f'{name}_small')
  weights = {k.removeprefix('param/'): v for k, v in arrays.items() if k.startswith('param/')}
  write.torch(tmp_path / 'd.pth', weights)
  read = official_discriminator.read_discriminator(tmp_path / 'd.pth')
  channels = (4, 6, 8, 10, 12, 14, 14, 14, 14)
  block, latent_dim, pose_dim = DISCRIMINATORS[name]
  assert read.fields == dict(
    block=block,
    channels=channels if block == 'progressive' else channels[1:],
    latent_dim=latent_dim,
    pose_dim=pose_dim,
  )
  back = pigan.to_official(read.params, pigan.discriminator_names(weights))
  unused = {'pose_layer.weight', 'pose_layer.bias'} & weights.keys()
  assert back.keys() == weights.keys() - unused and bool(unused) == (block == 'strided')
  for key, value in back.items():
    np.testing.assert_array_equal(value, weights[key])


def test_blocks_without_coordinates_and_undecided_ones(tmp_path):
  def save(channels, coords, shortcuts):
    fields = dict(channels=channels, block='ccs' if shortcuts else 'progressive')
    shapes = official_discriminator.discriminator_shapes(fields, coords, 1)
    write.torch(tmp_path / 'd.pth', {k: np.zeros(v, np.float32) for k, v in shapes.items()})
    return official_discriminator.read_discriminator(tmp_path / 'd.pth').fields

  assert save((4, 4, 4), False, False)['coord_conv'] is False
  assert save((4, 5, 6), False, True)['block'] == 'strided'
  assert 'coord_conv' not in save((4, 5, 6), False, True)
  with pytest.raises(official.UserError, match='pool or stride. Give the whole'):
    save((4, 5, 6), True, True)


def test_unusual_blocks_are_a_workdir_and_its_command(tmp_path, capsys, monkeypatch):
  """Pooling blocks without coordinates: no class of the release, but fields of the config."""
  fields = dict(channels=(4, 4, 4, 4, 5, 5), block='progressive')
  shapes = official_discriminator.discriminator_shapes(fields, False, 1)
  weights = {k: np.ones(v, np.float32) for k, v in shapes.items()}
  write.torch(tmp_path / 'd.pth', weights)
  workdir = tmp_path / 'run'
  flags = [f'--discriminator={tmp_path / "d.pth"}', '--curriculum=celeba', f'--workdir={workdir}']
  assert cli.main([*files('input=generator.pth'), *flags]) == 0
  config = workdirs.load_config(workdir)
  assert config.discriminator.coord_conv is False
  params = checkpoints.read(workdir, 'networks', 'discriminator')[1]
  assert params['block_64']['conv_0']['kernel'].shape == (3, 3, 4, 4)  # without coordinates
  monkeypatch.chdir(ROOT)
  command = re.search(r'^Training: python -m (jax3dgan\.main .*)$', capsys.readouterr().out, re.M)
  assert '--config.discriminator.coord_conv=False' in command[1]
  values = main_lib.parse(shlex.split(command[1]))
  assert workdirs.plain(values.config) == workdirs.plain(config)


def test_the_curriculum_of_the_files():
  generator = official.read_generator(DATA / 'generator.pth')
  tall = official.read_generator(DATA / 'generator_tall_legacy.pth')
  discriminator = official_discriminator.read_discriminator(DATA / 'discriminator.pth')
  assert pigan_runs.curriculum_of(tall, None) == 'carla'
  assert pigan_runs.curriculum_of(generator, discriminator) == 'celeba'
  discriminator.fields['block'] = 'strided'
  assert pigan_runs.curriculum_of(generator, discriminator) == 'cats'


def state_dict(tmp_path, **changes):
  """A file of the generator's weights, some of them changed or, where None, left out."""
  weights = dict(convert.state_dict(convert.read(DATA / 'state_dict.pth')))
  weights.update({name.replace('__', '.'): value for name, value in changes.items()})
  write.torch(tmp_path / 'x.pth', {k: v for k, v in weights.items() if v is not None})
  return ['--from=pigan', f'--input={tmp_path / "x.pth"}', '--field=spatial', '--step=1']


SIREN = 'siren__final_layer__'
BAD = [
  (['--from=pigan', '--workdir=x'], '--input is missing'),
  (['--to=npz', '--workdir=x'], '--output is missing'),
  (['--to=npz', '--workdir=x', '--output=y', '--ema=z'], '--ema does not go with --to'),
  (['--from=nerf', '--workdir=x', '--input=y'], 'invalid choice'),
  (['--workdir=x'], 'one of the arguments --from --to is required'),
  (['--from=pigan', '--input=nowhere.pth', '--workdir=x'], 'No such file'),
  ([*files('input=generator.pth'), '--workdir=x'], 'Give --curriculum=celeba'),
  (
    [*files('input=generator.pth'), '--workdir=x', '--field=tall'],
    'leave out --field, or give spatial',
  ),
  (
    [*files('input=generator.pth'), '--workdir=x', '--step=-1'],
    'Give the number of training steps',
  ),
  (
    [*files('input=state_dict.pth'), '--workdir=x'],
    'says nothing of its field. Give --field=spatial',
  ),
  (
    [*files('input=state_dict.pth'), '--field=tall', '--workdir=x'],
    'says nothing of its step. Give --step, such as 200000',
  ),
  ([*files('input=ema.pth'), '--workdir=x'], 'give it as --ema'),
  ([*files('input=ema_state.pth'), '--workdir=x'], 'give it as --ema'),
  ([*files('input=discriminator.pth'), '--workdir=x'], 'It looks like a discriminator'),
  ([*files('input=generator.pth', 'ema=generator.pth'), '--workdir=x'], 'no average of weights'),
  ([*files('input=generator.pth', 'ema=views.pth'), '--workdir=x'], 'no average of weights'),
  (
    [*files('input=generator.pth', 'discriminator=generator.pth'), '--workdir=x'],
    "Give the release's discriminator.pth",
  ),
  ([*files('input=generator.pth', 'ema=ema.pth', 'ema=ema.pth'), '--workdir=x'], 'have the decay'),
  (['--to=npz', '--workdir=nowhere', '--output=y'], 'no run began there'),
]


@pytest.mark.parametrize('flags, words', BAD, ids=[words for _, words in BAD])
def test_errors_are_one_line(flags, words, tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  assert cli.main(flags) == 1
  error = capsys.readouterr().err
  assert error.startswith('Error: ') and words in error and error.count('\n') == 1
  assert not list(tmp_path.iterdir()), 'something was written'


@pytest.mark.parametrize(
  'changes, words',
  [
    ({f'{SIREN}weight': None}, 'siren.final_layer.weight is not there, but of the shape [1, 8]'),
    ({f'{SIREN}weight': np.zeros((1, 9))}, 'is of the shape [1, 9], but of the shape [1, 8]'),
    ({f'{SIREN}more': np.zeros(1)}, 'siren.final_layer.more is of the shape [1], but not there'),
    ({f'{SIREN}bias': np.int32([1])}, 'siren.final_layer.bias is of the type int32'),
    (
      {f'{SIREN}bias': np.float32([np.nan])},
      'siren.final_layer.bias has values that are no finite',
    ),
    ({f'{SIREN}bias': np.float64([1e300])}, 'siren.final_layer.bias has values that are no finite'),
    (
      {'siren__spatial_embeddings': np.zeros((1, 32, 4, 4, 5))},
      'siren.spatial_embeddings is of the shape [1, 32, 4, 4, 5] and no grid',
    ),
    (
      {'siren__spatial_embeddings': np.zeros((1, 32, 4, 4, 4))},
      'siren.network.0.layer.weight is of the shape [8, 3], but of the shape [8, 35]',
    ),
  ],
)
def test_wrong_weights_are_named(changes, words, tmp_path, capsys):
  assert cli.main([*state_dict(tmp_path, **changes), f'--workdir={tmp_path / "run"}']) == 1
  assert words in capsys.readouterr().err
  assert not (tmp_path / 'run').exists()


def test_an_average_of_another_generator(tmp_path):
  generator = official.read_generator(DATA / 'generator.pth')
  generator.weights['siren.final_layer.weight'] = np.zeros((1, 9), np.float32)
  with pytest.raises(official.UserError, match=r'final_layer.weight is of the shape \[1, 8\]'):
    official.read_average(DATA / 'ema.pth', generator)


def test_a_run_is_lost_only_where_asked(celeba, tmp_path, capsys):
  workdir = tmp_path / 'run'
  assert cli.main([*ALL, f'--workdir={workdir}']) == 0
  (workdir / 'notes.txt').write_text('mine')
  before = (workdir / 'config.json').read_bytes()
  again = [*ALL, f'--workdir={workdir}', '--curriculum=cats', '--step=7']
  capsys.readouterr()
  assert cli.main(again) == 1
  assert 'add --overwrite' in capsys.readouterr().err
  assert (workdir / 'config.json').read_bytes() == before
  with ownership.owned(workdir):
    assert cli.main([*again, '--overwrite']) == 1
  assert 'Another run is at work' in capsys.readouterr().err
  assert (workdir / 'config.json').read_bytes() == before
  assert cli.main([*again, '--overwrite']) == 0
  assert checkpoints.steps(workdir) == [7]
  assert workdirs.load_config(workdir).render.near == 0.8
  assert (workdir / 'notes.txt').exists()


@pytest.mark.parametrize('weights, of', [('ema', 'ema'), ('raw', 'generator')])
@pytest.mark.parametrize('to', ['npz', 'torch'])
def test_the_way_back(weights, of, to, celeba, tmp_path, capsys):
  out = tmp_path / 'deep' / 'weights'
  flags = [f'--to={to}', f'--workdir={celeba}', f'--output={out}', f'--weights={weights}']
  assert cli.main(flags) == 0
  assert '30 arrays, 2,148 parameters' in capsys.readouterr().out
  if to == 'npz':
    with np.load(out, allow_pickle=False) as file:
      back = dict(file)
  else:
    back = convert.state_dict(convert.read(out))
  wanted = {k.removeprefix(f'{of}/'): v for k, v in expected().items() if k.startswith(f'{of}/')}
  assert list(back) == list(wanted)
  for key, value in wanted.items():
    np.testing.assert_array_equal(back[key], value)
  assert [path.name for path in out.parent.iterdir()] == ['weights']


def test_pytorch_reads_the_way_back(celeba, tmp_path):
  torch = pytest.importorskip('torch')
  out = tmp_path / 'x.pth'
  assert cli.main(['--to=torch', f'--workdir={celeba}', f'--output={out}']) == 0
  for options in ({}, {'mmap': True}):
    back = torch.load(out, weights_only=True, **options)
    assert list(back) == [key.removeprefix('ema/') for key in expected() if key.startswith('ema/')]
    for key, value in back.items():
      np.testing.assert_array_equal(value.numpy(), expected()[f'ema/{key}'])
  arrays = {
    name: np.arange(6).reshape(2, 3).astype(dtype) for name, dtype in write.STORAGES.items()
  } | {'scalar': np.float32(3), 'empty': np.zeros((0, 2), np.float32), 'ä': np.ones((2, 3)).T}
  write.torch(out, arrays)
  back = torch.load(out, weights_only=True)
  assert back['BFloat16Storage'].dtype == torch.bfloat16
  for key, value in arrays.items():
    assert tuple(back[key].shape) == value.shape
    actual = back[key].float() if value.dtype == write.STORAGES['BFloat16Storage'] else back[key]
    np.testing.assert_array_equal(actual.numpy(), value)


def test_scales_that_the_release_does_not_have_go_into_the_weights(celeba, tmp_path):
  """The same density at the same point, by the official formulas of the goldens' README."""
  config = workdirs.load_config(celeba)
  with config.unlocked():
    config.model.input_scale, config.model.density_gain = 3.0, 5.0
  generator = generators.create(config)
  params = wanted('generator')
  # Small weights: with the fixture's, eight layers of sines amplify rounding a millionfold.
  params['field'] = {
    name: value * np.float32(0.04 if 'film' in name else 1)
    for name, value in params['field'].items()
  }
  z, point = np.float32([[1, -1, 0.5, 2]]), np.float32([[0.05, -0.02, 0.1]])
  w = generator.apply({'params': params}, z, method='map')
  density, _ = generator.apply({'params': params}, w, point[None], method='query')
  state = state_lib.create(config, generator, discriminators.create(config.discriminator))
  saver = checkpoints.Checkpoints(tmp_path, 1, 1, config=config)
  saver.save(1, state_lib.with_generator(state, {'params': params}), force=True)
  saver.close()
  released = runs.release(tmp_path, 'raw')
  assert released.class_name == 'TALLSIREN'
  weights = {key.removeprefix('siren.'): np.float64(v) for key, v in released.weights.items()}

  def linear(x, name):
    return x @ weights[f'{name}.weight'].T + weights[f'{name}.bias']

  y = z
  for i in range(4):
    y = linear(y, f'mapping_network.network.{2 * i}')
    y = np.where(y > 0, y, 0.2 * y) if i < 3 else y
  frequencies, phases = (part.reshape(9, 8) for part in np.split(y[0], 2))
  x = point
  for i in range(8):
    x = np.sin((15 * frequencies[i] + 30) * linear(x, f'network.{i}.layer') + phases[i])
  np.testing.assert_allclose(linear(x, 'final_layer')[0], density[0], rtol=2e-4, atol=1e-5)


def test_neither_pytorch_nor_tensorflow_is_needed(tmp_path):
  there = [*ALL, f'--workdir={tmp_path / "run"}']
  back = ['--to=torch', f'--workdir={tmp_path / "run"}', f'--output={tmp_path / "x"}']
  code = (
    'import sys\n'
    "sys.modules['torch'] = sys.modules['tensorflow'] = None\n"  # importing them is an error
    'from jax3dgan.convert.__main__ import main\n'
    f'assert main({there}) == 0 and main({back}) == 0\n'
  )
  subprocess.run([sys.executable, '-c', code], check=True, cwd=ROOT)
  weights = convert.state_dict(convert.read(tmp_path / 'x'))
  np.testing.assert_array_equal(
    weights['siren.final_layer.bias'], expected()['ema/siren.final_layer.bias']
  )


def test_reading_needs_no_jax():
  code = "import sys; import jax3dgan.convert; assert 'jax' not in sys.modules"
  subprocess.run([sys.executable, '-c', code], check=True, cwd=ROOT)
