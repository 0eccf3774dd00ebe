"""Background jobs: one at a time for each client, with progress and cancellation."""

import threading
from collections.abc import Callable, Iterator

import jax
import numpy as np

from jax3dgan import inversion, viz
from jax3dgan.cameras import Camera
from jax3dgan.errors import UserError
from jax3dgan.inversion import search


class Cancelled(Exception):
  """The user, or the end of the program, stopped a job."""


class Jobs:
  """Runs one job at a time in a thread.

  Args:
    failed: Called with the exception of a job that failed.
    changed: Called with (name, share done in [0, 1]) at each step, and (None, 1.0) at the end.
  """

  def __init__(self, failed: Callable[[Exception], None], changed: Callable):
    self._failed = failed
    self._changed = changed
    self._thread = None
    self._running = False
    self._cancel = threading.Event()
    self._lock = threading.Lock()

  @property
  def busy(self) -> bool:
    """Whether a job runs."""
    return self._running

  def start(self, name: str, work: Callable[[Callable[[float], None]], None]) -> None:
    """Starts `work(step)`; it calls step(share done), which raises `Cancelled` when it is to end.

    Raises:
      UserError: Another job runs.
    """
    with self._lock:
      if self.busy:
        raise UserError('Another job is running. Wait for it, or cancel it.')
      self._running = True
      self._cancel = threading.Event()
      self._thread = threading.Thread(
        target=self._run, args=(name, work, self._cancel), name=f'viewer-{name}'
      )
      self._thread.start()

  def _run(self, name, work, cancel):
    def step(share: float) -> None:
      if cancel.is_set():
        raise Cancelled
      self._changed(name, share)

    try:
      step(0.0)
      work(step)
    except Cancelled:
      pass
    except Exception as error:  # of any kind: the viewer continues
      if not cancel.is_set():
        self._failed(error)
    finally:
      self._running = False  # before the callback, which may start the next one
      self._changed(None, 1.0)

  def cancel(self, wait: float = 0.0) -> None:
    """Asks the job to end, and waits for that for some seconds."""
    self._cancel.set()
    thread = self._thread
    if wait and thread is not None and thread.is_alive():
      thread.join(wait)


def invert(
  model, image: np.ndarray, camera: Camera, num_steps: int, step: Callable, show: Callable
) -> np.ndarray:
  """Searches for the style of a photo.

  Args:
    model: A `trained.Trained`.
    image: [1, r, r, 3] in [−1, 1] at the model's resolution.
    camera: Where it was taken from, [1].
    num_steps: Of the search.
    step: See `Jobs.start`.
    show: Called with the current styles [1, ...] at intervals, but for scenes of objects.

  Returns:
    The styles [1, ...].

  Raises:
    UserError: The search found no numbers.
  """
  if model.generator.object_layout is None:
    found = _procedure(model, image, camera, num_steps, step, show)
  else:
    found = _objects(model, image, camera, num_steps, step)
  w = np.asarray(found.w)
  if not np.isfinite(w).all():
    raise UserError(
      'The search ended in numbers that are not finite. Turn the view to the side that the photo '
      'shows, and upload it again.'
    )
  return w


def _procedure(model, image, camera, num_steps, step, show):
  options = model.options()
  if model.has_field:
    options = model.options(num_coarse=max(options.num_coarse, 12), num_fine=0)

  def after(i, w, rendered, loss):
    del rendered
    loss.block_until_ready()  # otherwise a cancellation would wait for everything that is queued
    step((i + 1) / num_steps)
    if i % 20 == 19 and np.isfinite(w).all():
      show(np.asarray(w))

  return inversion.invert(
    model.generator,
    model.variables,
    image,
    camera,
    model.average_w,
    jax.random.key(0),
    options,
    num_steps,
    callback=after,
  )


def _objects(model, image, camera, num_steps, step):
  """Of scenes of objects, whose poses have several starts: nothing to show before the end."""
  options = search.SearchOptions(num_steps=num_steps)
  total, done = num_steps + options.start_steps, 0

  def after(steps):
    nonlocal done
    done += steps
    step(min(done / total, 1.0))

  return search.search(model, image, camera, options=options, callback=after)


def video_frames(render, path: Camera, resolution: int, step, draw) -> Iterator[np.ndarray]:
  """Yields the pictures of a path, uint8 [h, w, 3].

  Args:
    render: camera [1] → rendering [1, ...].
    path: n cameras.
    resolution: Pixels on a side.
    step: See `Jobs.start`.
    draw: (rendering [1, ...], camera [1]) → picture; see `pictures.picture`.
  """
  num = len(path.cam2world)
  for i in range(num):  # one at a time: shown, stopped and compiled like the picture at rest
    camera = jax.tree.map(lambda x, i=i: x[i : i + 1], path)
    picture = draw(render(camera), camera)
    yield viz.enlarge(picture, max(-(-256 // resolution), 1))
    step((i + 1) / num)
