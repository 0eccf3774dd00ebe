"""The command that exports, and what its documentation says."""

import json
import pathlib
import re
import subprocess
import sys
import zipfile

import pytest

from jax3dgan.apps import export
from jax3dgan.export import loader
from jax3dgan.runs import provenance

DOCS = pathlib.Path(__file__).parents[2] / 'docs' / 'export.md'


def test_the_command(pretrained, tmp_path, capsys):
  out, again = tmp_path / 'x.zip', tmp_path / 'y.zip'
  flags = ['--pretrained=tiny', '--resolution=8', '--platforms=cpu,tpu', '--psi=0.6']
  export.main([*flags, f'--out={out}', '--num_coarse=4'])
  said = capsys.readouterr().out
  assert re.search(r'x.zip: tiny, step 12, 8², for cpu, tpu; 0\.\d\d MB in \d+\.\d s', said)
  assert float(re.search(r'differ from those of the model by at most (\S+)', said)[1]) <= 1e-6
  with zipfile.ZipFile(out) as file:
    facts = json.loads(file.read('about.json'))
  assert facts['psi'] == 0.6 and facts['options']['num_coarse'] == 4
  assert facts['provenance'] == provenance.read(out) and facts['provenance']['app'] == 'export'
  export.main([f'--repeat={out}', f'--out={again}'])
  assert out.read_bytes() == again.read_bytes()


def test_wrong_flags(pretrained, tmp_path, capsys):
  with pytest.raises(SystemExit):
    export.main(['--pretrained=tiny', '--out=x.bin'])
  assert 'must end in .zip' in capsys.readouterr().err
  with pytest.raises(SystemExit) as stop:
    export.main(['--pretrained=tiny', f'--out={tmp_path / "x.zip"}', '--platforms=cpu,gpu'])
  assert stop.value.code == ("Error: No platform is called 'gpu'. Choose some of cpu, cuda, tpu.")


def test_the_documentation(packaged, tmp_path):
  text = DOCS.read_text(encoding='utf-8')
  commands = re.findall(r'^```sh\n(.*?)```', text, re.M | re.S)
  code = re.findall(r'^```python\n(.*?)```', text, re.M | re.S)
  assert len(commands) == 2 and len(code) == 2
  assert code[1] in pathlib.Path(loader.__file__).read_text(encoding='utf-8')
  assert len(code[1].strip().splitlines()) <= 20
  verb, *flags = commands[0].split()[1:]
  assert verb == 'export'
  export.main([flag.replace('toys.zip', f'{tmp_path}/toys.zip') for flag in flags])
  with zipfile.ZipFile(tmp_path / 'toys.zip') as file:  # the second command
    file.extract('load.py', tmp_path)
  lines = [
    'import sys; sys.modules.update(jax3dgan=None, flax=None)',
    code[0],
    "assert out['image'].shape == (3, 32, 32, 3)",
    "assert out['image'].std() > 0.1 and 0.1 < out['opacity'].mean() < 0.6",
  ]
  subprocess.run([sys.executable, '-c', '\n'.join(lines)], check=True, cwd=tmp_path)
