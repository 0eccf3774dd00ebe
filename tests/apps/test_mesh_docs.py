"""What docs/meshes.md says can be typed."""

import pathlib
import re
import shlex

import pytest
import trimesh
from PIL import Image

from jax3dgan import cli
from jax3dgan.meshes import mesh_preview
from jax3dgan.runs import provenance

ROOT = pathlib.Path(__file__).parents[2]
PAGE = (ROOT / 'docs' / 'meshes.md').read_text(encoding='utf-8')
COMMANDS = [
  line for block in re.findall(r'```sh\n(.*?)```', PAGE, re.S) for line in block.splitlines()
]


@pytest.mark.parametrize('command', COMMANDS)
def test_a_command_of_the_page(packaged, command, tmp_path, monkeypatch, capsys):
  """In small: 12 points on a side, 64 texels, previews of 16 pixels; no level to look for."""
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(mesh_preview, 'RESOLUTION', 16)
  program, *flags = shlex.split(command)
  (tmp_path / 'docs' / 'images').mkdir(parents=True)
  small = ['--resolution=12', '--level=8', *(['--texture=64'] if '--texture' in command else [])]
  small += ['--seeds=0-1'] if '--seeds' in command else []
  assert program == 'jax3dgan' and not cli.main([*flags, *small])
  out = pathlib.Path(re.search(r'--out=(\S+)', command)[1])
  made = sorted(out.parent.glob(f'{out.stem}*{out.suffix}'))
  assert len(made) == (2 if '--seeds' in command else 1)
  for path in made:
    mesh = trimesh.load(path, force='mesh')
    mesh.merge_vertices(merge_tex=True, merge_norm=True)  # a texture has seams
    assert mesh.is_volume
    assert str(path) in capsys.readouterr().out or len(made) > 1


def test_the_code_of_the_page(packaged, tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  (code,) = re.findall(r'```python\n(.*?)```', PAGE, re.S)
  exec(compile(code.replace('resolution=48', 'resolution=12'), 'docs/meshes.md', 'exec'), {})
  assert 'True' in capsys.readouterr().out and (tmp_path / 'car.glb').is_file()


def test_the_pictures_are_of_the_commands():
  names = re.findall(r'\]\((images/.*?)\)', PAGE)
  assert names
  for name in names:
    path = ROOT / 'docs' / name
    with Image.open(path) as image:
      assert image.size[0] > 500
    assert provenance.read(path)['app'] == 'mesh'
