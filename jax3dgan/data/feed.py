"""Images for the compiled step: batches over the devices, or the whole data set on each of them."""

import dataclasses

import jax
import numpy as np

from jax3dgan.data import arrays, first_use, labels, order, pipeline
from jax3dgan.data import codes as codes_lib
from jax3dgan.devices import hosts, parallel
from jax3dgan.errors import UserError
from jax3dgan.training.step import TABLE

_ROWS = 4096  # of a table whose data set is not known


def names(config) -> tuple[str, ...]:
  """What a step gets of each example."""
  label = ('label',) if config.data.use_labels else ()
  return ('image', *label, *needs_codes(config))


def _unlabelled(config, name: str) -> UserError:
  """The error of data without labels, with all flags of training without them."""
  from jax3dgan import recipes

  remedy = 'Prepare it with a dataset.json'
  if not recipes.create(config.recipe).needs_labels:
    flags = '--config.data.use_labels=False'
    if config.discriminator.get('label_dim'):
      flags += ' --config.discriminator.label_dim=0'
    remedy += f', or train with cameras of the pose prior: {flags}'
  return UserError(f'{name} has no camera labels. {remedy}.')


def needs_masks(config) -> bool:
  """Whether the images have masks as their fourth channel (`Recipe.needs_masks`)."""
  from jax3dgan import recipes

  return recipes.create(config.recipe).needs_masks(config)


def needs_codes(config) -> dict[str, int]:
  """The codes of images that it needs (`Recipe.needs_codes`)."""
  from jax3dgan import recipes

  return dict(recipes.create(config.recipe).needs_codes(config))


def specs(config):
  """How `shapes` are split over a mesh."""
  if not needs_codes(config):
    return parallel.SPLIT
  return {**{name: parallel.SPLIT for name in names(config)}, TABLE: parallel.REPLICATED}


def shapes(config, batch_size: int, resolution: int, sharding=None) -> dict:
  """A batch of examples in shapes alone."""
  image = ((batch_size, resolution, resolution, 4 if needs_masks(config) else 3), np.uint8)
  sizes = {'label': labels.NUM_NUMBERS, **needs_codes(config)}
  kinds = {'image': image} | {name: ((batch_size, k), np.float32) for name, k in sizes.items()}
  found = {name: jax.ShapeDtypeStruct(*kinds[name], sharding=sharding) for name in names(config)}
  if needs_codes(config):
    rows = (config.data.num_images or _ROWS) * (2 if config.data.flip else 1)
    table = {name: jax.ShapeDtypeStruct((rows, k), np.float32) for name, k in sizes.items()}
    found[TABLE] = {name: table[name] for name in names(config) if name != 'image'}
  return found


def check_order(process_indices) -> None:
  """Checks that the h-th part of a mesh's devices belongs to process h.

  Each process reads the h-th part of every batch and fills its own devices with it. Devices in
  another order would get the images of other positions: another number of hosts, or a resident
  data set, would then train with other batches.

  Args:
    process_indices: of the mesh's devices, in its order.

  Raises:
    ValueError: another order, or processes with unequal numbers of devices.
  """
  found, count = list(process_indices), len(set(process_indices))
  each = len(found) // count
  if found != [i // each for i in range(count * each)]:
    raise ValueError(
      f'The devices of the mesh belong to the processes {found}: process h of {count} must have '
      'the h-th part of them. Sort them by (process_index, id).'
    )


class Feed:
  """Batches for the compiled step, by the step's number.

  Either batches of images, split over the devices, or the whole data set, resident on every
  device, with the position to draw from.
  """

  def __init__(self, config, mesh, stage):
    self._config, self._mesh, self._stage = config, mesh, stage
    self._dataset, self._iterator, self._resident, self._table = None, None, None, None
    check_order([device.process_index for device in mesh.devices.flat])
    self._open(stage.resolution)
    hosts.wait_for_all('they prepare their data')

  def _open(self, resolution):
    if self._dataset is not None and self._dataset.resolution == resolution:
      return
    before, self._dataset = (
      self._dataset,
      pipeline.open_dataset(
        self._config.data,
        resolution,
        self._config.compat.same_order,
        first_use.largest_resolution(self._config),
        masks=needs_masks(self._config),
        codes=needs_codes(self._config),
      ),
    )
    if self._config.data.use_labels and not self._dataset.labelled:
      raise _unlabelled(self._config, self._dataset.name)
    if before is not None:  # at another resolution the same images are damaged
      self._dataset = dataclasses.replace(self._dataset, skips=before.skips)
    self._resident = None
    if self._dataset.on_device:
      self._resident = arrays.resident(self._dataset, self._mesh)
    if needs_codes(self._config) and self._table is None:
      self._table = self._whole_table()

  def _whole_table(self):
    """The numbers of all images on every device, and after them those of mirrored ones where images
    are mirrored: by name, without what a step does not get."""
    codes = self._dataset.codes
    if self._resident is None:
      rows = codes_lib.table(self._dataset)
    else:
      rows = np.asarray(self._resident['label'].addressable_data(0))[: len(self._dataset)]
    if self._dataset.flip:
      rows = np.concatenate([rows, codes.mirror(rows)])
    wanted = {name: x for name, x in codes.split(rows).items() if name in names(self._config)}
    return parallel.replicate(wanted, self._mesh)

  def enter(self, stage, step):
    """Switches to a stage, at one of its steps."""
    self._stage = stage
    self._open(stage.resolution)
    if self._resident is None:
      batches = pipeline.batches(
        self._dataset,
        stage.padded_batch_size // jax.process_count(),
        stage.position_at(step),
        stride=stage.batch_size,
        seed=self._config.seed,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
      )
      sharding = jax.sharding.NamedSharding(self._mesh, parallel.SPLIT)
      self._iterator = pipeline.prefetch_to_device(
        ({name: b[name] for name in names(self._config)} for b in batches), sharding
      )

  def batch(self, step):
    """The arguments of the compiled step at `step`."""
    table = {} if self._table is None else {TABLE: self._table}
    if self._resident is None:
      return next(self._iterator) | table
    place = order.split(self._stage.position_at(step), len(self._dataset))
    return {'data': self._resident, 'place': place} | table

  def example(self, step):
    """What `batch` returns, as shapes alone where making it would consume a batch."""
    if self._resident is not None:
      return self.batch(step)
    sharding = jax.sharding.NamedSharding(self._mesh, parallel.SPLIT)
    found = shapes(self._config, self._stage.padded_batch_size, self._stage.resolution, sharding)
    return found if self._table is None else found | {TABLE: self._table}

  def tell(self, say, stops=lambda: False):
    """Reports skipped images and unreachable files to `say` instead of stderr; does not wait for
    files once `stops()` is true."""
    self._dataset.skips.stops = stops
    if jax.process_index() == 0:  # the others show stderr alone
      self._dataset.skips.say = say

  @property
  def dataset(self):
    """The data set at the resolution of the stage."""
    return self._dataset

  @property
  def spec(self):
    """How `batch` is split over the mesh."""
    return specs(self._config) if self._resident is None else parallel.REPLICATED

  def images(self, batch):
    """This device's images [b, h, w, c], inside the compiled step."""
    return self.examples(batch)['image']

  def examples(self, batch):
    """This device's examples, inside the compiled step: {'image': [b, h, w, c]}, 'label' [b, 25]
    where `config.data.use_labels`, and, of a recipe that needs codes, these by their names and
    TABLE, {name: [n, k]} of the whole data set."""
    if self._resident is None:
      return batch
    local = self._stage.padded_batch_size // self._mesh.size
    start = jax.lax.axis_index(parallel.AXIS) * local
    data = self._dataset
    drawn = arrays.draw(
      batch['data'],
      batch['place'],
      local,
      self._config.seed,
      data.flip,
      start,
      data.same_order,
      len(data),
      data.channels,
      data.codes,
    )
    found = {name: drawn[name] for name in names(self._config)}
    return found | ({TABLE: batch[TABLE]} if TABLE in batch else {})
