"""Makes docs/images/looking by the commands of docs/looking.md.

python docs/make_looking_images.py
"""

import os
import pathlib
import re
import shlex

DOCS = pathlib.Path(__file__).parent


def commands(page: str) -> list[list[str]]:
  """Returns the words of each `jax3dgan` command in the ```bash blocks of a page."""
  lines = '\n'.join(re.findall(r'```bash\n(.*?)```', page, re.S)).splitlines()
  return [shlex.split(line)[1:] for line in lines if line.startswith('jax3dgan ')]


def pictures(page: str) -> list[str]:
  """Returns the names of the pictures that a page shows of this folder."""
  return re.findall(r'\]\(images/looking/([^)]+)\)', page)


def main() -> None:
  """The program."""
  from jax3dgan import cli

  page = (DOCS / 'looking.md').read_text(encoding='utf-8')
  folder = DOCS / 'images' / 'looking'
  folder.mkdir(parents=True, exist_ok=True)
  os.chdir(folder)
  for command in commands(page):
    cli.main(command)
  for path in folder.iterdir():  # what the page does not show: records, other examples
    if path.name not in pictures(page):
      path.unlink()


if __name__ == '__main__':
  main()
