"""The flags of `prepare` that are of scenes alone."""

import os

from jax3dgan.data.posed import framing, scene
from jax3dgan.errors import UserError

_NAMES = ('background', 'framing', 'scale', 'centre', 'up', 'hold_out')


def add(parser):
  """Adds the flags to an argparse parser."""
  group = parser.add_argument_group('scenes with cameras (docs/posed_data.md)')
  group.add_argument('--background', choices=scene.BACKGROUNDS, help='behind transparent pixels')
  group.add_argument('--framing', choices=framing.MODES, help='choose centre and scale, or do not')
  group.add_argument('--scale', type=float, help="library's units for one of the scene's")
  group.add_argument('--centre', help="X,Y,Z in the scene's world, which becomes the origin")
  group.add_argument('--up', choices=framing.UPS, help="axis of the scene's world, upwards")
  group.add_argument('--hold-out', type=int, help='every n-th view is of the split test')


def options(args):
  """scene.Options of the flags; UserError where one is impossible."""
  given = {name: getattr(args, name) for name in _NAMES if getattr(args, name) is not None}
  if 'centre' in given:
    try:
      given['centre'] = tuple(float(number) for number in given['centre'].split(','))
      if len(given['centre']) != 3 or not all(abs(v) < float('inf') for v in given['centre']):
        raise ValueError
    except ValueError as error:
      raise UserError(f'--centre={args.centre} is not X,Y,Z. Write it as 0,0.5,0.') from error
  return scene.Options(**given)


def outputs(source, out, split, scene_options, labels_file):
  """What `prepare` is to write: a dict of split -> folder; None where the source is no scene.

  A scene of several splits goes into a folder each, unless one of them is asked for.

  Args:
    source: as the user gave it.
    out: folder.
    split: asked for; None for all.
    scene_options: from `options`.
    labels_file: as the user gave it; with any, also 'none', the source is images alone.
  """
  if labels_file is not None or not scene.is_scene(source):
    return None
  opened = scene.Scene(source, scene_options)
  for note in opened.capture.notes:
    print(f'note: {note}')
  if split is not None or len(opened.splits) == 1:
    return {split or next(iter(opened.splits)): out}
  return {each: os.path.join(out, each) for each in opened.splits}


def refuse(source, scene_options):
  """UserError where one of the flags is given for a source that is no scene."""
  if scene_options != scene.Options():
    flags = ', '.join(f'--{name.replace("_", "-")}' for name in _NAMES)
    raise UserError(
      f'{flags} are of scenes with cameras alone, and {source} is none, or is made images alone by '
      '--labels. Leave them out.'
    )


def summary(about):
  """A line on the framing of prepared shards, for people; `about` is the index's `scene`."""
  found = about['framing']
  centre = ', '.join(f'{v:.4g}' for v in found['centre'])
  return (
    f'{about["format"]}: centre ({centre}) and scale {found["scale"]:.4g}; cameras at '
    f'{found["radius"]:.3g} from the origin; suggested: near {found["near"]:g}, far '
    f'{found["far"]:g}.'
  )
