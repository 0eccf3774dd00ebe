"""Photos whose cameras are known: NeRF-synthetic, instant-ngp, nerfstudio, COLMAP.

`load` reads a scene into memory, `python -m jax3dgan.data.prepare --source=SCENE` makes shards of
it.
See docs/posed_data.md. Importing this imports neither JAX nor TensorFlow.
"""

from jax3dgan.data.posed.framing import Framing
from jax3dgan.data.posed.scene import Options, Scene, is_scene
from jax3dgan.data.posed.source import PosedSource, Views, load

__all__ = ['Framing', 'Options', 'PosedSource', 'Scene', 'Views', 'is_scene', 'load']
