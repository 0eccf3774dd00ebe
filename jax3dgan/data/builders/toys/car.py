"""The one class of object in the toys: a toy car, as a signed distance and its paint.

A car is a tuple of continuous numbers (lengths in world units, colours in sRGB), drawn by
`sample_car` from one key. It stands around the origin, y up, its front to +z and fits into a
sphere of radius `BOUND`. `distance` is a lower bound of the distance to the car up to a few
percent at rounded edges; `paint` gives the colour of a point on its surface.
Both take the coordinates as separate arrays, so that the compiler sees contiguous vectors.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

BOUND = 0.45  # No point of any car is farther from the origin, in world units.

_DARK = (0.09, 0.09, 0.12)
_GLASS = (0.13, 0.19, 0.30)
_HEADLIGHT = (1.0, 0.90, 0.35)
_TAIL_LIGHT = (0.93, 0.03, 0.06)
_HUB = (0.85, 0.86, 0.88)
_LIFT = 0.045  # Above the origin: seen from above, the lower half of a thing looks larger.
_LAMP_RADIUS = 0.13  # Of the width of the car.


class Car(NamedTuple):
  """Shape and colours of one car; lengths are in world units, angles are slopes (tangents)."""

  half_length: jax.Array
  half_width: jax.Array
  body_height: jax.Array
  cabin_height: jax.Array
  cabin_centre: jax.Array  # Along z, as a part of the half length; negative is towards the back.
  cabin_half_length: jax.Array  # At the foot of the windows, as a part of the half length.
  windscreen_slope: jax.Array
  rear_slope: jax.Array
  side_slope: jax.Array
  bonnet_slope: jax.Array
  roundness: jax.Array
  wheel_radius: jax.Array
  wheel_base: jax.Array  # Distance of an axle from the centre, as a part of the half length.
  stripe: jax.Array  # Half width of the stripe, as a part of the half width; none if negative.
  colour: tuple[jax.Array, ...]  # Red, green, blue of the body in [0, 1].
  roof_colour: tuple[jax.Array, ...]  # Of the roof and the stripe.


_RANGES = dict(
  half_length=(0.275, 0.34),
  half_width=(0.17, 0.215),
  body_height=(0.15, 0.20),
  cabin_height=(0.13, 0.19),
  cabin_centre=(-0.42, -0.12),
  cabin_half_length=(0.42, 0.58),
  windscreen_slope=(0.35, 0.85),
  rear_slope=(0.05, 0.45),
  side_slope=(0.10, 0.30),
  bonnet_slope=(0.12, 0.26),
  roundness=(0.025, 0.055),
  wheel_radius=(0.078, 0.102),
  wheel_base=(0.56, 0.66),
  stripe=(-0.12, 0.28),
)


def from_hsv(hue, saturation, value):
  """Red, green and blue of a colour whose hue goes once around in [0, 1]."""

  def channel(offset):
    k = (offset + 6.0 * hue) % 6.0
    return value - value * saturation * jnp.clip(jnp.minimum(k, 4.0 - k), 0.0, 1.0)

  return channel(5.0), channel(3.0), channel(1.0)


def sample_car(key):
  """Draws the numbers of one car; every field is a scalar float32."""
  shape_key, colour_key = jax.random.split(key)
  u = jax.random.uniform(shape_key, (len(_RANGES),))
  shape = {name: low + (high - low) * u[i] for i, (name, (low, high)) in enumerate(_RANGES.items())}
  hue, saturation, value, roof_hue, roof_saturation, roof_value = jax.random.uniform(
    colour_key, (6,)
  )
  return Car(
    **shape,
    colour=from_hsv(hue, 0.70 + 0.3 * saturation, 0.75 + 0.25 * value),
    roof_colour=from_hsv(roof_hue, 0.9 * roof_saturation, 0.80 + 0.2 * roof_value),
  )


def _heights(car):
  """The y of the ground, of the body's lower and upper side and of the roof."""
  clearance = 0.65 * car.wheel_radius
  half = 0.5 * (clearance + car.body_height + car.cabin_height)
  ground = _LIFT - half
  floor = ground + clearance
  return ground, floor, floor + car.body_height, _LIFT + half


def _norm(*parts):
  # The small number keeps the gradient finite where all parts are 0.
  return jnp.sqrt(sum(part * part for part in parts) + 1e-12)


def _round(planes, radius):
  """Distance to the rounded intersection of half-spaces; planes is a list of signed distances."""
  inner = [plane + radius for plane in planes]
  largest = inner[0]
  for plane in inner[1:]:
    largest = jnp.maximum(largest, plane)
  return jnp.minimum(largest, 0.0) + _norm(*(jnp.maximum(p, 0.0) for p in inner)) - radius


def _slanted(y, across, slope):
  """Signed distance to a plane that leans inwards by slope: across + slope * y = 0."""
  return (across + slope * y) / jnp.sqrt(1.0 + slope * slope)


def _body(car, x, y, z):
  _, floor, top, _ = _heights(car)
  return _round(
    [
      jnp.abs(x) - car.half_width,
      jnp.abs(z) - car.half_length,
      # The upper side is level at the back and falls from the middle to the front: the bonnet.
      jnp.maximum(y - top, _slanted(z, y - top, car.bonnet_slope)),
      floor - y,
    ],
    car.roundness,
  )


def _cabin_sides(car, x, y, z):
  """Signed distances to the side, front and rear planes of the cabin."""
  _, _, foot, _ = _heights(car)
  centre = car.cabin_centre * car.half_length
  half_length = car.cabin_half_length * car.half_length
  # No wider at the shoulder than the body, and never behind its back.
  rear = jnp.maximum(centre - half_length, -car.half_length + 0.02)
  height = y - foot
  return (
    _slanted(height, jnp.abs(x) - car.half_width + 0.012, car.side_slope),
    _slanted(height, z - (centre + half_length), car.windscreen_slope),
    _slanted(height, rear - z, car.rear_slope),
  )


def _cabin(car, x, y, z):
  _, _, foot, roof = _heights(car)
  # It ends inside the body, before its slanted sides come out of it.
  return _round([*_cabin_sides(car, x, y, z), y - roof, foot - 0.06 - y], car.roundness)


def _wheel_offset(car, y, z):
  """Distance in the plane of the wheels from the nearer axle."""
  ground = _heights(car)[0]
  return _norm(y - ground - car.wheel_radius, jnp.abs(z) - car.wheel_base * car.half_length)


def _wheels(car, x, y, z):
  half_thickness = 0.035
  centre = car.half_width - 0.02
  return _round(
    [
      _wheel_offset(car, y, z) - car.wheel_radius,
      jnp.abs(jnp.abs(x) - centre) - half_thickness,
    ],
    0.015,
  )


def _lamp_centre(car):
  """Place of the headlight at x > 0, and its radius."""
  _, floor, top, _ = _heights(car)
  radius = 2.0 * _LAMP_RADIUS * car.half_width
  drop = car.bonnet_slope * car.half_length
  y = 0.5 * (floor + top - drop) + 0.02
  return 0.66 * car.half_width, y, car.half_length - 0.5 * radius, radius


def _headlights(car, x, y, z):
  cx, cy, cz, radius = _lamp_centre(car)
  return _norm(jnp.abs(x) - cx, y - cy, z - cz) - radius


def _parts(car, x, y, z):
  return (
    _body(car, x, y, z),
    _cabin(car, x, y, z),
    _wheels(car, x, y, z),
    _headlights(car, x, y, z),
  )


def distance(car, x, y, z):
  """Signed distance in world units; x, y, z are arrays of one shape, as is the result."""
  body, cabin, wheels, lamps = _parts(car, x, y, z)
  # A soft joint of body and cabin, as of a moulded toy.
  blend = jnp.maximum(0.02 - jnp.abs(body - cabin), 0.0)
  shell = jnp.minimum(body, cabin) - blend * blend / (4.0 * 0.02)
  return jnp.minimum(shell, jnp.minimum(wheels, lamps))


def ground(car):
  """The y of the ground that a car stands on."""
  return _heights(car)[0]


def extent(car):
  """Half sizes (x, y, z) of an axis-parallel box around the origin that holds the car."""
  _, _, _, roof = _heights(car)
  lamp_radius = _lamp_centre(car)[3]
  return car.half_width + 0.02, roof + 0.005, car.half_length + 0.5 * lamp_radius + 0.002


def _inside(low, value, high):
  """1 within [low, high], 0 outside, with edges soft over a few thousandths of the world."""
  soft = 0.004
  return jnp.clip((value - low) / soft + 0.5, 0.0, 1.0) * jnp.clip(
    (high - value) / soft + 0.5, 0.0, 1.0
  )


def _over(colour, coverage, paint):
  return tuple(c + coverage * (p - c) for c, p in zip(colour, paint, strict=True))


def paint(car, x, y, z):
  """Colour (red, green, blue; sRGB in [0, 1]) of points on the surface."""
  _, floor, top, roof = _heights(car)
  body, cabin, wheels, lamps = _parts(car, x, y, z)
  side, front, rear = _cabin_sides(car, x, y, z)
  across = jnp.abs(x)
  centre = (car.cabin_centre - 0.04) * car.half_length

  # The cabin: glass between the pillars, a roof in the second colour.
  edge = 0.02
  foot, head = top + 0.02, roof - 0.038
  panes = _inside(foot, y, head)
  facing_side = (side >= front) & (side >= rear)
  facing_front = (front > side) & (front >= rear)
  side_pane = panes * _inside(-9.0, jnp.maximum(front, rear), -edge)
  side_pane = side_pane * (1.0 - _inside(-0.013, z - centre, 0.013))
  front_pane = panes * _inside(-9.0, side, -edge)
  rear_pane = _inside(top + 0.045, y, head) * _inside(-9.0, side, -1.6 * edge)
  pane = jnp.where(facing_side, side_pane, jnp.where(facing_front, front_pane, rear_pane))
  upper = _over(car.colour, _inside(roof - 0.030, y, 9.0), car.roof_colour)
  upper = _over(upper, pane, _GLASS)

  # The body: a stripe along it, dark bumpers and sills, a grille, a plate and tail lights.
  stripe = _inside(-9.0, across, car.stripe * car.half_width)
  stripe = stripe * _inside(top - 0.12, y, 9.0) * _inside(-car.half_length + 0.028, z, 9.0)
  lower = _over(car.colour, stripe, car.roof_colour)
  lower = _over(lower, _inside(-9.0, y, floor + 0.028), _DARK)
  _, lamp_y, _, lamp_radius = _lamp_centre(car)
  near_front = _inside(car.half_length - 0.02, z, 9.0)
  grille = near_front * _inside(-9.0, jnp.abs(y - lamp_y), 0.6 * lamp_radius)
  lower = _over(lower, grille * _inside(-9.0, across, 0.36 * car.half_width), _DARK)
  lights_y = top - 0.048
  near_back = _inside(-9.0, z, -car.half_length + 0.028)
  lights = near_back * _inside(-9.0, jnp.abs(y - lights_y), 0.027)
  lower = _over(lower, lights * _inside(0.50 * car.half_width, across, 9.0), _TAIL_LIGHT)
  plate = near_back * _inside(-9.0, jnp.abs(y - lights_y + 0.01), 0.024)
  white = (0.96, 0.96, 0.96)
  lower = _over(lower, plate * _inside(-9.0, across, 0.30 * car.half_width), white)

  # The wheels: dark tyres around bright hubs.
  hub = _inside(-9.0, _wheel_offset(car, y, z), 0.5 * car.wheel_radius)
  wheel = _over(_DARK, hub, _HUB)

  nearest = jnp.minimum(jnp.minimum(body, cabin), jnp.minimum(wheels, lamps))
  return tuple(
    jnp.where(lamps <= nearest, h, jnp.where(wheels <= nearest, w, jnp.where(cabin <= body, u, b)))
    for h, w, u, b in zip(_HEADLIGHT, wheel, upper, lower, strict=True)
  )
