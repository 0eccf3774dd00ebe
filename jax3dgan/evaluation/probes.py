"""Small networks that read pose and identity from images, trained when needed.

The usual networks (ArcFace for identity, face reconstruction for pose) have weights that may not be
redistributed, and are for faces only. Here a small network is trained in one or two minutes on
labelled images: `pose_from_labels` for the direction of the camera, on any labelled data set;
`toys` for that and for the identity of a toy car, which is its colours and sizes, known from the
renderer. An attribute of a car is the same in all views, so that a network that reads it well gives
the same output for all views of a car.

The error on held-out images is part of the probe: `Probes.report`.
"""

import dataclasses
import functools
import hashlib
import io
import json
import pathlib
import zipfile
from collections.abc import Callable

import jax
import numpy as np

from jax3dgan import atomic
from jax3dgan.data.builders.toys import generate
from jax3dgan.devices.compilation import cache_root
from jax3dgan.errors import UserError
from jax3dgan.evaluation import toy_cars
from jax3dgan.evaluation.probe_network import fit, predictor, template

MIN_R2 = 0.5  # below it less than half of the variance of an attribute is explained
NUM_TRAIN = 8192  # images of the toys; more do not help within 1,500 steps
NUM_HELD_OUT = 1024
_VERSION = (
  1  # increase it with every change of network or training, so that older caches are not used
)


@dataclasses.dataclass(eq=False)
class Probes:
  """Networks that read images; all take [n, h, w, 3], uint8 or float in [−1, 1], of one resolution.

  Attributes:
    pose: images → [n, 3] directions towards the camera from the object, not normalised:
      the length falls below 1 where the network is unsure.
    embedding: images → [n, d], in which distances measure how different two objects are; None
      where identity is unknown. Each coordinate has unit variance over the data.
    report: Held-out figures: 'pose/median_degrees', 'pose/mean_degrees' and 'r2/ATTRIBUTE'.
    names: The meaning of each of the embedding's coordinates.
    about: How it was trained, in a few words.
    views: (number, azimuths [n, v] in radians, seed) → images [n, v, h, w, 3] of real objects, for
      the floor of every measure; None where there is no renderer.
  """

  pose: Callable[[np.ndarray], np.ndarray]
  embedding: Callable[[np.ndarray], np.ndarray] | None
  report: dict[str, float]
  names: tuple[str, ...] = ()
  about: str = ''
  views: Callable | None = None

  def direction(self, images) -> np.ndarray:
    """Unit vectors [n, 3] from the object towards the camera."""
    raw = self.pose(images)
    return raw / np.maximum(np.linalg.norm(raw, axis=-1, keepdims=True), 1e-9)

  @property
  def protocol(self) -> str:
    """The accuracy of the probes, for a line of protocol."""
    parts = [self.about] if self.about else []
    if 'pose/median_degrees' in self.report:
      parts.append(f'pose probe {self.report["pose/median_degrees"]:.1f}° median held-out error')
    read = [(n, self.report[f'r2/{n}']) for n in self.names if f'r2/{n}' in self.report]
    if read:
      low, high = min(r for _, r in read), max(r for _, r in read)
      total = sum(name.startswith('r2/') for name in self.report)
      parts.append(f'{len(read)} of {total} attributes read, held-out R² {low:.2f} to {high:.2f}')
    return ', '.join(parts)


def r_squared(truth: np.ndarray, estimate: np.ndarray) -> np.ndarray:
  """Coefficient of determination per column: 1 is perfect, 0 as good as the mean. [n, k] → [k]."""
  residual = ((truth - estimate) ** 2).sum(0)
  return 1 - residual / np.maximum(((truth - truth.mean(0)) ** 2).sum(0), 1e-12)


def angular_error(a: np.ndarray, b: np.ndarray) -> np.ndarray:
  """Angles in degrees between vectors [..., 3]; exact for small ones too."""
  cross = np.linalg.norm(np.cross(a, b), axis=-1)
  return np.degrees(np.arctan2(cross, (np.asarray(a) * b).sum(-1)))


def _pose_report(predict, images, directions) -> dict[str, float]:
  error = angular_error(predict(images), directions)
  return {
    'pose/median_degrees': float(np.median(error)),
    'pose/mean_degrees': float(error.mean()),
  }


# The probes


def toys(
  resolution: int = 32,
  steps: int = 1500,
  seed: int = 0,
  cache_dir=None,
  say: Callable[[str], None] | None = None,
  num_train: int = NUM_TRAIN,
  num_held_out: int = NUM_HELD_OUT,
) -> Probes:
  """Probes of pose and identity for toy cars, trained unless they are in the cache.

  Args:
    resolution: Pixels on a side of the images they will read.
    steps: Training steps of each of the two networks, with 64 images.
    seed: Of data, initial values and order.
    cache_dir: Folder of the caches, see `compilation.cache_root`.
    say: Called with lines of progress.
    num_train, num_held_out: Images rendered for each purpose; no car is in both.

  Returns:
    Probes; the embedding's coordinates are the attributes read with R² of `MIN_R2` or more on the
    cars held out.
  """
  k = len(toy_cars.ATTRIBUTES)
  what = dict(toys=generate.VERSION, version=_VERSION, resolution=resolution, steps=steps)
  what |= dict(seed=seed, num_train=num_train, num_held_out=num_held_out)

  def train():
    if say:
      say(f'probes: rendering {num_train + num_held_out:,} toy cars at {resolution}²')
    images, direction, attributes = toy_cars.images(num_train + num_held_out, seed, resolution)
    mean, std = attributes[:num_train].mean(0), attributes[:num_train].std(0)
    standard = (attributes - mean) / np.maximum(std, 1e-9)
    pose_params = fit(images[:num_train], direction[:num_train], steps, seed, say)
    identity_params = fit(images[:num_train], standard[:num_train], steps, seed + 1, say)
    held_out, truth = images[num_train:], standard[num_train:]
    report = _pose_report(predictor(pose_params, 3, resolution), held_out, direction[num_train:])
    score = r_squared(truth, predictor(identity_params, k, resolution)(held_out))
    report |= {f'r2/{name}': float(r) for name, r in zip(toy_cars.ATTRIBUTES, score, strict=True)}
    return {'pose': pose_params, 'identity': identity_params}, report

  templates = {'pose': template(3, resolution), 'identity': template(k, resolution)}
  params, report = cached('toys', what, templates, train, cache_dir)
  kept = [i for i, name in enumerate(toy_cars.ATTRIBUTES) if report[f'r2/{name}'] >= MIN_R2]
  read = predictor(params['identity'], k, resolution)
  return Probes(
    pose=predictor(params['pose'], 3, resolution),
    embedding=(lambda images: read(images)[:, kept]) if kept else None,
    report=report,
    names=tuple(toy_cars.ATTRIBUTES[i] for i in kept),
    about=f'probes trained on {num_train:,} toy cars for {steps:,} steps',
    views=functools.partial(toy_cars.views, resolution=resolution),
  )


def pose_from_labels(
  images: np.ndarray,
  labels: np.ndarray,
  steps: int = 1500,
  seed: int = 0,
  cache_dir=None,
  say: Callable[[str], None] | None = None,
  embedding: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Probes:
  """A probe of pose for any data set with camera labels; every eighth image is held out.

  Args:
    images: uint8 [n, h, w, 3].
    labels: [n, 25], see `cameras.from_label`; the position's direction from the origin is learned.
    steps, seed, cache_dir, say: See `toys`.
    embedding: Of the Probes: any features in which objects differ.

  Raises:
    UserError: Labels that do not fit the images, or are no cameras.
  """
  labels = np.asarray(labels, np.float32)
  if labels.shape != (len(images), 25) or len(images) < 16:
    raise UserError(
      f'A pose probe needs 16 images or more, each with a label of 25 numbers, not {len(images)} '
      f'images with labels {labels.shape}. Use a data set that was prepared with cameras.'
    )
  position = labels[:, :16].reshape(-1, 4, 4)[:, :3, 3]
  distance = np.linalg.norm(position, axis=-1, keepdims=True)
  if not (np.isfinite(position).all() and (distance > 1e-6).all()):
    raise UserError(
      'Some labels have no camera away from the origin. Mend cam2world in the labels of the data.'
    )
  direction, resolution = position / distance, images.shape[1]
  held_out = np.arange(len(images)) % 8 == 7
  digest = hashlib.sha256(np.ascontiguousarray(images))
  digest.update(labels.tobytes())
  what = dict(data=digest.hexdigest(), version=_VERSION, resolution=resolution, steps=steps)

  def train():
    params = fit(images[~held_out], direction[~held_out], steps, seed, say)
    predict = predictor(params, 3, resolution)
    return {'pose': params}, _pose_report(predict, images[held_out], direction[held_out])

  templates = {'pose': template(3, resolution)}
  params, report = cached('pose', what | {'seed': seed}, templates, train, cache_dir)
  about = f'pose probe trained on {int((~held_out).sum()):,} labelled images for {steps:,} steps'
  return Probes(predictor(params['pose'], 3, resolution), embedding, report, about=about)


# The cache


def cached(kind: str, what: dict, templates, train, cache_dir):
  """(parameters, report) from the file of `what`, or from `train`, whose result is then saved."""
  name = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]
  path = pathlib.Path(cache_dir or cache_root()) / 'eval' / f'probes-{kind}-{name}.npz'
  shapes, tree = jax.tree.flatten(templates)
  try:
    # Read completely: np.load does not close the file of a damaged archive.
    with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
      leaves = [file[f'leaf_{i}'] for i in range(len(shapes))]
      report = json.loads(str(file['report']))
      if [x.shape for x in leaves] == [x.shape for x in shapes]:
        return jax.tree.unflatten(tree, leaves), report
  except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
    pass  # none yet, or a damaged one: it is made again
  params, report = train()
  params = jax.tree.map(np.asarray, params)
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    leaves = {f'leaf_{i}': x for i, x in enumerate(jax.tree.leaves(params))}
    with atomic.replacing(path) as temporary:
      np.savez(temporary, report=json.dumps(report), **leaves)
  except OSError:
    pass  # a cache that cannot be written costs time, not the measurement
  return params, report
