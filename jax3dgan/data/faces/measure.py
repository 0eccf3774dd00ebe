"""How good the cameras of faces are, on rendered faces whose cameras are exact.

  python -m jax3dgan.data.faces.measure --source=ict:data/ict_face --num-images=200
  python -m jax3dgan.data.faces.measure --source=ict:data/ict_face --canonical=face.tsv

Photos are made of the split test of `builders.ict_faces`: a face is turned in the picture, enlarged
or shrunk, and laid on a larger ground. `--canonical` makes the mean face instead that poses are
fitted to: landmarks that the detector finds in pictures of the split train, triangulated.
"""

import argparse
import math
import sys
from collections.abc import Sequence

import numpy as np
import scipy.optimize
from PIL import Image

from jax3dgan import programs
from jax3dgan.data import images
from jax3dgan.data.builders.ict_faces import generate, looks, model, scene
from jax3dgan.data.faces import detector
from jax3dgan.data.faces.source import aligned
from jax3dgan.data.faces.warp import Square
from jax3dgan.errors import UserError

_RENDERED = 256
_HEADER = """\
# Landmarks of a mean face: x y z in units of 39 cm, y up, looking at +z, the origin as in
# docs/faces.md; and how far people's are from there, as a share of the picture's width.
# Triangulated of what MediaPipe's face mesh (Apache-2.0) finds in {num} pictures of the ICT Face
# Model Light (MIT): python -m jax3dgan.data.faces.measure --canonical=FILE
"""
_FAR = 3.0  # deviations beyond which a landmark of a picture is not used


def render(source: str, split: str, i: int, resolution: int = _RENDERED):
  """(picture uint8 [r, r, 3], label [25]) of face i of a split, on a ground of its own colour."""
  faces = model.load(generate.parse(source).folder)
  rng = looks.generator(split, i)
  look = looks.draw(rng, faces.expression_names, len(faces.identity), 'varied')
  label = looks.camera_label(rng)
  return scene.Head(faces, look).render(label, resolution)[0], label


def photo_of(picture, rng) -> tuple[np.ndarray, Square]:
  """A photo of 480 x 640 with a picture laid into it, and where it lies."""
  height, width = 480, 640
  size = rng.uniform(200, 420)
  centre = np.array([width, height]) / 2 + rng.uniform(-0.1, 0.1, 2) * [width, height]
  square = Square(tuple(centre), size, math.radians(rng.uniform(-20, 20)))
  back = np.linalg.inv(square.axes()) * len(picture)
  origin = len(picture) / 2 - back @ centre
  ground = tuple(int(v) for v in picture[:, [0, -1]].reshape(-1, 3).mean(0))
  made = Image.fromarray(picture).transform(
    (width, height),
    Image.Transform.AFFINE,
    (back[0, 0], back[0, 1], origin[0], back[1, 0], back[1, 1], origin[1]),
    Image.Resampling.BICUBIC,
    fillcolor=ground,
  )
  return np.asarray(made), square


def angle(label, other) -> float:
  """Degrees of the rotation between the cameras of two labels."""
  a, b = (np.asarray(x[:16], np.float64).reshape(4, 4)[:3, :3] for x in (label, other))
  return math.degrees(math.acos(np.clip((np.trace(a.T @ b) - 1) / 2, -1, 1)))


def errors(source: str, num_images: int) -> dict[str, np.ndarray]:
  """Errors of the photos in which a face is found: of the camera, in degrees; of the square's
  place and size, in widths of the true one; of its turn, in degrees. And the causes of others."""
  found, causes = [], []
  for i in range(num_images):
    picture, label = render(source, 'test', i)
    photo, square = photo_of(picture, np.random.default_rng(i))
    try:
      fit = aligned(photo)
    except images.ImageError as error:
      causes.append(str(error).split(' (')[0])
      continue
    offset = np.linalg.norm(np.subtract(fit.square.centre, square.centre)) / square.size
    growth = abs(fit.square.size / square.size - 1)
    turn = abs(math.degrees(math.remainder(fit.square.angle - square.angle, 2 * math.pi)))
    found.append((angle(fit.label, label), offset, growth, turn))
  names = ('camera', 'place', 'size', 'turn')
  table = np.array(found).reshape(-1, len(names))
  return {**dict(zip(names, table.T, strict=True)), 'causes': np.array(causes, str)}


def mean_face(source: str, num_images: int) -> tuple[np.ndarray, np.ndarray]:
  """(landmarks [468, 3], deviations [468]) of the split train, see `pose.canonical`."""
  places, cameras = [], []
  for i in range(num_images):
    picture, label = render(source, 'train', i)
    points = detector.landmarks(picture)
    if points is not None:
      places.append(points / len(picture))
      cameras.append(label)
  if len(places) < 2:
    raise UserError(
      f'{len(places)} faces are found in {num_images} pictures, and points are triangulated of two '
      'or more. Set --num-images=200.'
    )
  return symmetric(*triangulate(np.stack(places), np.stack(cameras)))


def triangulate(places, labels) -> tuple[np.ndarray, np.ndarray]:
  """(points [l, 3], deviations [l]) of their places [n, l, 2] in pictures, with labels [n, 25].

  The least squares of the distances from the points to the rays, each weighted by the distance of
  its camera; twice, the second time without what is far from its point.
  """
  matrices = labels[:, :16].reshape(-1, 4, 4).astype(np.float64)
  origins, turns = matrices[:, :3, 3], matrices[:, :3, :3]
  rays = np.concatenate([places - 0.5, np.full((*places.shape[:2], 1), looks.FOCAL)], axis=-1)
  rays = np.einsum('nij,nlj->nli', turns, rays / np.linalg.norm(rays, axis=-1, keepdims=True))
  across = np.eye(3) - rays[..., None] * rays[..., None, :]  # [n, l, 3, 3]
  kept = np.ones(places.shape[:2])
  for _ in range(3):
    weighted = kept[..., None, None] * across
    right = np.einsum('nlij,nj->li', weighted, origins)
    points = np.linalg.solve(weighted.sum(0), right[..., None])[..., 0]
    local = np.einsum('nji,nlj->nli', turns, points - origins[:, None])
    distance = np.linalg.norm(places - 0.5 - looks.FOCAL * local[..., :2] / local[..., 2:], axis=-1)
    deviation = np.sqrt((kept * distance**2).sum(0) / kept.sum(0))
    kept = (distance <= _FAR * deviation).astype(float)
  return points, deviation


def symmetric(points, deviations) -> tuple[np.ndarray, np.ndarray]:
  """(points [l, 3], deviations [l]), each the mean of its own and of its mirrored partner's.

  Partners are found by the least sum of squares.

  Raises:
    UserError: the points are too far from symmetric to tell.
  """
  mirrored = points * [-1, 1, 1]
  squares = ((mirrored[:, None] - points) ** 2).sum(-1)
  partner = scipy.optimize.linear_sum_assignment(squares)[1]
  if (partner[partner] != np.arange(len(points))).any():
    raise UserError(
      'The landmarks are too far from symmetric to find partners in the mirror. Set more '
      '--num-images, as 200.'
    )
  return (points + mirrored[partner]) / 2, (deviations + deviations[partner]) / 2


def _write(path: str, text: str) -> None:
  try:
    with open(path, 'w', encoding='utf-8') as file:
      file.write(text)
  except OSError as error:
    raise UserError(
      f'--canonical={path} cannot be written: {error.strerror or error}. Name a file in a folder '
      'that is there.'
    ) from None


def main(argv: Sequence[str] | None = None) -> int:
  """The program; returns its exit code."""
  flags = argparse.ArgumentParser(
    prog='python -m jax3dgan.data.faces.measure',
    description=__doc__.partition('\n')[0],
    allow_abbrev=False,
  )
  flags.add_argument('--source', required=True, help='ict:FOLDER of the face model')
  flags.add_argument('--num-images', type=int, default=200)
  flags.add_argument('--canonical', metavar='FILE', help='make the mean face instead')
  args = flags.parse_args(programs.arguments(argv))
  try:
    if args.num_images < 1:
      raise UserError(f'--num-images={args.num_images} is below 1. Set it to 1 or more.')
    if args.canonical:
      points, deviations = mean_face(args.source, args.num_images)
      rows = zip(points, deviations, strict=True)
      lines = [f'{x:.5f} {y:.5f} {z:.5f} {d:.5f}' for (x, y, z), d in rows]
      _write(args.canonical, _HEADER.format(num=args.num_images) + '\n'.join(lines) + '\n')
      print(f'{args.canonical}: {len(points)} landmarks')
      return 0
    found = errors(args.source, args.num_images)
  except UserError as error:
    print(f'Error: {error}', file=sys.stderr)
    return 1
  causes = found.pop('causes')
  count = args.num_images - len(causes)
  print(f'{count} of {args.num_images} found ({count / args.num_images:.1%})')
  for cause in sorted(set(causes)):
    print(f'  left out: {cause}: {(causes == cause).sum()}')
  if not count:
    return 0  # there are no errors of what is not found
  for name, values in found.items():
    unit = '°' if name in ('camera', 'turn') else ' of the width'
    low, middle, high = np.percentile(values, (50, 90, 95))
    print(f'{name:8} median {low:.3g}{unit}, 90 % {middle:.3g}, 95 % {high:.3g}')
  return 0


if __name__ == '__main__':
  sys.exit(main())
