"""The frame of a data set's world in a generator's, which may be turned and mirrored.

A generator that was trained without the poses of its photos has a world of its own: turned about
the vertical axis, and possibly mirrored. Neither can be read from its images, so the frame is
fitted to some photos, one for the whole model: `find_frame`. A generator that was trained with
their poses has the photos' world: `Frame()`.
"""

import dataclasses
import math

import jax
import numpy as np

from jax3dgan.cameras import Camera
from jax3dgan.inversion import pigan

NUM_SAMPLES = 12  # per ray while inverting, in one pass
_NUM_OFFSETS = 8


@dataclasses.dataclass(frozen=True)
class Frame:
  """Where a data set's world is in the generator's: mirrored at x = 0 first, then turned.

  Attributes:
    yaw: radians to add to each camera's azimuth.
    mirrored: whether left and right are exchanged, in the world and in its images.
  """

  yaw: float = 0.0
  mirrored: bool = False

  def camera(self, camera: Camera) -> Camera:
    """The generator's camera [n] that corresponds to the data set's camera [n]."""
    matrix = np.asarray(camera.cam2world, np.float64)
    intrinsics = np.array(camera.intrinsics, np.float64)
    if self.mirrored:
      flip = np.diag([-1.0, 1.0, 1.0, 1.0])
      matrix = flip @ matrix @ flip  # on both sides, so that it stays a rotation
      intrinsics[:, 0, 2] = 1 - intrinsics[:, 0, 2]
      intrinsics[:, 0, 1] = -intrinsics[:, 0, 1]
    turn = np.eye(4)
    turn[[0, 2], [0, 2]] = math.cos(self.yaw)
    turn[0, 2], turn[2, 0] = math.sin(self.yaw), -math.sin(self.yaw)
    return Camera((turn @ matrix).astype(np.float32), intrinsics.astype(np.float32))

  def image(self, image: np.ndarray) -> np.ndarray:
    """Converts an image [n, h, w, ...] from one world to the other; its own inverse."""
    return image[:, :, ::-1] if self.mirrored else image


def find_frame(
  model, image, camera: Camera, num_steps: int = 30, resolution: int = 16, say=None
) -> tuple[Frame, np.ndarray]:
  """Fits the generator's frame to photos: the one in which they are inverted best.

  Eight turns of the circle, then eight finer ones around the best, without and with mirroring:
  only the finer ones distinguish these two. Each frame is scored by the mean loss of all photos
  after a short inversion from the average style, without noise: the search is deterministic. For
  symmetric objects, such as cars, both are right, each with its own turn.

  Args:
    image: [n, h, h, 3] in [−1, 1], h the search's resolution.
    camera: [n] in the data set's world.
    num_steps: of each inversion.
    resolution: h.

  Returns:
    (Frame, losses [4, 8]: turns and finer turns plain, turns and finer turns mirrored).
  """
  circle = np.arange(_NUM_OFFSETS) * 2 * math.pi / _NUM_OFFSETS
  losses = []

  def score(frames):
    pictures = np.concatenate([frame.image(image) for frame in frames])
    views = [frame.camera(camera) for frame in frames]
    views = jax.tree.map(lambda *x: np.concatenate(x), *views)
    found = invert(model, pictures, views, resolution, num_steps, None)
    losses.append(found.losses[-3:].mean(0).reshape(len(frames), -1).mean(1))
    if say is not None:
      say(len(losses))

  finer = []
  spread = (np.arange(_NUM_OFFSETS) - _NUM_OFFSETS // 2) * (circle[1] / _NUM_OFFSETS)
  for mirrored in (False, True):
    score([Frame(float(yaw), mirrored) for yaw in circle])
    best = circle[np.argmin(losses[-1])]
    finer += [Frame(float(best + turn), mirrored) for turn in spread]
    score(finer[-_NUM_OFFSETS:])
  return finer[int(np.argmin([losses[1], losses[3]]))], np.stack(losses)


def invert(model, image, camera: Camera, resolution: int, num_steps: int, key) -> pigan.Inversion:
  """`pigan.invert` of a `trained.Trained`, from its average style and with `NUM_SAMPLES` per ray.

  Args:
    image: [n, h, h, 3] in [−1, 1], h the resolution.
    camera: [n] in the generator's world.
    key: None searches without noise.
  """
  # Pixel centres as in photos, independent of the generator's `align_corners`.
  options = model.options(
    resolution, num_coarse=NUM_SAMPLES, num_fine=0, ray_chunk=0, align_corners=False
  )
  generator = at_resolution(model, resolution).generator
  arguments = (generator, model.variables, image, camera, model.average_w, key, options)
  return pigan.invert(*arguments, num_steps=num_steps)


def at_resolution(model, resolution: int):
  """The model, without its super-resolution where that makes pictures of another size."""
  generator = model.generator
  if resolution in generator.resolutions or generator.resolution in (None, resolution):
    return model
  return dataclasses.replace(model, generator=generator.without_super_resolution())


def search_resolution(model, wanted: int = 16) -> int:
  """Pixels on a side at which frames are searched: those wanted, or the generator's own where it
  draws at no other size, super-resolution or not (GIRAFFE)."""
  generator = at_resolution(model, wanted).generator
  can = generator.resolution in (None, wanted) or wanted in generator.resolutions
  return wanted if can else generator.resolution
