"""The page in a real browser: it shows, turns, changes, takes files, and asks nobody else."""

import urllib.parse

import browser
import numpy as np
import pytest
from browser import wait_for
from PIL import Image

pytest.importorskip('viser', reason='viser is not installed')
pytest.importorskip('websocket', reason='websocket-client is not installed')


@pytest.fixture(scope='module')
def chromium(tmp_path_factory):
  program = browser.find()
  if program is None:
    pytest.skip('no Chromium is installed')
  window = browser.Browser(tmp_path_factory.mktemp('browser'), program)
  yield window
  window.close()


def shown(page):
  """Waits for a picture at rest, and returns the middle of the page."""
  wait_for('a picture at rest', lambda: 'at rest' in page.text())
  return wait_for('a picture', lambda: (p := page.picture()).std() > 5 and still(page, p))


def still(page, picture):
  """The picture, once two screenshots are the same; None before."""
  again = page.picture()
  return again if np.array_equal(again, picture) else None


def changed(page, before):
  """Waits until the page shows something else, and returns that at rest."""
  return wait_for(
    'another picture',
    lambda: np.abs((p := page.picture()) - before).max() > 30 and still(page, p),
  )


def test_the_page(opened, chromium, tmp_path):
  viewer = opened()
  page = chromium.page(viewer.url)
  first = shown(page)
  assert first.std() > 5
  # Dragging turns.
  page.drag((350, 350), (520, 330))
  turned = changed(page, first)
  # Reset view turns back.
  page.click('Reset view')
  changed(page, turned)
  wait_for('the first view', lambda: np.abs(page.picture() - first).max() < 30)
  # The next seed is another.
  page.click('Next')
  changed(page, first)
  session = next(iter(viewer.sessions.values()))
  assert session.panel.seed.value == 1
  # A second client has its own seed, and this one keeps what it has.
  mine = shown(page)
  other = chromium.page(viewer.url)
  np.testing.assert_allclose(shown(other), first, atol=30)
  assert np.abs(shown(page) - mine).max() < 30
  assert len(viewer.sessions) == 2
  other.call('Page.close')
  wait_for('one client', lambda: len(viewer.sessions) == 1)
  # A bad upload is a message, and the page goes on.
  page.call('Page.bringToFront')
  page.click('Photo')
  bad = tmp_path / 'bad.png'
  bad.write_bytes(b'this is no picture')
  page.choose_file(bad)
  wait_for('the message', lambda: 'bad.png is no picture that can be read' in page.text())
  # A good one is searched for.
  good = tmp_path / 'good.png'
  Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)).save(good)
  page.choose_file(good)
  wait_for('the search', lambda: 'Finding the style' in page.text())
  page.click('Cancel')
  wait_for('its end', lambda: 'Finding the style' not in page.text())
  # A snapshot is downloaded.
  page.click('Save')
  page.click('Snapshot (PNG)')
  file = wait_for('the file', lambda: next(chromium.downloads.glob('*.png'), None))
  wait_for('the whole file', lambda: file.stat().st_size > 100)
  with Image.open(file) as image:
    assert image.size == (64, 64) and 'jax3dgan' in image.text
  # All of it from this machine alone.
  hosts = {urllib.parse.urlsplit(url).hostname for url in page.urls() if '://' in url[:8]}
  assert hosts == {'127.0.0.1'}
  errors = [e for e in page.events if e['method'] == 'Runtime.exceptionThrown']
  assert not errors
