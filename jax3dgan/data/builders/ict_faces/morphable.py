"""The ICT Face Model Light as a morphable model in the world of the rendered faces.

Its region is the skin of the face without eyes and mouth, which are parts of their own: vertices of
the part 'face' in front of the ears that no hair lifts, so that their depth is that of the rendered
pictures.
"""

import numpy as np

from jax3dgan.data.builders.ict_faces import looks, model, paint, uv_layout
from jax3dgan.morphable.model import MorphableModel

# The region on the neutral face, cm.
_LOWEST, _HIGHEST, _BACKMOST = -9.0, 8.0, 2.0
_PART = 'face'  # its UV tile is [0, 1]²


def load(folder) -> MorphableModel:
  """The model from the folder of the user's copy, of NumPy arrays; units and axes of
  `ict_faces.model.to_world`.

  Raises:
    UserError: as `ict_faces.model.read`, or it has no UV coordinates.
  """
  file, arrays = model.read(folder)
  uv_layout.check(file, arrays)
  quads = arrays['faces'][:, [0, 1, 2, 0, 2, 3]].reshape(-1, 3)
  places = arrays['faces_uv'][:, [0, 1, 2, 0, 2, 3]].reshape(-1, 3)
  a, b, c = quads.T
  whole = (a != b) & (b != c) & (c != a)  # some quads of the model are triangles
  names, quad = arrays['part_names'].tolist(), np.arange(len(quads)) // 2
  ranges = {name: arrays['part_ranges'][names.index(name)][2:] for name in model.PARTS}
  of_part = {name: (quad >= first) & (quad <= last) for name, (first, last) in ranges.items()}
  drawn = whole & of_part[_PART] & _region(arrays['neutral'])[quads].all(1)
  landmarks = arrays['landmarks68'].astype(np.int32)
  return MorphableModel(
    mean=model.to_world(arrays['neutral']),
    shape_basis=arrays['identity'].astype(np.float32) / np.float32(model.UNIT_CM),
    expression_basis=arrays['expression'].astype(np.float32) / np.float32(model.UNIT_CM),
    faces=quads[whole & np.any(list(of_part.values()), axis=0)].astype(np.int32),
    region=quads[drawn].astype(np.int32),
    region_uv=arrays['uv'][places[drawn]].astype(np.float32),
    landmark_corners=np.repeat(landmarks[:, None], 3, axis=1),
    landmark_weights=np.tile(np.float32([1, 0, 0]), (len(landmarks), 1)),
    expression_names=tuple(arrays['expression_names'].tolist()),
  )


def _region(neutral):
  """bool [v] of vertices of the neutral face, cm."""
  y, z = neutral[:, 1], neutral[:, 2]
  # Hair grows from the hairline upwards: the lowest one has it wherever another has.
  lowest = paint.hair_mask(neutral, looks.HAIRLINE_CM[0])
  return (y > _LOWEST) & (y < _HIGHEST) & (z > _BACKMOST) & (lowest == 0)
