"""Photos as people have them, for an inversion."""

import io
import json
import os

import numpy as np
import pytest
from PIL import Image

from jax3dgan import cameras
from jax3dgan.data import images
from jax3dgan.errors import UserError
from jax3dgan.inversion import inputs, photos, results

RNG = np.random.default_rng(0)


def picture(h, w, c=3):
  return RNG.integers(0, 256, (h, w, c) if c > 1 else (h, w)).astype(np.uint8)


def read(path, resolution=8, **fields):
  return photos.read('x', path, resolution, **fields)


def test_shrinking_is_by_exact_means_and_said(tmp_path):
  pixels = picture(32, 32)
  Image.fromarray(pixels).save(tmp_path / 'a.png')
  photo = read(tmp_path / 'a.png')
  means = pixels.reshape(8, 4, 8, 4, 3).mean((1, 3))
  np.testing.assert_allclose((photo.image + 1) * 127.5, means, atol=0.51)
  assert photo.note == 'shrunk from 32 to 8 pixels' and len(photo.sha256) == 64
  Image.fromarray(picture(8, 8)).save(tmp_path / 'b.png')
  assert read(tmp_path / 'b.png').note == ''


def test_other_shapes_are_cropped_and_small_ones_enlarged(tmp_path):
  pixels = np.zeros((16, 40, 3), np.uint8)
  pixels[:, 12:28] = 200  # the middle square
  Image.fromarray(pixels).save(tmp_path / 'wide.png')
  photo = read(tmp_path / 'wide.png')
  np.testing.assert_allclose(photo.image, 200 / 127.5 - 1, atol=1e-6)
  assert photo.note == '40 x 16 cropped to 16 x 16, shrunk from 16 to 8 pixels'
  Image.fromarray(picture(3, 3)).save(tmp_path / 'small.png')
  photo = read(tmp_path / 'small.png')
  assert photo.image.shape == (8, 8, 3) and photo.note == 'enlarged from 3 to 8 pixels'
  assert read(tmp_path / 'wide.png', crop='0,0,10').image.mean() < 0


def test_every_mode_becomes_rgb(tmp_path):
  rgb = picture(8, 8)
  grey = picture(8, 8, 1)
  for name, image, expected in (
    ('L', Image.fromarray(grey), np.stack([grey] * 3, -1)),
    ('P', Image.fromarray(grey).convert('P'), np.stack([grey] * 3, -1)),
    ('I16', Image.fromarray(grey.astype(np.uint16) * 257), np.stack([grey] * 3, -1)),
    ('RGB', Image.fromarray(rgb), rgb),
  ):
    image.save(tmp_path / f'{name}.png')
    np.testing.assert_allclose((read(tmp_path / f'{name}.png').image + 1) * 127.5, expected, atol=1)
  alpha = np.dstack([rgb, np.zeros((8, 8), np.uint8)])
  Image.fromarray(alpha).save(tmp_path / 'clear.png')
  np.testing.assert_allclose(read(tmp_path / 'clear.png').image, 1)  # white
  Image.fromarray(rgb).convert('CMYK').save(tmp_path / 'c.jpg')
  assert read(tmp_path / 'c.jpg').image.shape == (8, 8, 3)


def test_the_rotation_of_exif_is_applied(tmp_path):
  pixels = np.zeros((8, 8, 3), np.uint8)
  pixels[:, :4] = 255  # white on the left
  exif = Image.Exif()
  exif[0x0112] = 6  # turn clockwise to see it upright
  Image.fromarray(pixels).save(tmp_path / 'a.jpg', exif=exif, quality=95)
  image = read(tmp_path / 'a.jpg').image
  assert image[:3].min() > 0.9 and image[5:].max() < -0.9


def test_what_is_no_photo(tmp_path):
  whole = io.BytesIO()
  Image.fromarray(picture(64, 64)).save(whole, 'PNG')
  bomb = images.encode_png(picture(4, 4)).replace(
    (4).to_bytes(4) + (4).to_bytes(4), (60_000).to_bytes(4) + (60_000).to_bytes(4)
  )
  for name, data, cause in (
    ('empty.png', b'', 'empty'),
    ('text.png', b'hello', 'not an image'),
    ('half.png', whole.getvalue()[:2000], 'truncated'),
    ('bomb.png', bomb, 'too many pixels|not an image|corrupt'),
  ):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(images.ImageError, match=cause):
      read(tmp_path / name)
  os.mkfifo(tmp_path / 'pipe.png')
  with pytest.raises(images.ImageError, match='no regular file'):
    read(tmp_path / 'pipe.png')


def test_names_of_a_folder(tmp_path):
  for name in (
    'b.png',
    'a.jpg',
    'sub/a.png',
    'sub/c.webp',
    'c.png',
    'c.jpg',
    '.hidden.png',
    'x.txt',
  ):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b'')
  found = inputs.names(tmp_path)
  assert list(found) == ['a', 'b', 'c_jpg', 'c_png', 'sub__a', 'sub__c']
  assert found['sub__a'] == tmp_path / 'sub/a.png'
  assert inputs.names(tmp_path / 'b.png') == {'b': tmp_path / 'b.png'}
  with pytest.raises(UserError, match='does not exist. Give a photo'):
    inputs.names(tmp_path / 'none')
  (tmp_path / 'bare').mkdir()
  with pytest.raises(UserError, match='has no photo'):
    inputs.names(tmp_path / 'bare')


LABEL = np.asarray(cameras.orbit(0.3, 0.1, 1.0, 40).label())


def test_labels_of_a_folder_and_of_one_photo(tmp_path):
  (tmp_path / 'sub').mkdir()
  for name in ('a.png', 'sub/a.png'):
    Image.fromarray(picture(16, 32)).save(tmp_path / name)
  table = {'labels': [['sub/a.png', LABEL.tolist()]]}
  (tmp_path / 'dataset.json').write_text(json.dumps(table))
  table = photos.label_table(tmp_path)
  label = read(tmp_path / 'sub/a.png', table=table, root=tmp_path).label
  np.testing.assert_allclose(label[:16], LABEL[:16])
  assert label[16] == pytest.approx(2 * LABEL[16])  # half of the width is cropped away
  # Without the folder the name is known by its end.
  np.testing.assert_array_equal(read(tmp_path / 'sub/a.png', table=table).label, label)
  with pytest.raises(images.ImageError, match='has no label'):
    read(tmp_path / 'a.png', table=table, root=tmp_path)
  # Other spellings, of a folder and of one photo.
  content = {'labels': [['.\\SUB\\a.jpg', LABEL.tolist()]]}
  (tmp_path / 'other.json').write_text(json.dumps(content))
  lines = []
  table = photos.label_table(tmp_path, tmp_path / 'other.json', lines.append)
  assert list(table) == ['sub/a.png'] and 'another spelling' in lines[0]
  table = photos.label_table(tmp_path / 'sub/a.png', tmp_path / 'other.json')
  np.testing.assert_array_equal(read(tmp_path / 'sub/a.png', table=table).label, label)
  assert photos.label_table(tmp_path / 'sub') is None
  for text in (json.dumps(LABEL.tolist()), ' '.join(map(str, LABEL)), '\n'.join(map(str, LABEL))):
    (tmp_path / 'label.txt').write_text(text)
    table = photos.label_table(tmp_path, tmp_path / 'label.txt')
    np.testing.assert_allclose(read(tmp_path / 'a.png', table=table).label[:16], LABEL[:16])
  (tmp_path / 'label.txt').write_text('1 2 3')
  with pytest.raises(UserError, match='has 3 numbers'):
    photos.label_table(tmp_path, tmp_path / 'label.txt')
  (tmp_path / 'label.txt').write_text('{"x": 1}')
  with pytest.raises(UserError, match='is not of the form'):
    photos.label_table(tmp_path, tmp_path / 'label.txt')


def test_results_come_back(tmp_path):
  w = RNG.normal(size=(1, 3, 2, 4)).astype(np.float32)
  camera = cameras.from_label(np.stack([LABEL, LABEL]))
  results.save(tmp_path / 'a.npz', w, camera, {'mse': np.ones((5, 2))}, ['a', 'b'])
  again, views = results.load(tmp_path / 'a.npz')
  np.testing.assert_array_equal(again, w)
  np.testing.assert_array_equal(views.label(), np.stack([LABEL, LABEL]))
  assert [path.name for path in tmp_path.iterdir()] == ['a.npz']  # nothing half written
  with pytest.raises(UserError, match='no such file'):
    results.load(tmp_path / 'b.npz')
  (tmp_path / 'b.npz').write_bytes(b'PK')
  with pytest.raises(UserError, match='no result of jax3dgan invert'):
    results.load(tmp_path / 'b.npz')
  results.save(tmp_path / 'c.npz', w * np.nan, camera, {}, ['a', 'b'])
  with pytest.raises(UserError, match='finite numbers'):
    results.load(tmp_path / 'c.npz')


def test_two_files_never_have_one_name(tmp_path):
  for name in ('a/b.png', 'a__b.png', 'A__B.jpg', f'{"x" * 150}/{"ü" * 100}.png', 'c.png'):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b'')
  found = inputs.names(tmp_path)
  assert len({name.casefold() for name in found}) == 5 and 'c' in found
  assert {str(file.relative_to(tmp_path)) for file in found.values()} >= {'a/b.png', 'a__b.png'}
  assert all(len(f'.{name}.npz.json.part'.encode()) < 255 for name in found)
  (tmp_path / 'd.png').write_bytes(b'')
  assert set(found.items()) < set(inputs.names(tmp_path).items())  # another photo renames none


def test_results_are_no_photos(tmp_path):
  for name in ('a.png', 'out/a.png', 'out/b.png', 'old/a.png', 'old/a.npz', 'old/a.npz.json'):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b'')
  lines = []
  assert list(inputs.names(tmp_path, tmp_path / 'out', lines.append)) == ['a']
  assert lines[0].startswith('1 pictures of runs') and lines[1].startswith('2 pictures in')
  assert list(inputs.names(tmp_path / 'out', tmp_path)) == ['a', 'b']


@pytest.mark.parametrize('out, message', [('', 'is the folder of the photos'), ('..', 'replace')])
def test_results_replace_no_photo(tmp_path, out, message):
  photo = tmp_path / 'photos/a.png'
  photo.parent.mkdir()
  for path in (photo, tmp_path / 'a.png', tmp_path / 'other.png'):
    Image.new('RGB', (8, 8)).save(path)
  with pytest.raises(UserError, match=message):
    inputs.check_free(photo.parent, photo.parent / out, [photo], ['a'])
  with pytest.raises(UserError, match='would replace this photo'):
    inputs.check_free(photo, photo.parent, [photo], ['a'])
  (tmp_path / 'a.png').unlink()
  inputs.check_free(photo.parent, tmp_path, [photo], ['a'])
  (tmp_path / 'a.tuned').mkdir()
  inputs.check_free(photo.parent, tmp_path, [photo], ['a'])
  for workdir, message in ((None, 'tuned weights would replace'), ('a.tuned', 'the model itself')):
    workdir = workdir and tmp_path / workdir
    with pytest.raises(UserError, match=message):
      inputs.check_free(photo.parent, tmp_path, [photo], ['a'], True, workdir)
  (tmp_path / 'summary.json').write_text('{"steps": 3}')  # of a training
  with pytest.raises(UserError, match='is of something else'):
    inputs.check_free(photo.parent, tmp_path, [photo], ['a'])


def test_labels_as_other_programs_write_them(tmp_path):
  for name, content in (
    ('bom.txt', b'\xef\xbb\xbf' + ' '.join(map(str, LABEL.ravel())).encode()),
    ('powershell.txt', '\n'.join(map(str, LABEL.ravel())).encode('utf-16')),
  ):
    (tmp_path / name).write_bytes(content)
  np.save(tmp_path / 'cam.npy', LABEL.astype(np.float64).reshape(1, 25))
  for name in ('bom.txt', 'powershell.txt', 'cam.npy'):
    table = photos.label_table(tmp_path, tmp_path / name)
    np.testing.assert_array_equal(table[''], np.float32(LABEL.ravel()))
  np.save(tmp_path / 'bad.npy', np.array([None]), allow_pickle=True)
  np.save(tmp_path / 'short.npy', np.zeros(16))
  for name, message in (('bad.npy', 'cannot be read'), ('short.npy', 'has 16 numbers')):
    with pytest.raises(UserError, match=message):
      photos.label_table(tmp_path, tmp_path / name)
