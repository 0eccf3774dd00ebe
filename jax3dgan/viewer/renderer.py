"""Renders what a client asks for: by volume rendering, or a signed distance by sphere tracing."""

from jax3dgan.generators import Rendering
from jax3dgan.pictures import normals, traced
from jax3dgan.viewer.quality import Level


class Renderer:
  """Draws views of a model.

  Args:
    model: A `trained.Trained`.
  """

  def __init__(self, model):
    self._model = model
    self._tracer = traced.Tracer(model) if traced.can_trace(model) else None

  def __call__(self, scene, camera, level: Level, kind: str = 'colour') -> Rendering:
    """A rendering [1, ...], NumPy arrays, with what a kind of picture needs.

    Args:
      scene: [1, ...] of `Trained.prepare`.
      camera: [1].
      level: Its size, and how it is rendered.
      kind: Of `pictures.kinds`.
    """
    if level.traced:
      assert self._tracer is not None, 'no signed distance'
      return self._tracer.render(scene, camera, level.resolution, level.traced)
    out = self._model.render(scene, camera, level.resolution, **level.overrides())
    if kind == 'normals' and normals.has_gradient(self._model):
      own = normals.of_rendering(self._model, scene, camera, out.depth, out.opacity)
      out = out.replace(normals=own)
    return out
