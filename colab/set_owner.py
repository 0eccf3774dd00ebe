"""Says in notebooks, READMEs and docs whose the repository is: `colab/set_owner.py NAME`.

The badges and the first cells name it as https://github.com/OWNER/jax3dgan; OWNER stands there
until it is known.
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
# https://github.com/OWNER/jax3dgan and https://colab.research.google.com/github/OWNER/jax3dgan
ADDRESS = re.compile(r'(github(?:\.com)?/)([\w-]+)(?=/jax3dgan\b)')


def files(root: pathlib.Path) -> list[pathlib.Path]:
  """Returns what names the repository."""
  pages = (root / 'README.md', root / 'colab' / 'README.md', root / 'docs' / 'mkdocs.yml')
  return [*sorted((root / 'colab').glob('*.ipynb')), *pages]


def owners(text: str) -> set[str]:
  """Returns the owners that a text names."""
  return {match[2] for match in ADDRESS.finditer(text)}


def set_owner(root: pathlib.Path, owner: str) -> None:
  """Writes the owner into the files of a clone."""
  for path in files(root):
    text = path.read_text(encoding='utf-8')
    path.write_text(ADDRESS.sub(rf'\g<1>{owner}', text), encoding='utf-8')


def main(argv: list[str]) -> int:
  """The program; returns the exit status."""
  if len(argv) != 1 or not re.fullmatch(r'[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?', argv[0]):
    print('usage: python colab/set_owner.py NAME, the account that has the repository jax3dgan')
    return 2
  set_owner(ROOT, argv[0])
  print('\n'.join(str(path.relative_to(ROOT)) for path in files(ROOT)))
  return 0


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
