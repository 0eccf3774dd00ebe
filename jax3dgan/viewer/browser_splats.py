"""Gaussians that the browser draws itself: the page turns at its own speed, and nothing is rendered
here."""

import numpy as np

from jax3dgan import splats
from jax3dgan.rendering import splatting_projection

_NAME = '/gaussians'


def show(session, view) -> None:
  """Sends the Gaussians of a view's object instead of its picture."""
  scene = session.viewer.styles.scene(view.identity)
  cloud = splats.of_gaussians(session.model.gaussians(scene))
  with session.client.atomic():
    hide(session)
    handle = session.client.scene.add_gaussian_splats(
      _NAME,
      centers=cloud.means,
      covariances=covariances(cloud),
      rgbs=cloud.colours,
      opacities=cloud.opacities[:, None],
    )
    ground = 255 if session.model.options().white_back else 0
    session.client.scene.set_background_image(np.full((2, 2, 3), ground, np.uint8))
  session.splats = (view.identity, handle)
  session.panel.frame.content = f'{len(cloud.means):,} Gaussians, drawn by the browser'
  session.client.flush()


def hide(session) -> None:
  """Shows pictures again."""
  if session.splats is not None:
    _, handle = session.splats
    session.splats = None
    handle.remove()


def covariances(cloud: splats.Cloud) -> np.ndarray:
  """[n, 3, 3] of Gaussians, float32."""
  axes = np.asarray(splatting_projection.rotations(cloud.quaternions)) * cloud.scales[:, None]
  return np.einsum('nij,nkj->nik', axes, axes)
