"""Masks of images: of toys and faces, of transparent pictures, as loaders read them."""

import ict_synthetic
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jax3dgan.data import arrays, images, pipeline, prepare, records
from jax3dgan.data.builders.ict_faces import generate as faces
from jax3dgan.data.builders.toys import generate as toys
from jax3dgan.errors import UserError
from jax3dgan.recipes import backgrounds


def on_ground(image, opacity, colour):
  """uint8 [h, w, 3] on a colour, by `backgrounds.behind`."""
  scaled = jnp.float32(image) / 127.5 - 1
  out = backgrounds.behind(scaled, jnp.float32(opacity) / 255, jnp.float32(colour))
  return np.asarray(127.5 * (out + 1))


def test_a_ground_is_exchanged():
  rng = np.random.default_rng(0)
  front, alpha = rng.uniform(-1, 1, (2, 4, 4, 3)), rng.uniform(0, 1, (2, 4, 4))
  grounds = rng.uniform(-1, 1, (2, 3))

  def mixed(ground):
    return alpha[..., None] * front + (1 - alpha[..., None]) * ground

  found = backgrounds.behind(mixed(1.0), alpha, grounds)
  np.testing.assert_allclose(found, mixed(grounds[:, None, None]), atol=1e-6)


def test_masks_of_toys_are_of_their_pictures():
  (plain,), (masked,) = toys.render('train', [3]), toys.render('train', [3], masks=True)
  assert masked['image'] == plain['image'] and 'extras' not in plain
  image = images.decode(masked['image'])
  opacity = images.decode(masked['extras'][records.OPACITY])[..., 0]
  assert np.all(image[opacity == 0] == 255) and 0.05 < (opacity > 0).mean() < 0.6
  # On black nothing of the white is left: pixels at the rim are no brighter than the car.
  black = on_ground(image, opacity, (-1.0, -1.0, -1.0))
  rim = (opacity > 0) & (opacity < 255)
  assert rim.any() and black.min() > -1 and np.all(black[opacity == 0] < 0.01)
  assert np.all(black[rim].max(-1) <= opacity[rim] + 1.0)
  with pytest.raises(UserError, match='there are no masks'):
    toys.ensure('scenes', masks=True)


def test_masks_of_faces_are_of_their_pictures(tmp_path):
  source = faces.parse('ict:' + ict_synthetic.write(tmp_path))
  (plain,) = faces.render(source, 'train', [1], 64)
  (masked,) = faces.render(source.with_masks(True), 'train', [1], 64)
  expected, image = images.decode(plain['image']), images.decode(masked['image'])
  opacity = images.decode(masked['extras'][records.OPACITY])[..., 0]
  inside = opacity == 255
  np.testing.assert_array_equal(image[inside], expected[inside])
  assert np.all(image[opacity == 0] == 255) and 0.1 < inside.mean() < 0.9
  rim = (opacity > 0) & ~inside
  assert rim.any() and np.all(
    on_ground(image, opacity, (-1.0,) * 3)[rim].max(-1) <= opacity[rim] + 1
  )
  assert faces.provenance(source.with_masks(True), 'train') != faces.provenance(source, 'train')
  with pytest.raises(UserError, match='background=varied'):
    source._replace(background='varied').with_masks(True)


def test_transparency_is_kept_and_loaders_agree(tmp_path, capsys):
  rng = np.random.default_rng(0)
  folder = tmp_path / 'pictures'
  folder.mkdir()
  for i in range(5):
    pixels = rng.integers(0, 256, (8, 8, 4), np.uint8)
    pixels[:, :4, 3] = 255
    Image.fromarray(pixels).save(folder / f'{i}.png')
  Image.fromarray(pixels[..., :3]).save(folder / 'opaque.png')
  command = [f'--source={folder}', '--resolution=8', '--workers=1', '--masks', '--mirror']
  assert prepare.main([*command, f'--out={tmp_path / "out"}', '--max-left-out=0.5']) == 0
  report = (tmp_path / 'out' / 'report.json').read_text()
  assert 'nothing in it is transparent' in report and 'opaque.png' in report
  config = dict(source=str(tmp_path / 'out'), loader='tfdata', flip=True)
  dataset = pipeline.open_dataset(config, 8, masks=True)
  assert dataset.loader == 'arrays' and dataset.channels == 4
  first = np.asarray(Image.open(folder / '0.png'))
  image, _ = dataset[0]
  np.testing.assert_array_equal(image[..., 3], first[..., 3])
  np.testing.assert_array_equal(image[:, :4, :3], first[:, :4, :3])
  np.testing.assert_array_equal(dataset[1][0], image[:, ::-1])
  plain = pipeline.open_dataset(dict(config, loader='arrays'), 8)
  np.testing.assert_array_equal(plain[0][0], image[..., :3])
  batch = next(pipeline.batches(dataset, 4, 2, seed=7))['image']
  resident = arrays.resident(dataset, progress=False)
  drawn = arrays.draw(resident, jnp.uint32(2), 4, 7, True, channels=4)['image']
  np.testing.assert_array_equal(drawn, batch)
  # Halved, the mask is a mean as the image is.
  small, _ = pipeline.open_dataset(config, 4, masks=True)[0]
  np.testing.assert_array_equal(small, images.box_downscale(image, 2))
  assert prepare.main([*command[:-2], f'--out={tmp_path / "other"}', '--max-left-out=0.5']) == 0
  with pytest.raises(UserError, match='has no masks. Prepare') as error:
    pipeline.open_dataset(dict(config, source=str(tmp_path / 'other')), 8, masks=True)
  assert '\n' not in str(error.value)
