"""The console script `jax3dgan`: one entry to the programs of the package.

`jax3dgan VERB ...` is `python -m MODULE ...` of the verb's module.
"""

import ast
import importlib
import importlib.util
import os
import pathlib
import sys
from collections.abc import Sequence
from typing import NamedTuple

from jax3dgan import programs


class Verb(NamedTuple):
  """A program.

  Attributes:
    module: Its module, which has `main(argv)`.
    example: Arguments that show its use.
    before: Arguments that the verb stands for.
  """

  module: str
  example: str
  before: tuple[str, ...] = ()


VERBS = {
  'train': Verb('jax3dgan.main', '--config=toys'),
  'eval': Verb('jax3dgan.main', '--workdir=runs/toys', ('--mode=eval',)),
  'samples': Verb('jax3dgan.apps.samples', '--pretrained=toys --out=samples.png --depth'),
  'turntable': Verb('jax3dgan.apps.turntable', '--pretrained=toys --out=turntable.mp4'),
  'interpolate': Verb('jax3dgan.apps.interpolate', '--pretrained=toys --out=x.mp4 --seeds=0,5,9'),
  'mesh': Verb('jax3dgan.apps.mesh', '--pretrained=toys --out=car.glb --preview=car.png'),
  'invert': Verb('jax3dgan.apps.invert', '--pretrained=toys --input=car.png --out=inverted'),
  'edit': Verb('jax3dgan.apps.edit', '--pretrained=toys --out=edits.png --directions=pca'),
  'express': Verb(
    'jax3dgan.apps.express', '--workdir=runs/faces --out=x.png --expressions=smile,open:0.7'
  ),
  'view': Verb('jax3dgan.apps.view', '--pretrained=toys'),
  'export': Verb('jax3dgan.apps.export', '--pretrained=toys --out=toys.zip'),
  'prepare': Verb('jax3dgan.data.prepare', '--source=photos --out=data/photos64 --resolution=64'),
  'convert': Verb(
    'jax3dgan.convert.__main__', '--from=pigan --input=generator.pth --workdir=runs/celeba'
  ),
  'plan': Verb('jax3dgan.tools.plan', '--config=celeba'),
}
_WIDTH = max(map(len, VERBS)) + 2


def summary(verb: str) -> str:
  """Returns what a verb does: the first sentence of its module, which is not imported for that."""
  if verb == 'eval':
    return 'Measures a trained model: FID, KID and what makes it 3D.'
  parent, _, name = VERBS[verb].module.rpartition('.')
  folder = pathlib.Path(importlib.util.find_spec(parent).submodule_search_locations[0])
  text = ast.get_docstring(ast.parse((folder / f'{name}.py').read_text(encoding='utf-8')))
  return text.split('\n\n')[0].split('\n')[0].partition(': `')[0].rstrip('.') + '.'


def usage() -> str:
  """Returns the help of the script."""
  lines = [
    'usage: jax3dgan VERB [flags]',
    '',
    '3D-aware GANs: train, measure, render, explore.',
    '',
  ]
  lines += [f'  {verb:{_WIDTH}}{summary(verb)}' for verb in VERBS]
  lines += ['', 'examples:']
  lines += [f'  jax3dgan {verb} {entry.example}' for verb, entry in VERBS.items()]
  lines += ['', 'jax3dgan VERB --help lists the flags of one.']
  return '\n'.join(lines)


def main(argv: Sequence[str] | None = None) -> int | None:
  """The program; returns the exit status."""
  # As `python -m` has it: a config may name classes of a package in the current folder. Last, so
  # that no file there replaces a module.
  if not {'', os.getcwd()} & set(sys.path):
    sys.path.append(os.getcwd())
  args = programs.arguments(argv)
  if not args or args[0] in ('-h', '--help', 'help'):
    print(usage())
    return 0 if args else 2
  verb, *rest = args
  if verb == '--version':
    import jax3dgan

    print(f'jax3dgan {jax3dgan.__version__}')
    return 0
  if verb not in VERBS:
    import difflib

    near = difflib.get_close_matches(verb, VERBS, n=1)
    remedy = f'Did you mean {near[0]}?' if near else f'There are: {", ".join(VERBS)}.'
    print(f'Error: jax3dgan has no verb {verb!r}. {remedy}', file=sys.stderr)
    return 2
  entry = VERBS[verb]
  module = importlib.import_module(entry.module)
  rest = [*entry.before, *rest]
  if entry.module == 'jax3dgan.main':
    return module.main([f'jax3dgan {verb}', *rest])
  return module.main(rest)


if __name__ == '__main__':
  # As `python -m` does: configs and data of the folder that one stands in.
  sys.path.insert(0, os.getcwd())
  sys.exit(main())
