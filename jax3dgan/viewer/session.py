"""One browser: its panel, its camera, and the pictures that are sent to it."""

import dataclasses
import logging
import secrets
import threading
import time

import numpy as np

from jax3dgan.errors import UserError
from jax3dgan.viewer import browser_splats, pictures, poses, savings, uploads
from jax3dgan.viewer.identity import Identity
from jax3dgan.viewer.jobs import Jobs, invert
from jax3dgan.viewer.panel import Panel
from jax3dgan.viewer.view import View

REST_SECONDS = 0.15  # without a change, before the picture is made sharp
_JPEG_QUALITY = 90  # while moving; pictures at rest are sent without loss
_MIN_DISTANCE, _MAX_DISTANCE = 1 / 8, 2.0  # of the trained distance: how far one can zoom


class Session:
  """The state of one client.

  Args:
    client: viser's handle of it.
    viewer: The `server.Viewer`.
  """

  def __init__(self, client, viewer):
    self.client, self.viewer, self.model = client, viewer, viewer.model
    self.moved_at = 0.0
    self.keys, self.recorded, self.record_start = [], False, 0.0
    self.photo, self._own_photos = None, []
    self.mesh = None
    self.splats = None  # (identity, handle) of what the browser draws itself
    self._limits = (None, None)  # of depth: identity, (near, far)
    self._lock = threading.RLock()  # viser calls back from many threads
    self._outside = self._aspect = None
    self.jobs = Jobs(self.failed, self._job_changed)
    self.panel = Panel(
      client,
      self.model,
      viewer.styles.num_layers(),
      viewer.ladder.sizes,
      viewer.still,
      viewer.start.seed,
      viewer.start.psi,
      viewer.wants_directions,
      self.model.has_depth,
      viewer.styles.faces,
    )
    uploads.bound_transfers(client, self._too_large)
    if self.model.has_camera:
      self._start_camera()
    self._connect()
    if viewer.styles.directions is not None:
      self.add_directions()
    savings.set_panel(self, viewer.start, viewer.start_kind)
    self.changed()

  # What the client does.

  def _on(self, attach, action):
    """Attaches an action; its errors become messages."""

    def callback(_):
      try:
        action()
      except Exception as error:
        self.failed(error)

    attach(callback)

  def _connect(self):
    p = self.panel
    inputs = [
      p.seed,
      p.psi,
      p.show,
      p.size,
      p.traces,
      p.splats,
      p.trained_only,
      p.mix,
      p.mix_seed,
      p.layers,
      p.use_photo,
      *p.expression_inputs(),
    ]
    for handle in inputs:
      self._on(handle.on_update, self.changed)
    self._on(self.client.camera.on_update, self._camera_moved)
    self._on(p.step_seed.on_click, self._step_seed)
    self._on(p.reset.on_click, self.reset_view)
    self._on(p.cancel.on_click, self.jobs.cancel)
    self._on(p.upload.on_upload, self._uploaded)
    savings.connect(self, self._on)

  def add_directions(self):
    """Adds the sliders of the directions, once they are found."""
    self.panel.add_directions(self.viewer.styles.directions.names, self._slider_moved)
    for name, strength in self.viewer.start.edits:
      if name in self.panel.sliders:
        self.panel.sliders[name].value = strength

  def _slider_moved(self, _):
    self.changed()

  def _step_seed(self):
    which = self.panel.step_seed.value
    seed = int(self.panel.seed.value)
    if which == 'Random':
      self.panel.seed.value = secrets.randbelow(1_000_000)
    else:
      self.panel.seed.value = max(seed + (1 if which == 'Next' else -1), 0)
    if self.panel.use_photo.value:
      self.panel.use_photo.value = False

  def _start_camera(self):
    camera, radius = self.client.camera, self.viewer.radius
    camera.min_orbit_distance = radius * _MIN_DISTANCE
    camera.max_orbit_distance = radius * _MAX_DISTANCE
    self._set_fov()

  def _set_fov(self):
    """Gives the square of the canvas the field of view of training."""
    camera = self.client.camera
    fov = poses.canvas_fov(self.viewer.fov, camera.aspect)
    if abs(camera.fov - fov) > 1e-4:  # a tall window: its square is as wide as it is
      camera.fov = fov

  def reset_view(self):
    """Resets the camera."""
    with self.client.atomic():
      self.client.camera.position = self.viewer.start_position
      self.client.camera.look_at = self.viewer.start_look_at
      self.client.camera.up_direction = np.array([0.0, 1.0, 0.0])

  def _camera_moved(self):
    camera = self.client.camera
    if not self.model.has_camera:
      if self._aspect != camera.aspect:
        self.changed()
      return
    self._set_fov()
    if self.panel.record.value:
      with self._lock:
        savings.record_view(self)
    self.changed()

  def changed(self):
    """Requests a picture with the current settings and camera."""
    with self._lock:
      view = self.view()
      if self.mesh is not None:
        if view.identity == self.mesh[0]:
          return  # viser itself draws the mesh
        savings.hide_mesh(self)
      if view.splats and self.splats is not None and view.identity == self.splats[0]:
        return  # so it does with Gaussians
      self.moved_at = time.monotonic()
      self._aspect = view.aspect
      self._show_hint(view)
      self.viewer.worker.submit(self, view)

  def view(self) -> View:
    """The view of the current settings and camera."""
    p, camera = self.panel, self.client.camera
    edits = tuple((name, float(slider.value)) for name, slider in p.sliders.items() if slider.value)
    identity = Identity(
      seed=int(p.seed.value),
      psi=float(p.psi.value),
      mix_seed=int(p.mix_seed.value) if p.mix.value else None,
      mix_layers=tuple(int(x) for x in p.layers.value) if p.mix.value else (0, 0),
      edits=edits,
      photo=self.photo if p.use_photo.value else None,
      expression=p.told_expression(),
    )
    pose = (
      tuple(map(float, camera.position)),
      tuple(map(float, camera.wxyz)),
      float(camera.fov),
      tuple(map(float, camera.look_at)),
    )
    flags = dict(traces=bool(p.traces.value), splats=bool(p.splats.value))
    only = bool(p.trained_only.value)
    return View(identity, p.show.value, p.still, pose, camera.aspect, only, **flags)

  def camera_of(self, view: View):
    """Our camera [1] of a view: zoomed instead of nearer, and limited to the trained views."""
    if not self.model.has_camera:
      return self.viewer.start_camera
    position, wxyz, fov, look_at = view.camera
    radius = self.viewer.radius
    camera = poses.from_viser(position, wxyz, fov, view.aspect)
    camera = poses.dolly_to_zoom(camera, look_at, radius)
    return (
      poses.limited(camera, self.viewer.views, look_at, radius) if view.trained_only else camera
    )

  def _show_hint(self, view: View):
    if not self.model.has_camera:
      return
    outside = not self.viewer.views.contains(*poses.angles(view.camera[0], view.look_at))
    state = (outside, view.trained_only)
    if state == self._outside:
      return
    self._outside = state
    what = (
      'the nearest of them is shown' if view.trained_only else 'the model was not trained for it'
    )
    self.panel.hint.content = f'*Outside the trained views ({self.viewer.views.words()}): {what}.*'
    self.panel.hint.visible = outside

  # What the client gets.

  def draw(self, view: View):
    """Renders and sends a view; called by the render thread. See `worker.Draw`."""
    viewer = self.viewer
    if not viewer.wait_until_ready() or self.mesh is not None:
      return None
    if view.splats:
      browser_splats.show(self, view)
      return None
    browser_splats.hide(self)
    ladder = viewer.ladder
    if view.sharp:
      level = ladder.still(view.still, view.traced)
    else:
      level = ladder.moving(viewer.num_moving(), view.traced)
    if not viewer.is_compiled(level):
      viewer.compile_later(level, self)
      return None
    scene = viewer.styles.scene(view.identity)
    camera = self.camera_of(view)
    start = time.perf_counter()
    out = viewer.render(scene, camera, level, view.kind)
    seconds = time.perf_counter() - start
    ladder.measured(level, seconds)
    picture = self.picture(view, out, camera)
    self.send(picture, view.aspect, view.sharp)
    if view.sharp:
      self.panel.frame.content = (
        f'{level.resolution}² in {1000 * seconds:.0f} ms at rest, '
        f'{ladder.moving(traced=dataclasses.replace(view, sharp=False).traced).resolution}² while '
        'moving'
      )
      return None
    return REST_SECONDS, dataclasses.replace(view, sharp=True)

  def picture(self, view: View, rendering, camera) -> np.ndarray:
    """The picture of a view's kind, uint8 [h, w, 3]."""
    limits = None
    if view.kind == 'depth':
      before = self._limits[1] if self._limits[0] == view.identity else None
      limits = pictures.depth_limits(self.model, rendering, before)
      self._limits = (view.identity, limits)
    return pictures.picture(self.model, rendering, view.kind, camera, limits)

  def send(self, picture: np.ndarray, aspect: float, lossless: bool) -> None:
    """Sends a square picture as the background of the scene."""
    canvas = pictures.on_canvas(picture, aspect)
    self.client.scene.set_background_image(
      canvas, format='png' if lossless else 'jpeg', jpeg_quality=_JPEG_QUALITY
    )
    self.client.flush()

  # Photos.

  def _uploaded(self):
    self.model.check_latents()
    file = self.panel.upload.value
    image = uploads.read_photo(file.name, file.content, self.model.resolution)
    camera = self.camera_of(self.view())
    steps = int(self.panel.steps.value)
    number = self.viewer.new_photo()
    self._own_photos.append(number)

    def work(step):
      def show(w):
        self.viewer.styles.photos[number] = w
        if self.photo != number:
          self.photo = number
          self.panel.use_photo.visible = True
          self.panel.use_photo.value = True
        self.changed()

      show(invert(self.model, image, camera, steps, step, show))

    self.jobs.start('Finding the style', work)

  def _too_large(self, name: str):
    limit = uploads.MAX_BYTES >> 20
    self.notify('Too large', f'{uploads._short(name)} has more than {limit} MiB.', 'red')

  # Messages.

  def _job_changed(self, name, share):
    self.panel.show_progress(name, share)

  def notify(self, title: str, body: str, color=None):
    """Shows a message for some seconds."""
    self.client.add_notification(title, body, color=color, auto_close_seconds=10)

  def failed(self, error: Exception):
    """Shows an error: a UserError in the page only, others in the terminal too."""
    if isinstance(error, UserError):
      self.notify('That did not work', str(error), 'red')
    else:
      logging.error('error in the viewer', exc_info=error)
      self.notify('Something went wrong', 'The terminal shows the error.', 'red')

  def close(self):
    """Stops the jobs of this client and removes its photos."""
    self.jobs.cancel()
    self.viewer.worker.forget(self)
    for number in self._own_photos:
      self.viewer.styles.photos.pop(number, None)
