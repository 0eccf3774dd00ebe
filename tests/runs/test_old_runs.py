"""Workdirs and packaged models that earlier versions wrote: read, rendered as then, trained on.

tests/data/old_runs has two runs of version 0.1, a π-GAN and an EG3D with adaptive augmentation, of
two steps each, and what that version rendered from them and from the packaged models.
"""

import pathlib
import tarfile

import jax
import numpy as np
import pytest

from jax3dgan import discriminators, generators, trained
from jax3dgan.runs import checkpoints, old_checkpoints
from jax3dgan.training import state as state_lib

DATA = pathlib.Path(__file__).resolve().parents[1] / 'data' / 'old_runs'
RUNS = ('toys', 'eg3d_toys')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  path = tmp_path_factory.mktemp('old')
  with tarfile.open(DATA / 'runs.tar.gz') as archive:
    archive.extractall(path, filter='data')
  return path


@pytest.fixture(scope='module')
def renderings():
  with np.load(DATA / 'renderings.npz') as file:
    return dict(file)


@pytest.mark.parametrize('name', RUNS)
def test_it_is_rendered_as_then(folder, renderings, name):
  model = trained.load(workdir=folder / name)
  w = model.map(model.latents([0, 1]), psi=1)
  out = model.render(w, model.orbit([0.3, -0.5]))
  np.testing.assert_allclose(out.image, renderings[f'{name}/image'], atol=2e-4)
  np.testing.assert_allclose(out.depth, renderings[f'{name}/depth'], atol=2e-4)


@pytest.mark.parametrize('name', ['toys', 'toys_2d', 'toys_eg3d'])
def test_a_packaged_model_is_rendered_as_then(renderings, name):
  model = trained.load(pretrained=name)
  image = model.render(model.map(model.latents([3]), psi=0.7), model.orbit([0.4])).image
  np.testing.assert_allclose(image[:, ::2, ::2], renderings[f'pretrained/{name}'], atol=3e-3)


@pytest.mark.parametrize('name', RUNS)
def test_its_whole_state_goes_on(folder, name):
  """Every array of the state comes from the file; moments of what is a buffer now are dropped."""
  config = trained.config_of(folder / name)
  networks = generators.create(config), discriminators.create(config.discriminator)
  expected = jax.eval_shape(lambda: state_lib.create(config, *networks))
  saver = checkpoints.Checkpoints(folder / name, 1, 1, config=config)
  said = []
  state = saver.restore(expected, said.append)
  saver.close()
  assert int(state.step) == 2 and not said
  assert jax.tree.structure(state) == jax.tree.structure(expected)
  moments = state.optimizers['generator'][1]
  assert int(moments.count) == (3 if name == 'eg3d_toys' else 2)  # with the density's own step
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state))
  if name == 'eg3d_toys':
    assert float(state.buffers['augment'].p) == 0.25
    assert np.abs(state.buffers['generator']['w_average']).max() > 0
    assert state.buffers['generator']['noise_const'].std() > 0.5
    assert 'w_average' not in state.networks['generator'] and 'w_average' not in moments.mu


def test_parts_of_it_are_read_by_their_names_of_now(folder):
  step, average = checkpoints.read(folder / 'eg3d_toys', 'ema', 'generator', '0.995')
  assert step == 2 and 'backbone' in average and 'w_average' not in average
  buffers = checkpoints.read(folder / 'eg3d_toys', 'buffers', 'generator')[1]
  assert buffers.keys() == {'noise_const', 'w_average'}
  whole = checkpoints.read(folder / 'eg3d_toys')[1]
  assert whole.keys() == {'step', 'key', 'networks', 'optimizers', 'ema', 'buffers'}
  assert not old_checkpoints.is_old(whole)


def test_a_config_of_then_has_the_groups_of_its_recipe_alone(folder):
  pigan, eg3d = (trained.config_of(folder / name) for name in RUNS)
  assert 'eg3d' not in pigan and 'augment' not in pigan and pigan.loss.top_k_floor == 0.6
  assert 'top_k_floor' not in eg3d.loss and eg3d.augment.p == 0.25
  assert eg3d.optimizer.decay_steps == pigan.optimizer.decay_steps == 0
