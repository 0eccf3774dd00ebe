"""docs/mkdocs.yml and docs/site: every document is a page, and every link leads somewhere."""

import importlib.util
import pathlib
import posixpath
import re
import subprocess
import sys

import pytest
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[1]


@pytest.fixture(scope='module')
def hooks():
  spec = importlib.util.spec_from_file_location('hooks', ROOT / 'docs' / 'site' / 'hooks.py')
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


def named(nav):
  """The pages of a navigation."""
  if isinstance(nav, str):
    return [nav]
  parts = nav.values() if isinstance(nav, dict) else nav
  return [page for part in parts for page in named(part)]


def test_every_document_is_in_the_navigation(hooks):
  nav = named(yaml.safe_load((ROOT / 'docs' / 'mkdocs.yml').read_text('utf-8'))['nav'])
  nav += hooks.model_pages()
  assert len(nav) == len(set(nav))
  assert set(nav) == set(hooks.pages())
  documents = {f'docs/{path.name}' for path in (ROOT / 'docs').glob('*.md')} | {'README.md'}
  assert documents <= {page.source for page in hooks.pages().values()}


def test_every_model_has_a_page(hooks):
  table = (ROOT / 'docs' / 'models.md').read_text('utf-8').split('\n\n')[2]
  models = re.findall(r'^\| \[(.+?)\]\(#', table, re.M)
  pages = {hooks.pages()[uri].text.splitlines()[0]: uri for uri in hooks.model_pages()}
  assert len(models) > 10 and {f'# {model}' for model in models} <= set(pages)
  assert '| generator | a SIREN, FiLM by the latent |' in hooks.pages()['models/pi-gan.md'].text
  assert 'FiLM' not in hooks.pages()['models/eg3d.md'].text
  text = '[a](models.md#π-gan), [b](../jax3dgan/cli.py), ![c](images/faces.png), `[d](models.md)`'
  assert hooks.rewrite(text, 'docs/faces.md', 'models/x.md', 'https://x.org/r') == (
    '[a](pi-gan.md#π-gan), [b](https://x.org/r/blob/main/jax3dgan/cli.py), '
    '![c](../images/faces.png), `[d](models.md)`'
  )


def test_every_link_leads_somewhere(hooks):
  anchors = {}
  for source in hooks.sources():
    text = (ROOT / source).read_text('utf-8')
    anchors[source] = {hooks.slug(heading) for _, _, heading in hooks.headings(text)}
  for source in anchors:
    for link in hooks.links((ROOT / source).read_text('utf-8')):
      if ':' in link:
        continue
      path, _, anchor = link.partition('#')
      path = posixpath.normpath(posixpath.join(posixpath.dirname(source), path)) if path else source
      assert (ROOT / path).exists(), f'{source}: {link}'
      assert not anchor or anchor in anchors[path], f'{source}: {link}'


def test_the_site_is_built_without_a_warning(hooks, tmp_path):
  pytest.importorskip('material', reason="the docs' site needs pip install -e '.[docs]'")
  command = [sys.executable, '-m', 'mkdocs', 'build', '--strict', '--quiet']
  command += ['--config-file=docs/mkdocs.yml', f'--site-dir={tmp_path / "site"}']
  subprocess.run(command, cwd=ROOT, check=True)
  for uri in hooks.pages():
    page = (tmp_path / 'site' / uri).with_suffix('.html').read_text('utf-8')
    assert '<h1' in page, uri
    loaded = re.findall(r'<(?:link|script|img|source)\b[^>]*?\b(?:href|src)="(https?:[^"]+)', page)
    assert not [url for url in loaded if 'canonical' not in url], uri
