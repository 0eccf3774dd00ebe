"""The 25 numbers of a camera label, as data: mirroring, cropping, statistics.

A label is cam2world [4, 4] and then the intrinsics [3, 3] normalised by the image's size, both
row-major (see `jax3dgan.cameras`).
"""

import numpy as np

from jax3dgan import camera_checks

NUM_NUMBERS = camera_checks.NUM_NUMBERS
_SIGN = np.array([-1, 1, 1, 1], np.float32)
# A mirrored image of the scene is an image of the mirrored scene. With S = diag(-1, 1, 1, 1) points
# go X -> S X, and as the camera's x axis is mirrored too, cam2world -> S cam2world S. A pixel goes
# x -> 1 - x, with x = (fx X + skew Y) / Z + cx: hence skew -> -skew and cx -> 1 - cx.
MIRROR_SCALE = np.concatenate(
  [np.outer(_SIGN, _SIGN).ravel(), [1, -1, -1, 1, 1, 1, 1, 1, 1]]
).astype(np.float32)
MIRROR_OFFSET = np.zeros(NUM_NUMBERS, np.float32)
MIRROR_OFFSET[16 + 2] = 1.0


def mirror(label):
  """The label of the mirrored image (left and right exchanged).

  Args:
    label: float32 [..., 25], NumPy or JAX.

  Returns:
    float32 [..., 25].
  """
  # Of the label's own rank: JAX may be set to refuse the promotion of ranks.
  shape = (1,) * (label.ndim - 1) + (NUM_NUMBERS,)
  return label * MIRROR_SCALE.reshape(shape) + MIRROR_OFFSET.reshape(shape)


def crop(label, height, width, box):
  """The label after a crop: the intrinsics are normalised by the cropped square instead.

  Args:
    label: float32 [25].
    height, width: size of the image before, in pixels.
    box: (left, top, size) in pixels.

  Returns:
    float32 [25].
  """
  left, top, size = box
  to_crop = np.array([[width / size, 0, -left / size], [0, height / size, -top / size], [0, 0, 1]])
  intrinsics = to_crop @ np.asarray(label[16:], np.float64).reshape(3, 3)
  return np.concatenate([label[:16], intrinsics.ravel()]).astype(np.float32)


def sums(labels):
  """Sums from which `statistics` is made; sums of parts add up to the sums of the whole.

  Args:
    labels: float32 [n, 25].

  Returns:
    float64 [3, 27]: count, sum, sum of squares of the 25 numbers, yaw and pitch.
  """
  labels = np.asarray(labels, np.float64).reshape(-1, NUM_NUMBERS)
  x, y, z = labels[:, 3], labels[:, 7], labels[:, 11]
  radius = np.maximum(np.sqrt(x * x + y * y + z * z), 1e-12)
  yaw, pitch = np.arctan2(z, x), np.arccos(np.clip(y / radius, -1.0, 1.0))
  values = np.concatenate([labels, yaw[:, None], pitch[:, None]], axis=1)
  return np.stack([np.full(27, float(len(values))), values.sum(0), (values * values).sum(0)])


def statistics(total):
  """Means and standard deviations.

  Args:
    total: float64 [3, 27] from `sums`.

  Returns:
    dict of count, mean [25], std [25], and pi-GAN's yaw and pitch of the camera's position as seen
    from the origin, in radians (pi / 2 each is frontal); None without labels.
  """
  count = total[0, 0]
  if not count:
    return None
  mean = total[1] / count
  std = np.sqrt(np.maximum(total[2] / count - mean * mean, 0.0))
  return {
    'count': int(count),
    'mean': mean[:25].tolist(),
    'std': std[:25].tolist(),
    'yaw_mean': mean[25],
    'yaw_std': std[25],
    'pitch_mean': mean[26],
    'pitch_std': std[26],
  }
