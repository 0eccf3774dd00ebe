"""A sheet of rendered faces: pictures, their depth, and one head from five sides.

python -m jax3dgan.data.builders.ict_faces.sheet --source=ict:FOLDER --out=faces.png
"""

import argparse
import dataclasses
import math
import sys

import numpy as np

from jax3dgan import programs, viz
from jax3dgan.data.builders.ict_faces import generate, looks, model, scene
from jax3dgan.errors import UserError

_YAWS = (-40, -20, 0, 20, 40)
_SHOWN = dict(  # Expressions of the last row.
  smile=dict(mouthSmile=0.9, mouthUpperUp=0.4, cheekSquint=0.4),
  open=dict(jawOpen=0.7),
  surprise=dict(browInnerUp=0.9, browOuterUp=0.9, eyeWide=0.8, jawOpen=0.3),
  frown=dict(browDown=0.9, mouthFrown=0.8),
  blink=dict(eyeBlink=1.0),
)


def draw(source, resolution=128, num_images=16, split='train') -> np.ndarray:
  """The sheet [h, w, 3] of uint8; see the head of this file.

  Args:
    source: see `generate.parse`.
    resolution: of a picture, pixels.
    num_images: how many of the split's first faces.
    split: 'train' or 'test'.
  """
  parsed = generate.parse(source)
  faces = model.load(parsed.folder)
  looked, views = [], []
  for i in range(num_images):
    rng = looks.generator(split, i)
    looked.append(looks.draw(rng, faces.expression_names, len(faces.identity), parsed.background))
    views.append(scene.Head(faces, looked[-1]).render(looks.camera_label(rng), resolution))
  front = looks.label_of(math.pi / 2, math.pi / 2)
  calm = dataclasses.replace(looked[-1], expression=np.zeros_like(looked[-1].expression))
  head = scene.Head(faces, calm)
  turned = [
    head.render(looks.label_of(math.pi / 2 - math.radians(yaw), math.pi / 2), resolution)
    for yaw in _YAWS
  ]
  moved = []
  for weights in _SHOWN.values():
    look = dataclasses.replace(calm, expression=looks.weights_of(faces.expression_names, weights))
    moved.append(scene.Head(faces, look).render(front, resolution))
  columns = 8
  return viz.sheet(
    [
      (f'{num_images} faces, split {split}', _grid([v[0] for v in views], columns)),
      ('their depth', _grid(_depths(views), columns)),
      (
        f'one head, yaw {", ".join(map(str, _YAWS))} degrees, and depth',
        _grid([v[0] for v in turned] + _depths(turned), len(_YAWS)),
      ),
      ('expressions: ' + ', '.join(_SHOWN), _grid([v[0] for v in moved], len(_SHOWN))),
    ]
  )


def _grid(pictures, columns):
  return viz.grid(np.stack(pictures), columns=min(columns, len(pictures)))


def _depths(views):
  depth, mask = (np.stack([view[i] for view in views]) for i in (1, 2))
  depth = np.where(mask, depth, 0.0)
  limits = viz.depth_range(depth, mask)
  return [viz.colour_depth(d, m, limits) for d, m in zip(depth, mask, strict=True)]


def main(argv=None):
  """Runs the command line; returns the exit status."""
  parser = argparse.ArgumentParser(
    prog='python -m jax3dgan.data.builders.ict_faces.sheet',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
    allow_abbrev=False,
  )
  parser.add_argument('--source', default='ict:', help='ict:FOLDER, by default $ICT_FACE_MODEL')
  parser.add_argument('--out', required=True, help='a PNG')
  parser.add_argument('--resolution', type=int, default=128, help='pixels of a picture')
  parser.add_argument('--num-images', type=int, default=16, help='faces')
  parser.add_argument('--split', choices=looks.SPLITS, default='train')
  args = parser.parse_args(programs.arguments(argv))
  try:
    if args.resolution < 8 or args.num_images < 1:
      raise UserError('--resolution is at least 8 and --num-images at least 1. Set them so.')
    viz.save_png(args.out, draw(args.source, args.resolution, args.num_images, args.split))
  except UserError as error:
    print(f'error: {error}', file=sys.stderr)
    return 1
  return 0


if __name__ == '__main__':
  sys.exit(main())
