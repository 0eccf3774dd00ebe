"""The view that a client asks for."""

import dataclasses

from jax3dgan.pictures import traced
from jax3dgan.viewer.identity import Identity


@dataclasses.dataclass(frozen=True)
class View:
  """What a client asks for; hashable.

  Attributes:
    identity: See `Identity`.
    kind: Of `pictures.KINDS`.
    still: Resolution at rest, None for automatic.
    camera: viser's (position, wxyz, fov, look_at), as tuples.
    aspect: Width of the canvas divided by its height.
    trained_only: Whether the camera is limited to the trained views.
    sharp: Whether this is the picture at rest.
    traces: Whether moving pictures are drawn by sphere tracing.
    splats: Whether the browser draws Gaussians, and there is no picture.
  """

  identity: Identity
  kind: str
  still: int | None
  camera: tuple
  aspect: float
  trained_only: bool
  sharp: bool = False
  traces: bool = False
  splats: bool = False

  @property
  def traced_at_rest(self) -> str:
    """The kind, where pictures at rest are drawn by sphere tracing: no other way shows it."""
    return self.kind if self.kind == traced.SHADED else ''

  @property
  def traced(self) -> str:
    """The kind, where this picture is drawn by sphere tracing; else ''."""
    return self.kind if self.traces and not self.sharp else self.traced_at_rest

  @property
  def look_at(self) -> tuple[float, float, float]:
    """The point that the camera turns about."""
    return self.camera[3]
