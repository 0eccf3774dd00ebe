"""Linear 3D morphable models of faces: vertices, landmarks and UV maps of codes."""

from jax3dgan.morphable.files import load
from jax3dgan.morphable.model import Jaw, MorphableModel, turned

__all__ = ['Jaw', 'MorphableModel', 'load', 'turned']
