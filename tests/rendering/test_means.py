"""What a field returns beside density and colour: means over the samples of a ray."""

import dataclasses

import flax.struct
import jax.numpy as jnp
import numpy as np
import pytest

from jax3dgan.cameras import orbit
from jax3dgan.rendering import hierarchical, rays
from jax3dgan.rendering.options import RenderOptions


@flax.struct.dataclass
class Ball:
  """A ball, and the squared distance of each sample from its middle."""

  strength: jnp.ndarray  # [1]
  width: int = 4

  def __call__(self, points, directions):
    del directions
    squared = jnp.sum(points**2, axis=-1)
    density = self.strength[0] * jnp.where(squared < 0.01, 1.0, 0.0)
    return (
      density,
      jnp.broadcast_to(0.5, points.shape),
      {'squared': squared, 'one': squared * 0 + 1},
    )


@pytest.mark.parametrize('num_fine', [0, 4])
@pytest.mark.parametrize('ray_chunk', [0, 4])
def test_they_are_means_over_all_samples_however_rays_are_divided(num_fine, ray_chunk):
  options = RenderOptions(resolution=4, num_coarse=6, num_fine=num_fine, ray_chunk=ray_chunk)
  lines = rays.camera_rays(orbit(jnp.array([0.0, 0.4]), jnp.array([0.1, 0.2])), 4)
  out = hierarchical.render_images(Ball(jnp.array([50.0])), lines, options)
  assert set(out.means) == {'squared', 'one'} and out.means['squared'].shape == (2, 16)
  np.testing.assert_allclose(out.means['one'], 1, rtol=1e-6)
  depths = np.linspace(options.near, options.far, 6)
  points = lines.origins[:, :, None] + depths[:, None] * lines.directions[:, :, None]
  expected = (np.asarray(points) ** 2).sum(-1).mean(-1)
  if not num_fine:
    np.testing.assert_allclose(out.means['squared'], expected, rtol=1e-4)
  else:  # fine samples are nearer to the ball
    hit = np.asarray(out.opacity) > 0.5
    assert hit.any() and (np.asarray(out.means['squared']) < expected)[hit].all()


def test_there_is_nothing_by_default():
  options = RenderOptions(resolution=4, num_coarse=6, num_fine=0)
  lines = rays.camera_rays(orbit(jnp.zeros(1), jnp.zeros(1)), 4)
  plain = lambda *args: Ball(jnp.array([50.0]))(*args)[:2]  # noqa: E731
  assert not hierarchical.render_rays(plain, lines, dataclasses.replace(options)).means
