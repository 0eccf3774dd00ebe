"""EG3D's official pickles become workdirs that render and train, and come back."""

import functools
import importlib.util
import math
import pathlib
import re
import shlex
import sys

import golden_eg3d_weights
import jax
import jax.numpy as jnp
import numpy as np
import persistent_pickles as pickles
import PIL.Image
import pytest
from persistent_pickles import FFHQ, Call, EasyDict, Name, checkpoint, dumps, generator, tensor

from jax3dgan import cameras, convert, discriminators, generators, trained
from jax3dgan import main as main_lib
from jax3dgan.apps import samples
from jax3dgan.convert import __main__ as cli
from jax3dgan.convert import (
  eg3d,
  eg3d_curricula,
  eg3d_generator,
  eg3d_names,
  eg3d_rendering,
  eg3d_runs,
)
from jax3dgan.errors import UserError
from jax3dgan.nn import stylegan2
from jax3dgan.rendering.hierarchical import Draws
from jax3dgan.runs import checkpoints, workdirs
from jax3dgan.training import schedule
from jax3dgan.training import state as state_lib

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
SMALL = dict(FFHQ, depth_resolution=6, depth_resolution_importance=6)


@functools.cache
def weights(seed=0):
  # Of a size at which a picture of such a network does not saturate.
  return pickles.synthetic(seed=seed, scale=0.3)


@functools.cache
def raw_weights():
  """Other ones, of the raw generator: the release copies buffers into the average."""
  buffers = {k: v for k, v in weights().items() if k.endswith(('noise_const', 'w_avg'))}
  assert len(buffers) > 4
  return weights(seed=5) | buffers


@functools.cache
def discriminator():
  return pickles.synthetic_discriminator()


def variables(state):
  """Our variables of an official state dict."""
  params = eg3d_generator.generator_params(state)
  buffers = {name: params.pop(name) for name in ('noise_const', 'w_average')}
  return {'params': params, 'buffers': buffers}


def small(**more):
  """A whole checkpoint."""
  d = pickles.module(discriminator(), 'DualDiscriminator')
  average = generator(weights(), 16, SMALL)
  return checkpoint(generator(raw_weights(), 16, SMALL), d, average, **more)


def save(folder, tree, protocol=4):
  (folder / 'x.pkl').write_bytes(dumps(tree, protocol))
  return folder / 'x.pkl'


def run(folder, tree, *flags):
  """A workdir of a checkpoint."""
  workdir = folder / 'run'
  path = save(folder, tree)
  assert cli.main(['--from=eg3d', f'--input={path}', f'--workdir={workdir}', *flags]) == 0
  return workdir


def same(actual, reference):
  assert jax.tree.structure(actual) == jax.tree.structure(reference)
  jax.tree.map(np.testing.assert_array_equal, actual, reference)


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
  """A workdir which no test changes."""
  folder = tmp_path_factory.mktemp('eg3d') / '[exp1] *?'  # no part of it is a pattern
  folder.mkdir()
  return run(folder, small(cur_nimg=96_000))


@pytest.mark.parametrize('protocol', [2, 3, 4, 5])
def test_every_protocol(protocol, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  path = save(tmp_path, small(), protocol)
  assert pickles.SOURCE.encode() in path.read_bytes()
  read = eg3d.read_checkpoint(path)
  same(read.average.params, eg3d_generator.generator_params(weights()))
  same(read.generator.params, eg3d_generator.generator_params(raw_weights()))
  same(read.discriminator.params, eg3d_names.discriminator_params(discriminator()))
  assert read.rendering == SMALL and read.low_resolution == 16 and read.num_images is None
  assert [path.name for path in tmp_path.iterdir()] == ['x.pkl'], 'its source was executed'


def test_a_release_becomes_a_workdir(workdir):
  step, state = checkpoints.read(workdir)
  assert step == state['step'] == 3000  # 96,000 images
  same(state['networks']['generator'], variables(raw_weights())['params'])
  rate = str(eg3d_curricula.EMA_RATE)
  average = variables(weights())
  same(state['ema'], {'generator': {rate: average['params']}})
  same(state['buffers'], {'generator': average['buffers']})
  same(state['networks']['discriminator'], eg3d_names.discriminator_params(discriminator()))
  config = workdirs.load_config(workdir)
  assert config.recipe == 'eg3d' and config.data.use_labels and config.stages == ()
  model = dict(config.model)
  assert model.pop('name') == 'eg3d' and model == dict(
    z_dim=7, w_dim=12, mapping_layers=2, label_dim=25, label_scale=1.0, channels=(6, 5, 4),
    plane_features=4, decoder_hidden=6, box=1.0, plane_axes='official', super_channels=(4, 3),
    super_ups=(1, 2), super_input=64, low_resolution=16, clamp=0.0, super_clamp=256.0,
    use_noise=True, raw_alias=False, matmul_dtype='float32', upsampling_border='zeros',
      separable=False, occupancy=0,
  )  # fmt: skip
  heads = config.discriminator
  assert (heads.name, heads.channels, heads.label_dim) == ('dual', (4, 5, 6, 5, 4, 3), 25)
  assert heads.clamp == 256
  render = dict(config.render)
  assert math.isclose(render.pop('fov_degrees'), 13.37, abs_tol=0.01)
  wanted = dict(
    near=2.25, far=3.3, box=0.0, radius=2.7, pivot=(0.0, 0.0, 0.2), num_coarse=6, num_fine=6,
    marcher='midpoints', strata='forward', importance='smoothed', align_corners=False,
    low_resolution=16, white_back=False, spacing='linear',
  )  # fmt: skip
  assert {key: render[key] for key in wanted} == wanted
  assert (config.display.num_coarse, config.display.num_fine) == (12, 12)
  assert config.resolution == 128 and config.pose_prior.name == 'gaussian'


def test_the_picture_is_the_networks_own(workdir):
  """From z to the picture: what the workdir gives is what the parameters give, bit for bit."""
  model = trained.load(workdir=workdir)
  assert model.step == 3000 and model.resolution == 128 and model.has_depth
  assert model.is_conditioned
  own = variables(weights())
  z = model.latents([0, 1])
  camera = model.orbit([0.0, 0.3])
  assert np.allclose(model.average_w, weights()['backbone.mapping.w_avg'])
  label = np.asarray(camera.label())

  @jax.jit
  def styles(variables, z, label):
    return model.generator.apply(variables, z, label, method='map')

  w = model.map(z, psi=1, label=label)
  np.testing.assert_array_equal(w, styles(own, z, label))
  out = model.render(w, camera, batch=2)
  options = model.options()
  assert (options.num_coarse, options.low_resolution) == (12, 16)

  @jax.jit
  def picture(variables, w, camera):
    return model.generator.apply(variables, w, camera, None, options=options, method='synthesize')

  direct = picture(own, w, camera)
  for name in ('image', 'depth', 'opacity', 'low_res'):
    np.testing.assert_array_equal(getattr(out, name), getattr(direct, name))
  assert out.image.shape == (2, 128, 128, 3) and out.image.std() > 0.05
  assert np.abs(out.image[0] - out.image[1]).max() > 0.05


def test_a_converted_workdir_makes_pictures(workdir, tmp_path):
  out = tmp_path / 'x.png'
  samples.main([f'--workdir={workdir}', f'--out={out}', '--seeds=0-1'])
  with PIL.Image.open(out) as picture:
    assert np.asarray(picture).std() > 0


def test_training_can_go_on(workdir):
  """The state is the one that training restores, with fresh optimizers; the command says so."""
  config = workdirs.load_config(workdir)
  networks = generators.create(config), discriminators.create(config.discriminator)
  fresh = jax.eval_shape(lambda: state_lib.create(config, *networks))
  saver = checkpoints.Checkpoints(workdir, 10, 3)
  state = saver.restore(fresh)
  saver.close()
  assert state.step == 3000
  assert state.optimizers.keys() == {'generator', 'discriminator'}
  for moments in state.optimizers.values():
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(moments))
  stage = schedule.stage_at(schedule.stages(config), 3000)
  assert (stage.options.low_resolution, stage.resolution, stage.batch_size) == (16, 128, 32)


def test_what_is_said(tmp_path, capsys, monkeypatch):
  monkeypatch.chdir(ROOT)
  workdir = run(tmp_path, small())
  out = capsys.readouterr().out
  assert re.search(r'Reading \S+x\.pkl \(\d+ kB\) \.\.\.\n', out)
  assert 'Checking G_ema, G, D ...' in out
  assert 'planes of 16² x 4' in out and 'conditioned on the camera, 16² → 128².' in out
  assert "Step 781,250: the paper's 25,000 kimg: it says none." in out
  assert 'EMA 0.997784: G_ema, shown.' in out and 'Discriminator: dual, 128², label 25.' in out
  command = re.search(r'^Training: python -m (jax3dgan\.main .*)$', out, re.M)
  values = main_lib.parse(shlex.split(command[1]))
  assert workdirs.plain(values.config) == workdirs.plain(workdirs.load_config(workdir))


@pytest.mark.parametrize('to', ['npz', 'torch'])
@pytest.mark.parametrize('which', ['ema', 'raw'])
def test_the_way_back(to, which, workdir, tmp_path, capsys):
  out = tmp_path / 'weights'
  flags = [f'--to={to}', f'--workdir={workdir}', f'--output={out}', f'--weights={which}']
  assert cli.main(flags) == 0
  assert 'for TriPlaneGenerator' in capsys.readouterr().out
  if to == 'npz':
    with np.load(out, allow_pickle=False) as file:
      back = dict(file)
  else:
    back = convert.state_dict(convert.read(out))
  left_out = re.compile(r'.*resample_filter|superresolution.*noise_const')
  given = weights() if which == 'ema' else raw_weights()
  wanted = {k: v for k, v in given.items() if not left_out.fullmatch(k)}
  assert back.keys() == wanted.keys()
  for key, value in wanted.items():
    np.testing.assert_array_equal(back[key], value)


def load_config(name):
  spec = importlib.util.spec_from_file_location(name, ROOT / 'configs' / f'{name}.py')
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module.get_config()


@pytest.mark.parametrize('name', eg3d_curricula.CURRICULA)
def test_the_curricula_are_the_configs(name):
  ours, file = eg3d_curricula.create(name), load_config(f'eg3d_{name}')
  assert ours.is_locked
  assert workdirs.plain(file) == workdirs.plain(ours)
  stages = schedule.stages(file)
  assert [stage.options.low_resolution for stage in stages][:1] == [64]
  if name != 'shapenet_cars':
    assert [stage.options.low_resolution for stage in stages] == [64, 72, 88, 104, 120, 128]
    ramp = (stages[-1].position - stages[1].position) / 1e6
    assert math.isclose(ramp, 1.0, rel_tol=1e-3)  # over a million images
  generator = generators.create(file)
  assert generator.resolution == file.resolution
  assert discriminators.create(file.discriminator).resolution == file.resolution
  # The half-life is 10,000 images.
  assert math.isclose(file.ema.display_rate ** (10_000 / 32), 0.5)


def test_the_networks_have_the_papers_sizes():
  sizes = {'ffhq': (30.66e6, 31.36e6), 'shapenet_cars': (29.59e6, 30.77e6)}
  for name, (of_generator, of_discriminator) in sizes.items():
    config = eg3d_curricula.create(name)
    g, d = generators.create(config), discriminators.create(config.discriminator)
    params = jax.eval_shape(lambda g=g: generators.init_params(g, jax.random.key(0)))
    of_d = jax.eval_shape(lambda d=d: discriminators.init_params(d, jax.random.key(0)))
    for tree, wanted in ((params, of_generator), (of_d, of_discriminator)):
      num = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))
      assert math.isclose(num, wanted, rel_tol=5e-4), (name, num)


def config_of(folder, rendering=FFHQ, flags=(), low=16, **attributes):
  """The config that a checkpoint gives, without a workdir."""
  path = save(folder, checkpoint(generator(weights(), low, rendering, **attributes)))
  read = eg3d.read_checkpoint(path)
  curriculum = dict(flags).get('curriculum') or eg3d_runs.curriculum_of(path, read)
  return eg3d_runs.config_for(path, curriculum, read), curriculum, read


def test_cars(tmp_path):
  rendering = dict(
    FFHQ, depth_resolution=64, depth_resolution_importance=64, ray_start=0.1, ray_end=2.6,
    box_warp=1.6, white_back=True, avg_camera_radius=1.7, avg_camera_pivot=[0, 0, 0],
    c_gen_conditioning_zero=True,
  )  # fmt: skip
  config, curriculum, read = config_of(tmp_path, rendering)
  assert curriculum == 'shapenet_cars'
  render = config.render
  assert (render.near, render.far, render.radius, render.pivot) == (0.1, 2.6, 1.7, (0.0, 0.0, 0.0))
  assert render.white_back and config.model.box == 1.6 and config.model.label_scale == 0
  assert math.isclose(0.5 / math.tan(math.radians(render.fov_degrees) / 2), 1.7074)
  assert config.pose_prior.name == 'spherical_uniform' and config.display.num_fine == 128
  prior = cameras.pose_prior(**config.pose_prior.to_dict())
  _, pitch = cameras.angles_from_draws(prior, jnp.zeros(2), jnp.array([0.0, 1.0]))
  np.testing.assert_allclose(pitch, [0, math.pi / 2], atol=0.01)  # the upper hemisphere
  # No discriminator in the file: a fresh one of the size of its pictures.
  assert read.discriminator is None and config.discriminator.channels[-1] == 256
  assert eg3d_runs.step_of(curriculum, read, config)[0] == 781_250


def test_cats_and_the_cameras_of_other_files(tmp_path):
  config, curriculum, _ = config_of(tmp_path, dict(FFHQ, avg_camera_pivot=(0, 0, -0.06)))
  assert curriculum == 'afhq' and config.render.pivot == (0.0, 0.0, -0.06)
  assert config.eg3d.pose_swap == 0.8 and config.loss.r1 == 5
  assert (config.augment.name, config.augment.p, config.augment.target) == ('ada', 0, 0.6)
  elsewhere = dict(FFHQ, avg_camera_pivot=[0.1, 0, 0])
  with pytest.raises(UserError, match='Give --curriculum=ffhq, afhq or shapenet_cars'):
    config_of(tmp_path, elsewhere)
  config, _, _ = config_of(tmp_path, elsewhere, {'curriculum': 'ffhq'})
  assert config.render.pivot == (0.1, 0.0, 0.0)


def test_training_of_cats_goes_on_augmented(tmp_path):
  """The state has what adaptive augmentation hangs on, at its beginning."""
  cats = dict(SMALL, avg_camera_pivot=[0, 0, -0.06])
  d = pickles.module(discriminator(), 'DualDiscriminator')
  workdir = run(tmp_path, checkpoint(generator(weights(), 16, cats), d), '--step=4')
  config = workdirs.load_config(workdir)
  networks = generators.create(config), discriminators.create(config.discriminator)
  saver = checkpoints.Checkpoints(workdir, 10, 3)
  state = saver.restore(jax.eval_shape(lambda: state_lib.create(config, *networks)))
  saver.close()
  assert jax.tree.leaves(state.buffers['augment']) == [0, 0, 0]
  _, stored = checkpoints.read(workdir)
  assert set(stored['buffers']['augment']) == {'p', 'sign_sum', 'count'}


def test_rays_that_begin_at_the_cube(tmp_path):
  rendering = dict(FFHQ, ray_start='auto', ray_end='auto', box_warp=0.8)
  rendering['disparity_space_sampling'] = True
  config, _, _ = config_of(tmp_path, rendering)
  assert config.render.box == config.model.box == 0.8 and config.render.spacing == 'disparity'


def test_attributes_that_are_no_weights(tmp_path):
  """Bounds of activations, axes of the planes, the labels' scale, the decoder's learning rate."""
  planes = np.float32([np.eye(3), np.eye(3)[[0, 2, 1]], np.eye(3)[[2, 1, 0]]])
  clamps = dict(
    backbone__synthesis__b8__conv0__conv_clamp=64, superresolution__block0__conv1__conv_clamp=None
  )
  config, _, read = config_of(
    tmp_path,
    dict(FFHQ, c_scale=0.5, decoder_lr_mul=2.0),
    renderer__plane_axes=tensor(planes),
    **clamps,
  )
  model = config.model
  assert (model.clamp, model.super_clamp, model.plane_axes) == (64.0, 0.0, 'fixed')
  assert model.label_scale == 0.5
  decoder, plain = read.average.params['decoder'], eg3d_generator.generator_params(weights())
  for key, value in plain['decoder'].items():
    np.testing.assert_allclose(decoder[key], 2 * value)


def test_numbers_of_numpy(tmp_path):
  """Options that are NumPy's numbers and arrays, by either name of its modules."""
  state = (3, '<', None, None, None, -1, -1, 0)
  f8 = Call(Name('numpy', 'dtype'), ('f8', False, True), state)
  near = np.float64(2.25).tobytes()
  for core in ('core', '_core'):
    pivot = Call(
      Name(f'numpy.{core}.multiarray', '_reconstruct'),
      (Name('numpy', 'ndarray'), (0,), b'b'),
      (1, (3,), f8, False, np.float64([0, 0, 0.2]).tobytes()),
    )
    changes = dict(
      ray_start=Call(Name(f'numpy.{core}.multiarray', 'scalar'), (f8, near)),
      avg_camera_pivot=pivot,
    )
    config, curriculum, _ = config_of(tmp_path, EasyDict({**FFHQ, **changes}))
    assert curriculum == 'ffhq' and config.render.near == 2.25
    assert config.render.pivot == (0.0, 0.0, 0.2)


def test_only_the_average(tmp_path, capsys, monkeypatch):
  """As files that were made smaller for sampling alone are."""
  # Without it the fresh discriminator has 31 million parameters that nobody looks at.
  monkeypatch.setattr(stylegan2, 'channels_of', lambda size: (4,) * (size.bit_length() - 2))
  tree = {'G_ema': generator(weights(), 16, SMALL)}
  workdir = run(tmp_path, tree, '--step=7', '--curriculum=ffhq')
  out = capsys.readouterr().out
  assert 'Step 7: by --step.' in out and 'the only generator of the file' in out
  assert 'a fresh one' in out
  state = checkpoints.read(workdir)[1]
  params, buffers = variables(weights()).values()
  same(state['networks']['generator'], params)
  same(state['buffers']['generator'], buffers)
  same(state['ema']['generator'][str(eg3d_curricula.EMA_RATE)], params)
  assert np.any(state['networks']['discriminator']['b4']['conv']['kernel'])


PIGAN = ROOT / 'tests' / 'data' / 'convert'
BAD = [
  (['--from=eg3d', '--workdir=x'], '--input is missing'),
  (['--from=eg3d', '--input=y', '--ema=z', '--workdir=x'], '--ema goes with --from=pigan alone'),
  (
    ['--from=eg3d', '--input=y', '--curriculum=celeba', '--workdir=x'],
    'Choose one of ffhq, afhq, shapenet_cars',
  ),
  (['--from=pigan', '--input=y', '--curriculum=ffhq', '--workdir=x'], 'one of celeba, cats, carla'),
  (
    ['--from=eg3d', f'--input={PIGAN / "generator.pth"}', '--workdir=x'],
    'is ImplicitGenerator3d of π-GAN: convert it with --from=pigan',
  ),
  (
    ['--from=eg3d', f'--input={PIGAN / "state_dict.pth"}', '--workdir=x'],
    'is a state dict of π-GAN: convert it with --from=pigan',
  ),
  (
    ['--from=eg3d', f'--input={PIGAN / "ema_state.pth"}', '--workdir=x'],
    'is an average of weights of π-GAN: convert it with --from=pigan',
  ),
  (
    ['--from=eg3d', f'--input={PIGAN / "generator_parallel.pth"}', '--workdir=x'],
    'of π-GAN: convert it with --from=pigan',
  ),
  (
    ['--from=pigan', f'--input={PIGAN / "persistent.pkl"}', '--workdir=x'],
    "of StyleGAN's kind, as EG3D's are: convert it with --from=eg3d",
  ),
  (
    ['--from=eg3d', f'--input={PIGAN / "persistent.pkl"}', '--workdir=x'],
    'has no rendering_kwargs. Is it one of StyleGAN?',
  ),
]


@pytest.mark.parametrize('flags, words', BAD, ids=[words for _, words in BAD])
def test_errors_are_one_line(flags, words, tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  assert cli.main(flags) == 1
  error = capsys.readouterr().err
  assert error.startswith('Error: ') and words in error and error.count('\n') == 1
  assert not list(tmp_path.iterdir()), 'something was written'


def test_a_network_of_two_sizes(tmp_path):
  other = pickles.synthetic(channels=(6, 5, 5))
  tree = checkpoint(generator(other, 16, SMALL), None, generator(weights(), 16, SMALL))
  with pytest.raises(UserError, match=r'b16/bias is|b16/conv0.*\[.*5\], but .* in G_ema'):
    eg3d.read_checkpoint(save(tmp_path, tree))


def test_the_official_pictures_through_a_workdir(tmp_path):
  """The small official network as a pickle: styles and pictures at its cameras, with its draws."""
  state, of_discriminator = golden_eg3d_weights.generator(), golden_eg3d_weights.discriminator()
  stages, arrays = golden_eg3d_weights.load('G_small_stages', 'G_small_nrr16')
  tree = checkpoint(
    generator(state, 16, SMALL), pickles.module(of_discriminator, 'DualDiscriminator'), cur_nimg=0
  )
  workdir = run(tmp_path, tree)
  model = trained.load(workdir=workdir)
  w = model.map(stages['z'], psi=1, label=stages['c_cond'])
  assert np.abs(w[:, 3] - stages['ws']).max() < 2e-6 * np.abs(stages['ws']).max()
  # Two styles and cameras, noise and draws of the file, the samples of training.
  draws = Draws(jitter=arrays['u_coarse'][..., 0], pdf=arrays['u_fine'].reshape(2, -1, 6))
  options = generators.render_options(model.config)
  camera = cameras.from_label(arrays['c'])

  @jax.jit
  def picture(variables, w, camera, draws):
    return model.generator.apply(variables, w, camera, draws, options=options, method='synthesize')

  out = picture(model.variables, w, camera, draws)
  direct = picture(variables(state), w, camera, draws)
  np.testing.assert_array_equal(out.image, direct.image)
  for ours, theirs in ((out.image, arrays['image']), (out.low_res, arrays['image_raw'])):
    error = np.abs(ours - np.moveaxis(theirs, 1, -1)).max() / np.abs(theirs).max()
    assert error < 5e-5
  back = eg3d_runs.release(workdir, model.config, 'ema').weights
  for key, value in back.items():
    np.testing.assert_array_equal(value, state[key])


def test_what_pytorch_itself_writes(tmp_path, monkeypatch):
  """Tensors and parameters of PyTorch, pickled by its own methods inside of the same structure."""
  torch = pytest.importorskip('torch')

  def wrap(array):
    return torch.nn.Parameter(torch.from_numpy(np.array(array)))

  def buffer(array):
    return torch.from_numpy(np.array(array))

  monkeypatch.chdir(tmp_path)
  state = weights()
  fields = dict(rendering_kwargs=SMALL, neural_rendering_resolution=16)
  g = pickles.module(state, 'TriPlaneGenerator', wrap, buffer, **fields)
  d = pickles.module(discriminator(), 'DualDiscriminator', wrap, buffer)
  for protocol in (2, 3, 4, 5):
    path = save(tmp_path, checkpoint(g, d), protocol)
    if protocol == 2:
      written = path.read_bytes()
      for name in (
        b'torch._utils\n_rebuild_parameter',
        b'torch._utils\n_rebuild_tensor_v2',
        b'torch.storage\n_load_from_bytes',
      ):
        assert name in written
    read = eg3d.read_checkpoint(path)
    same(read.average.params, eg3d_generator.generator_params(state))
    same(read.discriminator.params, eg3d_names.discriminator_params(discriminator()))
  # Views, and other types, in one storage.
  base = torch.arange(24.0).reshape(4, 6)
  views = dict(a=base[1:3, ::2], b=base.T, c=base.half(), d=torch.tensor(True))
  save(tmp_path, {'G': 1, **views})
  tree = convert.read(tmp_path / 'x.pkl')
  for key, value in views.items():
    np.testing.assert_array_equal(tree[key].numpy(), value.numpy())
  assert [path.name for path in tmp_path.iterdir()] == ['x.pkl']


def test_pytorch_is_not_needed(tmp_path):
  import subprocess

  path = save(tmp_path, small())
  code = (
    'import sys; sys.modules["torch"] = None\n'
    'from jax3dgan.convert import eg3d\n'
    f'eg3d.read_checkpoint({str(path)!r})\n'
    "assert 'jax' not in sys.modules"
  )
  subprocess.run([sys.executable, '-c', code], check=True, cwd=ROOT)


def test_a_family_is_known_by_its_pivot():
  assert eg3d_rendering.family_of({'avg_camera_pivot': [0.0, 0.0, 0.2]}) == 'ffhq'
  assert eg3d_rendering.family_of({'avg_camera_pivot': 'x'}) is None
  assert eg3d_rendering.family_of({}) is None


def test_what_is_rendered_is_of_the_stage_of_the_weights():
  config = eg3d_curricula.create('ffhq')
  for step, size in ((0, 64), (781_250, 64), (781_251, 72), (859_375, 128)):
    assert trained.Trained(config, generators.create(config), None, step).options() == (
      generators.render_options(config, display=True, low_resolution=size)
    )
