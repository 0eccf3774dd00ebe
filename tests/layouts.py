"""From PyTorch's order of axes to JAX's, and back."""

import numpy as np


def nhwc(x):
  return np.moveaxis(x, 1, -1)


def nchw(x):
  return np.moveaxis(np.asarray(x), -1, 1)


def hwio(kernel):
  return np.transpose(kernel, (2, 3, 1, 0))
