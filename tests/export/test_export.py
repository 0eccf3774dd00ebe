"""A generator as one file: the same pictures for any batch, without this package."""

import dataclasses
import io
import json
import re
import subprocess
import sys
import zipfile

import jax
import numpy as np
import pytest
from jax import export as jax_export

from jax3dgan import export, trained
from jax3dgan.errors import UserError
from jax3dgan.export import loader


@pytest.fixture(scope='module')
def written(tiny_model, tmp_path_factory):
  path = tmp_path_factory.mktemp('export') / 'tiny.zip'
  return path, export.write(tiny_model, path, resolution=8)


@pytest.fixture(scope='module')
def flat(tmp_path_factory):
  """The 2D model of the package, and its file."""
  model = trained.load(pretrained='toys_2d')
  path = tmp_path_factory.mktemp('export') / 'flat.zip'
  export.write(model, path)
  return model, path


def views(model, num):
  camera = model.orbit(np.linspace(-1, 2, num), 0.3)
  return camera, (camera.cam2world, camera.intrinsics)


@pytest.mark.parametrize('batch', [1, 3, 5])
def test_the_file_draws_what_the_model_draws(tiny_model, written, batch):
  exported = export.load(written[0])
  z = tiny_model.latents(range(batch))
  for psi in (0.0, 0.7, 1.0):
    np.testing.assert_allclose(exported.map(z, psi), tiny_model.map(z, psi), atol=1e-6)
  w = exported.map(z)  # the display's truncation
  camera, view = views(tiny_model, batch)
  out = exported.synthesize(w, *view)
  expected = tiny_model.render(tiny_model.map(z), camera, 8, batch=1)
  assert out.keys() == {'image', 'depth', 'opacity'}
  for name, value in out.items():
    assert value.shape[0] == batch
    np.testing.assert_allclose(value, getattr(expected, name), atol=1e-6)
  assert np.ptp(out['depth']) > 0


def test_check_sees_other_weights(tiny_model, written):
  assert export.check(tiny_model, written[0], 3, 8) <= 1e-6
  other = tiny_model.with_params(jax.tree.map(lambda x: x * 1.01, tiny_model.params), 12)
  assert export.check(other, written[0], 3, 8) > 1e-3


def test_a_2d_model_has_no_camera(flat):
  model, path = flat
  exported = export.load(path)
  assert exported.about['camera'] is None and exported.about['outputs'].keys() == {'image'}
  for batch in (1, 3):
    w = exported.map(model.latents(range(batch)), 0.5)
    expected = model.render(model.map(model.latents(range(batch)), 0.5), model.orbit(0.0), batch=1)
    np.testing.assert_allclose(exported.synthesize(w)['image'], expected.image, atol=1e-6)


def test_the_forms_for_accelerators_draw_the_same(tiny_model, written, flat):
  """Their programs, lowered as for a CPU: they have nothing that only a GPU or TPU supports."""
  for model, path, resolution in ((tiny_model, written[0], 8), (*flat, None)):
    own = export.load(path)
    z = model.latents(range(3))
    camera, view = views(model, 3)
    view = view if model.has_camera else ()
    expected = model.render(model.map(z), camera, resolution).image
    with zipfile.ZipFile(path) as file:
      for platform in ('cuda', 'tpu'):
        programs = []
        for name in ('map', 'synthesize'):
          program = jax_export.deserialize(bytearray(file.read(f'{name}.{platform}')))
          assert program.platforms == (platform,)
          text = program.mlir_module()
          assert not re.search(r'[x<]f64>', text)
          # What asks for the batch's size at run time, and no more.
          calls = set(re.findall(r'custom_call @([\w.$-]+)', text))
          assert calls <= {'shape_assertion'}, calls
          programs.append(dataclasses.replace(program, platforms=('cpu',)))
        w = jax.jit(programs[0].call)(own.weights, z, np.float32(own.about['psi']))
        out = jax.jit(programs[1].call)(own.weights, w, *view)
        np.testing.assert_allclose(out['image'], expected, atol=3e-5)
  assert written[1]['batches'] == {'cpu': 'one by one', 'cuda': 'together', 'tpu': 'together'}


def test_other_code_of_a_generator_is_exported_one_by_one(tiny_model, monkeypatch):
  """A generator that counts with its batch cannot draw a symbolic number of pictures at once."""
  cls = type(tiny_model.generator)
  synthesize = cls.synthesize

  def counting(self, w, *args, **kwargs):
    assert w.shape[0] <= 2**20
    return synthesize(self, w, *args, **kwargs)

  monkeypatch.setattr(cls, 'synthesize', counting)
  _, batches = export.programs(tiny_model, 8, ('cuda',))
  assert batches == {'cuda': 'one by one'}


def test_the_camera_of_the_loader(tiny_model, written):
  model = export.load(written[0])
  azimuth = np.linspace(-3, 3, 7)
  for elevation in (None, 0.4, np.linspace(-1, 1, 7)):
    expected = tiny_model.orbit(azimuth, elevation)
    cam2world, intrinsics = loader.orbit(model, azimuth, elevation)
    np.testing.assert_allclose(cam2world, expected.cam2world, atol=1e-6)
    np.testing.assert_allclose(intrinsics, expected.intrinsics, atol=1e-6)


def test_without_this_package(tiny_model, written, tmp_path):
  """The loader in the file, in a Python that has neither jax3dgan nor Flax."""
  with zipfile.ZipFile(written[0]) as file:
    file.extract('load.py', tmp_path)
  code = (
    'import sys\n'
    "for name in ('jax3dgan', 'flax', 'orbax', 'ml_collections', 'tensorflow'):\n"
    '  sys.modules[name] = None\n'  # importing it is an error
    'import numpy as np\n'
    'import load\n'
    f'model = load.Model({str(written[0])!r})\n'
    "z = np.random.default_rng(7).standard_normal((2, model.about['z_dim']), np.float32)\n"
    'out = model.synthesize(model.map(z, 0.5), *load.orbit(model, [0.0, 1.0], 0.2))\n'
    "np.save('image.npy', out['image'])\n"
    'try:\n'
    '  import jax3dgan\n'
    'except ImportError:\n'
    "  print('not there')\n"
  )
  done = subprocess.run(
    [sys.executable, '-c', code], check=True, cwd=tmp_path, capture_output=True, text=True
  )
  assert done.stdout == 'not there\n'
  z = np.random.default_rng(7).standard_normal((2, tiny_model.generator.z_dim), np.float32)
  expected = tiny_model.render(
    tiny_model.map(z, 0.5), tiny_model.orbit([0.0, 1.0], 0.2), 8, batch=1
  )
  np.testing.assert_allclose(np.load(tmp_path / 'image.npy'), expected.image, atol=1e-6)


def test_the_file_is_plain_and_the_same_each_time(tiny_model, written, tmp_path):
  path, facts = written
  with zipfile.ZipFile(path) as file:
    assert json.loads(file.read('about.json')) == facts
    names = {f'{n}.{p}' for n in ('map', 'synthesize') for p in export.PLATFORMS}
    assert set(file.namelist()) == names | {'about.json', 'load.py', 'weights.npz'}
    for name in names:  # no paths of the machine that wrote it
      assert b'site-packages' not in file.read(name) and b'jax3dgan/' not in file.read(name)
    weights = np.load(io.BytesIO(file.read('weights.npz')), allow_pickle=False)
    size = sum(weights[name].size for name in weights.files)
  num = sum(x.size for x in jax.tree.leaves(tiny_model.params))
  assert size == num + tiny_model.average_w.size
  assert facts['w_shape'] == ['b', *tiny_model.average_w.shape]
  assert facts['outputs'] == {
    'image': ['b', 8, 8, 3],
    'depth': ['b', 8, 8],
    'opacity': ['b', 8, 8],
  }
  assert facts['options']['resolution'] == 8 and facts['camera']['radius'] == 1.0
  again = tmp_path / 'again.zip'
  export.write(tiny_model, again, resolution=8)
  assert again.read_bytes() == path.read_bytes()
  assert [p.name for p in tmp_path.iterdir()] == ['again.zip']


def test_options_are_kept(tiny_model, tmp_path):
  path = tmp_path / 'x.zip'
  facts = export.write(tiny_model, path, 8, ('cpu',), psi=0.3, num_coarse=5, num_fine=0)
  assert facts['options']['num_coarse'] == 5 and facts['psi'] == 0.3
  assert export.check(tiny_model, path, 1, 8, num_coarse=5, num_fine=0) <= 1e-6
  assert export.check(tiny_model, path, 1, 8) > 1e-4
  with pytest.raises(UserError, match='has programs for cpu, not for cuda'):
    export.load(path, 'cuda')


def test_what_the_user_can_fix(tiny_model, written, tmp_path, monkeypatch):
  with pytest.raises(UserError, match="No platform is called 'metal'. Choose some of cpu, cuda"):
    export.write(tiny_model, tmp_path / 'x.zip', platforms=('metal',))
  (tmp_path / 'x.zip').write_bytes(b'PK')
  for name in ('x.zip', 'nowhere.zip'):
    with pytest.raises(UserError, match='is not a file that `jax3dgan export` wrote'):
      export.load(tmp_path / name)
  monkeypatch.setattr(export, 'FORMAT', 0)
  with pytest.raises(UserError, match='has format 1; this version reads up to 0'):
    export.load(written[0])
  monkeypatch.setitem(sys.modules, 'flatbuffers', None)
  with pytest.raises(UserError, match=r'pip install jax3dgan\[export\]'):
    export.write(tiny_model, tmp_path / 'y.zip')
  assert not (tmp_path / 'y.zip').exists()
