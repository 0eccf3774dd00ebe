"""A real browser without a window: Chromium, driven over its DevTools protocol."""

import base64
import contextlib
import io
import json
import os
import pathlib
import shutil
import subprocess
import time
import urllib.request

import numpy as np
from PIL import Image

_NAMES = ('chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable', 'chrome')
# WebGL without a graphics card; a network of this machine alone.
_FLAGS = (
  '--headless=new --no-sandbox --use-gl=angle --use-angle=swiftshader '
  '--enable-unsafe-swiftshader --disable-dev-shm-usage --hide-scrollbars --mute-audio '
  '--no-first-run --no-default-browser-check --disable-background-networking '
  '--disable-component-update --disable-sync --disable-extensions --disable-default-apps '
  '--remote-allow-origins=* --remote-debugging-port=0 '
  '--proxy-server=127.0.0.1:9 --proxy-bypass-list=127.0.0.1'  # whoever else is asked is not there
)


def find() -> str | None:
  """The browser's program: $CHROME, or the first of the usual names; None where there is none."""
  return os.environ.get('CHROME') or next(filter(None, map(shutil.which, _NAMES)), None)


def wait_for(what, condition, seconds: float = 60.0):
  """Waits until `condition()` is true and returns its value; fails after a generous while."""
  end = time.monotonic() + seconds
  while time.monotonic() < end:
    value = condition()
    if isinstance(value, np.ndarray) or value:
      return value
    time.sleep(0.05)
  raise AssertionError(f'waited for {what} in vain')


class Page:
  """One tab."""

  def __init__(self, address: str):
    import websocket

    self._socket = websocket.create_connection(address, timeout=60)
    self._number = 0
    self.events = []

  def call(self, method: str, **params):
    """Calls a method of the DevTools protocol."""
    self._number += 1
    self._socket.send(json.dumps({'id': self._number, 'method': method, 'params': params}))
    while True:
      message = json.loads(self._socket.recv())
      if message.get('id') == self._number:
        assert 'error' not in message, f'{method}: {message["error"]}'
        return message['result']
      if 'method' in message:
        self.events.append(message)

  def urls(self) -> list[str]:
    """The addresses of all that the page has asked for, WebSockets too."""
    self.call('Runtime.evaluate', expression='1')  # fetches the events so far
    requests = [e['params'] for e in self.events if e['method'] == 'Network.requestWillBeSent']
    sockets = [e['params'] for e in self.events if e['method'] == 'Network.webSocketCreated']
    return [r['request']['url'] for r in requests] + [s['url'] for s in sockets]

  def evaluate(self, expression: str):
    """The value of a JavaScript expression."""
    out = self.call('Runtime.evaluate', expression=expression, returnByValue=True)
    assert 'exceptionDetails' not in out, out
    return out['result'].get('value')

  def text(self) -> str:
    """The text that is on the page."""
    return self.evaluate('document.body?.innerText') or ''

  def screenshot(self) -> np.ndarray:
    """uint8 [h, w, 3]."""
    data = base64.b64decode(self.call('Page.captureScreenshot', format='png')['data'])
    return np.asarray(Image.open(io.BytesIO(data)).convert('RGB'))

  def picture(self, size: int = 300) -> np.ndarray:
    """The middle of the page, away from the panel: float [size, size, 3]."""
    shot = self.screenshot().astype(np.float32)
    top, left = (shot.shape[0] - size) // 2, (shot.shape[1] - size) // 2
    return shot[top : top + size, left : left + size]

  def drag(self, start, end, steps: int = 8) -> None:
    """Drags with the left button."""
    mouse = dict(button='left', buttons=1, pointerType='mouse')
    x, y = start
    self.call('Input.dispatchMouseEvent', type='mouseMoved', x=x, y=y)
    self.call('Input.dispatchMouseEvent', type='mousePressed', x=x, y=y, clickCount=1, **mouse)
    for i in range(1, steps + 1):
      at = [a + (b - a) * i / steps for a, b in zip(start, end, strict=True)]
      self.call('Input.dispatchMouseEvent', type='mouseMoved', x=at[0], y=at[1], **mouse)
      time.sleep(0.03)
    x, y = end
    self.call('Input.dispatchMouseEvent', type='mouseReleased', x=x, y=y, clickCount=1, **mouse)

  def click(self, words: str, tag: str = 'button, label, [role=tab]') -> None:
    """Clicks the element of these words."""
    box = wait_for(words, lambda: self._box(words, tag))
    for kind in ('mousePressed', 'mouseReleased'):
      self.call(
        'Input.dispatchMouseEvent', type=kind, x=box[0], y=box[1], button='left', clickCount=1
      )

  def _box(self, words: str, tag: str):
    return self.evaluate(
      f'(() => {{ for (const e of document.querySelectorAll({tag!r})) {{'
      f' if (e.innerText.trim() !== {words!r} || !e.offsetParent) continue;'
      ' e.scrollIntoView({block: "center"}); const r = e.getBoundingClientRect();'
      ' if (r.width) return [r.x + r.width / 2, r.y + r.height / 2]; } return null; })()'
    )

  def choose_file(self, path) -> None:
    """Puts a file into the page's file input, as its dialog would."""
    self.call('DOM.enable')
    root = self.call('DOM.getDocument')['root']['nodeId']

    def node():
      return self.call('DOM.querySelector', nodeId=root, selector='input[type=file]')['nodeId']

    self.call('DOM.setFileInputFiles', files=[str(path)], nodeId=wait_for('a file input', node))

  def close(self) -> None:
    """Ends the connection; the tab stays."""
    self._socket.close()


class Browser:
  """A browser process of its own, with a profile of its own."""

  def __init__(self, folder: pathlib.Path, program: str, size=(1100, 700)):
    profile = folder / 'profile'
    self.downloads = folder / 'downloads'
    self.downloads.mkdir(parents=True)
    self._log = open(folder / 'browser.log', 'w')
    command = [program, *_FLAGS.split(), f'--user-data-dir={profile}']
    command += [f'--window-size={size[0]},{size[1]}', 'about:blank']
    self._process = subprocess.Popen(command, stdout=self._log, stderr=self._log)
    port = profile / 'DevToolsActivePort'
    self.port = int(wait_for('the browser', lambda: port.is_file() and port.read_text()).split()[0])
    with urllib.request.urlopen(f'http://127.0.0.1:{self.port}/json/version', timeout=30) as answer:
      # Not a page's: what it sets ends with it.
      whole = Page(json.load(answer)['webSocketDebuggerUrl'])
    whole.call('Browser.setDownloadBehavior', behavior='allow', downloadPath=str(self.downloads))
    self._size, self._pages = size, [whole]

  def page(self, url: str) -> Page:
    """Opens a tab and goes there; everything that it asks for is noted."""
    new = urllib.request.Request(f'http://127.0.0.1:{self.port}/json/new?about:blank', method='PUT')
    with urllib.request.urlopen(new, timeout=30) as answer:
      page = Page(json.load(answer)['webSocketDebuggerUrl'])
    self._pages.append(page)
    for domain in ('Page', 'Network', 'Runtime', 'Log'):
      page.call(f'{domain}.enable')
    width, height = self._size
    page.call(
      'Emulation.setDeviceMetricsOverride',
      width=width,
      height=height,
      deviceScaleFactor=1,
      mobile=False,
    )
    page.call('Page.navigate', url=url)
    # Tabs that are not in front draw nothing otherwise.
    page.call('Emulation.setFocusEmulationEnabled', enabled=True)
    return page

  def close(self) -> None:
    """Ends the browser."""
    for page in self._pages:
      page.close()
    self._process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
      self._process.wait(10)
    if self._process.poll() is None:
      self._process.kill()
      self._process.wait()
    self._log.close()
