"""Linear 3D morphable models of faces: vertices, landmarks and maps of codes.

`data.face_models` reads them from files.
"""

from jax3dgan.morphable.model import Jaw, MorphableModel

__all__ = ['Jaw', 'MorphableModel']
