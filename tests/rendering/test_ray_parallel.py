"""Rendering on several devices: the pictures of one, in a share of the work each."""

import os
import pathlib
import socket
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax3dgan import cameras
from jax3dgan.devices import ray_parallel
from jax3dgan.generators.base import Rendering
from jax3dgan.generators.pigan import PiGAN
from jax3dgan.generators.stylegan2 import StyleGAN2
from jax3dgan.rendering import hierarchical, parts
from jax3dgan.rendering.hierarchical import RenderOptions

TESTS = pathlib.Path(__file__).resolve().parents[1]
GENERATOR = PiGAN(z_dim=4, hidden_dim=8, num_layers=2, mapping_dim=8, mapping_layers=1)


@pytest.mark.parametrize('num_rays', [1, 7, 16**2, 20**2, 127**2, 512**2])
@pytest.mark.parametrize('count', [1, 2, 3, 8])
@pytest.mark.parametrize('limit', [1, 5, 341, 10**6])
def test_parts_hold_every_ray_in_whole_chunks(num_rays, count, limit):
  size = parts.part_size(num_rays, count, limit)
  least = -(-num_rays // count)
  chunks = -(-least // limit)
  assert least <= size < least + chunks  # less than a ray too many in each chunk
  chunk = hierarchical.divisor(size, limit)
  assert size // chunk == chunks  # no more chunks than the limit asks for


def test_a_prime_part_does_not_fall_into_chunks_of_one_ray():
  """512²/3 rays are 2 · 43,691, a prime: its only divisor up to 341 is 2."""
  assert hierarchical.divisor(-(-(512**2) // 3), 341) == 2
  assert hierarchical.divisor(parts.part_size(512**2, 3, 341), 341) == 341


def test_parts_end_to_end_are_the_picture():
  options = RenderOptions(resolution=5, num_coarse=4, num_fine=4, ray_chunk=3)
  camera = cameras.from_yaw_pitch(jnp.array([1.2, 1.8]), jnp.full(2, 1.5))

  @jax.jit
  def picture():
    variables = GENERATOR.init(jax.random.key(1), jnp.zeros((1, 4)), method='initialise')
    w = GENERATOR.apply(variables, jax.random.normal(jax.random.key(2), (2, 4)), method='map')
    image = GENERATOR.apply(variables, w, camera, None, options, method='synthesize')
    return variables, w, image

  variables, w, whole = picture()

  @jax.jit
  def part(index):
    return GENERATOR.apply(variables, w, camera, index, 4, options, method='synthesize_part')

  out = [part(i) for i in range(4)]
  assert out[0].image.shape == (2, 9, 3)  # 25 rays in 4 parts are 7, in chunks of 3 at most 3 · 3
  joined = jax.tree.map(lambda *x: np.concatenate(x, axis=1), *out)
  np.testing.assert_array_equal(joined.depth[:, 25:], np.tile(joined.depth[:, 24:25], 11))
  pictures = ray_parallel.whole_pictures(joined, 5)
  assert pictures.image.shape == (2, 5, 5, 3) and pictures.low_res is None
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), pictures, whole)


def test_what_is_split_how():
  flat = StyleGAN2(z_dim=4, w_dim=4, channels=(4, 4), mapping_layers=1)
  assert ray_parallel.splits_rays(GENERATOR, 1, 8) and ray_parallel.splits_rays(GENERATOR, 9, 8)
  assert not ray_parallel.splits_rays(GENERATOR, 16, 8)
  assert not ray_parallel.splits_rays(GENERATOR, 1, 1)
  assert not ray_parallel.splits_rays(flat, 1, 8)  # its pixels hang together
  sizes = [ray_parallel.even_batch(g, b, 8) for g in (GENERATOR, flat) for b in (1, 8, 11)]
  assert sizes == [1, 8, 11, 8, 8, 16]
  pictures = Rendering(np.zeros((2, 4, 4, 3)))
  assert ray_parallel.whole_pictures(pictures, 4) is pictures


def test_the_devices_of_a_mesh():
  device = jax.local_devices()[0]
  assert ray_parallel.local_mesh().devices.tolist() == jax.local_devices()
  assert ray_parallel.local_mesh([device]).devices.tolist() == [device]
  for default in (device, 'cpu'):
    with jax.default_device(default):
      assert ray_parallel.local_mesh().devices.tolist() == [device]


_EIGHT = """
import dataclasses, re, sys
import jax
import settings
settings.share_contexts()
jax.config.update('jax_num_cpu_devices', 8)
import numpy as np
from jax3dgan import config as config_lib, generators, trained

many = trained.load(pretrained='toys')
first = jax.local_devices()[0]
many.variables = jax.device_put(many.variables, first)  # committed, as a training's are
one = dataclasses.replace(many, devices=[first])
assert many.mesh.size == 8 and one.mesh.size == 1

def inputs(model, batch):
  w = np.asarray(model.map(model.latents(range(batch)), psi=1))
  return w, jax.tree.map(np.asarray, model.orbit(np.linspace(0, 3, batch)))

def same(num, resolution, **overrides):
  overrides = dict(num_coarse=6, num_fine=6, **overrides)
  w, camera = inputs(many, num)
  out, again = [many.render(w, camera, resolution, **overrides) for _ in range(2)]
  # The trained field is sharp: its pixels move by 1e-4 with the order of a product's sums, which is
  # another in batches of another size. So whole pictures are compared in batches of one's share;
  # what is left comes from chunks of other sizes.
  if num % 8 == 0:
    overrides['batch'] = num // 8
  expected = one.render(w, camera, resolution, **overrides)
  assert out.image.shape == (num, resolution, resolution, 3)
  assert expected.image.std() > 0.1 and expected.depth.std() > 0.01
  assert expected.opacity.std() > 0.1
  for a, b, c in zip(*map(jax.tree.leaves, (expected, out, again)), strict=True):
    np.testing.assert_allclose(b, a, atol=3e-5)
    np.testing.assert_array_equal(b, c)

thorough = sys.argv[1] == 'True'
same(3, 20, ray_chunk=7)
same(8, 16)
same(5, 16, batch=3)  # 3 and 2
if thorough:
  same(1, 16)
  same(1, 20)
  same(3, 16)
  same(16, 20)

def cost(model, batch):
  # No chunks: a loop's flops are counted for one round.
  options = model.options(24, ray_chunk=0, num_coarse=3, num_fine=3)
  args = model.variables_on_mesh(), *inputs(model, batch), options
  program = model.compiled.synthesize.lower(*args).compile()
  text = program.as_text()
  assert ' while(' not in text
  assert not re.findall(r'all-[a-z]+|collective|\\bpermute\\b', text)  # nothing between devices
  return program.cost_analysis()['flops'], program.memory_analysis().temp_size_in_bytes

for batch in (1, 3, 8) if thorough else (1, 8):
  (alone, memory), (share, part) = cost(one, batch), cost(many, batch)
  assert share < alone / 8 * 1.05, (batch, share, alone)
  assert part < memory / 5, (batch, part, memory)  # every device holds the pictures' weights

def set_params(model, scale):
  return model.with_params(jax.tree.map(lambda x: scale * x, model.params), 5)

w, camera = inputs(many, 1)
other = set_params(many, 0.9)
assert other.compiled is many.compiled and other.mesh is many.mesh
image = other.render(w, camera, 16).image
assert np.abs(image - many.render(w, camera, 16).image).max() > 0.1
np.testing.assert_allclose(set_params(one, 0.9).render(w, camera, 16).image, image, atol=1e-5)
placed = many.variables_on_mesh()
many.variables = other.variables
assert many.variables_on_mesh() is not placed
np.testing.assert_array_equal(many.render(w, camera, 16).image, image)

flat = trained.load(pretrained='toys_2d')
single = dataclasses.replace(flat, devices=[first])
for batch in (1, 3) if thorough else (3,):
  w, camera = inputs(flat, batch)
  out, expected = flat.render(w, camera), single.render(w, camera)
  assert out.depth is None and out.image.shape == expected.image.shape
  np.testing.assert_allclose(out.image, expected.image, atol=1e-5)
print('equal')
"""


def environment() -> dict[str, str]:
  """That of a process that imports the package and the tests' modules."""
  return {**os.environ, 'PYTHONPATH': os.pathsep.join(map(str, (TESTS, TESTS.parent)))}


def test_eight_devices_render_as_one(thorough):
  """In a process of its own: the number of devices is fixed before JAX starts."""
  command = [sys.executable, '-c', _EIGHT, str(thorough)]
  done = subprocess.run(command, capture_output=True, text=True, env=environment())
  assert done.returncode == 0 and 'equal' in done.stdout, done.stderr[-3000:]


_PROCESS = """
import sys
import jax
import settings
settings.share_contexts()
jax.config.update('jax_num_cpu_devices', 2)
from jax3dgan.devices import parallel
from jax3dgan import trained
parallel.initialize(sys.argv[1], 2, int(sys.argv[2]))
assert (jax.process_count(), jax.device_count(), jax.local_device_count()) == (2, 4, 2)
model = trained.load(pretrained='toys')
assert model.mesh.devices.tolist() == jax.local_devices()
params = parallel.replicate(model.params, parallel.make_mesh())  # over both, as in training
model = model.with_params(jax.tree.map(lambda x: x.addressable_data(0), params), 1)
if jax.process_index() == 0:  # alone
  w = model.map(model.latents([0]))
  out = model.render(w, model.orbit(0.5), 9, num_coarse=6, num_fine=6)
  assert out.image.shape == (1, 9, 9, 3) and out.image.std() > 0.1
print('rendered')
"""


def test_a_process_renders_without_the_others():
  with socket.socket() as free:
    free.bind(('127.0.0.1', 0))
    address = f'127.0.0.1:{free.getsockname()[1]}'
  pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment())
  processes = [
    subprocess.Popen([sys.executable, '-c', _PROCESS, address, str(i)], **pipes) for i in range(2)
  ]
  outputs = [process.communicate(timeout=300)[0] for process in processes]
  for process, output in zip(processes, outputs, strict=True):
    assert process.returncode == 0 and 'rendered' in output, output[-3000:]
