"""The random numbers of one rendering."""

from typing import NamedTuple

import jax

from jax3dgan.rendering.options import RenderOptions


class Draws(NamedTuple):
  """The random numbers of one rendering; None in a place means deterministic there.

  Attributes:
    jitter: [b, r, s] uniforms that place the coarse samples in their strata; [b, r, 1] where the
      samples of a ray share one.
    coarse_noise: [b, r, s] normals added to the coarse density, times noise_std.
    pdf: [b, r, k] uniforms of the importance sampling.
    final_noise: [b, r, s + k] normals of the final integration, in ascending depth.
    fine_noise: [b, r, k] normals added to the fine pass's densities (EG3D and StyleNeRF, which keep
      the noise of both passes and add none in the integration).
  """

  jitter: jax.Array | None = None
  coarse_noise: jax.Array | None = None
  pdf: jax.Array | None = None
  final_noise: jax.Array | None = None
  fine_noise: jax.Array | None = None


def draw(
  keys, num_rays: int, options: RenderOptions, noise: bool = True, of_passes: bool | None = None
) -> Draws:
  """Draws for per-example keys [b]: each example's numbers depend on its own key alone.

  Args:
    noise: whether to draw density noise.
    of_passes: whether that is the noise of each pass (`fine_noise`) or of the integration
      (`final_noise`); None for what the marcher takes.
  """
  s, k = options.num_coarse, options.num_fine
  of_passes = options.marcher == 'midpoints' if of_passes is None else of_passes and k > 0

  def one(key):
    jitter, coarse, pdf, final = jax.random.split(key, 4)
    return Draws(
      jax.random.uniform(jitter, (num_rays, 1 if options.jitter == 'ray' else s)),
      jax.random.normal(coarse, (num_rays, s)) if noise and (k or of_passes) else None,
      jax.random.uniform(pdf, (num_rays, k)) if k else None,
      jax.random.normal(final, (num_rays, s + k)) if noise and not of_passes else None,
      jax.random.normal(final, (num_rays, k)) if noise and of_passes and k else None,
    )

  return jax.vmap(one)(keys)
