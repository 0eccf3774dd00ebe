"""A trained generator: latents by seed, rendering in chunks, loading and saving."""

import functools
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax3dgan import generators, trained
from jax3dgan.errors import UserError
from jax3dgan.runs import checkpoints, packaged, workdirs


def test_a_latent_depends_on_its_seed_alone(tiny_model):
  z = tiny_model.latents(range(6))
  assert z.shape == (6, tiny_model.generator.z_dim) and z.dtype == np.float32
  np.testing.assert_array_equal(tiny_model.latents([4]), z[4:5])
  assert len(np.unique(z[:, 0])) == 6
  many = tiny_model.latents(range(3000))
  assert abs(many.mean()) < 0.03 and abs(many.std() - 1) < 0.03


def test_truncation_goes_from_the_average_to_the_style(tiny_model):
  z = tiny_model.latents([0, 1])
  w, average = tiny_model.map(z, psi=1), tiny_model.average_w
  np.testing.assert_allclose(tiny_model.map(z, psi=0), jnp.stack([average, average]), atol=1e-6)
  half = tiny_model.map(z, psi=0.5)
  np.testing.assert_allclose(half, (w + average) / 2, atol=1e-5)
  np.testing.assert_array_equal(
    tiny_model.map(z), tiny_model.map(z, tiny_model.config.display.truncation_psi)
  )


def test_rendering_in_chunks_is_rendering_at_once(tiny_model):
  w = tiny_model.map(tiny_model.latents(range(5)))
  camera = tiny_model.orbit(np.linspace(0, 3, 5))
  whole = tiny_model.render(w, camera)
  assert whole.image.shape == (5, 16, 16, 3) and isinstance(whole.image, np.ndarray)
  assert whole.depth.shape == whole.opacity.shape == (5, 16, 16) and whole.low_res is None
  parts = tiny_model.render(w, camera, batch=2)
  np.testing.assert_allclose(parts.image, whole.image, atol=1e-5)
  np.testing.assert_allclose(parts.depth, whole.depth, atol=1e-5)
  synthesize = functools.partial(tiny_model.generator.apply, method='synthesize')
  direct = jax.jit(functools.partial(synthesize, options=tiny_model.options()))(
    tiny_model.variables, w, camera
  )
  np.testing.assert_allclose(direct.image, whole.image, atol=1e-5)


def test_one_style_from_many_cameras_and_many_from_one(tiny_model):
  w = tiny_model.map(tiny_model.latents([0, 1]))
  around = tiny_model.render(w[:1], tiny_model.orbit([0.0, 1.0, 2.0]), resolution=8)
  assert around.image.shape == (3, 8, 8, 3)
  front = tiny_model.render(w, tiny_model.orbit(0.0), resolution=8)
  np.testing.assert_allclose(front.image[0], around.image[0], atol=1e-5)
  assert np.abs(around.image[0] - around.image[1]).max() > 1e-4


def test_the_views_of_training(tiny_model):
  assert tiny_model.yaw_half_range == pytest.approx(math.pi)
  assert tiny_model.mean_elevation == pytest.approx(math.pi / 2 - 1.2)
  camera = tiny_model.orbit(math.pi / 2)
  radius = tiny_model.config.render.radius
  expected = radius * np.array([math.sin(1.2), math.cos(1.2), 0.0])
  np.testing.assert_allclose(camera.origin[0], expected, atol=1e-6)
  assert tiny_model.resolution == 16


def test_other_parameters_share_what_is_compiled(tiny_model):
  other = tiny_model.with_params(jax.tree.map(jnp.zeros_like, tiny_model.params), 99)
  assert other.step == 99 and tiny_model.step == 12
  assert other.compiled is tiny_model.compiled
  np.testing.assert_array_equal(other.map(other.latents([0])), 0 * other.average_w[None])


def test_a_pretrained_model_comes_back_in_half_precision(tiny_model, tmp_path):
  path = trained.save_pretrained(tiny_model, tmp_path, notes='untrained')
  assert path == tmp_path / 'tiny.npz' and trained.pretrained_names(tmp_path) == ['tiny']
  about = json.loads((tmp_path / 'tiny.json').read_text(encoding='utf-8'))
  assert about['notes'] == 'untrained' and about['step'] == 12
  with np.load(path) as file:
    assert {file[name].dtype for name in file.files} == {np.dtype('float16')}
    assert about['num_parameters'] == sum(file[name].size for name in file.files)
  loaded = trained.load(pretrained='tiny', directory=tmp_path)
  assert loaded.step == 12 and loaded.name == 'tiny'
  assert loaded.config.model.hidden_dim == tiny_model.config.model.hidden_dim
  assert jax.tree.structure(loaded.params) == jax.tree.structure(tiny_model.params)
  for ours, theirs in zip(*map(jax.tree.leaves, (loaded.params, tiny_model.params)), strict=True):
    assert ours.dtype == jnp.float32
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-6)


def test_a_pretrained_model_has_one_step_and_one_average(tiny_model, tmp_path):
  trained.save_pretrained(tiny_model, tmp_path)
  rate = tiny_model.config.ema.display_rate
  same = trained.load(pretrained='tiny', ema=str(rate), step=12, directory=tmp_path)
  assert same.step == 12  # what there is may be asked for
  for asked, flag in ((dict(step=100), '--step=100'), (dict(ema='0.5'), '--ema=0.5')):
    with pytest.raises(UserError, match=rf'{flag}: tiny is .* one step of it \(12\)') as error:
      trained.load(pretrained='tiny', directory=tmp_path, **asked)
    assert '\n' not in str(error.value)


def test_what_cannot_be_saved_in_half_precision(tiny_model, tmp_path):
  huge = tiny_model.with_params({'w': jnp.array([1e6])}, 1)
  with pytest.raises(ValueError, match='w has values that half precision cannot hold'):
    trained.save_pretrained(huge, tmp_path)
  noise = np.random.default_rng(0).standard_normal(5_000_000)
  with pytest.raises(ValueError, match='more than 8388608 bytes'):
    trained.save_pretrained(tiny_model.with_params({'w': noise}, 1), tmp_path)
  assert trained.pretrained_names(tmp_path) == []


def test_from_a_workdir(tiny_model, tmp_path):
  config = tiny_model.config.copy_and_resolve_references()
  config.ema.update(rates=(0.9, 0.99), display_rate=0.99)
  saver = checkpoints.Checkpoints(tmp_path / 'run', 1, 2, config=config)
  shifted = jax.tree.map(lambda x: x + 1, tiny_model.params)
  for step in (1, 2):
    averages = {'0.9': shifted, '0.99': tiny_model.params}
    saver.save(step, {'step': step, 'ema': {'generator': averages}})
  saver.close()
  model = trained.load(workdir=tmp_path / 'run')
  assert (model.step, model.name, model.config.num_steps) == (2, 'run', config.num_steps)
  jax.tree.map(np.testing.assert_array_equal, model.params, tiny_model.params)
  other = trained.load(workdir=tmp_path / 'run', ema=0.9, step=1)
  assert other.step == 1
  jax.tree.map(np.testing.assert_array_equal, other.params, shifted)
  with pytest.raises(UserError, match=r"has no '0.5'. There are: \['0.9', '0.99'\]"):
    trained.load(workdir=tmp_path / 'run', ema='0.5')


def test_a_config_from_before_some_of_its_groups(tiny_model, tmp_path):
  config = workdirs.plain(tiny_model.config)
  old = {name: value for name, value in config.items() if name != 'compat'}
  rate = str(tiny_model.config.ema.display_rate)
  state = {'ema': {'generator': {rate: tiny_model.params}}}
  saver = checkpoints.Checkpoints(tmp_path / 'run', 1, 1, config=old)
  saver.save(1, state)
  saver.close()
  assert 'compat' not in workdirs.load_config(tmp_path / 'run')
  loaded = trained.load(workdir=tmp_path / 'run')
  assert loaded.resolution == 16 and loaded.config.compat.top_k_per_split is False
  with pytest.raises(AttributeError):
    loaded.config.compat.top_k = True  # locked, as it was
  # Training goes on there under a config of today.
  saver = checkpoints.Checkpoints(tmp_path / 'run', 1, 1, config=tiny_model.config)
  saver.save(2, state)
  saver.close()
  assert 'compat' in workdirs.load_config(tmp_path / 'run')


def test_what_is_not_there(tmp_path):
  with pytest.raises(UserError, match='does not exist: no run began there'):
    trained.load(workdir=tmp_path / 'nowhere')
  with pytest.raises(UserError, match='No pretrained model is called .carz.. This copy'):
    trained.load(pretrained='carz', directory=tmp_path)
  (tmp_path / 'cats.npz').write_bytes(b'')
  with pytest.raises(UserError, match='There are: cats'):
    trained.load(pretrained='carz', directory=tmp_path)
  with pytest.raises(UserError, match='either a workdir or'):
    trained.load()


def test_the_field_is_asked_in_chunks(tiny_model):
  w = tiny_model.map(tiny_model.latents([0, 1]))
  points = np.random.default_rng(0).uniform(-0.1, 0.1, (2, 50, 3)).astype(np.float32)
  density, colour = tiny_model.query(w, points)
  assert density.shape == (2, 50) and colour.shape == (2, 50, 3)
  parts = tiny_model.query(w, points, chunk=16)  # the last chunk is padded
  np.testing.assert_allclose(parts[0], density, rtol=1e-4, atol=1e-4)
  np.testing.assert_allclose(parts[1], colour, rtol=1e-4, atol=1e-5)
  query = jax.jit(functools.partial(tiny_model.generator.apply, method='query'))
  own = query(tiny_model.variables, w, points)
  np.testing.assert_allclose(density, own[0], rtol=1e-4, atol=1e-4)
  # One style for all rows, and another direction: colour changes, density does not.
  same = tiny_model.query(w[:1], points, directions=np.float32([1, 0, 0]))
  np.testing.assert_allclose(same[0][0], density[0], rtol=1e-4, atol=1e-4)
  assert np.abs(same[1][0] - colour[0]).max() > 1e-4 and np.abs(same[0][1] - density[1]).max() > 0
  assert tiny_model.query(w, points[:, :0])[0].shape == (2, 0)


def test_a_scene_of_pigan_is_its_styles(tiny_model):
  w = tiny_model.map(tiny_model.latents([0]))
  assert tiny_model.prepare(w) is w


def test_weights_of_a_training_that_diverged(tiny_model, monkeypatch):
  broken = jax.tree.map(lambda x: x * np.nan, tiny_model.variables)
  monkeypatch.setattr(trained, 'config_of', lambda *args: tiny_model.config)
  monkeypatch.setattr(checkpoints, 'read_variables', lambda *args, **fields: (1234, broken))
  with pytest.raises(UserError, match=r'at step 1,234 are not finite.* with --step'):
    trained.load('runs/x')


@pytest.mark.parametrize('name', trained.pretrained_names())
def test_the_parameters_of_a_packaged_model_are_those_of_its_generator(name):
  """Names and shapes, of arrays that are read and a generator that is not compiled."""
  generator = generators.create(trained.config_of(pretrained=name))
  expected = jax.eval_shape(lambda: generators.init(generator, jax.random.key(0)))
  arrays, step = packaged.read(name)
  found = packaged.variables_of(generator, arrays)
  shapes = functools.partial(jax.tree.map, lambda x: x.shape)
  assert shapes(found) == shapes(dict(expected)) and step > 0
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(found))
