"""Renders the toy cars: cameras from a known prior, sphere tracing, diffuse shading.

The pose prior, which a generator can be given exactly (`POSE_PRIOR`, in the terms of pi-GAN):
the camera is on a sphere of radius `RADIUS` around the origin and looks at the origin; its
azimuth is uniform over the whole circle (yaw of mean pi/2 and half range pi) and its elevation
uniform in 10 to 40 degrees (pitch of mean pi/2 - 25 degrees and half range 15 degrees).
Every car lies between `NEAR` and `FAR` along every ray, whole within a view of `FOV_DEGREES`.

The light is fixed to the world and all surfaces are diffuse, so that a point of a car has one
colour from everywhere: the images are those of a radiance field without view dependence.

Sphere tracing: Hart, "Sphere tracing: a geometric method for the antialiased ray tracing of
implicit surfaces", The Visual Computer 12 (1996).
"""

import functools
import math

import jax
import jax.numpy as jnp

from jax3dgan import cameras
from jax3dgan.data.builders.toys import car as cars
from jax3dgan.rendering import rays

RESOLUTION = 64
RADIUS = 1.0
FOV_DEGREES = 48.0
NEAR = 0.55
FAR = 1.45
ELEVATION_DEGREES = (10.0, 40.0)
POSE_PRIOR = dict(
  name='uniform',
  yaw_mean=math.pi / 2,
  yaw_std=math.pi,
  pitch_mean=math.pi / 2 - math.radians(25.0),
  pitch_std=math.radians(15.0),
)

# Steps and how close to a surface (world units) a ray has met it. For colours a third of a pixel
# is enough; the truth that metrics rest on is followed until it stands still.
COLOUR = dict(num_steps=24, tolerance=0.004)
TRUTH = dict(num_steps=96, tolerance=0.0005)
_CAUTION = 0.95  # Part of the distance to go: rounded slanted edges overstate it a little.
_LIGHT = (0.45, 0.80, 0.40)  # Towards the light, from the right, the top and the front.


def sample_camera(key):
  """One camera from the pose prior."""
  azimuth_key, elevation_key = jax.random.split(key)
  low, high = (math.radians(degrees) for degrees in ELEVATION_DEGREES)
  azimuth = jax.random.uniform(azimuth_key, minval=-math.pi, maxval=math.pi)
  elevation = jax.random.uniform(elevation_key, minval=low, maxval=high)
  return cameras.orbit(azimuth, elevation, RADIUS, FOV_DEGREES)


def _interval(extent, origin, direction):
  """Where rays enter and leave an axis-parallel box around the origin; start > end: never."""
  starts, ends = [], []
  for half, o, d in zip(extent, origin, direction, strict=True):
    inverse = 1.0 / jnp.where(jnp.abs(d) < 1e-9, 1e-9, d)
    middle, reach = -o * inverse, half * jnp.abs(inverse)
    starts.append(middle - reach)
    ends.append(middle + reach)
  start = functools.reduce(jnp.maximum, starts)
  return jnp.maximum(start, 0.0), functools.reduce(jnp.minimum, ends)


def trace(distance_fn, extent, origin, direction, *, num_steps, tolerance):
  """Follows rays to the surface of a signed distance within a box.

  distance_fn maps x, y, z (each [r]) to distances [r]; extent holds the box's three half
  sizes; origin and direction are tuples of x, y, z (each [r]; unit directions). A ray that after
  num_steps is closer to the surface than tolerance (world units) meets it. Returns the distance
  along each ray [r] in world units and whether it meets the surface [r].
  """
  start, end = _interval(extent, origin, direction)

  def at(t):
    return distance_fn(*(o + t * d for o, d in zip(origin, direction, strict=True)))

  def step(_, t):
    return jnp.minimum(t + _CAUTION * at(t), end)

  depth = jax.lax.fori_loop(0, num_steps, step, start)
  # A ray that only slips past a surface has reached the end of the box.
  return depth, (start < end) & (depth < end) & (at(depth) < tolerance)


def _shade(car, x, y, z, lamp=_LIGHT):
  """Colours of surface points under the sky, the lamp and a mild occlusion."""

  def total(x, y, z):
    return jnp.sum(cars.distance(car, x, y, z))

  normal = jax.grad(total, argnums=(0, 1, 2))(x, y, z)
  length = jnp.sqrt(sum(n * n for n in normal) + 1e-12)
  nx, ny, nz = (n / length for n in normal)
  norm = math.sqrt(sum(v * v for v in lamp))
  facing = (nx * lamp[0] + ny * lamp[1] + nz * lamp[2]) / norm
  probe = 0.06
  free = cars.distance(car, x + probe * nx, y + probe * ny, z + probe * nz) / probe
  occlusion = 0.7 + 0.3 * jnp.clip(free, 0.0, 1.0)
  light = occlusion * (0.62 + 0.10 * ny + 0.34 * jnp.maximum(facing, 0.0))
  return tuple(jnp.clip(c * light, 0.0, 1.0) for c in cars.paint(car, x, y, z))


def view(car, camera, resolution, quality, lamp=_LIGHT):
  """One sample per pixel centre of one car from one camera (neither has batch axes).

  quality holds num_steps and tolerance of `trace`; lamp is the direction towards the light.

  Returns red, green, blue (a tuple; sRGB in [0, 1], white where there is no car), depth
  (Euclidean along the ray, inf where there is no car) and mask, each [r] as of `camera_rays`.
  """
  bundle = rays.camera_rays(camera, resolution)
  origin = tuple(jnp.moveaxis(bundle.origins, -1, 0))
  direction = tuple(jnp.moveaxis(bundle.directions, -1, 0))
  distance_fn = functools.partial(cars.distance, car)
  depth, mask = trace(distance_fn, cars.extent(car), origin, direction, **quality)
  point = (o + depth * d for o, d in zip(origin, direction, strict=True))
  colour = tuple(jnp.where(mask, c, 1.0) for c in _shade(car, *point, lamp))
  return colour, jnp.where(mask, depth, jnp.inf), mask


@functools.partial(jax.jit, static_argnames='resolution')
def _colours(car, camera, resolution):
  return view(car, camera, resolution, COLOUR)[0]


@functools.partial(jax.jit, static_argnames='resolution')
def average(colours, resolution):
  blocks = [c.reshape(resolution, 2, resolution, 2).mean((1, 3)) for c in colours]
  return jnp.round(255.0 * jnp.stack(blocks, -1)).astype(jnp.uint8)


def render(car, camera, resolution=RESOLUTION):
  """Antialiased image of one car: uint8 [h, w, 3], the mean of 2 x 2 samples per pixel.

  Two programs, not one: fused with what reads the colours, the compiler for CPUs shades every
  sample several times and without vector instructions, five times slower.
  """
  return average(_colours(car, camera, 2 * resolution), resolution)


@functools.partial(jax.jit, static_argnames='resolution')
def render_opacity(car, camera, resolution=RESOLUTION):
  """How much of each pixel of `render` a car covers: uint8 [h, w], 255 for all of it."""
  *_, mask = view(car, camera, 2 * resolution, COLOUR)
  return average([mask.astype(jnp.float32)], resolution)[..., 0]


@functools.partial(jax.jit, static_argnames='resolution')
def render_truth(car, camera, resolution=RESOLUTION):
  """Depth [h, w] (Euclidean along the ray, inf beside the car) and mask [h, w] at pixel centres."""
  _, depth, mask = view(car, camera, resolution, TRUTH)
  shape = (resolution, resolution)
  return depth.reshape(shape), mask.reshape(shape)
