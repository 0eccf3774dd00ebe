"""A generator's methods, each compiled once per shape, whatever its variables."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jax3dgan import generators
from jax3dgan.devices import ray_parallel

# Latents of the average style; as many as π-GAN's release takes.
_NUM_AVERAGE = 10_000


class Compiled:
  """The functions of a generator on some devices; variables are arguments.

  Args:
    generator: A Flax module.
    devices: Those that share a rendering, of this process; None for all that it has (or the one of
      `jax.default_device`).
  """

  def __init__(self, generator, devices: Sequence[jax.Device] | None = None):
    self._generator, self._devices = generator, devices

  @functools.cached_property
  def mesh(self) -> jax.sharding.Mesh:
    """The devices that share a rendering."""
    return ray_parallel.local_mesh(self._devices)

  @functools.cached_property
  def mean(self):
    """mean(variables) → the mean style, [...] without a batch axis."""

    def mean(variables):
      return generators.average_w(self._generator, variables, jax.random.key(0), _NUM_AVERAGE)

    return jax.jit(mean)

  @functools.cached_property
  def map(self):
    """map(variables, z, psi, average_w, label) → styles w [n, ...], see `Trained.map`."""

    def styles(variables, z, psi, average_w, label):
      inputs = {} if average_w is None else {'truncation_psi': psi, 'average_w': average_w}
      return self._generator.apply(variables, z, label, method='map', **inputs)

    return jax.jit(styles)

  @functools.cached_property
  def prepare(self):
    """prepare(variables, w) → scenes, see `Generator.prepare`."""
    return jax.jit(lambda variables, w: self._generator.apply(variables, w, method='prepare'))

  @functools.cached_property
  def gaussians(self):
    """gaussians(variables, w) → Gaussians, see `Generator.gaussians`."""
    return jax.jit(lambda variables, w: self._generator.apply(variables, w, method='gaussians'))

  @functools.cached_property
  def query(self):
    """query(variables, w, points, directions) → raw density and features, see `Trained.query`."""

    def field(variables, w, points, directions):
      n = points.shape[0]
      w = jax.tree.map(lambda x: jnp.broadcast_to(x, (n, *x.shape[1:])), w)
      return self._generator.apply(variables, w, points, directions, method='query')

    return jax.jit(field)

  @functools.cached_property
  def synthesize(self):
    """synthesize(variables, w, camera, options) → `Rendering`, on all devices of the mesh."""
    mesh = self.mesh

    def images(variables, w, camera, options):
      if mesh.size > 1:
        return ray_parallel.synthesize(self._generator, mesh, variables, w, camera, options)
      return self._generator.apply(
        variables, w, camera, key=None, options=options, method='synthesize'
      )

    return jax.jit(images, static_argnums=3)
