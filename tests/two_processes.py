"""What each process of test_hosts.py does: `python two_processes.py FOLDER NAME PORT`.

NAME is 'one', a single process of four devices, or '0' or '1', of two processes with two each. All
three run at the same time, and wait for each other's files.
"""

import errno
import json
import pathlib
import shutil
import sys
import time
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import settings
from jax.experimental import multihost_utils

from configs import toys
from jax3dgan import train, trained
from jax3dgan.data import arrays, pipeline, records
from jax3dgan.devices import agreement, hosts, parallel
from jax3dgan.errors import UserError
from jax3dgan.evaluation import against_photos, evaluate
from jax3dgan.runs import checkpoint_files, checkpoints, read_failures, writers

_PROJECTION = np.random.default_rng(0).normal(size=(8 * 8 * 3, 6)).astype(np.float32) / 255


class Recorder(writers.NullWriter):
  """Keeps the scalars of a run in a file."""

  def __init__(self, path):
    self._path, self._rows = path, {}

  def write_scalars(self, step, scalars):
    row = self._rows.setdefault(str(step), {})
    row |= {k: float(v) for k, v in scalars.items() if k != 'images_per_second'}

  def close(self):
    self._path.write_text(json.dumps(self._rows))


class Extractor:
  """Instead of Inception: six random projections."""

  dims, label, fingerprint = 6, 'FID-6', 'projection'

  def __init__(self, weights, mesh, *args):
    assert all(device.process_index == jax.process_index() for device in mesh.devices.flat)

  def __call__(self, batches):
    for batch in batches:
      yield batch.reshape(len(batch), -1).astype(np.float32) @ _PROJECTION


def config(cache):
  result = toys.get_test_config()
  result.resolution, result.num_steps = 8, 4
  result.discriminator.channels = (4, 8, 8)
  result.render.num_fine = result.display.num_fine = 0  # a smaller program
  result.loss.r1 = 0.0
  result.data.update(cache_dir=cache, on_device=False)
  result.checkpoint.update(every=2, keep=9)
  result.log.update(every=1, images_every=3)
  result.eval.update(metrics='fid,kid,nfs', num_images=20, kid_subset_size=8, kid_subsets=2)
  return result


def compile_once():
  """The second run of a process takes the first one's program."""
  compile_step, programs = train._compile, []

  def compile_or_take(*args):
    if not programs:
      programs.append(compile_step(*args))
    return programs[0]

  train._compile = compile_or_take


def without_results(chosen):
  """Of the runs, one makes the pictures of its end: the one in two processes."""
  result = chosen.copy_and_resolve_references()
  result.log.results = False
  return result


def take_up(folder, source, target, chosen):
  """Continues another run's checkpoint of step 2."""
  workdir = folder / target
  if jax.process_index() == 0:
    while not (folder / source / 'summary.json').exists():
      time.sleep(0.1)
    shutil.copytree(folder / source / 'checkpoints/2', folder / 'copy' / target / 'checkpoints/2')
    shutil.copy(folder / source / 'config.json', folder / 'copy' / target)
    (folder / 'copy' / target).rename(workdir)
  while not workdir.exists():
    time.sleep(0.1)
  train.run(without_results(chosen), workdir)


def one_fails(folder, mesh):
  """What each process gets from checkpoints that only process 1 cannot read, or only partly."""
  workdir, said = folder / 'one_fails', {}
  state = lambda step: parallel.replicate({'w': jnp.full(3, step, jnp.float32)}, mesh)  # noqa: E731
  read_failures.DELAYS, read_failures.CONFIRMATION = (0, 0), 0
  saver = checkpoints.Checkpoints(workdir, every=1, keep=3)
  for step in (1, 2):
    saver.save(step, state(step))
  saver.wait()
  plain = checkpoint_files.load

  def restore(name, *errors):
    left = list(errors)

    def load(path, *args):
      if left and jax.process_index() == 1 and path.name == '2':
        raise left.pop(0)
      return plain(path, *args)

    checkpoint_files.load = load
    try:
      restored = saver.restore(state(0), lambda line: None)
      said[name] = np.asarray(restored['w'].addressable_data(0)).tolist()
    except UserError as error:
      said[name] = str(error)
    checkpoint_files.load = plain
    said[f'{name}, then'] = checkpoints.steps(workdir)

  late = TimeoutError(errno.ETIMEDOUT, 'no answer')
  restore('for a while', late, late)
  restore('for good', late, late, late)
  restore('of memory', MemoryError())
  # The processes have called the libraries a different number of times: they still save together.
  saver.save(3, state(3))
  saver.wait()
  said['saved'] = checkpoints.steps(workdir)
  shutil.rmtree(workdir / 'checkpoints/3', ignore_errors=True)
  multihost_utils.sync_global_devices('removed')
  restore('damaged', read_failures.Damaged('short'), read_failures.Damaged('short'))
  saver.close()
  return said


def reads(chosen):
  """The numbers of the photos that this process reads for an epoch of eight batches of eight."""
  seen = []
  plain = records.Shards.read
  records.Shards.read = lambda self, i: seen.append(int(i)) or plain(self, i)
  dataset = pipeline.open_dataset(chosen.data, chosen.resolution)
  count = jax.process_count()
  batches = pipeline.batches(
    dataset, 8 // count, seed=5, process_index=jax.process_index(), process_count=count
  )
  for _ in range(8):
    next(batches)
  records.Shards.read = plain
  return seen[: 64 // count]


def resident(chosen):
  """The whole data set on the first device as a checksum, and how many images this process read."""
  seen = []
  plain = records.Shards.read
  records.Shards.read = lambda self, i: seen.append(i) or plain(self, i)
  dataset = pipeline.open_dataset(chosen.data, chosen.resolution)
  images = arrays.resident(dataset, parallel.make_mesh(), progress=False)['image']
  records.Shards.read = plain
  found = np.asarray(images.addressable_data(0))
  assert images.is_fully_replicated and not found[len(dataset) :].any()
  return zlib.crc32(found[: len(dataset)].tobytes()), len(seen)


def main(folder, name, port):
  folder = pathlib.Path(folder)
  if name != 'one':
    parallel.initialize(f'127.0.0.1:{port}', 2, int(name), timeout=120)
  assert jax.device_count() == 4
  chosen = config(str(folder / 'cache'))
  own, other = ('one', 'two') if name == 'one' else ('two', 'one')
  compile_once()
  create = writers.create
  writers.create = lambda workdir: (
    Recorder(pathlib.Path(workdir) / 'scalars.json')
    if jax.process_index() == 0
    else writers.NullWriter()
  )
  train.run(without_results(chosen) if name == 'one' else chosen, folder / own)
  take_up(folder, other, f'{other}_to_{own}', chosen)
  writers.create = create

  against_photos.inception_weights.load = lambda path, dims: None
  against_photos.features.FeatureExtractor = Extractor
  while not (folder / 'two/summary.json').exists():
    time.sleep(0.1)
  model = trained.load(folder / 'two')
  results, _ = evaluate.Evaluator(chosen, lambda line: None).run(model)
  figures = {k: float(v) for result in results.values() for k, v in result.values.items()}
  said = {'reads': reads(chosen), 'resident': resident(chosen), 'figures': figures}
  if name != 'one':
    said['one_fails'] = one_fails(folder, parallel.make_mesh())
  (folder / f'{name}.json').write_text(json.dumps(said))
  if name != 'one':
    # A difference is the same error on both, in front of all that they could do with it.
    with chosen.unlocked():
      chosen.batch_size = 4 * (1 + jax.process_index())
    agreement.check_same(chosen)


if __name__ == '__main__':
  settings.share_contexts()
  try:
    main(*sys.argv[1:])
  except hosts.UserError as error:
    print(f'Error: {error}')
    hosts.leave(1)
