"""Pictures for people: grids, depth in colours, normals, PNG files, videos."""

import io
import math
import pathlib
import subprocess
import sys
from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin

from jax3dgan import atomic, json_text
from jax3dgan.errors import UserError

# Anchors of a colour ramp from far to near; lightness grows evenly: depth reads in grey too.
_RAMP = np.array(
  [
    [25, 16, 62],
    [54, 40, 118],
    [67, 76, 148],
    [62, 114, 159],
    [62, 149, 161],
    [88, 182, 149],
    [147, 208, 124],
    [214, 226, 112],
    [255, 245, 190],
  ],
  np.float32,
)

ANIMATED = ('.mp4', '.gif', '.webp')


def to_uint8(image: np.ndarray) -> np.ndarray:
  """Returns uint8 [..., h, w, c] of a float image in [−1, 1]; NaNs become black, uint8 stays."""
  image = np.asarray(image)
  if image.dtype == np.uint8:
    return image
  image = np.nan_to_num(image.astype(np.float32), nan=-1.0)
  return np.round(np.clip((image + 1) * 127.5, 0, 255)).astype(np.uint8)


def grid(images: np.ndarray, columns: int | None = None, pad: int = 2) -> np.ndarray:
  """Lays images side by side on white.

  Args:
    images: [n, h, w, 3] uint8, or float in [−1, 1].
    columns: How many in a row; None for about as many rows as columns.
    pad: Pixels between two.

  Returns:
    uint8 [rows·h + …, columns·w + …, 3].
  """
  images = to_uint8(images)
  n, h, w, c = images.shape
  columns = columns or math.ceil(math.sqrt(n))
  rows = -(-n // columns)
  canvas = np.full((rows * (h + pad) - pad, columns * (w + pad) - pad, c), 255, np.uint8)
  for i, image in enumerate(images):
    y, x = i // columns * (h + pad), i % columns * (w + pad)
    canvas[y : y + h, x : x + w] = image
  return canvas


def colour_ramp(values: np.ndarray) -> np.ndarray:
  """Returns uint8 [..., 3]: dark violet at 0 to light yellow at 1."""
  position = np.clip(np.nan_to_num(values), 0, 1) * (len(_RAMP) - 1)
  low = np.minimum(position.astype(np.int32), len(_RAMP) - 2)
  mix = (position - low)[..., None]
  return np.round(_RAMP[low] * (1 - mix) + _RAMP[low + 1] * mix).astype(np.uint8)


def depth_range(depth: np.ndarray, opacity: np.ndarray | None = None) -> tuple[float, float]:
  """Returns the (near, far) worth showing: 2nd and 98th percentile of the solid pixels, or of all
  of them where none is solid."""
  depth = np.asarray(depth)
  finite = np.isfinite(depth)
  solid = finite & (True if opacity is None else np.asarray(opacity) > 0.5)
  if not solid.any():
    solid = finite
  if not solid.any():
    return 0.0, 1.0
  near, far = np.percentile(depth[solid], [2, 98])
  return float(near), float(max(far, near + 1e-6))


def surface_depth(depth: np.ndarray, opacity: np.ndarray) -> np.ndarray:
  """Returns the distance [..., h, w] of what is seen in a pixel, of Σ w·t and Σ w along its ray."""
  return np.asarray(depth) / np.maximum(opacity, 1e-3)


def colour_depth(
  depth: np.ndarray,
  opacity: np.ndarray | None = None,
  limits: tuple[float, float] | None = None,
) -> np.ndarray:
  """Returns depth maps in colours, near light and far dark, on white where there is nothing.

  Args:
    depth: [..., h, w] distance from the camera.
    opacity: [..., h, w] in [0, 1].
    limits: (near, far); None takes them from the maps together, so that they compare.

  Returns:
    uint8 [..., h, w, 3].
  """
  near, far = limits or depth_range(depth, opacity)
  colours = colour_ramp((far - np.asarray(depth)) / (far - near)).astype(np.float32)
  if opacity is not None:
    alpha = np.clip(np.asarray(opacity), 0, 1)[..., None]
    colours = colours * alpha + 255 * (1 - alpha)
  return np.round(colours).astype(np.uint8)


def normals_from_depth(depth: np.ndarray, fov_degrees: float | np.ndarray) -> np.ndarray:
  """Returns unit normals of the surface that a depth map shows, towards the camera.

  Args:
    depth: [..., h, w] Euclidean distance from the camera along each pixel's ray.
    fov_degrees: Full field of view of the square image, or of each [...].

  Returns:
    float32 [..., h, w, 3] in camera axes (x right, y down, z forward): a wall that faces the camera
    has (0, 0, −1).
  """
  depth = np.asarray(depth, np.float32)
  h, w = depth.shape[-2:]
  scale = np.tan(np.radians(fov_degrees) / 2)[..., None, None]
  y, x = np.meshgrid(
    (np.arange(h) + 0.5) / h * 2 - 1, (np.arange(w) + 0.5) / w * 2 - 1, indexing='ij'
  )
  x, y = x * scale, y * scale
  rays = np.stack([x, y, np.ones_like(x)], axis=-1)
  rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
  points = depth[..., None] * rays.astype(np.float32)  # [..., h, w, 3]
  across, down = np.gradient(points, axis=-2), np.gradient(points, axis=-3)
  normals = np.cross(down, across)
  return normals / np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-12)


def colour_normals(normals: np.ndarray, opacity: np.ndarray | None = None) -> np.ndarray:
  """Returns normals as colours uint8 [..., h, w, 3] (x red, up green, towards the viewer blue)."""
  colours = (np.asarray(normals) * np.array([1, -1, -1], np.float32) + 1) * 127.5
  if opacity is not None:
    alpha = np.clip(np.asarray(opacity), 0, 1)[..., None]
    colours = colours * alpha + 255 * (1 - alpha)
  return np.round(np.clip(colours, 0, 255)).astype(np.uint8)


def colour_opacity(opacity: np.ndarray) -> np.ndarray:
  """Returns opacity [..., h, w] in [0, 1] in greys, nothing is black, uint8 [..., h, w, 3]."""
  grey = np.round(np.clip(np.nan_to_num(np.asarray(opacity)), 0, 1) * 255).astype(np.uint8)
  return np.repeat(grey[..., None], 3, axis=-1)


def enlarge(images: np.ndarray, factor: int) -> np.ndarray:
  """Returns [..., h·factor, w·factor, c]: each pixel a square, nothing smoothed away."""
  return images.repeat(factor, axis=-3).repeat(factor, axis=-2)


def sheet(rows: Sequence[tuple[str, np.ndarray]], pad: int = 2, size: int = 13) -> np.ndarray:
  """Stacks grids below each other, each under its title.

  Args:
    rows: (title, uint8 [h, w, 3]) from top to bottom; an empty title takes no room.
    pad: Pixels around each.
    size: Height of the letters in pixels.

  Returns:
    uint8 [h, w, 3].
  """
  font = ImageFont.load_default(size)
  rows = [(json_text.encodable(title), image) for title, image in rows]
  widths = [max(image.shape[1], math.ceil(font.getlength(title))) for title, image in rows]
  heights = [image.shape[0] + pad + (size + 4 if title else 0) for title, image in rows]
  canvas = Image.new('RGB', (max(widths) + 2 * pad, sum(heights) + pad), 'white')
  draw, y = ImageDraw.Draw(canvas), pad
  for (title, image), height in zip(rows, heights, strict=True):
    if title:
      draw.text((pad, y), title, fill=(40, 40, 40), font=font)
    canvas.paste(Image.fromarray(image), (pad, y + height - pad - image.shape[0]))
    y += height
  return np.asarray(canvas)


def png_bytes(image: np.ndarray, texts: dict[str, str] | None = None) -> bytes:
  """Returns a PNG file's bytes of an image [h, w, 3] (uint8, or float in [−1, 1]).

  Args:
    image: The image.
    texts: Notes to keep inside the file, such as the step and the seeds.
  """
  info = PngImagePlugin.PngInfo()
  for key, value in (texts or {}).items():
    info.add_itxt(key, json_text.encodable(str(value)))
  file = io.BytesIO()
  Image.fromarray(to_uint8(image)).save(file, 'PNG', pnginfo=info, optimize=True)
  return file.getvalue()


def save_png(path, image: np.ndarray, texts: dict[str, str] | None = None) -> None:
  """Writes an image [h, w, 3] as a PNG file, whole or not at all; see `png_bytes`."""
  path, data = pathlib.Path(path), png_bytes(image, texts)
  path.parent.mkdir(parents=True, exist_ok=True)
  atomic.write(path, data)


def write_video(path, frames: Iterable[np.ndarray], fps: float = 24) -> None:
  """Writes frames as a video or an animated image, by the file's ending: .mp4, .gif or .webp.

  Args:
    path: The file.
    frames: uint8 [h, w, 3] or float in [−1, 1], all of one size; any iterable.
    fps: Frames per second.

  Raises:
    UserError: Another ending.
  """
  path = pathlib.Path(path)
  kind = path.suffix.lower()
  if kind not in ANIMATED:
    raise UserError(f'{path} does not say what to write. End it in one of {", ".join(ANIMATED)}.')
  frames = (to_uint8(frame) for frame in frames)
  writer = _write_mp4 if kind == '.mp4' else _write_animation
  path.parent.mkdir(parents=True, exist_ok=True)
  with atomic.replacing(path) as temporary:
    writer(temporary, frames, fps)


def _write_mp4(path: pathlib.Path, frames: Iterable[np.ndarray], fps: float) -> None:
  import imageio_ffmpeg

  process = None
  try:
    for frame in frames:
      # yuv420p, which every player shows, halves the colours' resolution: sizes must be even.
      frame = np.pad(frame, [(0, frame.shape[0] % 2), (0, frame.shape[1] % 2), (0, 0)], 'edge')
      if process is None:
        source = f'-f rawvideo -pix_fmt rgb24 -s {frame.shape[1]}x{frame.shape[0]} -r {fps} -i -'
        target = '-c:v libx264 -crf 18 -pix_fmt yuv420p -movflags +faststart -loglevel error -y'
        command = [imageio_ffmpeg.get_ffmpeg_exe(), *source.split(), *target.split(), str(path)]
        # Not imageio_ffmpeg's own writer: it forks with a hook, which JAX's threads do not stand.
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
      process.stdin.write(frame.tobytes())
  except BrokenPipeError:
    pass  # ffmpeg stopped; its own words come below
  finally:
    errors = process.communicate()[1].decode(errors='replace').strip() if process else ''
  if process is None:
    raise ValueError('a video needs at least one frame')
  if process.returncode:
    raise OSError(f'ffmpeg could not write {path.name}: {errors or process.returncode}')


def frame_milliseconds(kind: str, fps: float) -> float:
  """Returns how long a frame of an animated image is shown, the nearest to 1000/fps.

  A GIF counts hundredths of a second, a WebP milliseconds, in 16 and 24 bits; and browsers show
  what has less than 20 and 11 ms for 100 ms.

  Args:
    kind: '.gif' or '.webp'.
    fps: Frames per second.
  """
  unit, shortest, longest = (10, 20, 655_350) if kind == '.gif' else (1, 11, 2**24 - 1)
  wanted = 1000 / fps
  if kind == '.gif':
    wanted = unit * round(wanted / unit)
  return min(max(wanted, shortest), longest)  # times of a WebP's frames are sums that are rounded


def _write_animation(path: pathlib.Path, frames: Iterable[np.ndarray], fps: float) -> None:
  duration = frame_milliseconds(path.suffix.lower(), fps)
  if not 0.95 < duration * fps / 1000 < 1.05:
    print(
      f'{path.suffix[1:]} files cannot have {fps:g} frames per second: {1000 / duration:.3g} is '
      'the nearest. An mp4 can.',
      file=sys.stderr,
    )
  pictures = [Image.fromarray(frame) for frame in frames]
  options = {'save_all': True, 'append_images': pictures[1:], 'loop': 0, 'duration': duration}
  if path.suffix.lower() == '.gif':
    # One palette for all frames, from colours of all of them: a still ground does not flicker.
    every = max(len(pictures) // 8, 1)
    sample = np.concatenate([np.asarray(p) for p in pictures[::every]], axis=0)
    palette = Image.fromarray(sample).quantize(255, method=Image.Quantize.MEDIANCUT)
    pictures = [p.quantize(palette=palette, dither=Image.Dither.NONE) for p in pictures]
    options |= {'append_images': pictures[1:], 'disposal': 1}
  else:
    options |= {'quality': 85, 'method': 4}
  pictures[0].save(path, **options)
