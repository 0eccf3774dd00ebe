"""Data that a config can make or fetch itself, at first use; and what to do about other data."""

import os
import shlex

from jax3dgan.data import folders, names, records, sources, unfinished
from jax3dgan.errors import UserError

TFDS = 'tfds:'
ICT = 'ict:'


def largest_resolution(config) -> int:
  """The largest resolution of a config's stages."""
  return max(
    [config.resolution, *(stage.get('resolution', 0) for stage in map(dict, config.stages))]
  )


def folder_of(name, data_config, resolution, largest, masks=False):
  """The folder of shards of a data set that is made, or fetched, unless it is in the cache.

  Args:
    name: config.data.source.
    data_config: the group `data` of a config, or a dict of its fields.
    resolution, largest, masks: see `pipeline.open_dataset`.

  Returns:
    the folder; None for a source that cannot be made.

  Raises:
    UserError: it cannot be made here; the message says what is missing.
  """
  made_at = largest if largest and largest % resolution == 0 else resolution
  split = data_config.get('split') or 'train'
  cache_dir = data_config.get('cache_dir') or None
  num_images = data_config.get('num_images') or None
  # Imported where they are wanted: making needs the renderer or TensorFlow, reading does not.
  if name == 'toys':
    from jax3dgan.data.builders.toys import generate as toys

    return toys.ensure(split=split, cache_dir=cache_dir, num_images=num_images, masks=masks)
  if name.startswith(ICT):
    from jax3dgan.data.builders.ict_faces import generate as faces

    return faces.ensure(
      name, made_at, split=split, cache_dir=cache_dir, num_images=num_images, masks=masks
    )
  if name.startswith(TFDS):
    from jax3dgan.data.builders import tfds_sets

    return tfds_sets.ensure(name, made_at, split=split, cache_dir=cache_dir)
  return None


def not_there(name, resolution, origin):
  """The error of a folder that is not there: what it is made of, and by which command.

  Args:
    name: config.data.source.
    resolution: of the shards, in pixels.
    origin: config.data.origin.
  """
  if not origin and 'celeba' in os.path.basename(name).lower():
    return UserError(
      f'The data {name} is not there. Make it with '
      f'{prepare_command("tfds:celeb_a", name, resolution)}'
    )
  return UserError(
    f'The data {name} is not there. {origin.rstrip(". ")}{". " if origin else ""}Make it with '
    f'{prepare_command("IMAGES", name, resolution)}, where IMAGES is a folder or a zip of '
    f'{"them" if origin else "images"}.'
  )


def prepare_command(source, out, resolution):
  """The command that prepares a data set, for messages."""
  source, out = shlex.quote(source), shlex.quote(out)
  return f'python -m jax3dgan.data.prepare --source={source} --out={out} --resolution={resolution}'


def not_prepared(directory, name, resolution):
  """The error of a folder, or a file, that is there and no prepared data set; None if it is one.

  Args:
    directory: the path.
    name: config.data.source.
    resolution: of the shards, in pixels.
  """
  if '://' in directory or os.path.exists(os.path.join(directory, records.INDEX)):
    return None
  if os.path.exists(os.path.join(directory, unfinished.SETTINGS)):
    return UserError(
      f'The preparation of {name} did not finish. Run the command that began it again: it goes on.'
    )
  if os.path.isfile(directory):
    what = 'is a file, and config.data.source is a prepared folder or a zip'
  elif (first := next(filter(_is_source, folders.walk(directory)), None)) is not None:
    what = f'holds images that are not prepared, such as {names.readable(first)}'
  else:
    return None
  out = f'{directory.rstrip("/")}_{resolution}' if os.path.isdir(directory) else 'DIR'
  return UserError(
    f'{name} {what}. Run {prepare_command(name, out, resolution)}, and set '
    f'--config.data.source={shlex.quote(out)}.'
  )


def _is_source(name):
  return sources.is_image(name) or '.tfrecord' in os.path.basename(name)
