"""Generated images: each depends on the seed and its number only; camera protocols; bad values."""

import subprocess
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax3dgan import viz
from jax3dgan.devices import parallel
from jax3dgan.errors import UserError
from jax3dgan.evaluation import fakes


def _mesh():
  return parallel.make_mesh(jax.devices()[:1])


def _images(maker, num, **options):
  return np.concatenate(list(maker.batches(num, **options)))


def test_an_image_does_not_depend_on_its_batch(tiny_model):
  whole = _images(fakes.Fakes(tiny_model, _mesh(), 8, seed=3), 7)
  assert whole.shape == (7, 16, 16, 3) and whole.dtype == np.uint8
  parts = _images(fakes.Fakes(tiny_model, _mesh(), 3, seed=3), 5)
  # To a rounding of the last bit, which the vectorisation of another batch size may turn.
  assert np.abs(parts.astype(int) - whole[:5]).max() <= 1
  other = _images(fakes.Fakes(tiny_model, _mesh(), 8, seed=4), 7)
  # An untrained field is nearly grey: not how much, but how many differ.
  assert (other != whole).mean() > 0.1 > 0.01 > (parts != whole[:5]).mean()


def test_cameras_of_the_data_are_rendered(tiny_model):
  camera = tiny_model.orbit([0.3, -1.2, 2.0], [0.2, 0.4, 0.1])
  maker = fakes.Fakes(tiny_model, _mesh(), 4, seed=3)
  images = _images(maker, 3, labels=np.asarray(camera.label()))
  # The same latents, from the keys that the protocol documents.
  keys = [jax.random.split(jax.random.fold_in(jax.random.key(3), i))[0] for i in range(3)]
  z = jnp.stack([jax.random.normal(key, (tiny_model.generator.z_dim,)) for key in keys])
  expected = viz.to_uint8(tiny_model.render(tiny_model.map(z, psi=1), camera).image)
  assert np.abs(images.astype(int) - expected).max() <= 1
  # π-GAN's mapping network sees no camera, so nothing is there to fix.
  fixed = _images(maker, 3, labels=np.asarray(camera.label()), fixed=True)
  np.testing.assert_array_equal(fixed, images)


class _Conditioned:
  """A generator whose image says which camera its mapping network and its renderer saw."""

  z_dim, label_dim = 2, 25

  def apply(self, variables, *args, method, **kwargs):
    if method == 'map':
      z, label = args
      return label[:, 3]  # the x of the camera's place
    w, camera = args
    image = jnp.stack([w, camera.origin[:, 0], jnp.zeros_like(w)], -1)
    return types.SimpleNamespace(image=jnp.broadcast_to(image[:, None, None], (len(w), 2, 2, 3)))


def test_the_mapping_network_is_conditioned_on_the_camera_or_a_fixed_one(tiny_model):
  model = tiny_model.with_params({}, 5)
  model.generator = _Conditioned()
  labels = np.asarray(model.orbit([0.5, -0.5, 1.0]).label())
  maker = fakes.Fakes(model, _mesh(), 4)
  place = viz.to_uint8(labels[:, 3][:, None, None, None])[:, 0, 0, 0]
  seen = _images(maker, 3, labels=labels)[:, 0, 0]
  np.testing.assert_array_equal(seen[:, 0], place)
  np.testing.assert_array_equal(seen[:, 1], place)
  fixed = _images(maker, 3, labels=labels, fixed=True)[:, 0, 0]
  np.testing.assert_allclose(fixed[:, 0], 127, atol=1)  # x = 0: the frontal camera
  np.testing.assert_array_equal(fixed[:, 1], place)


def test_images_that_are_not_numbers_are_an_error(tiny_model):
  broken = tiny_model.with_params(
    jax.tree.map(lambda x: jnp.full_like(x, jnp.nan), tiny_model.params), 9
  )
  with pytest.raises(UserError, match='not numbers at step 9: its training diverged'):
    list(fakes.Fakes(broken, _mesh(), 4).batches(4))


def test_labels_of_a_data_set_in_a_seeded_order():
  table = np.arange(5 * 25, dtype=np.float32).reshape(5, 25)

  class Data:
    name, labelled = 'mine', True
    source = types.SimpleNamespace(read=lambda i: types.SimpleNamespace(label=table[i]))

    def __len__(self):
      return 5

  labels = fakes.dataset_labels(Data(), 12, seed=1)
  assert labels.shape == (12, 25)
  np.testing.assert_array_equal(np.sort(labels[:5], axis=0), table)  # without replacement
  np.testing.assert_array_equal(labels[5:10], labels[:5])
  assert not np.array_equal(labels, fakes.dataset_labels(Data(), 12, seed=2))
  Data.labelled = False
  with pytest.raises(UserError, match='mine has no cameras'):
    fakes.dataset_labels(Data(), 3, seed=0)


def test_eight_devices_make_the_images_of_one():
  code = """
import jax, numpy as np
jax.config.update('jax_num_cpu_devices', 8)
from jax3dgan import config, generators, trained
from jax3dgan.devices import parallel
from jax3dgan.evaluation import fakes
settings = config.tiny(config.base_config())
generator = generators.create(settings)
params = generators.init_params(generator, jax.random.key(0))
model = trained.Trained(settings, generator, {'params': params}, 1)
meshes = [parallel.make_mesh(jax.devices()[:n]) for n in (1, 8)]
one, eight = [np.concatenate(list(fakes.Fakes(model, m, 8).batches(11))) for m in meshes]
assert one.shape == eight.shape == (11, 16, 16, 3) and one.std() > 1
assert np.abs(one.astype(int) - eight).max() <= 1, np.abs(one.astype(int) - eight).max()
assert (one != eight).mean() < 1e-3
"""
  subprocess.run([sys.executable, '-c', code], check=True)
