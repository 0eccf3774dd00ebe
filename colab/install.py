"""Installs the clone that it lies in into a Colab runtime: `%run colab/install.py`.

JAX comes for the runtime's accelerator. TensorFlow is left alone: the notebooks do not use it, and
that of Colab would be replaced. `--dry-run` prints the two commands instead.
"""

import glob
import importlib.metadata
import pathlib
import re
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parents[1]
EXTRAS = ('apps',)
_LEFT_OUT = re.compile(r'(tensorflow|tensorflow-cpu|tensorflow-datasets)\b')


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
    if extra is None and not _LEFT_OUT.match(name):
      chosen.append(line)
    elif extra and extra[1] in extras:
      chosen.append(name.strip())
  return chosen


def main(argv: list[str]) -> None:
  """The program."""
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


if __name__ == '__main__':
  main(sys.argv[1:])
