"""The codes of a mirrored face of the ICT Face Model Light.

Each shape of identity is symmetric or antisymmetric, up to 0.3 % of the first ten and a hundredth
of a millimetre of the last; shapes of expression are left or right, or symmetric.
"""

import numpy as np

# Antisymmetric shapes of the 100 of identity.
_ANTISYMMETRIC = (
  9, 20, 25, 28, 33, 37, 43, 45, 51, 53, 58, 60, 65, 67, 71, 73, 76, 80, 83, 85, 89, 91, 93, 95, 97,
)  # fmt: skip
# Of the 57 of expression, by their names in alphabetical order: …_L and …_R, …Left and …Right.
_PAIRS = (
  (0, 1), (2, 3), (4, 5), (6, 7), (8, 9), (10, 11), (12, 13), (14, 15), (16, 17), (18, 19),
  (20, 21), (22, 23), (24, 25), (26, 27), (29, 31), (33, 34), (35, 36), (38, 44), (39, 40),
  (41, 42), (49, 50), (51, 52), (53, 54), (55, 56),
)  # fmt: skip


def _identity():
  sign = np.ones(100, np.float32)
  sign[list(_ANTISYMMETRIC)] = -1
  return np.arange(100), sign


def _expression():
  order = np.arange(57)
  for left, right in _PAIRS:
    order[[left, right]] = right, left
  return order, np.ones(57, np.float32)


# {code: (order, sign)}: the mirrored one is code[order] · sign.
CODES = {'identity': _identity(), 'expression': _expression()}
