"""Photos from a browser: what is right is read right, what is wrong is a message."""

import io
import zlib

import numpy as np
import pytest
from PIL import Image

from jax3dgan.errors import UserError
from jax3dgan.viewer import uploads


def file(image, kind='PNG', **options) -> bytes:
  buffer = io.BytesIO()
  image.save(buffer, kind, **options)
  return buffer.getvalue()


def halves(size=(32, 32)) -> Image.Image:
  """Red above blue."""
  array = np.zeros((size[1], size[0], 3), np.uint8)
  array[: size[1] // 2, :, 0] = array[size[1] // 2 :, :, 2] = 255
  return Image.fromarray(array)


@pytest.mark.parametrize('kind', ['PNG', 'WEBP', 'JPEG'])
def test_it_is_read(kind):
  options = {'lossless': True} if kind == 'WEBP' else {}
  photo = uploads.read_photo('a.x', file(halves(), kind, **options), 16)
  assert photo.shape == (1, 16, 16, 3) and photo.dtype == np.float32
  tolerance = 0.1 if kind == 'JPEG' else 1e-6
  np.testing.assert_allclose(photo[0, 2, 2], [1, -1, -1], atol=tolerance)
  np.testing.assert_allclose(photo[0, 13, 2], [-1, -1, 1], atol=tolerance)


def test_upright_middle_alpha_and_16_bits():
  exif = Image.Exif()
  exif[0x0112] = 3  # upside down
  photo = uploads.read_photo('a.jpg', file(halves(), 'JPEG', exif=exif), 16)
  assert photo[0, 2, 2, 2] > 0.8 and photo[0, 13, 2, 0] > 0.8
  wide = Image.new('RGB', (64, 16), 'black')
  wide.paste('white', (24, 0, 40, 16))
  np.testing.assert_array_equal(uploads.read_photo('a', file(wide), 16), 1.0)
  clear = Image.new('RGBA', (16, 16), (255, 0, 0, 0))
  np.testing.assert_array_equal(uploads.read_photo('a', file(clear), 16), 1.0)
  deep = Image.fromarray(np.full((16, 16), 32768, np.uint16))
  np.testing.assert_allclose(uploads.read_photo('a', file(deep), 16), 0.0, atol=0.01)


def giant() -> bytes:
  """A PNG of some bytes that claims ten thousand times ten thousand pixels."""
  data = bytearray(file(Image.new('RGB', (8, 8))))
  data[16:24] = (10_000).to_bytes(4, 'big') * 2
  data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4, 'big')
  return bytes(data)


@pytest.mark.parametrize(
  'data, message',
  [
    (b'', 'no picture that can be read'),
    (b'hello', 'no picture that can be read'),
    (b'<svg xmlns="http://www.w3.org/2000/svg"/>', 'no picture that can be read'),
    (b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n', 'no picture that can be read'),
    (file(halves(), 'GIF'), 'Choose a PNG, JPEG or WebP'),
    (file(halves(), 'TIFF'), 'Choose a PNG, JPEG or WebP'),
    (file(halves())[:60], 'Choose a PNG, JPEG or WebP'),
    (file(halves((400, 400)), 'JPEG')[:900], 'truncated'),
    (file(halves()).replace(b'IDAT', b'IDOT'), 'Choose a PNG, JPEG or WebP'),
    (file(halves((8, 8))), 'too small'),
    (giant(), 'more than 50 million pixels'),
    (b'\x89PNG' + bytes(uploads.MAX_BYTES), 'more than 20 MiB'),
  ],
)
def test_what_is_wrong_is_one_line(data, message):
  with pytest.raises(UserError, match=message) as error:
    uploads.read_photo('../../x\n<b>y.png', data, 16)
  text = str(error.value)
  assert '\n' not in text and '/' not in text.split()[0] and text.endswith('.')


def test_damage_anywhere_is_no_other_error():
  rng = np.random.default_rng(0)
  for kind in ('PNG', 'JPEG', 'WEBP'):
    whole = file(halves((40, 40)), kind)
    for _ in range(60):
      data = bytearray(whole)
      for at in rng.integers(0, len(data), 3):
        data[at] = rng.integers(256)
      try:
        assert np.isfinite(uploads.read_photo('x', bytes(data), 16)).all()
      except UserError:
        pass


def test_transfers_are_bounded():
  refused = []
  transfers = uploads.BoundedTransfers(refused.append, max_bytes=100)
  transfers['a'] = {'total_bytes': 101, 'transferred_bytes': 0, 'filename': 'large.png'}
  assert 'a' not in transfers and refused == ['large.png']
  # One that lies about its size is dropped when it has sent too much.
  transfers['b'] = state = {'total_bytes': 50, 'transferred_bytes': 0, 'filename': 'liar.png'}
  assert 'b' in transfers
  state['transferred_bytes'] = 120
  assert 'b' not in transfers and refused == ['large.png', 'liar.png']
  assert not len(transfers)
