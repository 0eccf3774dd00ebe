"""Which module may import which: no cycles, and no imports from a lower layer of a higher one.

The modules are parsed, not imported. Imports inside of functions count as well: they save time at
the start of a program, but they are dependencies like the others.
"""

import ast
import pathlib

import pytest

PACKAGE = pathlib.Path(__file__).resolve().parents[1] / 'jax3dgan'

# From the lowest to the highest. A module may import those of its own layer and of lower ones; an
# entry stands for a module or for a folder with all that is in it.
LAYERS = (
  (
    '',
    'errors',
    'atomic',
    'camera_checks',
    'config_json',
    'harmonics',
    'json_text',
    'lenses',
    'programs',
    'registry',
    'texts',
  ),
  ('nn', 'cameras', 'viz', 'augment'),
  ('rendering',),
  ('fields', 'morphable'),
  ('generators', 'discriminators'),
  ('devices',),
  ('training', 'losses', 'recipes'),
  ('config', 'config_files', 'old_configs', 'toys_experiment'),
  ('runs',),
  ('data',),
  ('trained',),
  # Files of other libraries; the networks that are read from such files.
  ('convert', 'feature_networks'),
  ('pictures', 'meshes', 'splats', 'export'),
  ('hub',),
  ('inversion',),
  ('evaluation', 'train'),
  ('editing',),
  ('viewer',),
  ('apps', 'main', 'command_line', 'tools', 'cli'),
)

# {(importing, imported): why it is left out of the graph}.
_BY_NAME = 'the step of any recipe gets it by name; a recipe is made of streams and schedules'
EXCEPTIONS = {('training.step', 'recipes'): _BY_NAME, ('training.state', 'recipes'): _BY_NAME}


def module_files(package: pathlib.Path) -> dict[str, pathlib.Path]:
  """The files of a package by the names of their modules in it, '' for the package itself."""
  files = {}
  for path in sorted(package.rglob('*.py')):
    parts = list(path.relative_to(package).with_suffix('').parts)
    if parts[-1] == '__init__':
      parts.pop()
    files['.'.join(parts)] = path
  return files


def imports_of(source: str, package: str, modules) -> set[str]:
  """The modules of a package that a source file imports, anywhere in it."""
  found = set()
  for node in ast.walk(ast.parse(source)):
    if isinstance(node, ast.ImportFrom):
      assert not node.level, 'relative imports are not used'
      names = [f'{node.module}.{alias.name}' for alias in node.names]
    elif isinstance(node, ast.Import):
      names = [alias.name for alias in node.names]
    else:
      continue
    for name in names:
      first, _, name = name.partition('.')
      if first == package:
        # `from package.module import function` is an import of the module.
        found.add(name if name in modules else name.rpartition('.')[0])
  return found


def import_graph(package: pathlib.Path) -> dict[str, set[str]]:
  """{module: the modules of the same package that it imports}."""
  files = module_files(package)
  return {
    name: imports_of(path.read_text(encoding='utf-8'), package.name, files) - {name}
    for name, path in files.items()
  }


def cycle_in(graph: dict[str, set[str]]) -> list[str]:
  """A cycle of a graph, from a node back to the same; [] where there is none."""
  done, path = set(), []

  def visit(node):
    if node in path:
      return [*path[path.index(node) :], node]
    if node in done:
      return []
    path.append(node)
    for target in sorted(graph.get(node, ())):
      if cycle := visit(target):
        return cycle
    done.add(path.pop())
    return []

  for node in sorted(graph):
    if cycle := visit(node):
      return cycle
  return []


def layer_of(module: str) -> int:
  """The layer of a module, by the longest entry of `LAYERS` that it lies in."""
  matches = [
    (len(entry), i)
    for i, layer in enumerate(LAYERS)
    for entry in layer
    if module == entry or (entry and module.startswith(f'{entry}.'))
  ]
  assert matches, f'{module} is in no layer: add it to LAYERS'
  return max(matches)[1]


@pytest.fixture(scope='module')
def whole_graph():
  return import_graph(PACKAGE)


@pytest.fixture(scope='module')
def graph(whole_graph):
  return {
    module: {target for target in targets if (module, target) not in EXCEPTIONS}
    for module, targets in whole_graph.items()
  }


def test_exceptions_are_needed(whole_graph):
  for (module, target), reason in EXCEPTIONS.items():
    assert target in whole_graph[module] and reason, f'remove ({module}, {target})'


def test_modules_do_not_import_each_other_in_a_circle(graph):
  assert cycle_in(graph) == []


def test_folders_do_not_import_each_other_in_a_circle(graph):
  folders = {}
  for module, targets in graph.items():
    folder = module.partition('.')[0]
    folders.setdefault(folder, set()).update(target.partition('.')[0] for target in targets)
  for folder, targets in folders.items():
    targets.discard(folder)
  assert cycle_in(folders) == []


def test_no_module_imports_from_a_higher_layer(graph):
  upward = {
    (module, target)
    for module, targets in graph.items()
    for target in targets
    if layer_of(target) > layer_of(module)
  }
  assert upward == set()


def test_each_layer_exists(graph):
  for entry in (entry for layer in LAYERS for entry in layer):
    assert entry in graph, f'{entry!r} is no module or folder: remove it from LAYERS'


def test_imports_of_every_form_are_found(tmp_path):
  package = tmp_path / 'pkg'
  (package / 'low').mkdir(parents=True)
  (package / '__init__.py').write_text('import os\n')
  (package / 'low' / '__init__.py').write_text('')
  (package / 'low' / 'a.py').write_text('def f():\n  from pkg.high import thing\n')
  (package / 'high.py').write_text('import pkg\nimport pkg.low.a as a\nfrom pkg.low import b, C\n')
  (package / 'low' / 'b.py').write_text('from pkg import low\n')
  found = import_graph(package)
  assert found['low.a'] == {'high'} and found['low.b'] == {'low'} and found[''] == set()
  assert found['high'] == {'', 'low.a', 'low.b', 'low'}
  assert cycle_in(found) == ['high', 'low.a', 'high']
  assert cycle_in({'a': {'b', 'c'}, 'b': {'c'}, 'c': set()}) == []
