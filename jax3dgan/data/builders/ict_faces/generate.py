"""Makes the faces at first use and keeps them in a cache; see docs/faces.md.

A source is 'ict:FOLDER', FOLDER the user's copy of the model, or 'ict:' for the folder that
$ICT_FACE_MODEL names; 'ict:FOLDER?background=varied' has a ground of another colour in each image.

Image i of a split depends on (model, seed, split, i), the resolution and the background alone:
neither on how many are made nor on the number of processes. Records hold, beside image and label,
`identity` and `expression`, the model's weights; the split 'test' also what `truth` reads.
"""

import functools
import os
import urllib.parse
from typing import NamedTuple

import numpy as np

from jax3dgan.data import images, records, workers
from jax3dgan.data.builders import cached
from jax3dgan.data.builders.ict_faces import looks, model, scene
from jax3dgan.errors import UserError

SCHEME = 'ict:'
VERSION = 1  # To be raised with every change of the pictures, so that no cache mixes them.
SPLITS = {'train': 4000, 'test': 256}
BACKGROUNDS = ('white', 'varied')
_SHARD_SIZE = 250
_SMALLEST = 64  # Smaller images are means of these.
_LARGEST = 1024
_CHUNK = 16  # images at a time: little to hand over, and a bar that moves
_FEW = 64


class Source(NamedTuple):
  """What a source names: the model's folder and the background; and whether there are masks."""

  folder: str
  background: str = 'white'
  masks: bool = False

  def with_masks(self, masks: bool) -> 'Source':
    """The same with masks, if so; a UserError where the background is not white."""
    if masks and self.background != 'white':
      raise UserError(
        f'Faces with masks are on white, and the source says background={self.background}. Leave '
        'that out.'
      )
    return self._replace(masks=masks)


def parse(source) -> Source:
  """Reads 'ict:FOLDER?background=varied'; a UserError says what is wrong."""
  folder, _, query = source.removeprefix(SCHEME).partition('?')
  folder = folder or os.environ.get('ICT_FACE_MODEL', '')
  if not folder:
    raise UserError(
      f'{source} names no face model. Give {SCHEME}FOLDER, where {model.FILE} is, or set '
      'ICT_FACE_MODEL to it.'
    )
  options = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
  background = options.pop('background', BACKGROUNDS[0])
  if options or background not in BACKGROUNDS:
    raise UserError(
      f'{source} cannot be read. After "?" there may be background='
      f'{" or background=".join(BACKGROUNDS)}.'
    )
  return Source(os.path.expanduser(folder), background)


def ensure(source, resolution, split='train', cache_dir=None, num_images=None, masks=False):
  """Makes a split unless it is in the cache, and returns its folder, for `records.Shards`.

  Safe with several processes: one makes it while the others wait. It appears in its place whole
  or not at all; an interrupted one is continued, a damaged one is made again.

  Args:
    source: see `parse`.
    resolution: of the images wanted; those in the folder may be larger, by a whole number.
    split: 'train' or 'test'.
    cache_dir: where caches are, see `compilation.cache_root`.
    num_images: how many of the split's images, `SPLITS[split]` by default.
    masks: whether records have masks too, see `records.OPACITY`.

  Raises:
    UserError: where the model is not there or another one, there is no such split, or the cache
      cannot be written.
  """
  from jax3dgan.devices.compilation import cache_root  # brings JAX, which the processes do without

  parsed, resolution = parse(source).with_masks(masks), stored_resolution(resolution)
  num_images = _checked(split, num_images, resolution)
  digest = model.checksum(parsed.folder)
  parent = os.path.join(cache_dir or cache_root(), f'ict-faces-v{VERSION}')
  ground = 'masks' if masks else parsed.background
  name = f'{split}-{num_images}-{resolution}-{ground}-{digest[:8]}'
  made_by = provenance(parsed, split)
  return cached.ensure(
    os.path.join(parent, name),
    lambda folder: cached.is_complete(folder, num_images, made_by),
    lambda folder: write(parsed, folder, resolution, split, num_images),
    'faces',
  )


def stored_resolution(resolution) -> int:
  """Of the images that are rendered for images of this resolution."""
  return _SMALLEST if _SMALLEST % resolution == 0 else resolution


def write(source: Source, directory, resolution, split='train', num_images=None, num_workers=None):
  """Renders a split into a folder; keeps the finished shards that are there.

  Args:
    source: from `parse`.
    directory: made if need be.
    resolution: pixels.
    split: 'train' or 'test'.
    num_images: `SPLITS[split]` by default.
    num_workers: processes; by default one for each core. The bytes do not depend on it.

  Returns:
    the index, a dict.
  """
  num_images = _checked(split, num_images, resolution)
  return cached.write(
    directory,
    lambda numbers: render(source, split, numbers, resolution, num_workers),
    num_images,
    resolution=resolution,
    shard_size=_SHARD_SIZE,
    made_by=provenance(source, split),
    what=f'faces {split}',
  )


def render(source: Source, split, numbers, resolution, num_workers=None):
  """Yields the images of a split with these numbers, in order, as `example` gives them."""
  chunks = [numbers[i : i + _CHUNK] for i in range(0, len(numbers), _CHUNK)]
  # Few are rendered before processes have started.
  num_workers = (num_workers or os.cpu_count() or 1) if len(numbers) > _FEW else 1
  chunk = functools.partial(_render_chunk, source, split, resolution)
  for made in workers.in_order(chunk, chunks, num_workers, alone_without='faces'):
    yield from made


def _render_chunk(source: Source, split, resolution, numbers):
  faces = model.load(source.folder)
  return [example(faces, source, split, i, resolution) for i in numbers]


def example(faces: model.FaceModel, source: Source, split, i, resolution) -> dict:
  """Image i of a split, as `records.write_dataset` takes it."""
  rng = looks.generator(split, i)
  look = looks.draw(rng, faces.expression_names, len(faces.identity), source.background)
  label, second = looks.camera_label(rng), looks.camera_label(rng)
  head = scene.Head(faces, look)
  image, depth, mask = head.render(label, resolution)
  extras = {'identity': look.identity, 'expression': look.expression}
  if source.masks:
    image, opacity = head.matte(label, resolution)
    extras[records.OPACITY] = images.encode_png(opacity)
  if split == 'test':
    extras |= _truth('', depth, mask)
    other, depth, mask = head.render(second, resolution)
    extras |= {'second/image': images.encode_png(other), 'second/label': second}
    extras |= _truth('second/', depth, mask)
  return {
    'image': images.encode_png(image),
    'label': label,
    'key': f'{split}-{i:06d}',
    'extras': extras,
  }


def truth(features) -> dict:
  """The true geometry of an image of the split 'test'.

  Args:
    features: of its record (`records.Record.features`).

  Returns:
    dict of depth, float32 [r, r], the distance from the camera along the ray through the centre of
    each pixel, inf beside the head; mask, bool [r, r], where that ray meets the head; identity,
    float32 [100], and expression, float32 [57], the model's weights; and second, the same head
    from another camera of the prior: a dict of image (uint8 [r, r, 3]), label (float32 [25]),
    depth and mask.
  """
  second = {
    'image': images.decode(features['second/image']),
    'label': np.asarray(features['second/label'], np.float32),
    **_geometry(features, 'second/'),
  }
  weights = {name: np.asarray(features[name], np.float32) for name in ('identity', 'expression')}
  return {**_geometry(features, ''), **weights, 'second': second}


def examples_with_truth(source, num_images, resolution=_SMALLEST) -> list[dict]:
  """The first images of the split 'test' with their truth, rendered anew.

  Returns:
    dicts of image, label and what `truth` gives, as `evaluation.truth` takes them.
  """
  parsed = parse(source)
  faces = model.load(parsed.folder)
  made = [example(faces, parsed, 'test', i, resolution) for i in range(num_images)]
  return [
    {'image': images.decode(e['image']), 'label': e['label'], **truth(e['extras'])} for e in made
  ]


def provenance(source: Source, split) -> dict:
  """What decides the content of a split, beside the number of images and their resolution."""
  masks = {records.MASKS: True} if source.masks else {}
  return {
    **masks,
    'source': 'ict_faces',
    'ict_faces': {
      'version': VERSION,
      'seed': looks.SEED,
      'split': split,
      'background': source.background,
      'model': model.FILE,
      'model_sha256': model.checksum(source.folder),
    },
  }


def _truth(prefix, depth, mask):
  return {prefix + 'depth': depth, prefix + 'mask': mask.astype(np.uint8).tobytes()}


def _geometry(features, prefix):
  mask = np.frombuffer(features[prefix + 'mask'], np.uint8) > 0
  shape = (round(len(mask) ** 0.5),) * 2
  depth = np.asarray(features[prefix + 'depth'], np.float32)
  return {'depth': depth.reshape(shape), 'mask': mask.reshape(shape)}


def _checked(split, num_images, resolution):
  if split not in SPLITS:
    raise UserError(f'The faces have no split {split!r}. Choose one of {", ".join(SPLITS)}.')
  num_images = SPLITS[split] if num_images is None else num_images
  if num_images < 1:
    raise UserError(f'{num_images} faces cannot be made. Ask for one or more.')
  if not 1 <= resolution <= _LARGEST:
    raise UserError(f'Faces of {resolution} pixels cannot be made. Ask for 1 to {_LARGEST}.')
  return num_images
