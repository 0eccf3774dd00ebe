"""Installs the clone that it lies in into a Colab runtime: `%run colab/install.py`.

JAX comes for the runtime's accelerator. The TensorFlow of the runtime is left alone, which another
would overwrite: any since 2.19 will do. A package that the session has loaded already and that
another version has replaced is said to need a restart. `--dry-run` prints the two commands instead.
"""

import glob
import importlib.metadata
import importlib.util
import pathlib
import re
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parents[1]
EXTRAS = ('apps',)
# By the module that several distributions bring; left out where it is there.
_LEFT_OUT = {
  'tensorflow': 'tensorflow',
  'tensorflow-cpu': 'tensorflow',
  'tensorflow-datasets': 'tensorflow_datasets',
}


def accelerator(smi: str | None = None) -> str:
  """Returns the extra of setup.py that serves the runtime: 'cuda12', 'cuda13', 'tpu', or ''.

  Args:
    smi: What `nvidia-smi` prints; None to ask it.
  """
  if smi is None:
    program = shutil.which('nvidia-smi')
    out = subprocess.run([program], capture_output=True, text=True) if program else None
    smi = out.stdout if out else ''
  version = re.search(r'CUDA Version: (\d+)', smi)  # the newest that the driver knows
  if version:
    return 'cuda13' if int(version[1]) >= 13 else 'cuda12'
  return 'tpu' if glob.glob('/dev/accel*') or glob.glob('/dev/vfio/[0-9]*') else ''


def requirements(every: list[str], extras: tuple[str, ...]) -> list[str]:
  """Returns what to install of a package's requirements, in the form of its metadata."""
  chosen = []
  for line in every:
    name, _, marker = line.partition(';')
    extra = re.search(r"""extra == ['"](\w+)['"]""", marker)
    module = _LEFT_OUT.get(re.match(r'[\w.-]+', name)[0])
    if extra is None and not (module and importlib.util.find_spec(module)):
      chosen.append(line)
    elif extra and extra[1] in extras:
      chosen.append(name.strip())
  return chosen


def loaded() -> dict[str, str]:
  """Returns the versions of the packages that this session has modules of."""
  owners = importlib.metadata.packages_distributions()
  modules = {name.partition('.')[0] for name in sys.modules}
  names = {owner for module in modules for owner in owners.get(module, ())}
  return {name: importlib.metadata.version(name) for name in names}


def restart(before: dict[str, str]) -> str:
  """Returns the line that says which of these packages have been replaced; '' if none has."""
  importlib.invalidate_caches()
  after = {name: importlib.metadata.version(name) for name in before}
  changed = [
    f'{name} {before[name]} → {after[name]}' for name in before if before[name] != after[name]
  ]
  if not changed:
    return ''
  return (
    f'RESTART NOW (Runtime > Restart session) and run the notebook again from its top: '
    f'{", ".join(sorted(changed))} had been loaded already.'
  )


def main(argv: list[str]) -> None:
  """The program."""
  before = loaded()
  pip = [sys.executable, '-m', 'pip', 'install', '--quiet']
  package = [*pip, '--no-deps', '--editable', str(HERE)]
  dry = '--dry-run' in argv
  print(' '.join(package)) if dry else subprocess.run(package, check=True)
  extras = tuple(filter(None, (*EXTRAS, accelerator())))
  importlib.invalidate_caches()
  needed = requirements(importlib.metadata.requires('jax3dgan'), extras)
  if dry:
    print(' '.join([*pip, *map(repr, needed)]))
    return
  subprocess.run([*pip, *needed], check=True)
  print(f'jax3dgan is installed, with {", ".join(extras)}.')
  print(restart(before), end='')


if __name__ == '__main__':
  main(sys.argv[1:])
