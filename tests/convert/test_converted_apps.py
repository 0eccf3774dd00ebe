"""Every app and the evaluation on one workdir of a converted EG3D, as a user calls them."""

import json
import math
from collections import Counter

import numpy as np
import persistent_pickles as pickles
import PIL.Image
import pytest

from jax3dgan import cli, trained
from jax3dgan import main as main_lib
from jax3dgan.convert import __main__ as convert_cli
from jax3dgan.pictures import maps, sheets

RENDERING = dict(pickles.FFHQ, depth_resolution=4, depth_resolution_importance=4)


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
  """A small network, 16² rendered, pictures of 128²."""
  folder = tmp_path_factory.mktemp('converted')
  state = pickles.synthetic(scale=0.3)
  # Of a density that lets something through: a surface that a mesh can be taken from.
  state['decoder.net.2.weight'][0] *= 40
  discriminator_state = pickles.module(pickles.synthetic_discriminator(), 'DualDiscriminator')
  network = pickles.generator(state, 16, RENDERING)
  (folder / 'x.pkl').write_bytes(pickles.dumps(pickles.checkpoint(network, discriminator_state)))
  flags = ['--from=eg3d', f'--input={folder / "x.pkl"}', f'--workdir={folder / "run"}', '--step=8']
  assert convert_cli.main(flags) == 0
  return folder / 'run'


@pytest.fixture
def counted(workdir):
  """(model, how often its parts run)."""
  model, calls = trained.load(workdir=workdir), Counter()

  def watch(name):
    function = getattr(model.compiled, name)

    def called(*args):
      calls[name] += 1
      return function(*args)

    model.compiled.__dict__[name] = called

  watch('prepare')
  watch('synthesize')
  return model, calls


def test_the_cameras_are_those_of_the_release(workdir):
  model = trained.load(workdir=workdir)
  matrix = np.asarray(model.orbit([0.0, 0.5]).cam2world)
  places = matrix[:, :3, 3]
  np.testing.assert_allclose(np.linalg.norm(places, axis=1), 2.7, rtol=1e-6)
  pivot = np.array([0, 0, 0.2]) - places
  pivot /= np.linalg.norm(pivot, axis=1, keepdims=True)
  np.testing.assert_allclose(matrix[:, :3, 2], pivot, atol=1e-6)
  assert math.isclose(float(model.front.intrinsics[0, 0, 0]), 4.2647, rel_tol=1e-5)
  # Told the camera in front, whatever the view: an identity is one from every side.
  z = model.latents([3])
  np.testing.assert_array_equal(model.map(z), model.map(z, label=model.front.label()))
  assert np.abs(model.map(z) - model.map(z, label=model.orbit(0.5).label())).max() > 0


def test_planes_are_computed_once_for_each_object(counted):
  model, calls = counted
  w = np.asarray(model.map(model.latents([0, 1])))
  maps.render(model, w[:1], model.orbit(np.linspace(-0.3, 0.3, 5)))
  assert calls['prepare'] == 1
  calls.clear()
  sheets.sheet(model, [0, 1], 0.7, yaws=[-20, 0, 20])  # each in the grid and from three sides
  assert calls['prepare'] == 2
  calls.clear()
  # As the metrics ask: neighbours are views of one object.
  camera = model.orbit(np.tile([-0.3, 0.0, 0.3], 2))
  out = model.render(np.repeat(w, 3, axis=0), camera, batch=4)
  assert calls['prepare'] == 2
  apart = [model.render(w[i // 3 : i // 3 + 1], model.orbit([a])) for i, a in
           enumerate([-0.3, 0.0, 0.3, -0.3, 0.0, 0.3])]  # fmt: skip
  expected = np.concatenate([one.image for one in apart])
  np.testing.assert_allclose(out.image, expected, atol=2e-5)


def test_pictures(workdir, tmp_path):
  for verb, name, flags in (
    ('samples', 's.png', ['--seeds=0', '--yaws=-20,20', '--show=colour,depth,normals,opacity']),
    ('turntable', 't.gif', ['--seeds=0', '--frames=4', '--depth']),
    ('interpolate', 'm.png', ['--mix=coarse', '--rows=0', '--columns=1']),
  ):
    out = tmp_path / name
    cli.main([verb, f'--workdir={workdir}', f'--out={out}', *flags])
    with PIL.Image.open(out) as picture:
      assert picture.width >= 128 and picture.height >= 128


def test_mesh_and_its_preview(workdir, tmp_path):
  """The preview is smaller than the only size that the network makes."""
  out, preview = tmp_path / 'm.ply', tmp_path / 'm.png'
  flags = [f'--workdir={workdir}', f'--out={out}', f'--preview={preview}', '--resolution=24']
  cli.main(['mesh', *flags, '--normals=mesh', '--seeds=0'])
  assert out.stat().st_size > 1000
  with PIL.Image.open(preview) as picture:
    assert picture.height > 3 * 160


@pytest.mark.thorough
def test_inversion(workdir, tmp_path):
  model = trained.load(workdir=workdir)
  shown = maps.render(model, model.map(model.latents([4])), model.front)
  PIL.Image.fromarray(shown.image[0, 0]).save(tmp_path / 'photo.png')
  out = tmp_path / 'found'
  flags = [f'--input={tmp_path / "photo.png"}', f'--out={out}', '--yaw=0', '--steps=2']
  cli.main(['invert', f'--workdir={workdir}', *flags, '--samples=4', '--perceptual=none'])
  row = json.loads((out / 'summary.json').read_text())['photos'][0]
  assert np.isfinite(row['psnr']) and row['yaw'] == pytest.approx(0, abs=1e-3)


def test_evaluation(workdir, thorough):
  names = ['nfs', 'reprojection', 'view_leak'] if thorough else ['nfs']
  flags = ['eval', '--mode=eval', f'--workdir={workdir}', '--config.data.source=toys']
  flags += [f'--config.eval.{x}' for x in ('num_latents=2', f'metrics={",".join(names)}')]
  assert main_lib.main(flags) == 0
  figures = json.loads((workdir / 'eval' / '00000008' / 'metrics.json').read_text())
  assert figures['step'] == 8
  text = json.dumps(figures)
  figures = {'nfs': 'nfs', 'reprojection': 'reprojection/mse', 'view_leak': 'view_leak/depth'}
  assert all(f'"{figures[name]}"' in text for name in names)
