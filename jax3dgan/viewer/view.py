"""The view that a client asks for."""

import dataclasses

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
  """

  identity: Identity
  kind: str
  still: int | None
  camera: tuple
  aspect: float
  trained_only: bool
  sharp: bool = False

  @property
  def look_at(self) -> tuple[float, float, float]:
    """The point that the camera turns about."""
    return self.camera[3]
