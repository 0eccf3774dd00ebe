"""jax3dgan: 3D-aware GANs in JAX.

Light on purpose: importing the package imports neither JAX nor TensorFlow. Import the module that
you need, for example `from jax3dgan import trained`.
"""

__version__ = '0.1.0'
