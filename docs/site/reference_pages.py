"""The reference, read from the source: commands, configs, fields of a config.

Of the package nothing but `cli` is imported, which needs neither JAX nor TensorFlow.
"""

import ast
import pathlib
import sys
import textwrap

ROOT = pathlib.Path(__file__).resolve().parents[2]


def pages() -> dict[str, str]:
  """Returns {page: its Markdown}."""
  return {'commands.md': _commands(), 'configs.md': _configs(), 'fields.md': _fields()}


def _docstring(path: pathlib.Path) -> str:
  return ast.get_docstring(ast.parse(path.read_text(encoding='utf-8'))) or ''


def _commands() -> str:
  if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))
  from jax3dgan import cli

  text = '# Commands\n\n`jax3dgan VERB` is `python -m MODULE`; `--help` behind it lists all flags.'
  text += '\n\n| verb | | module |\n|---|---|---|\n'
  for verb, entry in cli.VERBS.items():
    text += f'| [`{verb}`](#{verb}) | {cli.summary(verb)} | `{entry.module}` |\n'
  text += _flags('Flags of all that show a model', ['jax3dgan/apps/common.py'])
  for verb, entry in cli.VERBS.items():
    path = entry.module.replace('.', '/') + '.py'
    text += f'\n## {verb}\n\n{cli.summary(verb)}\n\n'
    usage = _docstring(ROOT / path).split('\n\n', 1)[1] if verb != 'eval' else ''
    commands = [line for line in usage.splitlines() if line.startswith('python -m')]
    text += '```sh\n' + '\n'.join([f'jax3dgan {verb} {entry.example}', *commands]) + '\n```\n'
    more = ['jax3dgan/data/prepare_flags.py', 'jax3dgan/data/posed/flags.py']
    text += _flags('', [path, *(more if verb == 'prepare' else [])])
  return text


def _flags(title: str, paths: list[str]) -> str:
  """A table of the flags that modules add to a parser of argparse."""
  rows = {}
  for path in paths:
    nodes = ast.walk(ast.parse((ROOT / path).read_text(encoding='utf-8')))
    calls = [node for node in nodes if isinstance(node, ast.Call)]
    for node in sorted(calls, key=lambda node: node.lineno):
      if getattr(node.func, 'attr', '') != 'add_argument':
        continue
      help_ = {word.arg: word.value for word in node.keywords}.get('help')
      if isinstance(node.args[0], ast.Constant) and help_ is not None:
        rows.setdefault(node.args[0].value, _literal(help_).replace('|', '\\|'))
  if not rows:
    return ''
  table = ''.join(f'| `{flag}` | {what} |\n' for flag, what in rows.items())
  return (f'\n## {title}\n' if title else '') + f'\n| flag | |\n|---|---|\n{table}'


def _literal(node: ast.expr) -> str:
  """The text of a string; for what is computed in it, an ellipsis."""
  if isinstance(node, ast.Constant):
    return str(node.value)
  if isinstance(node, ast.JoinedStr):
    return ''.join(map(_literal, node.values))
  return '…'


def _configs() -> str:
  text = '# Configs\n\nOne file per experiment: `python -m jax3dgan.main '
  text += (
    '--config=configs/NAME.py`, or `--config=NAME`. What each says of itself, and its source:\n'
  )
  for path in sorted((ROOT / 'configs').glob('*.py')):
    source = path.read_text(encoding='utf-8')
    about = ast.get_docstring(ast.parse(source)) or ''
    body = source.split('"""', 2)[2].strip('\n')
    text += f'\n## {path.stem}\n\n```text\n{about}\n```\n'
    text += f'\n??? note "configs/{path.name}"\n\n'
    text += textwrap.indent(f'```python\n{body}\n```\n', '    ')
  return text


def _fields() -> str:
  text = """# Fields

Every field of a config can be set on the command line, `--config.GROUP.FIELD=VALUE`; one that is
mistyped is an error that names the nearest. `config.model` and `config.discriminator` have the
fields of the networks, which their classes in `jax3dgan/generators` and `jax3dgan/discriminators`
describe. The rest, with defaults:
"""
  tree = ast.parse((ROOT / 'jax3dgan/config.py').read_text(encoding='utf-8'))
  (common,) = [node for node in tree.body if getattr(node, 'name', '') == '_common']
  (fields,) = [node for node in ast.walk(common) if isinstance(node, ast.Return)]
  text += f'\n```python\n{_source("jax3dgan/config.py", fields).removeprefix("return ")}\n```\n'
  for title, path in (
    ('render', 'jax3dgan/rendering/options.py'),
    ('pose_prior', 'jax3dgan/cameras/priors.py'),
  ):
    text += f'\n## {title}\n{_dataclasses(path)}'
  text += '\nWhat a recipe adds:\n'
  for path in sorted((ROOT / 'jax3dgan/recipes').glob('*.py')):
    name = path.relative_to(ROOT).as_posix()
    groups = _dataclasses(name) if path.stem != 'base' else ''
    text += f'\n## {path.stem}\n{groups}' if groups else ''
  return text


def _dataclasses(path: str) -> str:
  """The source of a module's dataclasses up to their first method."""
  text = ''
  for node in ast.parse((ROOT / path).read_text(encoding='utf-8')).body:
    marks = [ast.unparse(mark) for mark in getattr(node, 'decorator_list', [])]
    if not (isinstance(node, ast.ClassDef) and any('dataclass' in mark for mark in marks)):
      continue
    methods = [part.lineno for part in node.body if isinstance(part, ast.FunctionDef)]
    decorated = [mark.lineno for part in node.body if isinstance(part, ast.FunctionDef)
                 for mark in part.decorator_list]  # fmt: skip
    end = min(methods + decorated, default=node.end_lineno + 1) - 1
    lines = (ROOT / path).read_text(encoding='utf-8').splitlines()[node.lineno - 1 : end]
    text += '\n```python\n' + '\n'.join(lines).rstrip() + '\n```\n'
  return text


def _source(path: str, node: ast.AST) -> str:
  lines = (ROOT / path).read_text(encoding='utf-8').splitlines()[node.lineno - 1 : node.end_lineno]
  return textwrap.dedent('\n'.join(lines))
