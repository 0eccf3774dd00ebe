"""Training steps of the smallest configs, each compiled once in a process."""

import collections
import functools
import importlib
import pathlib
import subprocess
import sys
import time
import unittest.mock

import ict_synthetic
import jax
import jax.extend
import numpy as np
import settings

from jax3dgan import cameras, discriminators, generators
from jax3dgan import config as config_lib
from jax3dgan.data import feed
from jax3dgan.devices import parallel
from jax3dgan.nn import backend
from jax3dgan.training import schedule
from jax3dgan.training import state as state_lib
from jax3dgan.training import step as step_lib

BATCH = 16

settings.share_contexts()  # for the processes with several devices


def pigan(**fields):
  """π-GAN at 8², every switch of its step on."""
  config = config_lib.tiny(config_lib.base_config())
  config.resolution, config.batch_size = 8, BATCH
  config.discriminator.update(channels=(4, 8, 8), latent_dim=8)
  config.loss.update(r1=2.0, r1_every=2, latent=0.5, density_noise=0.5)
  config.loss.update(top_k_interval=1, top_k_floor=0.6)
  config.update_from_flattened_dict(fields)
  return config


def eg3d(**fields):
  """EG3D with labels: augmented, noisy labels, lazy terms, both terms of the density."""
  config = config_lib.tiny(importlib.import_module('configs.eg3d_toys').get_config())
  config.resolution, config.batch_size = 8, BATCH
  config.model.update(super_channels=(8,), super_ups=(2,), super_input=4, low_resolution=4)
  config.discriminator.channels = (8, 8)
  config.loss.r1_every = 3
  config.eg3d.update(density_points=4, density_kind='monotonic', density_every=2, label_noise=0.5)
  config.eg3d.update(blur=0.5, blur_images=64, pose_swap_images=64)
  if fields.get('augment.name', 'ada') == 'ada':
    # Whatever the signs: never satisfied, and sure of its way at once.
    config.augment.update(name='ada', p=0.5, every=1, target=-2.0, kimg=0.1)
  config.update_from_flattened_dict(fields)
  return config


def pose_free(**fields):
  """EG3D without labels: cameras of a learned prior, a pose head; nothing that is lazy."""
  config = eg3d(**{'data.use_labels': False, 'eg3d.label_noise': 0.0, 'augment.name': 'none'})
  config.loss.r1 = config.eg3d.density = config.eg3d.blur = 0.0
  default = config_lib.base_config('eg3d')
  config.loss.r1_every = default.loss.r1_every
  for name in ('density_every', 'density_kind', 'density_points', 'blur_images'):
    config.eg3d[name] = default.eg3d[name]
  config.model.label_dim = config.discriminator.label_dim = config.discriminator.cmap_dim = 0
  config.discriminator.update(pose_dim=3, group_size=0)
  config.loss.update(pose=1.0, pose_encoding='direction')
  config.camera_generator.update(angles='both', from_images=20)
  config.update_from_flattened_dict(fields)
  return config


def stylesdf(stage='stage1', **fields):
  """StyleSDF's first or second stage, 8² (of 4²), every switch of its step on."""
  file = {'stage1': 'stylesdf_stage1_toys', 'stage2': 'stylesdf_toys'}[stage]
  config = importlib.import_module(f'configs.{file}').get_test_config()
  config.resolution, config.batch_size = 8, BATCH
  if stage == 'stage1':
    config.discriminator.channels = (4, 8, 8)
    config.stylesdf.update(penalise_every=2, sphere_steps=0, sphere_rays=256, sphere_lr=1e-4)
  else:
    config.model.low_resolution = 4
    config.discriminator.channels = (8, 8)
    config.loss.r1_every = 3
    config.stylesdf.path_length_every = 2
  config.update_from_flattened_dict(fields)
  return config


def stylenerf(**fields):
  """StyleNeRF that has grown to 16² and fades it in: a background, a pose head, all terms lazy or
  not, images of two styles."""
  config = importlib.import_module('configs.stylenerf_toys').get_test_config()
  config.batch_size = BATCH
  config.stages = (dict(from_step=1, resolution=16),)
  config.loss.update(r1_every=3, fade_steps=8, density_noise_steps=16)
  config.model.update(low_resolution=8, channels=(4,))
  config.model.update(background=True, background_dim=4, background_hidden=8, background_layers=2)
  config.model.update(background_frequencies=2, background_samples=3)
  config.render.white_back = False
  config.stylenerf.update(mixing=0.5, path_length=2.0, path_length_every=2)
  config.update_from_flattened_dict(fields)
  return config


def hologan(**fields):
  """HoloGAN at 16² with everything on: style discriminators of both networks, identity loss."""
  config = importlib.import_module('configs.hologan_toys').get_test_config()
  config.batch_size = BATCH
  config.update_from_flattened_dict(fields)
  return config


def gghead(**fields):
  """GGHead at 16² with labels: two views of an identity, a pose head, all terms, noise inputs; R1,
  which depends on the discriminator alone, is compared with golden arrays."""
  config = importlib.import_module('configs.gaussians_toys').get_test_config()
  config.batch_size = BATCH
  config.model.update(template='half_ellipsoid', use_noise=True)
  config.model.template_radius = (0.25, 0.25, 0.25)
  config.discriminator.pose_dim = 2
  config.loss.update(pose=0.5, r1=0.0)
  config.gghead.update(views=2, variation=0.1, stretch=0.1, late_images=8, blur=1.0, blur_images=64)
  config.gghead.random_background = True
  config.update_from_flattened_dict(fields)
  return config


def gaussians(**fields):
  """Gaussians of one scene at 16², cloned and split every other step; of Adam's steps none is of
  rounding alone."""
  config = importlib.import_module('configs.gaussians_lego').get_test_config()
  config.batch_size = BATCH
  config.model.update(box=0.5, capacity=72)
  config.render.radius = 1.0
  config.optimizer.update(decay_steps=0, epsilon=1e-5)
  config.gaussians.update(densify_from=2, densify_every=2, densify_until=9, reset_every=3)
  config.update_from_flattened_dict(fields)
  return config


def cgsgan(**fields):
  """CGS-GAN at 8² with labels: two views of an object, one by the camera of another, on random
  grounds; R1 and the blur as of `gghead`."""
  config = importlib.import_module('configs.cgsgan_toys').get_test_config()
  config.resolution, config.batch_size = 8, BATCH
  config.discriminator.channels = (8, 8)
  config.loss.r1 = 0.0
  config.cgsgan.update(views=2, num_neighbours=5, blur=0.0)
  config.update_from_flattened_dict(fields)
  return config


def giraffe(**fields):
  """GIRAFFE at 16² of one to three objects, placed without overlaps."""
  config = importlib.import_module('configs.giraffe_scenes').get_test_config()
  config.batch_size = BATCH
  config.data.split = 'train'
  config.model.update(counts=(0.2, 0.4, 0.4), placements=2, low_resolution=4, channels=(6, 6))
  config.update_from_flattened_dict(fields)
  return config


def expgan(folder, **fields):
  """Exp-GAN at 16² of the face model of a folder: all its terms but R1, which depends on the
  discriminators alone and is compared with golden arrays."""
  config = importlib.import_module('configs.expgan_ict_faces').get_test_config()
  ict_synthetic.fit(config, folder)
  config.batch_size = BATCH
  config.loss.update(r1=0.0, r1_low=0.0, top_k_interval=1, fade_steps=8, density_noise_steps=8)
  config.update_from_flattened_dict(fields)
  return config


def labels(n: int, seed=0):
  """[n, 25] of cameras all the way round."""
  azimuth = np.random.default_rng(seed).uniform(-3, 3, n).astype(np.float32)
  return np.asarray(cameras.orbit(azimuth, np.full(n, 0.3), 1.0, 48.0).label())


def batch_of(config, seed=0, num_images=None, size=None) -> dict:
  """Random photos, with labels where the config has them; the batch's unless `num_images` says
  more, which are the same and others; of the config's resolution unless `size` says another."""
  n, size = num_images or config.batch_size, size or config.resolution
  channels = feed.shapes(config, n, size)['image'].shape[-1]
  images = np.random.default_rng(seed).integers(0, 256, (n, size, size, channels), np.uint8)
  batch = {'image': images, 'label': labels(n, seed)}
  if codes := feed.needs_codes(config):
    rng = np.random.default_rng(seed)
    batch |= {name: rng.uniform(-1, 1, (n, k)).astype(np.float32) for name, k in codes.items()}
  batch = {name: batch[name] for name in feed.names(config)}
  if codes:  # the photos of the first batch are the whole data set
    first = batch if seed == 0 else batch_of(config, 0, num_images, size)
    batch[feed.TABLE] = {name: first[name] for name in batch if name != 'image'}
  return batch


class Program:
  """The step of a config's first stage, or of another one, on some devices.

  Attributes:
    create: create(seed) makes a fresh state, replicated.
    step: The compiled step.
    drawn: Appended to in each step: (shape of the numbers, key) of every draw, if these are noted.
  """

  def __init__(self, config, num_devices=1, notes_draws=False, stage_index=0):
    self.config, self.drawn = config, []
    self.mesh = parallel.make_mesh(jax.devices()[:num_devices])
    stage = schedule.stages(config, num_devices)[stage_index]
    self._num_images, self._size = stage.padded_batch_size, stage.resolution
    self.networks = generators.create(config), discriminators.create(config.discriminator)
    step = step_lib.make_train_step(config, *self.networks, stage)
    step = jax.jit(parallel.data_parallel(step, self.mesh, feed.specs(config)))
    self._create = jax.jit(functools.partial(state_lib.create, config, *self.networks))
    impl = functools.partial(jax.random.wrap_key_data, impl=_noting(self.drawn))
    wrap = impl if notes_draws else jax.random.wrap_key_data
    with unittest.mock.patch.object(jax.random, 'wrap_key_data', wrap):
      self.step = step.lower(self.create(), self.batch()).compile()

  def create(self, first_step=0):
    state = jax.device_get(self._create())
    if feed.needs_codes(self.config):  # of a face model, which is read
      state = state_lib.warm_up(self._create(), self.config, self.networks[0], (), None)
      state = jax.device_get(state)
    return parallel.replicate(state.replace(step=np.int32(first_step)), self.mesh)

  def batch(self, seed=0):
    batch = batch_of(self.config, seed, self._num_images, self._size)
    table = batch.pop(feed.TABLE, None)
    batch = parallel.shard(batch, self.mesh)
    return batch if table is None else batch | {feed.TABLE: parallel.replicate(table, self.mesh)}

  def run(self, num_steps=1, first_step=0, state=None):
    """The state and a list of metrics, one of each step."""
    state = self.create(first_step) if state is None else state
    every = []
    for i in range(num_steps):
      state, metrics = self.step(state, self.batch(i))
      every.append(jax.device_get(metrics))
    jax.effects_barrier()
    return jax.device_get(state), every


def shapes(config):
  """What `Program(config).run()` returns for a step, as shapes: traced, and not compiled."""
  networks = generators.create(config), discriminators.create(config.discriminator)
  (stage,) = schedule.stages(config)
  step = step_lib.make_train_step(config, *networks, stage)
  step = parallel.data_parallel(step, parallel.make_mesh(jax.devices()[:1]))
  state = jax.eval_shape(functools.partial(state_lib.create, config, *networks))
  return jax.eval_shape(step, state, batch_of(config))


_PROGRAMS = {}


def program(config, num_devices=1, notes_draws=False, stage_index=0) -> Program:
  """A config's program, see `Program`; the one of before, if there was the same."""
  args = num_devices, notes_draws, stage_index
  key = config.to_json_best_effort(sort_keys=True), args
  if key not in _PROGRAMS:
    _PROGRAMS[key] = Program(config.copy_and_resolve_references(), *args)
  return _PROGRAMS[key]


def unmoved(state, fresh, network: str) -> list[str]:
  """The parameters of a network that are as they were in a fresh state, by their paths."""
  moved = jax.tree.map(
    lambda a, b: np.any(a != b), state.networks[network], fresh.networks[network]
  )
  leaves = jax.tree_util.tree_leaves_with_path(moved)
  return [jax.tree_util.keystr(path) for path, x in leaves if not x]


def draws_of(function) -> list:
  """(shape of the numbers, key) of every draw of a function that is run as it is."""
  drawn = []
  wrap = functools.partial(jax.random.wrap_key_data, impl=_noting(drawn))
  with unittest.mock.patch.object(jax.random, 'wrap_key_data', wrap):
    function()
  # The barrier alone does not wait for what a busy machine has not begun.
  known = -1
  while known != len(drawn):
    known = len(drawn)
    jax.effects_barrier()
    time.sleep(0.2)
  return drawn


def _noting(drawn: list):
  """Threefry, whose draws are noted as they run."""
  threefry = jax.extend.random.threefry_prng_impl

  def note(shape, key):
    drawn.extend((shape, tuple(row)) for row in np.asarray(key).reshape(-1, 2).tolist())

  def random_bits(key, bit_width, shape):
    jax.debug.callback(functools.partial(note, shape), key)
    return threefry.random_bits(key, bit_width, shape)

  return jax.extend.random.define_prng_impl(
    key_shape=threefry.key_shape,
    seed=threefry.seed,
    split=threefry.split,
    random_bits=random_bits,
    fold_in=threefry.fold_in,
    name='noting',
  )


def gghead_program(num_devices=1) -> Program:
  """GGHead's step. Of so few Gaussians every pixel meets every one, which compiles faster."""
  with backend.choose(splatting='dense'):
    return program(gghead(), num_devices)


def gaussians_program(num_devices=1) -> Program:
  """The step of one scene's Gaussians, as `gghead_program`."""
  with backend.choose(splatting='dense'):
    return program(gaussians(), num_devices, notes_draws=True)


def cgsgan_program(num_devices=1) -> Program:
  """CGS-GAN's step, with the splatting of `gghead_program`."""
  with backend.choose(splatting='dense'):
    return program(cgsgan(), num_devices)


def assert_no_shared_keys(drawn, least: int):
  """No key is drawn from twice, and an example has at least so many."""
  keys = collections.Counter(key for _, key in drawn)
  shared = {key for key, times in keys.items() if times > 1}
  shapes = sorted({shape for shape, key in drawn if key in shared})
  assert not shared, f'{len(shared)} of {len(keys)} keys are drawn from twice: shapes {shapes}'
  assert len(keys) >= least * BATCH and len(keys) % BATCH == 0, len(keys) / BATCH


def largest_difference(a, b) -> float:
  worst = jax.tree.map(lambda x, y: float(np.abs(np.subtract(x, y, dtype=np.float64)).max()), a, b)
  return max(jax.tree.leaves(worst))


_SEVERAL = """
import sys
import jax
jax.config.update('jax_num_cpu_devices', {devices})
sys.path[:0] = {folders!r}
import tiny_steps
tiny_steps.save({file!r}, ({program}).run({steps}))
"""


def run_on_devices(program: str, file, num_steps: int, like, num_devices: int = 8):
  """What `Program.run` gives in a process of its own with so many devices: their number is fixed
  before JAX starts.

  Args:
    program: An expression of a `Program`, with `tiny_steps`.
    file: Where the process leaves its results.
    like: Results of the same structure.
  """
  tests, path = pathlib.Path(__file__).parent, str(file)
  folders = [str(tests), str(tests.parent)]
  code = _SEVERAL.format(
    devices=num_devices, folders=folders, file=path, program=program, steps=num_steps
  )
  done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=900)
  assert done.returncode == 0, done.stdout + done.stderr[-3000:]
  return load(path, like)


def save(path, results):
  """Results of `Program.run` for another process."""
  np.savez(path, *jax.tree.leaves(results))


def load(path, like):
  """The results that another process saved, in the structure of one's own."""
  with np.load(path) as arrays:
    return jax.tree.unflatten(jax.tree.structure(like), list(arrays.values()))
