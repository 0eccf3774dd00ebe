"""The contract of data: `open_dataset` finds it, `batches` reads it from any position.

A batch is {'image': uint8 [local_batch, h, w, 3], 'label': float32 [local_batch, 25]}, the latter
where the data has labels. What a batch holds depends on the seed and the position alone (see
`order`), so a resumed run needs nothing but its step, and both loaders give the same bytes.
"""

import collections
import functools
import importlib.util
import os

import jax
from etils import epath

from jax3dgan import camera_checks
from jax3dgan.data import codes as codes_lib
from jax3dgan.data import dataset as dataset_lib
from jax3dgan.data import (
  first_use,
  images,
  label_files,
  local_copy,
  posed,
  reading,
  records,
  sources,
)
from jax3dgan.data import skips as skips_lib
from jax3dgan.errors import UserError

LOADERS = ('arrays', 'tfdata')
Dataset = dataset_lib.Dataset


def open_dataset(data_config, resolution, same_order=False, largest=None, masks=False, codes=None):
  """Opens the data set that a config names.

  Args:
    data_config: ConfigDict or dict of source (a folder of prepared shards or of one such folder for
      each split, or a zip; or, made at first use and kept in a cache, 'toys', 'tfds:NAME' and
      'ict:FOLDER', faces of the user's copy of a face model), loader, flip, on_device, split,
      cache_dir, num_images, max_skipped, origin, read_threads, local_copy (a folder on a disk of
      this host, see `local_copy`; '' to read the shards where they are).
    resolution: size of the images wanted, in pixels.
    same_order: see `Dataset`.
    largest: the largest size that will be wanted of it; what is made at first use is made at that
      size once, and smaller images are means of it.
    masks: whether images have a fourth channel, see `Dataset`; what is made at first use is made
      with masks then.
    codes: {name: how many numbers} of what records have beside their labels, see `codes`.

  Returns:
    a Dataset.

  Raises:
    UserError: where the data is not there, has the wrong resolution, no masks or codes, or cannot
      be read.
  """
  name = str(data_config['source'])
  loader = data_config.get('loader', 'arrays')
  if loader not in LOADERS:
    raise UserError(f'config.data.loader is {loader!r}. Set it to one of {", ".join(LOADERS)}.')
  if loader == 'tfdata' and (masks or codes):
    what = 'masks' if masks else 'codes'
    skips_lib.report(f'Images with {what} are read with data.loader=arrays, which gives the same.')
    loader = 'arrays'
  loader = _without_tensorflow() if loader == 'tfdata' and not _has_tensorflow() else loader
  if posed.is_scene(name):
    raise UserError(
      f'{name} is a scene that is not prepared. Run '
      f'{first_use.prepare_command(name, "DIR", max(resolution, largest or 0))} (with --hold-out=8 '
      'where it has no test views), and set --config.data.source=DIR.'
    )
  copy_to = data_config.get('local_copy') or ''
  split = data_config.get('split') or 'train'
  if name.lower().endswith('.zip') and not os.path.isdir(os.path.expanduser(name)):
    if split != 'train':  # what configs say whose data has no splits
      raise UserError(
        f'config.data.split is {split!r}, and a zip has no splits: {name} would be read whole. Set '
        '--config.data.split=train, or prepare a folder for each split.'
      )
    directory = os.path.expanduser(name)
    source = _open_zip(name, loader, resolution, copy_to)
  else:
    directory = first_use.folder_of(name, data_config, resolution, largest, masks)
    if directory is not None:
      source = _open_shards(directory, name, resolution, copy_to)
    else:
      directory = os.path.expanduser(name)
      if not os.path.exists(directory) and '://' not in directory:
        origin = data_config.get('origin') or ''
        raise first_use.not_there(name, max(resolution, largest or 0), origin)
      source = _open_split(directory, name, resolution, split, copy_to, largest)
  if not len(source):
    raise UserError(f'{name} holds no image. Prepare it again.')
  if masks and not getattr(source, 'masked', False):
    raise UserError(
      f'{name} has no masks. Prepare images that are transparent beside what they show again, with '
      '--masks, or train on the ground that they have.'
    )
  flip = bool(data_config.get('flip', False))
  # What is made is made with so many.
  made = name == 'toys' or name.startswith(first_use.ICT)
  first = 0 if made else int(data_config.get('num_images') or 0)
  return Dataset(
    name=name,
    source=source,
    resolution=resolution,
    labelled=source.labelled,
    masks=masks,
    flip=flip,
    codes=codes_lib.of_source(source, codes or {}, flip, name),
    loader=loader,
    on_device=bool(data_config.get('on_device', False)),
    same_order=same_order,
    read_threads=reading.num_readers(
      getattr(source, 'directory', directory), int(data_config.get('read_threads') or 0)
    ),
    first=first,
    skips=skips_lib.Skips(
      min(first or len(source), len(source)),
      int(data_config.get('max_skipped', skips_lib.AUTOMATIC)),
    ),
  )


def batches(
  dataset, batch_size, position=0, *, seed=0, process_index=0, process_count=1, stride=None
):
  """Iterates over the batches of one host, without end, with the data set's loader.

  Args:
    dataset: from `open_dataset`.
    batch_size: number of images for this host.
    position: number of images that all hosts together have consumed before. The batch at position
      p holds the images at positions p to p + batch_size * process_count - 1, of which host h has
      the h-th part.
    seed: of the order and of the flips.
    process_index, process_count: this host's number, and how many there are.
    stride: images from one batch to the next, where that is less than all hosts together read: the
      last images of a batch are then also the first of the next.

  Returns:
    an iterator of dicts of image, uint8 [batch_size, h, w, 3], and, where there are labels, label,
    float32 [batch_size, 25]. It reports where a batch takes a minute, see `reading.watched`.
  """
  if dataset.loader == 'tfdata':
    from jax3dgan.data import tfdata as loader
  else:
    from jax3dgan.data import arrays as loader
  iterator = loader.batches(
    dataset,
    batch_size,
    position,
    seed=seed,
    process_index=process_index,
    process_count=process_count,
    stride=stride,
  )
  return reading.watched(iterator, dataset.name, lambda line: dataset.skips.say(line))


def prefetch_to_device(iterator, sharding=None, depth=2):
  """Keeps some batches on their way to the device while one is being used.

  Args:
    iterator: of dicts of NumPy arrays, this host's parts.
    sharding: of the global batch over all hosts; by default the first device.
    depth: how many batches are on the device beside the one in use.

  Yields:
    dicts of JAX arrays, of the global batch.
  """

  def put(batch):
    if sharding is None:
      return jax.device_put(batch)
    return jax.tree.map(
      lambda array: jax.make_array_from_process_local_data(sharding, array), batch
    )

  queue = collections.deque()
  for batch in iterator:
    # The transfer runs on while the caller computes: device_put does not wait for it.
    queue.append(put(batch))
    if len(queue) > depth:
      yield queue.popleft()
  yield from queue


def _has_tensorflow():
  return importlib.util.find_spec('tensorflow') is not None


@functools.cache  # one line a process
def _without_tensorflow():
  skips_lib.report(
    'TensorFlow is not installed: images are read with data.loader=arrays, which gives the same.'
  )
  return 'arrays'


def _open_split(directory, name, resolution, split, copy_to, largest=None):
  """The shards of DIR, or of DIR/train where DIR holds a data set for each split."""
  top = epath.Path(directory)
  if not (top / records.INDEX).exists() and top.is_dir():
    if (top / split / records.INDEX).exists():
      return _open_shards(os.path.join(directory, split), name, resolution, copy_to)
    there = [path.name for path in top.iterdir() if (path / records.INDEX).exists()]
    _refuse_split(name, split, there)
  if (error := first_use.not_prepared(directory, name, max(resolution, largest or 0))) is not None:
    raise error
  source = _open_shards(directory, name, resolution, copy_to)
  # The split of a scene is named in its index. 'train' is also what configs say that have none.
  there = source.index.get('scene', {}).get('split')
  if split != 'train' and there != split:
    if there:
      _refuse_split(name, split, [there])
    raise UserError(
      f'config.data.split is {split!r}, and {name} has no splits: it would be read whole. Set '
      f'--config.data.split=train, or --config.data.source to a folder that holds a prepared one '
      f'for each split, among them {split}.'
    )
  return source


def _refuse_split(name, split, there):
  if there:
    raise UserError(
      f'{name} has no split {split}, only {", ".join(sorted(there))}. Set --config.data.split to '
      'one of these, or prepare the other one.'
    )


def _open_shards(directory, name, resolution, copy_to):
  index = records.read_index(directory)
  if index['labels']:
    camera_checks.check_statistics(index['labels'], f'{name}: its labels')
  stored = int(index['resolution'])
  if stored < resolution or stored % resolution:
    problem = 'smaller than' if stored < resolution else 'not a multiple of'
    raise UserError(
      f'{name} has images of {stored} pixels, {problem} the resolution {resolution}. '
      f'Prepare it again: {first_use.prepare_command("IMAGES", "DIR", resolution)}'
    )
  return records.Shards(local_copy.ensure(directory, copy_to) if copy_to else directory)


def _open_zip(name, loader, resolution, copy_to):
  path = os.path.expanduser(name)
  if not os.path.isfile(path):
    raise UserError(f'The data {name} is not there. Put the zip there, or name another data set.')
  if loader == 'tfdata':
    raise UserError(
      f'The tfdata loader does not read zips, and config.data.source is {name}. Set '
      f'--config.data.loader=arrays, or run {first_use.prepare_command(name, "DIR", resolution)}'
    )
  if copy_to:
    raise UserError(
      f'config.data.local_copy is for prepared folders, and config.data.source is {name}. Leave '
      f'--config.data.local_copy out, or run {first_use.prepare_command(name, "DIR", resolution)}'
    )
  source = sources.ZipSource(path)
  if not len(source):
    raise UserError(f'{name} holds no image ({", ".join(images.EXTENSIONS)}). Name another zip.')
  for line in [*source.notes, *label_files.oddities(source)]:
    skips_lib.report(f'Warning: {name}: {line}')
  return source
