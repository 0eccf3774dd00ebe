"""Images a second of the input pipeline alone: by loader, resolution, threads, latency of reads.

  python -m benchmarks.input_pipeline
  python -m benchmarks.input_pipeline --loaders=tfdata --resolutions=64 --threads=8,64,128
  python -m benchmarks.input_pipeline --plan=celeba:h100:8:bfloat16 --step-rate=mine=512:190

Prints a JSON line for each measurement, then tables, of images a second. The latency is that of a
network file system: each read of a record sleeps so long before it reads the local file (20 to
100 ms for a range request of a bucket). What a step consumes comes from `tools.plan`
(--plan=CONFIG:DEVICE:NUMBER[:POLICY], NUMBER of a host's devices) or from you
(--step-rate=NAME=RESOLUTION:RATE); it is that of one host, as the pipeline is.

'resident load' is the decoding of a whole data set at the start, 'resident draw' the drawing of its
batches inside the compiled step: that one reads nothing.
"""

import argparse
import importlib.util
import json
import sys
import tempfile
import time

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from jax3dgan.data import arrays, pipeline, records, tfrecord

LOADERS = ('tfdata', 'arrays', 'resident')


def photo(i: int, resolution: int) -> np.ndarray:
  """An image uint8 [r, r, 3] whose PNG is about as large as that of a photo: smooth, with grain."""
  rng = np.random.default_rng(i)
  smooth = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
  smooth = np.asarray(smooth.resize((resolution,) * 2, Image.Resampling.BICUBIC), np.float32)
  grain = rng.normal(0.0, 3.0, smooth.shape)
  return np.clip(smooth + grain, 0, 255).astype(np.uint8)


def slow_down(milliseconds: float):
  """Makes each read of a record take so long; returns a function that undoes it."""
  plain = tfrecord.RecordFiles.payload

  def payload(self, i):
    time.sleep(milliseconds / 1000)
    return plain(self, i)

  if milliseconds:
    tfrecord.RecordFiles.payload = payload

  def undo():
    tfrecord.RecordFiles.payload = plain

  return undo


def measure_batches(dataset, batch_size: int, seconds: float) -> float:
  """Images a second of a loader, without its first three batches."""
  iterator = pipeline.batches(dataset, batch_size)
  for _ in range(3):
    next(iterator)
  rate = _rate(lambda _: next(iterator), batch_size, seconds)
  iterator.close()
  return rate


def _rate(take, batch_size, seconds):
  """Images a second that `take`, of the position, gives; one batch at least."""
  count, passed, began = 0, 0.0, time.perf_counter()
  while not count or passed < seconds:
    take(count)
    count += batch_size
    passed = time.perf_counter() - began
  return count / passed


def measure_load(dataset) -> float:
  """Images a second of `arrays.resident`."""
  began = time.perf_counter()
  jax.block_until_ready(arrays.resident(dataset, progress=False))
  return len(dataset) / (time.perf_counter() - began)


def measure_draw(dataset, batch_size: int, seconds: float) -> float:
  """Images a second of `arrays.draw`, compiled alone."""
  data = arrays.resident(dataset, progress=False)
  draw = jax.jit(lambda data, position: arrays.draw(data, position, batch_size, 0, True))
  jax.block_until_ready(draw(data, jnp.uint32(0)))
  return _rate(
    lambda position: jax.block_until_ready(draw(data, jnp.uint32(position))), batch_size, seconds
  )


def measure(folder, args, say):
  """All measurements, a list of dicts; calls `say` with each."""
  found = []

  def note(loader, resolution, threads, latency, rate):
    keys = ('loader', 'resolution', 'threads', 'latency_ms', 'batch', 'images_per_second')
    values = (loader, resolution, threads, latency, args.batch, round(rate, 1))
    found.append(dict(zip(keys, values, strict=True)))
    say(found[-1])

  for resolution in args.resolutions:
    source = f'{folder}/{resolution}'
    examples = ({'image': photo(i, resolution), 'key': str(i)} for i in range(args.images))
    records.write_dataset(source, examples, resolution=resolution)
    for loader in args.loaders:
      kind = 'arrays' if loader == 'resident' else loader
      for threads in args.threads:
        for latency in args.latencies:
          options = {'source': source, 'loader': kind, 'flip': True, 'read_threads': threads}
          dataset = pipeline.open_dataset(options, resolution)
          undo = slow_down(latency)
          try:
            if loader == 'resident':
              note('resident load', resolution, threads, latency, measure_load(dataset))
            else:
              rate = measure_batches(dataset, args.batch, args.seconds)
              note(loader, resolution, threads, latency, rate)
          finally:
            undo()
      if loader == 'resident':
        rate = measure_draw(dataset, args.batch, args.seconds)
        note('resident draw', resolution, 0, 0, rate)
  return found


def planned(text: str) -> list[tuple[str, int, float]]:
  """(name, resolution, images a second) of each stage of CONFIG:DEVICE:NUMBER[:POLICY]."""
  from jax3dgan.tools import devices, plan

  name, device, number, *policy = text.split(':')
  config = importlib.import_module(f'configs.{name}').get_config()
  if policy:
    config.model.matmul_dtype = policy[0]
  result = plan.plan(config, devices.find(device), num_devices=int(number), fast=True)
  return [
    (f'{name}, {number} {device}, {result["policy"]}', stage['resolution'], rate)
    for stage in result['stages']
    for rate in [stage['images_per_second']]
  ]


def given(text: str) -> tuple[str, int, float]:
  """(name, resolution, images a second) of NAME=RESOLUTION:RATE."""
  name, _, values = text.rpartition('=')
  resolution, rate = values.split(':')
  return name, int(resolution), float(rate)


def tables(found: list[dict], demands: list[tuple[str, int, float]]) -> str:
  """The measurements as tables in Markdown."""
  latencies = sorted({each['latency_ms'] for each in found})
  head = ['loader', 'resolution', 'threads', *(f'{latency:g} ms' for latency in latencies)]
  rows = {}
  for each in found:
    row = rows.setdefault((each['loader'], each['resolution'], each['threads'] or '–'), {})
    row[each['latency_ms']] = f'{each["images_per_second"]:,.0f}'
  lines = ['| ' + ' | '.join(head) + ' |', '|---' * len(head) + '|']
  for (loader, resolution, threads), row in rows.items():
    cells = [loader, f'{resolution}²', str(threads), *(row.get(x, '') for x in latencies)]
    lines.append('| ' + ' | '.join(cells) + ' |')
  if demands:
    lines += ['', '| step | resolution | images/s that it consumes |', '|---|---|---|']
    lines += [f'| {name} | {resolution}² | {rate:,.0f} |' for name, resolution, rate in demands]
  return '\n'.join(lines)


def parse(argv):
  numbers = lambda text: [int(x) for x in text.split(',')]  # noqa: E731
  parser = argparse.ArgumentParser(
    prog='python -m benchmarks.input_pipeline',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
    allow_abbrev=False,
  )
  parser.add_argument('--loaders', type=lambda text: text.split(','), default=LOADERS)
  parser.add_argument('--resolutions', type=numbers, default=[32, 64, 128, 256])
  parser.add_argument('--threads', type=numbers, default=[64], help='config.data.read_threads')
  parser.add_argument('--latencies', type=numbers, default=[0, 20, 50, 100], help='ms a read')
  parser.add_argument('--batch', type=int, default=32, help='images of a host')
  parser.add_argument('--images', type=int, default=128, help='of the data set')
  parser.add_argument('--seconds', type=float, default=1.5, help='of each measurement')
  parser.add_argument('--plan', action='append', default=[], help='CONFIG:DEVICE:NUMBER[:POLICY]')
  parser.add_argument('--step-rate', action='append', default=[], help='NAME=RESOLUTION:RATE')
  args = parser.parse_args(argv)
  if unknown := set(args.loaders) - set(LOADERS):
    parser.error(f'--loaders: {", ".join(unknown)} is not one of {", ".join(LOADERS)}')
  if 'tfdata' in args.loaders and importlib.util.find_spec('tensorflow') is None:
    parser.error('TensorFlow is not installed. Install it, or set --loaders=arrays,resident')
  return args


def main(argv=None) -> int:
  """Measures and prints; returns the exit status."""
  args = parse(argv)
  demands = [each for text in args.plan for each in planned(text)]
  demands += [given(text) for text in args.step_rate]
  with tempfile.TemporaryDirectory() as folder:
    found = measure(folder, args, lambda each: print(json.dumps(each), flush=True))
  print('\n' + tables(found, demands))
  return 0


if __name__ == '__main__':
  sys.exit(main())
