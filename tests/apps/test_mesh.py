"""`jax3dgan mesh` writes what its flags say, tells how, and makes it again."""

import json

import numpy as np
import pytest
import trimesh
from PIL import Image

from jax3dgan import config as config_lib
from jax3dgan import generators, trained
from jax3dgan.apps import camera_export, mesh, turntable
from jax3dgan.errors import UserError
from jax3dgan.meshes import mesh_preview, meshing
from jax3dgan.runs import provenance

# The field of an untrained generator is no object: its surface goes through the middle of it.
FLAGS = ['--pretrained=tiny', '--resolution=12', '--level=0', '--psi=1']


@pytest.mark.parametrize('ending', ['ply', 'glb'])
def test_a_mesh_is_made_again_from_what_lies_beside_it(pretrained, ending, tmp_path, capsys):
  first, again = tmp_path / f'first.{ending}', tmp_path / f'again.{ending}'
  mesh.main([*FLAGS, '--seeds=3', f'--out={first}', '--keep=all', '--cameras=orbit:4'])
  mesh.main([f'--repeat={first}', f'--out={again}'])
  assert first.read_bytes() == again.read_bytes()
  record = provenance.read(first)
  assert record['flags']['seeds'] == [3] and record['flags']['resolution'] == 12
  assert record['surface']['level'] == 0 and record['surface']['cube'] == pytest.approx(0.24)
  output = capsys.readouterr().out
  assert 'seed 3 of tiny, step 12' in output
  # softplus(0) · .24 of depth: what is so thin is in no picture.
  assert 'A density of the level 0 takes 15% of the light' in output


def test_one_file_for_each_seed(pretrained, tmp_path, monkeypatch):
  monkeypatch.setattr(mesh_preview, 'RESOLUTION', 24)
  out, preview = tmp_path / 'x.ply', tmp_path / 'x.png'
  mesh.main([*FLAGS, '--seeds=1,4', f'--out={out}', f'--preview={preview}', '--cameras=sweep:3'])
  names = {path.name for path in tmp_path.iterdir() if path.is_file()}
  each = {f'x_{seed}.{end}' for seed in ('0001', '0004') for end in ('ply', 'ply.json', 'png')}
  assert names == each | {'x_cameras.json', 'x_cameras.glb'}
  with Image.open(tmp_path / 'x_0004.png') as image:
    assert np.asarray(image).std() > 5 and image.size[0] >= 6 * 24
    assert json.loads(image.text['jax3dgan'])['flags']['seeds'] == [4]
  alone = tmp_path / 'alone.ply'
  mesh.main([f'--repeat={tmp_path / "x_0004.ply"}', f'--out={alone}'])
  assert alone.read_bytes() == (tmp_path / 'x_0004.ply').read_bytes()
  assert alone.read_bytes() != (tmp_path / 'x_0001.ply').read_bytes()
  film = json.loads((tmp_path / 'x_cameras.json').read_text())
  assert [frame['frame'] for frame in film['frames']] == [1, 2, 3] and film['resolution'] == 16


def test_the_surface_in_what_the_camera_sees(pretrained, tiny_model, tmp_path, capsys):
  out = tmp_path / 'x.ply'
  mesh.main([*FLAGS, '--seeds=3', f'--out={out}', '--frustum', '--no-colour', '--normals=mesh'])
  view = np.asarray(tiny_model.front.cam2world[0])
  depth = (trimesh.load(out).vertices - view[:3, 3]) @ view[:3, 2]
  assert depth.min() == pytest.approx(0.88, abs=1e-4) and depth.max() == pytest.approx(
    1.12, abs=1e-4
  )
  assert 'level 0, frustum' in capsys.readouterr().out
  assert provenance.read(out)['flags']['frustum'] is True


def test_a_texture(pretrained, tmp_path):
  out = tmp_path / 'x.obj'
  mesh.main([*FLAGS, '--seeds=0', f'--out={out}', '--texture=32'])
  again = trimesh.load(out, process=False)
  assert again.visual.kind == 'texture' and again.visual.material.image.size == (32, 32)


def test_the_cameras_of_a_turntable(pretrained, tiny_model, tmp_path):
  video = tmp_path / 'x.gif'
  turn = ['--pretrained=tiny', '--seeds=0', '--frames=5', '--resolution=8', '--fps=10']
  turntable.main([*turn, f'--out={video}'])
  for source in (video, tmp_path / 'x.gif.json'):
    film = camera_export.film(tiny_model, str(source))
    assert (len(film.cam2world), film.fps, film.resolution) == (5, 10.0, 8)
  expected = tiny_model.orbit(2 * np.pi * np.arange(5) / 5).cam2world
  np.testing.assert_allclose(film.cam2world, expected, atol=1e-6)
  other = tmp_path / 'y.json'
  for content in ('{}', '[1', '{"app": "samples", "flags": {}}'):
    other.write_text(content)
    with pytest.raises(UserError, match='no record of a turntable'):
      camera_export.film(tiny_model, str(other))
  for text in ('orbit', 'orbit:0', 'spiral:3', 'nowhere.json'):
    with pytest.raises(UserError, match='is no path of cameras. Set orbit:60'):
      camera_export.film(tiny_model, text)


@pytest.mark.parametrize(
  'flags, message',
  [
    (['--out=x.stl'], 'End it in one of .ply, .obj, .glb'),
    (['--out=x.ply', '--texture=64'], 'a PLY file has no texture'),
    (['--out=x.glb', '--texture=64', '--no-colour'], 'leave out --no-colour'),
    (['--out=x.glb', '--frustum', '--cube=1'], 'leave one of them out'),
    (['--out=x.glb', '--keep=2'], 'none of largest, all, and shares'),
    (['--out=x.glb', '--preview=x.jpg'], 'must end in .png'),
  ],
)
def test_wrong_flags(flags, message, capsys):
  with pytest.raises(SystemExit) as stop:
    mesh.main(['--pretrained=tiny', *flags])
  assert stop.value.code == 2 and message in capsys.readouterr().err


def test_what_the_user_can_fix_is_one_line(pretrained, tmp_path):
  with pytest.raises(SystemExit) as stop:
    mesh.main([*FLAGS[:2], '--level=1e6', f'--out={tmp_path / "x.ply"}'])
  text = stop.value.code
  assert text.startswith('Error: The density never exceeds 1e+06: its extreme is ')
  assert 'Try --level=' in text and '\n' not in text


def test_a_2d_model_says_so(tmp_path, monkeypatch):
  config = config_lib.base_config()
  config_lib.set_model(config, 'stylegan2')
  config = config_lib.tiny(config)
  flat = trained.Trained(config, generators.create(config), {'params': {}}, 1, 'flat')
  monkeypatch.setattr(trained, 'load', lambda *a, **k: flat)
  with pytest.raises(SystemExit) as stop:
    mesh.main(['--pretrained=flat', f'--out={tmp_path / "x.ply"}'])
  assert stop.value.code.startswith('Error: flat has no field, so no surface.')


def test_the_mesh_of_the_toys_is_the_car_of_the_pictures(packaged):
  """Its silhouettes and its colours are those of the renderings."""
  from jax3dgan import viz

  model = trained.load(pretrained='toys')
  w = model.map(model.latents([0]))
  car = meshing.extract(model, w, 40)
  assert car.is_watertight and car.metadata['kept'] == 1
  camera = model.orbit(np.radians([40, 220]))
  out = model.render(w, camera, 32)
  for i in range(2):
    one = type(camera)(camera.cam2world[i : i + 1], camera.intrinsics[i : i + 1])
    seen = mesh_preview.view(car, one, 32)
    own, solid = np.isfinite(seen.depth), out.opacity[i] > 0.5
    assert (own & solid).sum() / (own | solid).sum() > 0.9
    both = own & (out.opacity[i] > 0.95)
    error = viz.to_uint8(out.image[i])[both].astype(float) - seen.colour[both]
    assert 10 * np.log10(255**2 / (error**2).mean()) > 17
