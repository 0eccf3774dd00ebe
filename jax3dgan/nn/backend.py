"""The one place that knows which platform the code is being compiled for.

Some building blocks have a form that is best on a CPU and another that is best on an accelerator
(the polynomial sine, convolutions as patches, products with columns, tiles of an image). They ask
here; nothing else does. Lowering for another platform than the one at hand
(`with lowering_for('tpu'): ...`) then takes the right forms too, also of functions that were traced
before: the platform is part of jit's keys.
"""

import contextlib

import jax

_PLATFORM = jax.make_user_context(None)


def platform() -> str:
  """'cpu', 'gpu' or 'tpu': what the current trace is meant for."""
  name = _PLATFORM.value or jax.default_backend()
  return 'gpu' if name in ('cuda', 'rocm') else name


@contextlib.contextmanager
def lowering_for(name: str):
  """Traces inside take the forms for platform `name` ('cpu', 'gpu', 'cuda', 'tpu')."""
  with _PLATFORM(name):
    yield


# Floats of one layer's activations that a CPU computes at a time, 4 MiB: more falls out of its
# caches, less leaves its cores waiting for each other.
_CPU_TILE = 2**20


def tile(num_images: int, num_rays: int, floats_per_ray: int) -> tuple[int, int]:
  """How many images, and how many rays of each, are best rendered at a time.

  Args:
    num_images, num_rays: all there are.
    floats_per_ray: size of one layer's activations along a ray.
  """
  if platform() != 'cpu':
    return num_images, num_rays
  rays = max(_CPU_TILE // floats_per_ray, 1)
  return max(min(rays // num_rays, num_images), 1), min(rays, num_rays)
