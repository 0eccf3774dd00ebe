"""A linear 3D morphable model (Blanz & Vetter, SIGGRAPH 1999): v = mean + shape·a + expression·b,
and, where it has one, a jaw that turns by linear blend skinning (as FLAME's, Li et al. 2017).

All is a pytree of arrays, so that a compiled step takes it as an argument.
"""

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from jax3dgan.nn import precision
from jax3dgan.rendering.splatting_projection import axis_angle_quaternions, rotations


@flax.struct.dataclass
class Jaw:
  """A joint about which a part of the vertices turns.

  Attributes:
    weight: [v] in [0, 1], how much of the jaw's rotation a vertex takes.
    joint, joint_shape, joint_expression: [3], [k, 3] and [e, 3]: where the joint is, linear in the
      codes as the vertices are.
    correctives: [9, v, 3] displacements for the entries of (rotation − identity), row by row; None
      without.
  """

  weight: jax.Array
  joint: jax.Array
  joint_shape: jax.Array
  joint_expression: jax.Array
  correctives: jax.Array | None = None


@flax.struct.dataclass
class MorphableModel:
  """A head in units of its own, y up, the face looks at +z.

  Attributes:
    mean: [v, 3].
    shape_basis, expression_basis: [k, v, 3] and [e, v, 3], displacements for a code of 1.
    faces: int32 [t, 3], counter-clockwise seen from outside.
    region: int32 [f, 3], those of the triangles that are drawn as UV and depth.
    region_uv: [f, 3, 2] of their corners, in [0, 1], v up.
    landmark_corners: int32 [l, 3] vertices.
    landmark_weights: [l, 3] barycentric coordinates.
    jaw: None without.
    expression_names: of the e; () where they have none.
  """

  mean: jax.Array
  shape_basis: jax.Array
  expression_basis: jax.Array
  faces: jax.Array
  region: jax.Array
  region_uv: jax.Array
  landmark_corners: jax.Array
  landmark_weights: jax.Array
  jaw: Jaw | None = None
  expression_names: tuple[str, ...] = flax.struct.field(pytree_node=False, default=())

  @property
  def texture_places(self):
    """[f, 3, 2] of the region's corners on a texture in [−1, 1]², x right, y down."""
    return (2 * self.region_uv - 1) * np.asarray([1, -1], self.region_uv.dtype)

  def vertices(self, shape, expression, jaw=None):
    """Vertices [b, v, 3] of codes.

    Args:
      shape, expression: [b, k] and [b, e].
      jaw: [b, 3] rotation vectors, radians; None for a closed one. A model without a jaw has none.
    """
    if jaw is not None and self.jaw is None:
      raise ValueError('The model has no jaw: its expressions open the mouth.')
    v = self._linear(self.mean, self.shape_basis, self.expression_basis, shape, expression)
    if jaw is None:
      return v
    own, turn = self.jaw, rotation_matrices(jaw)  # [b, 3, 3]
    joint = self._linear(own.joint, own.joint_shape, own.joint_expression, shape, expression)
    if own.correctives is not None:
      change = (turn - jnp.eye(3, dtype=turn.dtype)).reshape(-1, 9)
      v = v + precision.einsum('bi,ivc->bvc', change, own.correctives)
    local = v - joint[:, None]
    opened = turned(local, turn) + joint[:, None]
    return v + own.weight[:, None] * (opened - v)

  @staticmethod
  def _linear(mean, shape_basis, expression_basis, shape, expression):
    """As products of matrices, of any trailing axes of the bases; these are not copied."""
    moved = sum(
      precision.einsum('bk,kn->bn', codes, basis.reshape(len(basis), -1))
      for codes, basis in ((shape, shape_basis), (expression, expression_basis))
    )
    return mean + moved.reshape(shape.shape[0], *mean.shape)

  def landmarks(self, vertices):
    """[b, l, 3] on vertices [b, v, 3]."""
    corners = vertices[:, self.landmark_corners]  # [b, l, 3, 3]
    return jnp.sum(self.landmark_weights[..., None] * corners, axis=-2)

  def first_codes(self, num_shape: int, num_expression: int) -> 'MorphableModel':
    """The model of the first codes of each kind alone, all where there are no more."""
    jaw = self.jaw
    if jaw is not None:
      jaw = jaw.replace(
        joint_shape=jaw.joint_shape[:num_shape],
        joint_expression=jaw.joint_expression[:num_expression],
      )
    return self.replace(
      shape_basis=self.shape_basis[:num_shape],
      expression_basis=self.expression_basis[:num_expression],
      expression_names=self.expression_names[:num_expression],
      jaw=jaw,
    )

  def moved(self, scale: float, offset) -> 'MorphableModel':
    """The model with each vertex at scale · vertex + offset [3]."""
    offset, jaw = np.asarray(offset, np.float32), self.jaw
    if jaw is not None:
      correctives = None if jaw.correctives is None else scale * jaw.correctives
      jaw = jaw.replace(
        joint=scale * jaw.joint + offset,
        joint_shape=scale * jaw.joint_shape,
        joint_expression=scale * jaw.joint_expression,
        correctives=correctives,
      )
    return self.replace(
      mean=scale * self.mean + offset,
      shape_basis=scale * self.shape_basis,
      expression_basis=scale * self.expression_basis,
      jaw=jaw,
    )

  def of_region(self) -> 'MorphableModel':
    """The model of the region's vertices alone, which is what a step computes; its landmarks are
    those that lie on them."""
    return self._of(np.unique(np.asarray(self.region)), np.asarray(self.region))

  def of_landmarks(self) -> 'MorphableModel':
    """The model of the landmarks' vertices alone, without triangles."""
    used = np.asarray(self.landmark_corners)[np.asarray(self.landmark_weights) != 0]
    return self._of(np.unique(used), np.zeros((0, 3), np.int32))

  def _of(self, kept, triangles) -> 'MorphableModel':
    """The model of some vertices, ascending, and triangles of them that are the region."""
    corners, weights = np.asarray(self.landmark_corners), np.asarray(self.landmark_weights)
    inside = np.all(np.isin(corners, kept) | (weights == 0), axis=-1)
    corners = np.where(weights == 0, kept[0], corners)
    region = np.searchsorted(kept, triangles).astype(np.int32)
    jaw = self.jaw
    if jaw is not None:
      correctives = None if jaw.correctives is None else jaw.correctives[:, kept]
      jaw = jaw.replace(weight=jaw.weight[kept], correctives=correctives)
    return self.replace(
      mean=self.mean[kept],
      shape_basis=self.shape_basis[:, kept],
      expression_basis=self.expression_basis[:, kept],
      faces=region,
      region=region,
      region_uv=self.region_uv[: len(region)],
      landmark_corners=np.searchsorted(kept, corners[inside]).astype(np.int32),
      landmark_weights=weights[inside],
      jaw=jaw,
    )


def rotation_matrices(vectors):
  """Rotations [..., 3, 3] about vectors [..., 3] by their lengths, radians."""
  return rotations(axis_angle_quaternions(vectors))


def turned(points, rotation):
  """Points [b, n, 3] turned by rotations [b, 3, 3] about the origin."""
  return precision.einsum('bij,bnj->bni', rotation, points)
