"""Pose accuracy: does the object have the pose that the camera asks for?

A generator trained without poses chooses its own frame: its objects may have any common rotation,
  and
all may be mirrored, which is not an error of its cameras. So there are three
figures: the raw error; the error after the one yaw (and mirroring) that fits best, fitted on half
of the latents and scored on the others; and how far the objects of different latents disagree about
where the front is.
"""

import dataclasses
import math
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw

from jax3dgan import viz
from jax3dgan.errors import UserError
from jax3dgan.evaluation.probes import Probes, angular_error
from jax3dgan.evaluation.results import Result


def azimuth(direction: np.ndarray) -> np.ndarray:
  """Azimuth [...] in radians of directions [..., 3]: 0 in front (+z), positive towards +x."""
  return np.arctan2(direction[..., 0], direction[..., 2])


def wrap(angle: np.ndarray) -> np.ndarray:
  """The same angle in [−π, π)."""
  return (np.asarray(angle) + np.pi) % (2 * np.pi) - np.pi


@dataclasses.dataclass(frozen=True)
class Frame:
  """The frame of a generator's objects: a mirroring x → −x (or none), then a turn about +y."""

  yaw: float = 0.0
  mirrored: bool = False

  def __call__(self, direction: np.ndarray) -> np.ndarray:
    """Requested directions [..., 3] in the frame of the objects."""
    x, y, z = np.moveaxis(np.asarray(direction, np.float64), -1, 0)
    x = -x if self.mirrored else x
    c, s = math.cos(self.yaw), math.sin(self.yaw)
    return np.stack([c * x + s * z, y, c * z - s * x], axis=-1)


def _overlap(requested, estimated, mirrored: bool) -> np.ndarray:
  """Complex [...]: its argument is the yaw between the horizontal parts of two directions."""
  x = -requested[..., 0] if mirrored else requested[..., 0]
  return (estimated[..., 2] + 1j * estimated[..., 0]) * (requested[..., 2] - 1j * x)


def best_frame(requested: np.ndarray, estimated: np.ndarray) -> Frame:
  """The Frame that turns requested directions [..., 3] nearest to the estimated (least squares)."""
  sums = [_overlap(requested, estimated, mirrored).sum() for mirrored in (False, True)]
  mirrored = bool(abs(sums[1]) > abs(sums[0]))
  return Frame(float(np.angle(sums[mirrored])), mirrored)


def circular_std(angles: np.ndarray) -> float:
  """√(−2 ln R) of angles in radians, R the length of their mean vector (Mardia)."""
  length = abs(np.exp(1j * np.asarray(angles)).mean())
  return math.sqrt(max(-2 * math.log(max(length, 1e-12)), 0.0))


def accuracy(requested: np.ndarray, estimated: np.ndarray) -> dict[str, float]:
  """The figures of pose accuracy.

  Args:
    requested: [l, v, 3] unit directions towards the camera, of l latents and v cameras of each.
    estimated: [l, v, 3] unit directions read from the images.

  Returns:
    'pose/error_degrees': mean angle between the two.
    'pose/error_degrees_aligned': the same after the one frame that fits best; it is fitted on every
      second latent and scored on the others, and vice versa.
    'pose/error_degrees_own_frame': each latent in the yaw that fits it best, fitted on every second
      of its cameras and scored on the others: the error if each object may have its own rotation.
    'pose/frame_spread_degrees': circular standard deviation of the latents' yaws against each
      other; 0 where all face the same way.
    'pose/fixed_by_camera': length of the mean vector of all differences between estimated and
      requested azimuth: 1 if the pose depends on the camera only, 0 if not at all.
    'pose/mirrored': 1 where the best frame is mirrored.

  Raises:
    UserError: Fewer than two latents or cameras, shapes that differ, numbers that are not finite.
  """
  requested, estimated = (np.asarray(x, np.float64) for x in (requested, estimated))
  if requested.shape != estimated.shape or requested.ndim != 3 or min(requested.shape[:2]) < 2:
    raise UserError(
      f'Pose accuracy needs directions [latents, cameras, 3], two or more of each, not '
      f'{requested.shape} and {estimated.shape}. Set --config.eval.num_latents=2 or more.'
    )
  if not (np.isfinite(requested).all() and np.isfinite(estimated).all()):
    raise UserError('A direction is not a number. Look at the images of the generator first.')
  frame = best_frame(requested, estimated)
  halves = [slice(0, None, 2), slice(1, None, 2)]
  aligned, own = [], []
  for fitted, scored in (halves, halves[::-1]):
    half = best_frame(requested[fitted], estimated[fitted])
    aligned.append(angular_error(half(requested[scored]), estimated[scored]).ravel())
    # The mirroring is the generator's, not a latent's.
    yaw = np.angle(_overlap(requested[:, fitted], estimated[:, fitted], frame.mirrored).sum(1))
    for i, offset in enumerate(yaw):
      turned = Frame(float(offset), frame.mirrored)(requested[i, scored])
      own.append(angular_error(turned, estimated[i, scored]))
  overlap = _overlap(requested, estimated, frame.mirrored)
  difference = np.exp(1j * np.angle(overlap))
  return {
    'pose/error_degrees': float(angular_error(requested, estimated).mean()),
    'pose/error_degrees_aligned': float(np.concatenate(aligned).mean()),
    'pose/error_degrees_own_frame': float(np.concatenate(own).mean()),
    'pose/frame_spread_degrees': math.degrees(circular_std(np.angle(overlap.sum(1)))),
    'pose/fixed_by_camera': float(abs(difference.mean())),
    'pose/mirrored': float(frame.mirrored),
  }


def prior_cameras(model, num: int, seed: int):
  """n cameras of the model's pose prior, and their unit directions [n, 3]."""
  import jax

  from jax3dgan.cameras import camera_generator

  keys = jax.random.split(jax.random.key(seed), num)
  prior = model.prior_of(model.params)
  yaw, pitch = jax.jit(jax.vmap(lambda key: camera_generator.sample_angles(prior, key)))(keys)
  azimuths, elevations = math.pi / 2 - np.asarray(yaw), math.pi / 2 - np.asarray(pitch)
  camera = model.orbit(azimuths, elevations)
  origin = np.asarray(camera.origin, np.float64)
  return camera, origin / np.linalg.norm(origin, axis=-1, keepdims=True)


def measure(
  model,
  probes: Probes,
  num_latents: int = 64,
  seed: int = 0,
  psi: float | None = 1.0,
  say: Callable[[str], None] | None = None,
  num_views: int = 6,
) -> Result:
  """Pose accuracy of a generator: random latents, each from random cameras of the prior.

  Args:
    model: A Trained.
    probes: Networks that read poses at the model's resolution.
    num_latents: Number of latents.
    seed: Of latents and cameras.
    psi: Truncation; None takes the config's.
    say: Called with a line of progress.
    num_views: Cameras of each latent.
  """
  if num_latents < 2 or num_views < 2:
    raise UserError('Pose accuracy compares latents and views. Set --config.eval.num_latents=2.')
  if say:
    say(f'pose: {num_latents} latents from {num_views} cameras each')
  z = model.latents(range(seed, seed + num_latents))
  w = np.repeat(np.asarray(model.map(z, psi)), num_views, axis=0)
  camera, requested = prior_cameras(model, num_latents * num_views, seed)
  images = viz.to_uint8(model.render(w, camera).image)
  shape = (num_latents, num_views)
  requested = requested.reshape(*shape, 3)
  estimated = probes.direction(images).reshape(*shape, 3)
  values = accuracy(requested, estimated)
  protocol = (
    f'{num_latents} latents from {num_views} cameras of the pose prior each, '
    f'psi {_psi(model, psi):g}, seed {seed}; {probes.protocol}'
  )
  frame = best_frame(requested, estimated)
  shown = min(num_latents, 4)
  tiles = images.reshape(*shape, *images.shape[1:])[:shown]
  arrows = draw_directions(tiles, frame(requested[:shown]), estimated[:shown])
  title = 'azimuth: asked for (green, in the frame of the objects) and read (red); up is the front'
  return Result(values, protocol, viz.sheet([(title, arrows)]))


def _psi(model, psi: float | None) -> float:
  return model.config.display.truncation_psi if psi is None else psi


def draw_directions(images: np.ndarray, asked: np.ndarray, read: np.ndarray) -> np.ndarray:
  """A grid of images [l, v, h, w, 3], in the corner of each a compass with two azimuths.

  Args:
    images: uint8.
    asked, read: [l, v, 3] directions: a green and a red hand, up where the camera is in front.
  """
  factor = max(96 // images.shape[2], 1)
  tiles = viz.enlarge(images, factor).reshape(-1, *(s * factor for s in images.shape[2:4]), 3)
  out, radius = [], 11
  for tile, green, red in zip(tiles, asked.reshape(-1, 3), read.reshape(-1, 3), strict=True):
    picture = Image.fromarray(tile)
    draw = ImageDraw.Draw(picture)
    cx = cy = radius + 2
    draw.ellipse((cx - radius, cy - radius, cx + radius, cy + radius), 'white', (150, 150, 150))
    for direction, colour, width in ((green, (60, 190, 90), 5), (red, (210, 40, 40), 2)):
      angle = float(azimuth(direction))
      end = (cx + radius * math.sin(angle), cy - radius * math.cos(angle))
      draw.line((cx, cy, *end), colour, width)
    out.append(np.asarray(picture))
  return viz.grid(np.stack(out), columns=images.shape[1])
