"""How much of a rendering a CPU computes at a time.

Activations of a whole batch fall out of its caches. In tiles the gradient of four images of 64²
takes 150 MiB of temporaries instead of 1,822.
"""

from jax3dgan.nn import backend

# Floats of one layer's activations that a CPU computes at a time, 4 MiB: more falls out of its
# caches, less leaves its cores waiting for each other.
_CPU_TILE = 2**20


def reference_tile(num_images: int, num_rays: int, floats_per_ray: int) -> tuple[int, int]:
  """All of them."""
  del floats_per_ray
  return num_images, num_rays


def tile(num_images: int, num_rays: int, floats_per_ray: int) -> tuple[int, int]:
  """How many images, and how many rays of each, are best rendered at a time.

  Args:
    num_images, num_rays: all there are.
    floats_per_ray: size of one layer's activations along a ray.
  """
  if not backend.cpu_forms():
    return reference_tile(num_images, num_rays, floats_per_ray)
  rays = max(_CPU_TILE // floats_per_ray, 1)
  return max(min(rays // num_rays, num_images), 1), min(rays, num_rays)
