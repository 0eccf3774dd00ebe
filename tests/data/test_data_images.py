"""Decoding of what people have, crops, resizing."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from jax3dgan.data import images


def _encode(image, kind='PNG', **options):
  buffer = io.BytesIO()
  image.save(buffer, kind, **options)
  return buffer.getvalue()


def _noise(height=5, width=7, channels=3, seed=0):
  shape = (height, width, channels) if channels > 1 else (height, width)
  return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def test_rgb_round_trip():
  image = _noise()
  np.testing.assert_array_equal(images.decode(images.encode_png(image)), image)


def test_grey_is_repeated():
  grey = _noise(channels=1)
  decoded = images.decode(_encode(Image.fromarray(grey)))
  np.testing.assert_array_equal(decoded, np.repeat(grey[..., None], 3, -1))


def test_alpha_is_composited_on_white():
  rgba = np.zeros((1, 3, 4), np.uint8)
  rgba[0, :, 0] = 200
  rgba[0, :, 3] = [255, 0, 51]
  decoded = images.decode(_encode(Image.fromarray(rgba)))
  expected = [[200, 0, 0], [255, 255, 255], [244, 204, 204]]
  np.testing.assert_allclose(decoded[0].astype(int), expected, atol=1)


def test_palette_with_transparency():
  image = Image.new('P', (2, 1))
  image.putpalette([10, 20, 30, 40, 50, 60])
  image.putdata([0, 1])
  decoded = images.decode(_encode(image, transparency=1))
  np.testing.assert_array_equal(decoded, [[[10, 20, 30], [255, 255, 255]]])


def test_sixteen_bits():
  values = np.array([[0, 257, 32896, 65535]], np.uint16)
  decoded = images.decode(_encode(Image.fromarray(values)))
  np.testing.assert_array_equal(decoded[0, :, 0], [0, 1, 128, 255])


def test_cmyk_jpeg():
  image = Image.new('CMYK', (8, 8), (0, 255, 255, 0))
  decoded = images.decode(_encode(image, 'JPEG', quality=95))
  np.testing.assert_allclose(decoded.reshape(-1, 3).mean(0), [255, 0, 0], atol=6)


@pytest.mark.parametrize('kind', ['WEBP', 'BMP', 'GIF', 'TIFF', 'PPM'])
def test_other_formats(kind):
  flat = np.full((4, 6, 3), (0, 128, 255), np.uint8)
  decoded = images.decode(_encode(Image.fromarray(flat), kind))
  np.testing.assert_allclose(decoded.astype(int), flat.astype(int), atol=4)


def test_exif_orientation():
  image = Image.fromarray(_noise(4, 6))
  exif = image.getexif()
  exif[0x0112] = 6  # The camera was held on its side: to be turned by 90 degrees clockwise.
  decoded = images.decode(_encode(image, exif=exif))
  np.testing.assert_array_equal(decoded, np.rot90(np.asarray(image), -1))


def test_corrupt_exif_is_ignored():
  image = _noise(4, 6)
  data = _encode(Image.fromarray(image), exif=b'Exif\0\0garbage')
  np.testing.assert_array_equal(images.decode(data), image)


@pytest.mark.parametrize(
  'data, cause',
  [
    (b'', 'empty'),
    (b'hello', 'not an image'),
    (b'\0\0\0\x24ftypheic' + bytes(40), 'HEIC, which is not read'),
    (b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n', 'not an image'),
    (images.encode_png(_noise(40, 40))[:-1000], 'truncated'),
    (_encode(Image.fromarray(_noise(40, 40)), 'JPEG')[:-500], 'truncated'),
    (_encode(Image.fromarray(np.zeros((2, 2), np.float32)), 'TIFF'), 'floating-point'),
    (_encode(Image.fromarray(np.full((2, 2), 1 << 20, np.int32)), 'TIFF'), 'beyond 16 bits'),
  ],
)
def test_bad_files_are_named(data, cause):
  with pytest.raises(images.ImageError, match=cause):
    images.decode(data)


@pytest.mark.parametrize('side', [10_000, 60_000])
def test_decompression_bombs_are_refused(side):
  # The header alone claims the size: nothing may be allocated for it.
  data = bytearray(images.encode_png(_noise(2, 2)))
  data[16:24] = side.to_bytes(4, 'big') * 2
  with pytest.raises(images.ImageError, match='too many pixels|corrupt'):
    images.decode(_with_crc(data))


def _with_crc(png):
  import zlib

  png[29:33] = zlib.crc32(bytes(png[12:29])).to_bytes(4, 'big')
  return bytes(png)


def test_text_bombs_are_refused():
  info = PngImagePlugin.PngInfo()
  info.add_text('a', 'x' * (2**21), zip=True)
  data = _encode(Image.fromarray(_noise()), pnginfo=info)
  try:
    assert images.decode(data).shape == (5, 7, 3)
  except images.ImageError as error:
    assert 'corrupt' in str(error)


@given(data=st.binary(max_size=200), cut=st.integers(8, 60))
@settings(max_examples=60, deadline=None)
def test_any_bytes_are_an_image_or_an_image_error(data, cut):
  for candidate in (data, images.encode_png(_noise())[:cut] + data):
    try:
      assert images.decode(candidate).dtype == np.uint8
    except images.ImageError as error:
      assert '\n' not in str(error)


@pytest.mark.parametrize(
  'height, width, crop, box',
  [
    (218, 178, 'centre', (0, 20, 178)),
    (218, 178, 'celeba', (18, 38, 142)),
    (10, 20, '0.5', (7, 2, 5)),
    (10, 20, '3,4,5', (3, 4, 5)),
  ],
)
def test_crop_boxes(height, width, crop, box):
  assert images.crop_box(height, width, crop) == box


def test_celeba_crop_is_the_one_of_pigan():
  # Shorter side to 320, the middle 256 kept: in pixels of the original.
  left, top, size = images.crop_box(218, 178, 'celeba')
  scale = 320 / 178
  assert abs(size - 256 / scale) < 1
  assert abs(left - (320 - 256) / 2 / scale) < 1
  assert abs(top - (218 * scale - 256) / 2 / scale) < 1


@pytest.mark.parametrize(
  'crop', ['', 'middle', '0', '1.5', 'nan', '1,2', '1,2,0', '-1,2,3', '1,b,3']
)
def test_bad_crops(crop):
  with pytest.raises(ValueError, match='crop'):
    images.parse_crop(crop)


def test_crop_outside_the_image():
  with pytest.raises(images.ImageError, match='does not hold'):
    images.crop_box(10, 10, '6,0,5')


def test_too_small_after_the_crop():
  with pytest.raises(images.ImageError, match='too small'):
    images.crop_and_resize(_noise(20, 40), 16, '0.5')


def test_resize_is_antialiased():
  # Stripes of one pixel become grey; a filter that skips pixels would keep black or white.
  stripes = np.zeros((64, 64, 3), np.uint8)
  stripes[:, ::2] = 255
  resized = images.crop_and_resize(stripes, 12)
  assert np.abs(resized.astype(int) - 127).max() < 20


@pytest.mark.parametrize('resolution', [12, 5])
def test_nearest_keeps_pixels_as_they_are(resolution):
  image = _noise(30, 24)
  resized = images.crop_and_resize(image, resolution, resize='nearest')
  for i, j in np.ndindex(resolution, resolution):
    expected = image[3 + int(i * 24 / resolution), int(j * 24 / resolution)]
    np.testing.assert_array_equal(resized[i, j], expected)


def test_no_resize_where_none_is_needed():
  image = _noise(8, 10)
  np.testing.assert_array_equal(images.crop_and_resize(image, 8), image[:, 1:9])


@pytest.mark.parametrize('factor', [1, 2, 3, 4])
def test_box_downscale_is_the_rounded_mean(factor):
  image = _noise(12, 24)
  means = image.reshape(12 // factor, factor, 24 // factor, factor, 3).mean((1, 3))
  expected = np.floor(means + 0.5)
  np.testing.assert_array_equal(images.box_downscale(image, factor), expected)


def test_box_downscale_rounds_half_up():
  image = np.array([[[0], [1]], [[1], [0]]], np.uint8)
  assert images.box_downscale(image, 2)[0, 0, 0] == 1


def test_fit_is_exact_for_integer_factors_only():
  image = _noise(12, 12)
  np.testing.assert_array_equal(images.fit(image, 4), images.box_downscale(image, 3))
  np.testing.assert_array_equal(images.fit(image, 8), images.crop_and_resize(image, 8))
