"""A fresh run from the weights of another: what is taken, what is not, and what is said."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax3dgan import config as config_lib
from jax3dgan import recipes
from jax3dgan.errors import UserError
from jax3dgan.runs import checkpoints, init_from, packaged
from jax3dgan.training.state import TrainState


def tree(value, **shapes):
  """Nested parameters 'a__b' filled with a value."""
  result = {}
  for name, shape in shapes.items():
    *folders, last = name.split('__')
    here = result
    for folder in folders:
      here = here.setdefault(folder, {})
    here[last] = jnp.full(shape, value, jnp.float32)
  return result


LAYERS = dict(mapping__kernel=(2, 3), mapping__bias=(3,), head__w=(4,), head__b=(4,))
RATES = ('0.999', '0.9999')


def state(value, discriminator=None, buffers=None, averages=True, **layers):
  generator = tree(value, **(layers or LAYERS))
  ema = {rate: tree(value + float(rate), **(layers or LAYERS)) for rate in RATES}
  return TrainState(
    step=jnp.zeros((), jnp.int32),
    key=jax.random.key_data(jax.random.key(0)),
    networks={'generator': generator, 'discriminator': discriminator or tree(value, conv__w=(2,))},
    optimizers={'generator': jax.tree.map(jnp.zeros_like, generator)},
    ema={'generator': ema} if averages else {},
    buffers=buffers or {},
  )


@pytest.fixture
def config():
  return config_lib.base_config()


def save(folder, saved, config, steps=(7,)):
  saver = checkpoints.Checkpoints(folder, every=1, keep=5, config=config)
  for step in steps:
    saver.save(step, saved, force=True)
  saver.close()
  return str(folder)


def start(fresh, config):
  said = []
  result, names = init_from.start(fresh, config, said.append)
  assert len(said) == 1 and names
  return jax.device_get(result), said[0]


def values(x):
  return {float(v) for leaf in jax.tree.leaves(x) for v in np.ravel(leaf)}


def test_averages_of_the_generator_and_everything_that_fits(config, tmp_path):
  buffers = {'generator': {'w_average': jnp.full(3, 5.0)}, 'augment': {'p': jnp.float32(0.5)}}
  config.init_from = save(tmp_path, state(1, buffers=buffers), config)
  fresh = state(100, buffers=jax.tree.map(lambda x: 0 * x, buffers))
  result, line = start(fresh, config)
  for weights in (result.networks['generator'], *result.ema['generator'].values()):
    assert values(weights) == {np.float32(1.999)}  # the display rate's, everywhere
  assert values(result.networks['discriminator']) == {1.0}
  assert values(result.buffers['generator']) == {5.0}
  assert values(result.buffers['augment']) == {0.0}  # the recipe's own begins afresh
  assert values(result.optimizers) == {0.0} and result.step == 0
  assert np.array_equal(result.key, fresh.key)
  assert line == (
    f'Starting from the weights of {tmp_path} (step 7, averages 0.999): generator 17 of 17, '
    'discriminator 2 of 2 parameters.'
  )


def test_what_does_not_fit_is_named_by_subtree_and_stays_fresh(config, tmp_path):
  there = dict(mapping__kernel=(2, 3), mapping__bias=(5,), old__a=(1,), old__b=(2,))
  config.init_from = save(tmp_path, state(1, averages=False, **there), config)
  fresh = state(100, buffers={'generator': {'w_average': jnp.full(3, 7.0)}})
  config_lib.set_discriminator(config, 'stylegan2')
  result, line = start(fresh, config)
  generator = result.networks['generator']
  assert values(generator['mapping']['kernel']) == {1.0}  # of training: there are no averages
  assert values((generator['mapping']['bias'], generator['head'])) == {100.0}
  assert values(result.ema['generator']['0.9999']['head']) == {np.float32(100.9999)}
  assert values(result.networks['discriminator']) == {100.0}
  assert values(result.buffers) == {7.0}
  assert 'generator 6 of 17, discriminator 0 of 2 parameters. ' in line
  for part in (
    'generator/mapping/bias (of another shape)',
    'generator/head (not in it)',
    "discriminator ('progressive' there, 'stylegan2' here)",
    'buffers (not in it)',
    '(step 7): ',
    'Not used of it: generator/old.',
  ):
    assert part in line, part


def test_what_is_frozen_is_all_there(config, tmp_path):
  config.init_from = save(tmp_path, state(1, mapping__kernel=(2, 3), head__w=(4,)), config)
  fresh = state(100, mapping__kernel=(2, 5), head__w=(4,))
  init_from.start(fresh, config, lambda line: None, {'generator': ('head',)})
  with pytest.raises(
    UserError, match='not train generator/mapping, and generator/mapping/kernel of'
  ):
    init_from.start(fresh, config, lambda line: None, {'generator': ('mapping',)})


def test_damaged_checkpoints_are_passed_over_and_left_there(config, tmp_path):
  config.init_from = save(tmp_path, state(1), config, steps=(3, 4))
  latest = tmp_path / 'checkpoints' / '4'
  for path in latest.rglob('*'):
    if path.is_file() and path.stat().st_size:
      path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
  said = []
  init_from.start(state(100), config, said.append)
  assert 'the checkpoint of step 4 is damaged' in said[0] and '(step 3, ' in said[1]
  assert latest.exists()


def test_a_packaged_model_by_its_name_and_by_its_file(tiny_model, config, tmp_path):
  packaged.save_pretrained(tiny_model, tmp_path)
  params = jax.tree.map(lambda x: 0 * x, tiny_model.params)
  fresh = state(100).replace(networks={'generator': params}, ema={'generator': {'0.9': params}})
  config.init_from = str(tmp_path / 'tiny.npz')
  init_from.check(config, tmp_path / 'run')
  result, line = start(fresh, config)
  half = jax.tree.map(lambda x: np.float32(np.float16(x)), tiny_model.params)
  jax.tree.map(np.testing.assert_array_equal, result.networks['generator'], half)
  assert "the packaged model 'tiny' (step 12)" in line
  if names := packaged.pretrained_names():
    config.init_from = names[0]
    init_from.check(config, tmp_path / 'run')


def test_what_cannot_be_a_start_is_one_line(config, tmp_path):
  def wrong(source, words, workdir=tmp_path / 'new'):
    config.init_from = str(source)
    with pytest.raises(UserError, match=words) as error:
      init_from.check(config, workdir)
      init_from.start(state(100), config, print)
    assert '\n' not in str(error.value)

  run = save(tmp_path / 'run', state(1), config)
  (tmp_path / 'empty').mkdir()
  (tmp_path / 'file').write_text('')
  wrong(tmp_path / 'missing', 'does not exist. Give the workdir of another run')
  wrong(tmp_path / 'empty', 'has no checkpoint. Train there first')
  wrong(tmp_path / 'file', 'is a file of another kind')
  wrong(run, 'is the workdir itself', workdir=run)
  infinite = state(1).replace(ema={'generator': {'0.999': tree(np.inf, head__w=(4,))}})
  wrong(save(tmp_path / 'diverged', infinite, config), 'are not finite: its training diverged')
  other = state(1, discriminator=tree(1, conv__w=(3,)), other__w=(3,))
  wrong(
    save(tmp_path / 'other', other, config),
    r'nothing in it fits \(discriminator \(of another shape\), ge',
  )


def test_a_run_that_goes_on_reads_nothing_and_keeps_what_it_began_from(config, tmp_path):
  config.init_from = 'runs/a'
  save(tmp_path, state(1), config)
  config.init_from = 'runs/b'
  init_from.check(config, tmp_path)  # neither of them is there
  said = []
  saver = checkpoints.Checkpoints(tmp_path, every=1, keep=5, config=config, say=said.append)
  saver.save(8, state(1), force=True)
  saver.close()
  assert not said and checkpoints.workdirs.load_config(tmp_path).init_from == 'runs/a'


def test_a_run_that_goes_on_remembers_what_it_began_from(config, tmp_path):
  """A recipe that needs a start does not ask for it again; a fresh workdir remembers nothing."""
  assert not init_from.remembered(config, tmp_path).init_from
  config.init_from = 'runs/a'
  save(tmp_path, state(1), config)
  config.init_from = ''
  assert init_from.remembered(config, tmp_path).init_from == 'runs/a' and not config.init_from
  config.init_from = 'runs/b'
  assert init_from.remembered(config, tmp_path).init_from == 'runs/b'


def test_values_that_no_shape_shows_are_named(config, tmp_path):
  """The same weights at other distances, or scaled otherwise, are another scene."""
  config.init_from = save(tmp_path, state(1), config)
  config.render.near, config.render.num_coarse = 0.5, 7
  config.model.matmul_dtype = 'bfloat16'
  _, line = start(state(100), config)
  near = config_lib.base_config().render.near
  assert line.endswith(f'Another value there: config.render.near ({near}, here 0.5).')


def test_what_is_frozen_has_the_values_it_was_trained_with(config, tmp_path):
  config_lib.set_model(config, 'stylesdf')
  config.init_from = save(tmp_path / 'run', state(1), config)
  fixed = recipes.create('stylesdf').frozen_fields(config)

  def check(**changes):
    other = config.copy_and_resolve_references()
    with other.unlocked():
      other.update_from_flattened_dict({k.replace('__', '.'): v for k, v in changes.items()})
    init_from.check(other, tmp_path / 'new', fixed)

  check(render__num_coarse=7, model__beta=0.3, model__input_scale=config.model.input_scale + 1e-9)
  render = config.render
  for field, value in (('near', 0.5), ('radius', 2.0), ('fov_degrees', 9.0), ('pivot', (1, 0, 0))):
    words = rf'other values of config.render.{field} \(.*Set --config.render.{field}='
    with pytest.raises(UserError, match=words) as error:
      check(**{f'render__{field}': value})
    assert '\n' not in str(error.value)
  with pytest.raises(UserError) as error:
    check(render__far=1.5, model__input_scale=3.0)
  for name, value in (('model.input_scale', config.model.input_scale), ('render.far', render.far)):
    assert f'--config.{name}={value}' in str(error.value)
  init_from.check(config, tmp_path / 'new', fixed)
  other = config_lib.base_config()
  other.init_from = config.init_from
  with pytest.raises(UserError, match="a run of the model 'stylesdf', .* Give a run of that model"):
    init_from.check(other, tmp_path / 'new', fixed)


def test_what_fresh_parameters_begin_with_is_not_another_value(config, tmp_path):
  config_lib.set_model(config, 'stylesdf')
  config.init_from = save(tmp_path, state(1), config)
  config.model.beta, config.model.style_scale, config.pose_prior.yaw_std = 0.3, 0.7, 0.9
  _, line = start(state(100), config)
  assert 'beta' not in line and 'style_scale' not in line
  assert 'Another value there: config.pose_prior.yaw_std (' in line
