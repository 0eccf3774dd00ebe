"""The viewer: viser's server, a session for each browser, the threads that render and compile."""

import argparse
import contextlib
import io
import itertools
import logging
import math
import os
import queue
import signal
import threading
import time
import warnings

import numpy as np

from jax3dgan.errors import UserError
from jax3dgan.pictures import display
from jax3dgan.viewer import poses
from jax3dgan.viewer.identity import Identity, Styles
from jax3dgan.viewer.ports import check_port
from jax3dgan.viewer.quality import Ladder
from jax3dgan.viewer.renderer import Renderer
from jax3dgan.viewer.worker import Worker

_MOVING_SECONDS = 0.5  # since its last change: a client moves


class Viewer:
  """The program behind the page.

  Args:
    model: A `trained.Trained`.
    host, port: Where to listen; port 0 takes any.
    seed, psi: What a session starts with; psi None takes the config's.
    still: Resolution of pictures at rest, None for automatic.
    flags: The app's, for records; None for a record without.
    directions: An `editing.Directions`, or None to look for them.
    start: The identity that sessions start with, instead of seed and psi.
    camera: The camera [1] that they start with; None for the front.
    look_at: The point that it turns about.
    kind: The first kind of picture, of `pictures.KINDS`.
    styles: A `Styles` that has photos already; None for a new one.
  """

  def __init__(
    self,
    model,
    host: str = '127.0.0.1',
    port: int = 8080,
    seed: int = 0,
    psi: float | None = None,
    still: int | None = None,
    flags: argparse.Namespace | None = None,
    directions=None,
    start: Identity | None = None,
    camera=None,
    look_at=(0.0, 0.0, 0.0),
    kind: str = 'colour',
    styles: Styles | None = None,
  ):
    self.model, self.host, self.port, self.still = model, host, port, still
    self.flags = flags or argparse.Namespace()
    self.styles = styles or Styles(model)
    self.styles.directions = directions
    psi = model.config.display.truncation_psi if psi is None else psi
    self.start = start or Identity(seed=seed, psi=psi)
    self.start_kind = kind
    self.ladder = Ladder(model, still)
    self.render = Renderer(model)
    self.worker = Worker(lambda session, view: session.draw(view))
    self.sessions: dict[int, object] = {}
    self.wants_directions = bool(model.generator.z_dim)  # a single scene has none
    self.start_camera = (
      poses.start(model, display.show_azimuth(model)) if camera is None else camera
    )
    front = poses.start(model)
    self.radius = float(np.linalg.norm(front.cam2world[0, :3, 3]))
    self.fov = 2 * math.atan(0.5 / float(front.intrinsics[0, 1, 1]))
    self.start_look_at = np.asarray(look_at, np.float64)
    self.start_position = poses.zoom_to_dolly(self.start_camera, look_at, self.fov)
    self.views = poses.TrainedViews.of(model)
    self.server = None
    self._photos = itertools.count()
    self._compiled = set()
    self._ready = threading.Event()
    self._stopping = threading.Event()
    self._orders: queue.Queue = queue.Queue()
    self._waiting: dict = {}  # sessions, by the level that they wait for
    self._lock = threading.Lock()
    self._notices: dict[int, object] = {}
    self._compiler = threading.Thread(target=self._compile, name='viewer-compile')

  @property
  def url(self) -> str:
    """The page's address."""
    host = '127.0.0.1' if self.host in ('0.0.0.0', '::') else self.host
    return f'http://{f"[{host}]" if ":" in host else host}:{self.port}'

  def open(self) -> None:
    """Starts to serve, and to compile.

    Raises:
      UserError: viser is not installed, or the port is in use.
    """
    try:
      import viser
    except ImportError:
      raise UserError('The viewer needs viser. Run pip install jax3dgan[viewer].') from None
    check_port(self.host, self.port)
    # A client that disconnects while its picture is rendered needs no warning.
    warnings.filterwarnings('ignore', 'Queued a .* on a closed connection')
    with contextlib.redirect_stdout(io.StringIO()):  # viser's banner; the app says the address
      self.server = viser.ViserServer(self.host, self.port, label='jax3dgan', verbose=False)
    if self.port and self.server.get_port() != self.port:  # another process was faster
      self.server.stop()
      raise UserError(f'Port {self.port} of {self.host} is in use. Set another --port.')
    self.port = self.server.get_port()
    self._set_up(self.server)
    self.worker.start()
    self._compiler.start()

  def _set_up(self, server) -> None:
    # viser can share the page through a relay on the internet; this viewer does not.
    server.request_share_url = lambda verbose=True: None
    server.gui.configure_theme(show_logo=False, show_share_button=False)
    if hasattr(server.gui, 'main_panel'):  # beside the picture, not on it
      server.gui.main_panel.dock_right()
    server.scene.set_up_direction('+y')
    start = server.initial_camera
    start.position, start.look_at = self.start_position, self.start_look_at
    start.up, start.fov = np.array([0.0, 1.0, 0.0]), self.fov
    server.on_client_connect(self._connected)
    server.on_client_disconnect(self._disconnected)

  def _connected(self, client) -> None:
    from jax3dgan.viewer.session import Session

    try:
      self.sessions[client.client_id] = Session(client, self)
      if not self._ready.is_set():
        self._notices[client.client_id] = client.add_notification(
          'Getting ready', 'The renderer is compiled once.', loading=True, with_close_button=False
        )
    except Exception:
      # A browser that disconnects before its panel is built needs no message.
      if client.client_id in self.server.get_clients():
        logging.exception('a session could not start')

  def _disconnected(self, client) -> None:
    self._notices.pop(client.client_id, None)
    session = self.sessions.pop(client.client_id, None)
    if session is not None:
      session.close()

  # What sessions ask.

  def new_photo(self) -> int:
    """A number for the style of a photo."""
    return next(self._photos)

  def num_moving(self) -> int:
    """How many clients changed something just now; at least 1."""
    now = time.monotonic()
    moving = [s for s in list(self.sessions.values()) if now - s.moved_at < _MOVING_SECONDS]
    return max(len(moving), 1)

  def wait_until_ready(self) -> bool:
    """Waits until a level is compiled; returns False if the viewer stops before."""
    while not self._ready.wait(0.1):
      if self._stopping.is_set():
        return False
    return not self._stopping.is_set()

  def is_compiled(self, level) -> bool:
    """Whether a level can be rendered at once."""
    return level in self._compiled

  def compile_later(self, level, session) -> None:
    """Compiles a level while others are rendered; then the session draws again."""
    with self._lock:
      waiting = self._waiting.setdefault(level, [])
      waiting.append(session)
      first = len(waiting) == 1
    if first:
      self._orders.put(level)

  # The thread that compiles.

  def _render_once(self, level) -> None:
    scene = self.styles.scene(self.start)
    self.render(scene, self.start_camera, level)
    self._compiled.add(level)
    if not self._ready.is_set() and self.ladder.seconds(level) is None:
      self._ready.set()

  def _report(self, level) -> None:
    text = 'Ready.' if level is None else f'Compiling {level.resolution}² …'
    for notice in list(self._notices.values()):
      if level is None:
        notice.remove()
      else:
        notice.body = text
    if level is None:
      self._notices.clear()

  def _compile(self) -> None:
    try:
      self.ladder.warm_up(self._render_once, self._report, self._stopping.is_set)
      self._find_directions()
      while not self._stopping.is_set():
        level = self._orders.get()
        if level is None:
          return
        if not self.is_compiled(level):
          self._render_once(level)
        with self._lock:
          waiting = self._waiting.pop(level, [])
        for session in waiting:
          if session.client.client_id in self.sessions:
            session.changed()
    except Exception as error:
      if not self._stopping.is_set():
        logging.exception('could not prepare the renderer')
        for session in list(self.sessions.values()):
          session.failed(error)

  def _find_directions(self) -> None:
    if self.styles.directions is None and self.wants_directions and not self._stopping.is_set():
      from jax3dgan import editing

      if self.model.generator.object_layout is not None:
        self.styles.directions = editing.objects.directions(self.model)
      else:
        self.styles.directions = editing.pca(self.model, seed=0, count=10)
      for session in list(self.sessions.values()):
        session.add_directions()

  # The end.

  def close(self) -> None:
    """Ends jobs, threads and connections."""
    self._stopping.set()
    self._orders.put(None)
    sessions = list(self.sessions.values())
    for session in sessions:
      session.jobs.cancel()
    self.worker.stop()
    for session in sessions:
      session.jobs.cancel(wait=10)
    if self.server is not None:
      self.server.stop()
    if self._compiler.is_alive():
      self._compiler.join(30)

  def run(self, opened=lambda: None) -> None:
    """Serves until Ctrl-C or SIGTERM; call it in the main thread.

    Threads finish their current work: a compilation cannot be interrupted, and one that still runs
    at the end of Python would crash. A second signal does not wait.
    """
    end = threading.Event()
    signals = (signal.SIGINT, signal.SIGTERM)

    def stop(number, frame):
      if end.is_set():  # the second signal: running work, such as a compilation, is not waited for
        os._exit(128 + number)
      end.set()

    before = {s: signal.signal(s, stop) for s in signals}
    try:
      self.open()
      opened()
      while not end.wait(1.0):  # short waits: Python handles signals between them
        pass
    finally:
      self.close()
      for number, handler in before.items():
        signal.signal(number, handler)
