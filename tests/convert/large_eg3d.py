"""What a pickle of the released size costs: `python -m tests.convert.large_eg3d`.

Writes one with random weights of FFHQ's networks (G, G_ema, D: 370 MB), then reads and converts it
in processes of their own, and prints seconds and the largest memory of each.
"""

import os
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

READ = """
import sys
from jax3dgan.convert import eg3d
eg3d.read_checkpoint(sys.argv[1])
"""


def official_shapes():
  """State dicts of FFHQ's generator and discriminator, without numbers."""
  import jax

  from jax3dgan import discriminators, generators
  from jax3dgan.convert import eg3d_curricula, eg3d_generator

  config = eg3d_curricula.create('ffhq')

  def shapes(init, network):
    tree = jax.eval_shape(lambda: init(network, jax.random.key(0)))
    # Zeros that take no memory: only their shapes are needed.
    return jax.tree.map(lambda leaf: np.broadcast_to(np.float32(0), leaf.shape), tree)

  g = shapes(generators.init, generators.create(config))
  state = eg3d_generator.generator_state({**g['params'], **g['buffers']}, config.model.super_ups)
  for i, size in enumerate((256, 512)):
    state |= {
      f'superresolution.block{i}.conv{j}.noise_const': np.zeros((size, size), np.float32)
      for j in (0, 1)
    }
  d = shapes(discriminators.init_params, discriminators.create(config.discriminator))
  return state, _named(d)


def _named(tree, path=()):
  if not hasattr(tree, 'items'):
    key = '.'.join(path).replace('fc_', 'fc').replace('kernel', 'weight')
    return {key: tree.transpose(3, 2, 0, 1) if tree.ndim == 4 else tree.T}
  return {k: v for name, part in tree.items() for k, v in _named(part, (*path, name)).items()}


def write(path):
  """The pickle, its tensors' bytes one after the other."""
  import persistent_pickles as pickles

  rng = np.random.default_rng(0)
  g, d = official_shapes()

  def drawn(state):
    return {k: rng.standard_normal(v.shape, np.float32) for k, v in state.items()}

  networks = [pickles.generator(drawn(g), 128, pickles.FFHQ, size=512) for _ in range(2)]
  network = pickles.module(drawn(d), 'DualDiscriminator')
  with open(path, 'wb') as file:
    pickles.Pickler(file, 4).dump(pickles.checkpoint(networks[0], network, networks[1]))


def measured(*command) -> tuple[float, float]:
  """(seconds, MB at most) of a process."""
  start = time.perf_counter()
  pid = os.posix_spawn(sys.executable, [sys.executable, *command], os.environ)
  _, status, usage = os.wait4(pid, 0)
  if status:
    raise SystemExit(f'{command} failed')
  return time.perf_counter() - start, usage.ru_maxrss / 1e3


def main():
  """Prints the figures."""
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / 'ffhq512-128.pkl'
    subprocess.run([sys.executable, __file__, str(path)], check=True)
    print(f'{path.name}: {path.stat().st_size / 1e6:,.0f} MB')
    for name, command in (
      ('Python with NumPy', ['-c', 'import numpy, ml_dtypes']),
      ('reading and checking', ['-c', READ, str(path)]),
      (
        'conversion',
        ['-m', 'jax3dgan.convert', '--from=eg3d', f'--input={path}', f'--workdir={folder}/run'],
      ),
    ):
      seconds, memory = measured(*command)
      print(f'{name}: {seconds:.1f} s, {memory:,.0f} MB')


if __name__ == '__main__':
  if sys.argv[1:]:
    write(sys.argv[1])
  else:
    main()
