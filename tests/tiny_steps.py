"""Training steps of the smallest configs, compiled once for all tests of a process."""

import functools
import importlib

import jax
import numpy as np

from jax3dgan import cameras, discriminators, generators
from jax3dgan import config as config_lib
from jax3dgan.data import feed
from jax3dgan.devices import parallel
from jax3dgan.training import schedule
from jax3dgan.training import state as state_lib
from jax3dgan.training import step as step_lib


def config(name: str):
  """A config of four images.

  'pigan', 'eg3d_labels' (augmented, noisy labels, both density terms) or 'eg3d_posefree' (a learned
  pose prior, a pose head).
  """
  if name == 'pigan':
    chosen = config_lib.tiny(config_lib.base_config())
    chosen.resolution = 8
    return chosen
  chosen = config_lib.tiny(importlib.import_module('configs.eg3d_toys').get_config())
  chosen.eg3d.update(density_points=4, density_kind='monotonic', pose_swap_images=4)
  if name == 'eg3d_labels':
    chosen.augment.update(name='ada', p=0.5)
    chosen.eg3d.label_noise = 0.5
    return chosen
  chosen.data.use_labels = False
  chosen.model.label_dim = chosen.discriminator.label_dim = chosen.discriminator.cmap_dim = 0
  chosen.discriminator.pose_dim = 3
  chosen.loss.update(pose=1.0, pose_encoding='direction')
  chosen.camera_generator.update(angles='both', from_images=0)
  return chosen


def batch_of(chosen, seed=0) -> dict:
  """Random photos, with labels where the config has them."""
  rng = np.random.default_rng(seed)
  n, size = chosen.batch_size, chosen.resolution
  azimuth = rng.uniform(-3, 3, n).astype(np.float32)
  batch = {
    'image': rng.integers(0, 256, (n, size, size, 3), np.uint8),
    'label': np.asarray(cameras.orbit(azimuth, np.full(n, 0.3), 1.0, 48.0).label()),
  }
  return {name: batch[name] for name in feed.names(chosen)}


def build(chosen, num_devices=1, first_step=0):
  """(state, jitted step, mesh) of a config's first stage."""
  mesh = parallel.make_mesh(jax.devices()[:num_devices])
  stage = schedule.stages(chosen, num_devices)[0]
  networks = generators.create(chosen), discriminators.create(chosen.discriminator)
  step = step_lib.make_train_step(chosen, *networks, stage)
  create = jax.jit(functools.partial(state_lib.create, chosen, *networks))
  state = parallel.replicate(create().replace(step=np.int32(first_step)), mesh)
  return state, jax.jit(parallel.data_parallel(step, mesh)), mesh


def run(chosen, num_steps=1, num_devices=1, first_step=0):
  """The state and the metrics after some steps."""
  state, step, mesh = build(chosen, num_devices, first_step)
  for i in range(num_steps):
    state, metrics = step(state, parallel.shard(batch_of(chosen, i), mesh))
  return jax.device_get((state, metrics))
