"""Where the viewer listens, how it starts and how it ends."""

import io
import signal
import socket
import subprocess
import sys
import threading
import urllib.request

import pytest
from browser import wait_for
from PIL import Image

from jax3dgan import cli
from jax3dgan.apps import view
from jax3dgan.errors import UserError
from jax3dgan.viewer import server

pytest.importorskip('viser', reason='viser is not installed')


@pytest.fixture
def taken():
  """A port that another program listens on."""
  with socket.socket() as other:
    other.bind(('127.0.0.1', 0))
    other.listen()
    yield other.getsockname()[1]


def test_a_port_in_use_is_said_before_anything_is_loaded(taken, monkeypatch):
  def load(*args, **kwargs):
    raise AssertionError('loaded')

  monkeypatch.setattr(view.common, 'load', load)
  with pytest.raises(SystemExit) as stop:
    view.main(['--pretrained=toys', f'--port={taken}'])
  message = stop.value.code
  assert message.startswith(f'Error: Port {taken} of 127.0.0.1 is in use. Set --port=')
  free = int(message.split('--port=')[1].split(',')[0])
  assert free > taken
  server.check_port('127.0.0.1', free)


def test_a_port_that_was_just_left_is_free():
  with socket.socket() as first:
    first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    first.bind(('127.0.0.1', 0))
    first.listen()
    port = first.getsockname()[1]
    with socket.create_connection(('127.0.0.1', port)):
      first.accept()[0].close()  # leaves TIME_WAIT behind
  server.check_port('127.0.0.1', port)


@pytest.mark.parametrize(
  'host, port, message',
  [
    ('127.0.0.1', 70_000, 'Port 70000 does not exist'),
    ('127.0.0.1', -1, 'does not exist'),
    ('192.0.2.1', 0, 'is not an address of this machine'),  # of a network for documents
    ('no such host', 0, 'is not an address of this machine'),
  ],
)
def test_wrong_addresses(host, port, message):
  with pytest.raises(UserError, match=message):
    server.check_port(host, port)


def test_somebody_who_was_quicker_is_noticed(lively, taken, monkeypatch):
  monkeypatch.setattr(server, 'check_port', lambda host, port: None)
  viewer = server.Viewer(lively, port=taken)
  with pytest.raises(UserError, match='is in use'):
    viewer.open()


@pytest.mark.parametrize(
  'flags, message',
  [
    ([], 'one of the arguments --workdir --pretrained is required'),
    (['--pretrained=toys', '--seed=-1'], '--seed must be at least 0'),
    (['--pretrained=toys', '--psi=inf'], "'inf' is not a number such as 0.7"),
  ],
)
def test_wrong_flags(flags, message, capsys):
  with pytest.raises(SystemExit) as stop:
    view.main(flags)
  assert stop.value.code == 2 and message in capsys.readouterr().err


@pytest.mark.parametrize(
  'flags, message',
  [
    (['--pretrained=tony'], "No pretrained model is called 'tony'"),
    (['--pretrained=toys', '--resolution=4'], 'is too small or too large'),
    (['--pretrained=toys_2d', '--resolution=64'], 'makes images of 32² only'),
  ],
)
def test_what_the_user_can_fix_is_one_line(flags, message):
  with pytest.raises(SystemExit) as stop:
    view.main([*flags, '--port=0'])
  assert stop.value.code.startswith('Error: ') and message in stop.value.code
  assert '\n' not in stop.value.code


def test_without_viser(lively, monkeypatch):
  monkeypatch.setitem(sys.modules, 'viser', None)
  with pytest.raises(UserError, match=r'pip install jax3dgan\[viewer\]'):
    server.Viewer(lively, port=0).open()


def test_it_listens_on_loopback_alone_and_serves_the_page(opened):
  viewer = opened()
  assert viewer.url == f'http://127.0.0.1:{viewer.port}'
  with urllib.request.urlopen(viewer.url, timeout=30) as answer:
    assert answer.status == 200 and b'<html' in answer.read(10_000).lower()
  with pytest.raises(OSError):  # another address of this machine, also within it
    socket.create_connection(('127.0.0.2', viewer.port), timeout=5)
  # viser's way out to the internet is shut.
  assert viewer.server.request_share_url() is None


def test_closing_ends_every_thread(opened):
  viewer = opened()
  wait_for('the compiler', viewer._ready.is_set)
  viewer.close()
  names = {thread.name for thread in threading.enumerate()}
  assert not {name for name in names if name.startswith('viewer-')}


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly(number, tmp_path):
  command = [sys.executable, '-m', 'jax3dgan.cli', 'view', '--pretrained=toys', '--port=0']
  with open(tmp_path / 'log', 'w+') as log:
    process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
      said = wait_for('the address', lambda: (tmp_path / 'log').read_text())
      assert said.startswith('toys at http://127.0.0.1:')
      process.send_signal(number)
      assert process.wait(60) == 0
    finally:
      process.kill()
      process.wait()
  text = (tmp_path / 'log').read_text()
  assert 'Traceback' not in text and 'Error' not in text


def test_it_ends_cleanly_in_the_middle_of_work(tmp_path):
  from benchmarks.viewer import Client

  command = [sys.executable, '-m', 'jax3dgan.cli', 'view', '--pretrained=toys_2d', '--port=0']
  buffer = io.BytesIO()
  Image.new('RGB', (32, 32), 'red').save(buffer, 'PNG')
  with open(tmp_path / 'log', 'w+') as log:
    process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
      said = wait_for('the address', lambda: (tmp_path / 'log').read_text())
      client = Client(int(said.split(':')[2].split()[0]))
      client.wait(lambda: client.pictures)
      client.upload('Choose a photo', 'red.png', buffer.getvalue())
      client.wait(lambda: any(c.get('label') == 'Cancel' and c['visible'] for c in all_of(client)))
      client.close()  # the browser is gone, its search is being compiled
      process.terminate()
      assert process.wait(120) == 0
    finally:
      process.kill()
      process.wait()
  text = (tmp_path / 'log').read_text()
  assert 'Traceback' not in text and 'FATAL' not in text and 'terminate' not in text


def all_of(client):
  return list(client.controls.values())


def test_the_verb():
  assert cli.summary('view').startswith('An interactive viewer in the browser')
  assert list(cli.VERBS).index('view') < list(cli.VERBS).index('prepare')
