"""The cases of `benchmarks.device`."""

import dataclasses
import functools
import importlib.util
import pathlib
import shutil
import tempfile
import time

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import speed, train_step
from benchmarks.device import Case
from configs import celeba, eg3d_ffhq, toys
from jax3dgan import cameras, discriminators, generators, train
from jax3dgan import config as config_lib
from jax3dgan.data import records
from jax3dgan.devices import parallel
from jax3dgan.errors import UserError
from jax3dgan.fields import triplane
from jax3dgan.nn import backend, resample
from jax3dgan.rendering import merging, rays
from jax3dgan.runs import checkpoints
from jax3dgan.tools import devices
from jax3dgan.training import schedule
from jax3dgan.training import state as state_lib
from jax3dgan.training import step as step_lib

POLICIES = ('float32', 'tensorfloat32', 'bfloat16', 'float16')


@dataclasses.dataclass(frozen=True)
class Sizes:
  """How large the cases are.

  Attributes:
    batch: of CelebA's step.
    resolution: its images, and those of the SIREN's cases.
    torch_batch: of the step that PyTorch takes as well.
    siren_batch: images of the SIREN's cases.
    eg3d_batches: of EG3D's steps.
    plane: pixels on a side of EG3D's planes alone.
    pixels: on a side of the images that filters alone work on.
    loop_steps: of each training.
    loop_images: in its data set.
    repeats: timings of a program, at least.
    tiny: whether networks are shrunk.
  """

  batch: int = 56
  resolution: int = 64
  torch_batch: int = 14
  siren_batch: int = 8
  eg3d_batches: tuple[int, ...] = (4, 8)
  plane: int = 256
  pixels: int = 512
  loop_steps: int = 300
  loop_images: int = 2000
  repeats: int = 5
  tiny: bool = False


FULL = Sizes()
TINY = Sizes(4, 8, 2, 1, (4,), 8, 16, 6, 32, 2, True)
# Variants of the SIREN: forms (see `nn.backend.choose`), fields of the config.
SIREN = {
  'as_configured': ({}, {}),
  'xla_sine': ({'sine': 'xla'}, {}),
  'polynomial_sine': ({'sine': 'polynomial'}, {}),
  'product_of_three': ({'thin_product': 'product'}, {}),
  'multiply_adds': ({'thin_product': 'multiply_adds'}, {}),
  'gathers': ({'take': 'gather', 'permuted': 'gather'}, {}),
  'comparisons': ({'take': 'compare', 'permuted': 'compare'}, {}),
  'saved_phases': ({}, {'render.saved_activations': 'phases', 'render.ray_chunk': 0}),
  'no_chunks': ({}, {'render.ray_chunk': 0}),
  'chunks_of_4096': ({}, {'render.ray_chunk': 4096}),
}
_SMALL_SIREN = {
  'model.hidden_dim': 8,
  'model.num_layers': 2,
  'model.mapping_dim': 8,
  'model.mapping_layers': 1,
  'render.num_coarse': 4,
  'render.num_fine': 4,
}


def cases(sizes: Sizes, folder: pathlib.Path) -> list[Case]:
  """All cases, the most important first; `folder` is for traces."""
  step = lambda policy, parts: functools.partial(celeba_step, sizes, policy, parts)  # noqa: E731
  result = [
    Case('torch/float32', functools.partial(against_torch, sizes, 'float32'), 60),
    Case('step/float32/1', step('float32', 1), 50),
    Case('step/bfloat16/1', step('bfloat16', 1), 50),
    Case('agree', functools.partial(agree, sizes), 60),
    Case('siren/as_configured', functools.partial(siren, sizes, 'as_configured'), 30),
    Case('loop/resident', functools.partial(loop, sizes, 'resident'), 100),
    *(
      Case(f'eg3d/{b}', functools.partial(eg3d_step, sizes, b), 90) for b in sizes.eg3d_batches[:1]
    ),
    Case('step/tensorfloat32/1', step('tensorfloat32', 1), 50),
    Case('step/float16/1', step('float16', 1), 50),
    *(
      Case(f'siren/{name}', functools.partial(siren, sizes, name), 30)
      for name in SIREN
      if name != 'as_configured'
    ),
    Case('eg3d_parts', functools.partial(eg3d_parts, sizes), 40),
    Case('repeat', functools.partial(repeat, sizes), 40),
    Case('loop/arrays', functools.partial(loop, sizes, 'arrays'), 100),
    Case('loop/tfdata', functools.partial(loop, sizes, 'tfdata'), 100),
    Case('torch/tensorfloat32', functools.partial(against_torch, sizes, 'tensorfloat32'), 60),
    *(Case(f'step/{policy}/2', step(policy, 2), 50) for policy in POLICIES),
    *(
      Case(f'eg3d/{b}', functools.partial(eg3d_step, sizes, b), 90) for b in sizes.eg3d_batches[1:]
    ),
    Case('eg3d_trace', functools.partial(eg3d_trace, sizes, folder), 60),
  ]
  # PyTorch goes first: what JAX has allocated once it keeps.
  return sorted(result, key=lambda case: not case.name.startswith('torch'))


def peak_tflops(policy: str) -> float:
  """Of this device, 10^12 FLOP/s; 0 where it is not known."""
  try:
    device = devices.find(devices.name_of(jax.devices()[0].device_kind))
    return devices.peak(device, policy) / 1e12
  except UserError:
    return 0.0


def milliseconds(run, repeats: int, *args) -> float:
  """The median of some calls of a compiled function, the first not counted."""
  jax.block_until_ready(run(*args))
  times = []
  while len(times) < repeats or sum(times) < 0.5:
    began = time.perf_counter()
    jax.block_until_ready(run(*args))
    times.append(time.perf_counter() - began)
  return 1e3 * float(np.median(times))


def celeba_config(sizes: Sizes, policy: str, parts: int = 1):
  """CelebA's, both networks in a precision."""
  config = celeba.get_config()
  if sizes.tiny:
    config = config_lib.tiny(config)
  config.batch_size, config.micro_batches = sizes.batch, parts
  config.model.matmul_dtype = config.discriminator.matmul_dtype = policy
  return config


def celeba_step(sizes: Sizes, policy: str, parts: int) -> dict:
  """Compilation, milliseconds, memory and share of the peak of a whole step."""
  config = celeba_config(sizes, policy, parts)
  figures = train_step.measure(config, sizes.repeats, peak_tflops(policy))
  return {
    'compilation, s': figures['compilation, s'],
    'step, ms': 1e3 * figures['step, s (median)'],
    'images/s': figures['images/s (median)'],
    'program, GiB': figures['program, GiB'],
    **{name: figures[name] for name in ('TFLOP/s (median)', 'MFU, %') if name in figures},
  }


def against_torch(sizes: Sizes, policy: str) -> dict:
  """The same step here and in plain PyTorch, taking turns."""
  import torch

  on_gpu = jax.default_backend() == 'gpu'
  if on_gpu and not torch.cuda.is_available():
    raise RuntimeError('this PyTorch has no CUDA')
  case = f'training_step_{sizes.resolution}x{sizes.torch_batch}'
  torch.backends.cuda.matmul.allow_tf32 = policy == 'tensorfloat32'
  torch.backends.cudnn.allow_tf32 = policy == 'tensorfloat32'
  with torch.device('cuda' if on_gpu else 'cpu'):
    step = speed.torch_case(case)

    def theirs():
      with torch.device('cuda' if on_gpu else 'cpu'):
        step()
      if on_gpu:
        torch.cuda.synchronize()

    own, _ = speed.ours(
      case, **{'model.matmul_dtype': policy, 'discriminator.matmul_dtype': policy}
    )
    seconds = speed.seconds({'ours': own, 'theirs': theirs}, sizes.repeats)
  mine, other = (float(np.median(seconds[name])) for name in ('ours', 'theirs'))
  if on_gpu:
    torch.cuda.empty_cache()
  return {
    'batch': sizes.torch_batch,
    'PyTorch, ms': 1e3 * other,
    'jax3dgan, ms': 1e3 * mine,
    'ratio': other / mine,
    'images/s': sizes.torch_batch / mine,
    'torch': torch.__version__,
  }


def siren(sizes: Sizes, variant: str) -> dict:
  """Forward and gradient of the generator, products in bfloat16."""
  forms, fields = SIREN[variant]
  fields = {'model.matmul_dtype': 'bfloat16', **(_SMALL_SIREN if sizes.tiny else {}), **fields}
  figures = {}
  with backend.choose(**forms):
    for name in ('forward', 'gradient'):
      run, temporaries = speed.ours(f'{name}_{sizes.resolution}x{sizes.siren_batch}', **fields)
      figures[f'{name}, ms'] = milliseconds(run, sizes.repeats)
      figures[f'{name}, temporaries, MiB'] = temporaries
  return figures


def eg3d_config(sizes: Sizes, batch: int):
  """The first stage of configs/eg3d_ffhq.py."""
  config = eg3d_ffhq.get_config()
  if sizes.tiny:
    config = config_lib.tiny(config)
  config.stages, config.batch_size = (), batch
  config.model.matmul_dtype = config.discriminator.matmul_dtype = 'bfloat16'
  return config


def eg3d_step(sizes: Sizes, batch: int) -> dict:
  """A whole step: the median is that of one without lazy phases, as are the FLOPs of the MFU; the
  mean, and images/s, those of a cycle in which each of them is due."""
  figures = train_step.measure(eg3d_config(sizes, batch), 16, peak_tflops('bfloat16'))
  return {
    'compilation, s': figures['compilation, s'],
    'step, ms (median)': 1e3 * figures['step, s (median)'],
    'step, ms (mean)': 1e3 * figures['step, s (mean)'],
    'images/s': batch / figures['step, s (mean)'],
    'program, GiB': figures['program, GiB'],
    **{name: figures[name] for name in ('MFU, %',) if name in figures},
  }


def eg3d_trace(sizes: Sizes, folder: pathlib.Path) -> dict:
  """A trace of three steps, packed."""
  with tempfile.TemporaryDirectory() as trace:
    train_step.measure(eg3d_config(sizes, sizes.eg3d_batches[0]), 1, profile=trace)
    name = shutil.make_archive(str(folder / 'eg3d_trace'), 'gztar', trace)
  return {'file': pathlib.Path(name).name, 'MiB': pathlib.Path(name).stat().st_size / 2**20}


def eg3d_parts(sizes: Sizes) -> dict:
  """Milliseconds of what a step is made of, at the sizes of a batch of four."""
  b, size, rng = 4, sizes.plane, np.random.default_rng(0)
  num_points = sizes.resolution**2 * 96
  planes = jnp.asarray(rng.standard_normal((b, 3, size + 2, size + 2, 32), np.float32))
  points = jnp.asarray(rng.uniform(-0.5, 0.5, (b, num_points, 3)).astype(np.float32))
  weights = jnp.asarray(rng.standard_normal((b, num_points, 32), np.float32))
  a, c = (
    jnp.asarray(np.sort(rng.random((b, sizes.resolution**2, 48)).astype(np.float32)))
    for _ in range(2)
  )
  image = jnp.asarray(rng.standard_normal((b, sizes.pixels, sizes.pixels, 64), np.float32))
  fir = resample.fir_filter()
  figures = {}

  def sample(planes, points):
    return triplane.sample_planes(planes, points, 1.0)

  def gradient(planes):
    return jax.grad(lambda planes: jnp.sum(sample(planes, points) * weights))(planes)

  # The form is part of jit's keys: each is compiled.
  for form in backend.FORMS['planes'].names:
    with backend.choose(planes=form):
      own = milliseconds(jax.jit(sample), sizes.repeats, planes, points)
      figures[f'planes as {form}, ms'] = own
      own = milliseconds(jax.jit(gradient), sizes.repeats, planes)
      figures[f'planes as {form}, gradient, ms'] = own
  for form in backend.FORMS['permuted'].names:
    with backend.choose(permuted=form, take=form):
      merge = jax.jit(lambda a, c: merging.merge(a, c).depths)
      figures[f'merge of 48 + 48 by {form}, ms'] = milliseconds(merge, sizes.repeats, a, c)
  blur = jax.jit(lambda x: resample.upfirdn(x, fir, padding=(2, 1)))
  figures['filter, ms'] = milliseconds(blur, sizes.repeats, image)
  figures['up-sampling, ms'] = milliseconds(jax.jit(resample.upsample), sizes.repeats, image)
  return figures


def agree(sizes: Sizes) -> dict:
  """Largest differences between the CPU and the device, of the same inputs in float32."""
  config = celeba_config(sizes, 'float32')
  generator, options = generators.create(config), generators.render_options(config)
  variables = jax.device_get(generators.init(generator, jax.random.key(0)))
  z = np.random.default_rng(0).standard_normal((2, generator.z_dim)).astype(np.float32)
  camera = jax.device_get(cameras.orbit(np.array([0.2, -0.3]), np.array([0.1, 0.0]), 1.0, 12.0))

  def rendered(params, z, camera):
    variables = {'params': params}
    w = generator.apply(variables, z, method='map')
    out = generator.apply(variables, w, camera, None, options, method='synthesize')
    return jnp.mean(out.image**2), (w, out.image, out.depth)

  def all_of(params, z, camera):
    directions = rays.camera_rays(camera, options.resolution).directions
    (_, (w, image, depth)), gradient = jax.value_and_grad(rendered, has_aux=True)(params, z, camera)
    return {'rays': directions, 'styles': w, 'image': image, 'depth': depth, 'gradient': gradient}

  results = []
  for device in (jax.devices('cpu')[0], jax.devices()[0]):
    inputs = jax.device_put((variables['params'], z, camera), device)
    with backend.lowering_for(device.platform):
      results.append(jax.device_get(jax.jit(all_of)(*inputs)))
  figures = {}
  for name in results[0]:
    first, second = (
      np.concatenate([np.ravel(x) for x in jax.tree.leaves(r[name])]) for r in results
    )
    figures[f'{name}, largest difference'] = float(np.abs(first - second).max())
    figures[f'{name}, of its largest'] = float(np.abs(first - second).max() / np.abs(first).max())
  return figures


def repeat(sizes: Sizes) -> dict:
  """Whether 20 steps of the toys give the same bits twice."""
  config = toys.get_config()
  if sizes.tiny:
    config = config_lib.tiny(config)
  mesh = parallel.make_mesh()
  stage = schedule.stages(config, mesh.size)[0]
  networks = generators.create(config), discriminators.create(config.discriminator)
  create = jax.jit(lambda: state_lib.create(config, *networks))
  batch = parallel.shard(train_step.examples(config, stage), mesh)
  step = step_lib.make_train_step(config, *networks, stage)
  step = jax.jit(parallel.data_parallel(step, mesh), donate_argnums=0)
  ends = []
  for _ in range(2):
    state = parallel.replicate(create(), mesh)
    for _ in range(20):
      state, _ = step(state, batch)
    ends.append([np.asarray(x) for x in jax.tree.leaves(state.networks)])
  pairs = list(zip(*ends, strict=True))
  return {
    'the same bits': all(np.array_equal(a, b) for a, b in pairs),
    'arrays that differ': sum(not np.array_equal(a, b) for a, b in pairs),
    'arrays': len(pairs),
    'largest difference': max(float(np.abs(a - b).max()) for a, b in pairs),
  }


def loop(sizes: Sizes, loader: str) -> dict:
  """Training as `main` does it, against the bare step; what saves and log lines cost, with resident
  images alone."""
  if loader == 'tfdata' and importlib.util.find_spec('tensorflow') is None:
    raise RuntimeError('TensorFlow is not installed: it would be loop/arrays once more')
  config = celeba_config(sizes, 'bfloat16')
  resident = loader == 'resident'
  config.data.update(loader='arrays' if resident else loader, on_device=resident, flip=False)
  config.log.update(images_every=0, results=False)
  config.checkpoint.update(every=10**9, keep=100)
  bare = train_step.measure(config, sizes.repeats)['images/s (median)']
  with tempfile.TemporaryDirectory() as folder:
    size, rng = config.resolution, np.random.default_rng(0)
    images = (
      {'image': rng.integers(0, 256, (size, size, 3), np.uint8), 'key': str(i)}
      for i in range(sizes.loop_images)
    )
    records.write_dataset(f'{folder}/data', images, resolution=size, shard_size=512)
    config.data.source = f'{folder}/data'
    # The last line comes with what is compiled for the save; the median of three leaves it out.
    config.num_steps, config.log.every = sizes.loop_steps, max(sizes.loop_steps // 3, 1)
    rate = train.run(config, f'{folder}/plain')['images_per_second']
    figures = {'images/s': rate, 'bare step, images/s': bare, 'share': rate / bare}
    if resident:
      steps = max(sizes.loop_steps // 5, 2)
      config.num_steps, config.log.every, config.checkpoint.every = steps, 1, steps // 2
      summary = train.run(config, f'{folder}/logged')
      saves = len(checkpoints.steps(f'{folder}/logged'))
      logged = sizes.batch / summary['images_per_second']  # the median of a step and its line
      figures['a log line, ms'] = 1e3 * (logged - sizes.batch / rate)
      figures['a save, ms'] = 1e3 * summary['seconds']['checkpoints'] / saves
  return figures
