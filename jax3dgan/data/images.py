"""Images in, images out: decoding of what people have, cropping, resizing, encoding. No TensorFlow.

Everything becomes uint8 RGB [h, w, 3].
"""

import functools
import io

import numpy as np
from PIL import Image, ImageOps

EXTENSIONS = (
  *('.png', '.jpg', '.jpeg', '.jpe', '.jfif', '.webp', '.avif', '.bmp', '.gif', '.tif', '.tiff'),
  *('.ppm', '.pgm', '.pnm', '.tga', '.jp2', '.j2k'),
)
# Pictures too, which are not read: their number is reported.
OTHER_EXTENSIONS = (
  *('.heic', '.heif', '.jxl', '.psd', '.exr', '.hdr', '.svg', '.ico', '.raw', '.dng', '.cr2'),
  *('.cr3', '.nef', '.arw', '.orf', '.rw2', '.raf'),
)
# Named, so that no file makes Pillow start Ghostscript (EPS) or another exotic parser. TGA, which
# has no signature, is tried last.
_FORMATS = ('PNG', 'JPEG', 'WEBP', 'BMP', 'GIF', 'TIFF', 'PPM', 'AVIF', 'JPEG2000', 'TGA')
# A file of some kilobytes can claim billions of pixels. This is 256 MiB of RGB, where Pillow warns.
MAX_PIXELS = 2**28 // 3
# Larger files are not photographs; a zip may also lie about its sizes.
MAX_BYTES = 2**28
RESIZES = ('lanczos', 'nearest')
# pi-GAN resizes CelebA's shorter side to 320 and keeps the middle 256.
_NAMED_CROPS = {'centre': 1.0, 'celeba': 256 / 320}


class ImageError(ValueError):
  """An image that cannot be used; the message is the cause, in a few words."""


class UnreachableImageError(ImageError):
  """An image whose file cannot be read now, perhaps later."""


class OutOfMemoryError(ImageError):
  """An image that this machine has no memory for now; nothing is wrong with it."""


def decode(data, background='white', upright=True):
  """Decodes a file of any usual kind.

  Transparency is composited on the background, greyscale, palette, CMYK and 16-bit images are
  converted; of an animation the first frame is taken.

  Args:
    data: the file as bytes.
    background: 'white' or 'black'.
    upright: whether the EXIF orientation is applied. Intrinsics in pixels are of the image as it
      is stored.

  Returns:
    uint8 [h, w, 3].

  Raises:
    ImageError: where the data is not an image, is truncated or corrupt, or is too large.
  """
  if not data:
    raise ImageError('empty file')
  if len(data) > MAX_BYTES:
    raise ImageError(f'more than {MAX_BYTES >> 20} MiB')
  try:
    image = Image.open(io.BytesIO(data), formats=_formats())
    width, height = image.size
    if width * height > MAX_PIXELS:
      raise ImageError(f'{width} x {height} are too many pixels')
    image.load()
    return np.array(_to_rgb(_upright(image) if upright else image, background), np.uint8)
  except ImageError:
    raise
  except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
    raise ImageError('too many pixels') from error
  except Image.UnidentifiedImageError as error:
    kind = 'HEIC, which is not read: make a .png of it' if _is_heic(data) else 'not an image'
    raise ImageError(kind) from error
  except MemoryError as error:
    raise OutOfMemoryError('out of memory') from error
  except Exception as error:  # Pillow's plugins raise errors of many types.
    cause = ' '.join(str(error).split()) or type(error).__name__
    if 'truncated' in cause or 'end of file' in cause.lower():
      raise ImageError('truncated') from error
    raise ImageError(f'corrupt ({cause[:120]})') from error


def _is_heic(data):
  return data[4:8] == b'ftyp' and data[8:12] in (b'heic', b'heix', b'hevc', b'mif1', b'msf1')


@functools.cache
def _formats():
  """Those of the formats that the installed Pillow has."""
  Image.init()
  return [name for name in _FORMATS if name in Image.OPEN]


def _upright(image):
  try:
    return ImageOps.exif_transpose(image)
  except Exception:  # Corrupt EXIF data does not make the picture unusable.
    return image


def _to_rgb(image, background):
  if image.mode in ('I', 'I;16', 'I;16B', 'I;16L', 'I;16N'):
    # 65535 is white; a 32-bit image beyond that has no defined white.
    values = np.asarray(image).astype(np.int64)
    if values.min(initial=0) < 0 or values.max(initial=0) > 65535:
      raise ImageError('values beyond 16 bits')
    grey = (values * 255 + 32767) // 65535
    return Image.fromarray(grey.astype(np.uint8)).convert('RGB')
  if image.mode == 'F':
    raise ImageError('floating-point image')
  if 'A' in image.getbands() or 'a' in image.getbands() or 'transparency' in image.info:
    image = image.convert('RGBA')
    ground = Image.new('RGBA', image.size, background)  # a colour's name, which is opaque
    return Image.alpha_composite(ground, image).convert('RGB')
  return image.convert('RGB')


def crop_box(height, width, crop='centre'):
  """The square that a crop keeps.

  Args:
    height, width: size of the image in pixels.
    crop: 'centre' (the largest centred square); 'celeba' (pi-GAN's: the shorter side resized to 320
      and the middle 256 kept, which is the centred square of .8 of the shorter side, 142 pixels of
      178); a fraction of the shorter side, in (0, 1]; or 'LEFT,TOP,SIZE' in pixels.

  Returns:
    (left, top, size) in pixels.

  Raises:
    ImageError: where a box in pixels leaves the image.
    ValueError: where the crop is none of these.
  """
  crop = parse_crop(crop)
  if isinstance(crop, tuple):
    left, top, size = crop
    if left + size > width or top + size > height:
      raise ImageError(f'{width} x {height} does not hold the crop {left},{top},{size}')
    return crop
  size = max(1, round(crop * min(height, width)))
  return (width - size) // 2, (height - size) // 2, size


def default_crop(source):
  """The crop of a source by its name: pi-GAN's for TFDS's CelebA, else the centred square."""
  return 'celeba' if source.removeprefix('tfds:').startswith('celeb_a') else 'centre'


def parse_crop(crop):
  """The fraction, or the (left, top, size), that a crop's text stands for; ValueError if none."""
  text = str(crop)
  if text in _NAMED_CROPS:
    return _NAMED_CROPS[text]
  try:
    if ',' in text:
      left, top, size = (int(number) for number in text.split(','))
      if left >= 0 and top >= 0 and size > 0:
        return left, top, size
    elif 0.0 < float(text) <= 1.0:
      return float(text)
  except ValueError:
    pass
  raise ValueError(f'crop {text!r} is not centre, celeba, a fraction in (0, 1] or LEFT,TOP,SIZE')


def crop_and_resize(image, resolution, crop='centre', resize='lanczos', enlarge=False):
  """Crops a square and resizes it, by default with an antialiasing filter.

  Args:
    image: uint8 [h, w, 3].
    resolution: size wanted, in pixels.
    crop: see `crop_box`.
    resize: 'lanczos', or 'nearest': row i is the square's row ⌊i·size/resolution⌋, columns too, as
      the nearest-neighbour interpolation of pi-GAN's release.
    enlarge: whether a square smaller than the resolution is enlarged.

  Returns:
    uint8 [resolution, resolution, 3].

  Raises:
    ImageError: where the cropped square is smaller than the resolution, unless it is enlarged.
  """
  left, top, size = crop_box(*image.shape[:2], crop)
  if size < resolution and not enlarge:
    raise ImageError(f'too small ({size} pixels after the crop, {resolution} wanted)')
  square = np.ascontiguousarray(image[top : top + size, left : left + size])
  if size == resolution:
    return square
  if resize == 'nearest':
    kept = np.arange(resolution) * size // resolution
    return square[np.ix_(kept, kept)]
  resized = Image.fromarray(square).resize((resolution,) * 2, Image.Resampling.LANCZOS)
  return np.array(resized, np.uint8)


def box_downscale(image, factor):
  """Means over squares of factor x factor pixels, rounded half up, in integers.

  Integers, so that another implementation gives the same bytes.

  Args:
    image: uint8 [..., h, w, c], h and w multiples of the factor.
    factor: int.

  Returns:
    uint8 [..., h / factor, w / factor, c].
  """
  if factor == 1:
    return image
  total = np.uint32(0)
  # Strided sums: many times faster than a reduction over two short axes.
  for i in range(factor):
    for j in range(factor):
      total = total + image[..., i::factor, j::factor, :].astype(np.uint32)
  area = factor * factor
  return ((2 * total + area) // (2 * area)).astype(np.uint8)


def fit(image, resolution, crop='centre'):
  """Brings a decoded image to a resolution: exact box means where the factor is an integer.

  Args, results and errors as `crop_and_resize`.
  """
  left, top, size = crop_box(*image.shape[:2], crop)
  if size % resolution:
    return crop_and_resize(image, resolution, crop)
  return box_downscale(image[top : top + size, left : left + size], size // resolution)


def encode_ppm(image):
  """The bytes of a PPM of uint8 [h, w, 3]: uncompressed, for one process to hand to itself."""
  return b'P6 %d %d 255\n' % (image.shape[1], image.shape[0]) + image.tobytes()


def encode_png(image):
  """The bytes of a PNG of uint8 [h, w, 3]."""
  buffer = io.BytesIO()
  Image.fromarray(image).save(buffer, 'PNG')
  return buffer.getvalue()
