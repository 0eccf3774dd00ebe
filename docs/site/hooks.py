"""Hooks of MkDocs: the repository's Markdown files become the pages of a site.

Each file keeps its text; README.md is the home page. A section of docs/models.md that trains a
model is a page of its own; `reference_pages` makes pages of source code.
"""

import functools
import pathlib
import posixpath
import re
import sys
from typing import NamedTuple

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
IMAGES = ('.png', '.webp', '.jpg', '.svg', '.gif')
ELSEWHERE = {
  'README.md': 'index.md',
  'benchmarks/RESULTS.md': 'benchmarks.md',
  'colab/README.md': 'colab.md',
  'launch/README.md': 'launch.md',
}
MODELS = 'docs/models.md'

_FENCE = re.compile(r'^```.*?^```$', re.M | re.S)
_CODE = re.compile(r'^```.*?^```$|`[^`]+`', re.M | re.S)
_LINK = re.compile(r'\]\(([^()\s]+)\)')
_FOREIGN_IMAGE = re.compile(r'!\[([^\]]*)\]\(https?:[^)]*\)')
_HEADING = re.compile(r'^(#{1,6}) +(.+?) *$', re.M)


class Page(NamedTuple):
  """A page of the site.

  Attributes:
    source: Its file in the repository; '' of what is made of source code.
    text: Its Markdown.
  """

  source: str
  text: str


def slug(heading: str, separator: str = '-') -> str:
  """Returns the anchor of a heading, as GitHub makes it."""
  plain = re.sub(r'\]\([^)]*\)|[`*\[]', '', heading)
  return re.sub(r'[^\w\- ]', '', plain.strip().lower()).replace(' ', separator)


def headings(text: str) -> list[tuple[int, int, str]]:
  """Returns (position, level, heading) of a Markdown text."""
  blank = _FENCE.sub(lambda match: ' ' * len(match[0]), text)
  return [(match.start(), len(match[1]), match[2]) for match in _HEADING.finditer(blank)]


def sources() -> dict[str, str]:
  """Returns {file of the repository: page} of all documents."""
  docs = sorted((ROOT / 'docs').glob('*.md'))
  return ELSEWHERE | {f'docs/{path.name}': path.name for path in docs}


def links(text: str) -> list[str]:
  """Returns the targets of a text's links, without those in code."""
  return _LINK.findall(_CODE.sub('', text))


@functools.cache
def pages() -> dict[str, Page]:
  """Returns {page: its text} of the whole site."""
  found = {
    uri: Page(source, _one_title(uri, (ROOT / source).read_text(encoding='utf-8')))
    for source, uri in sources().items()
  }
  overview, models = _split_models(found['models.md'].text)
  found['models.md'] = Page(MODELS, overview)
  found |= {uri: Page(MODELS, text) for uri, text in models.items()}
  if str(HERE) not in sys.path:
    sys.path.insert(0, str(HERE))
  import reference_pages

  return found | {uri: Page('', text) for uri, text in reference_pages.pages().items()}


def _one_title(uri: str, text: str) -> str:
  """A text of several titles gets one above them, without which a theme shows the first alone."""
  if sum(level == 1 for _, level, _ in headings(text)) < 2:
    return text
  for position, _, _ in reversed(headings(text)):
    text = f'{text[:position]}#{text[position:]}'
  return f'# {pathlib.Path(uri).stem.capitalize()}\n\n{text}'


def model_pages() -> list[str]:
  """Returns the pages of single models."""
  return [uri for uri in pages() if uri.startswith('models/')]


@functools.cache
def _anchors() -> dict[tuple[str, str], str]:
  """{(file of the repository, anchor): page}: in docs/models.md it is the page of the section."""
  found = {}
  for uri, page in pages().items():
    for _, _, heading in headings(page.text):
      found[page.source, slug(heading)] = uri
  return found


def rewrite(text: str, source: str, uri: str, repository: str) -> str:
  """Returns a text whose links are those of the site; for images of other servers, their words.

  Args:
    text: Markdown of a file of the repository.
    source: That file.
    uri: The page on which it is shown.
    repository: Where files that are no pages are shown, a URL.
  """
  folder = posixpath.dirname(source)

  def target(match):
    link, _, anchor = match[1].partition('#')
    if ':' in link or not source:
      return match[0]
    path = posixpath.normpath(posixpath.join(folder, link)) if link else source
    mark = f'#{anchor}' if anchor else ''
    page = _anchors().get((path, anchor)) or sources().get(path)
    if page is None and path.endswith(IMAGES):
      page = _image(path)
    if page is None:
      kind = 'tree' if (ROOT / path).is_dir() else 'blob'
      return f']({repository}/{kind}/main/{path}{mark})'
    return f']({posixpath.relpath(page, posixpath.dirname(uri) or ".")}{mark})'

  parts, last = [], 0
  for code in _CODE.finditer(text):
    parts += [_LINK.sub(target, text[last : code.start()]), code[0]]
    last = code.end()
  text = ''.join([*parts, _LINK.sub(target, text[last:])])
  return _FOREIGN_IMAGE.sub(r'\1', text)


def _image(path: str) -> str:
  return path.removeprefix('docs/')


def _split_models(text: str) -> tuple[str, dict[str, str]]:
  """The page without the sections of models, and {page: section}."""
  starts = [(at, heading) for at, level, heading in headings(text) if level == 2]
  ends = [at for at, _ in starts[1:]] + [len(text)]
  rows = _table_rows(text[: starts[0][0]])
  rest, models = text[: starts[0][0]], {}
  for (at, heading), end in zip(starts, ends, strict=True):
    section = text[at:end]
    if '--config=' not in section:
      rest += section
      continue
    body = section.split('\n', 1)[1]
    for position, level, _ in reversed(headings(body)):
      body = body[:position] + body[position + 1 :] if level > 1 else body
    facts = ''.join(f'| {name} | {value} |\n' for name, value in rows.get(heading, []))
    facts = f'\n| | |\n|---|---|\n{facts}' if facts else ''
    name = slug(heading.replace('π', 'pi'))
    models[f'models/{name}.md'] = f'# {heading}\n{facts}{body}'
  list_ = ''.join(f'- [{text[2:].splitlines()[0]}](#{slug(text[2:].splitlines()[0])})\n'
                  for text in models.values())  # fmt: skip
  return f'{rest}\n## Each model\n\n{list_}', models


def _table_rows(text: str) -> dict[str, list[tuple[str, str]]]:
  """{model: [(column, value)]} of the first table, whose first column names models."""
  lines = [line for line in text.splitlines() if line.startswith('|')]
  cells = [[cell.strip() for cell in line.strip('|').split('|')] for line in lines]
  names = cells[0][1:]
  found = {}
  for row in cells[2:]:
    match = re.fullmatch(r'\[(.+)\]\(#.+\)', row[0])
    if match is None:
      break
    found[match[1]] = list(zip(names, row[1:], strict=True))
  return found


# MkDocs calls these


def on_config(config):
  """Anchors as on GitHub, and the models' pages in the navigation."""
  pages.cache_clear()
  _anchors.cache_clear()
  config.mdx_configs['toc']['slugify'] = slug
  for entry in config.nav:
    if 'Models' in entry:
      entry['Models'] = [*entry['Models'], *model_pages()]
  return config


def on_files(files, config):
  """All pages, and the images that they show."""
  from mkdocs.structure.files import File

  shown = set()
  for uri, page in pages().items():
    files.append(File.generated(config, uri, content=page.text))
    folder = posixpath.dirname(page.source)
    shown |= {
      posixpath.normpath(posixpath.join(folder, link))
      for link in links(page.text)
      if link.endswith(IMAGES) and ':' not in link
    }
  for path in sorted(shown):
    files.append(File.generated(config, _image(path), abs_src_path=str(ROOT / path)))
  return files


def on_page_markdown(markdown, page, config, files):
  """Links of the repository become links of the site."""
  uri = page.file.src_uri
  repository = config.extra['social'][0]['link']
  return rewrite(markdown, pages()[uri].source, uri, repository)
