"""Styles that carry the codes of a face model (Exp-GAN, ACCV 2022): identity and expression.

Whatever takes styles (rendering, meshes, the viewer, a path between two) takes codes with them, and
an expression is changed by changing its numbers.
"""

import dataclasses

import jax
import numpy as np

from jax3dgan.errors import UserError

IDENTITY, EXPRESSION = 'identity', 'expression'


@dataclasses.dataclass(frozen=True)
class CodeLayout:
  """Which numbers of styles w [..., width] are what: the style, the identity, the expression.

  `Generator.map` gives an identity that follows from the latent, and the neutral expression, all
  zeros.

  Attributes:
    style_dim: numbers of the style proper.
    num_identity, num_expression: of the face model's weights.
    expression_names: of the weights of expression; () where they have none.
  """

  style_dim: int
  num_identity: int
  num_expression: int
  expression_names: tuple[str, ...] = ()

  @property
  def width(self) -> int:
    """Numbers of a style with its codes."""
    return self.style_dim + self.num_identity + self.num_expression

  def join(self, style, identity, expression):
    """Styles [..., width] of [..., style_dim] and codes [..., k], NumPy or JAX."""
    parts = (style, identity, expression)
    xp = np if all(isinstance(x, np.ndarray) for x in parts) else jax.numpy
    return xp.concatenate(parts, axis=-1)

  def split(self, w):
    """(style, identity, expression) of styles [..., width]."""
    first, second = self.style_dim, self.style_dim + self.num_identity
    return w[..., :first], w[..., first:second], w[..., second : self.width]

  def with_expression(self, w, expression):
    """Styles w [..., width] with another expression, broadcast against each other, NumPy or JAX."""
    style, identity, old = self.split(w)
    xp = np if isinstance(w, np.ndarray) and isinstance(expression, np.ndarray) else jax.numpy
    shape = np.broadcast_shapes(old.shape[:-1], expression.shape[:-1])
    return self.join(
      *(xp.broadcast_to(x, (*shape, x.shape[-1])) for x in (style, identity, expression))
    )


def layout_of(generator, name: str) -> CodeLayout:
  """The layout of a generator; a UserError with a model's name where it has no codes."""
  layout = generator.code_layout
  if layout is None:
    raise UserError(
      f'{name} has no expression codes: it was not trained with a face model. Give one that was '
      '(docs/expression.md).'
    )
  return layout
