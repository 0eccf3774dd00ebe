"""Pictures, videos, sliders and meshes in the output of a notebook cell, without other files.

  from jax3dgan.apps import notebooks

  notebooks.picture(image)              # a PNG
  notebooks.video('turntable.mp4')      # a file of an app
  notebooks.slider(frames, names)       # one frame at a time, chosen by hand
  notebooks.mesh(mesh, camera)          # turned with the mouse

Everything is inside the output itself, so a saved notebook shows it again without these files.
"""

import base64
import html
import io
import pathlib
from collections.abc import Sequence

import numpy as np
from PIL import Image

from jax3dgan import viz
from jax3dgan.errors import UserError

_LONGEST = 16383  # pixels on a side of a WebP picture


def _display():
  try:
    from IPython import display
  except ImportError:
    raise UserError('This shows things in a notebook. Run it in Jupyter or Colab.') from None
  return display


def picture(image: np.ndarray):
  """Returns an image [h, w, 3] (uint8, or float in [−1, 1]) as the output of a cell."""
  return _display().Image(data=viz.png_bytes(image))


def video(path, width: int | None = None):
  """Returns a file .mp4, .webp or .gif as the output of a cell, playing in a loop.

  Args:
    path: The file.
    width: Pixels on the screen; None for the video's own.
  """
  path = pathlib.Path(path)
  kind = path.suffix.lower().removeprefix('.')
  data = base64.b64encode(path.read_bytes()).decode()
  size = f' width="{width}"' if width else ''
  if kind == 'mp4':
    text = f'<video src="data:video/mp4;base64,{data}"{size} autoplay loop muted controls></video>'
  elif kind in ('webp', 'gif'):
    text = f'<img src="data:image/{kind};base64,{data}"{size}>'
  else:
    raise UserError(f'{path} is no video. Give a file that ends in .mp4, .webp or .gif.')
  return _display().HTML(text)


def slider(frames: Sequence[np.ndarray], names: Sequence[str] = (), start: int = 0, width: int = 0):
  """Returns frames as the output of a cell: a slider chooses the visible one.

  Args:
    frames: n images [h, w, 3] of one size, uint8, or float in [−1, 1].
    names: [n] what to write below each; () for nothing.
    start: The frame that is visible first.
    width: Pixels on the screen of a frame; 0 for its own, or twice or more of it where that is
      less than 256.
  """
  frames = [viz.to_uint8(frame) for frame in frames]
  if not frames or len({frame.shape for frame in frames}) > 1:
    raise UserError('A slider shows pictures of one size. Give at least one.')
  if names and len(names) != len(frames):
    raise UserError(f'{len(names)} names do not fit {len(frames)} pictures. Give one for each.')
  height, own = frames[0].shape[:2]
  if height * len(frames) > _LONGEST:
    raise UserError(
      f'A slider can show {_LONGEST // height} pictures of this size. Leave some out.'
    )
  width = width or own * max(-(-256 // own), 1)
  shown = round(height * width / own)
  # All frames in one picture, below each other; the slider moves the visible window.
  file = io.BytesIO()
  Image.fromarray(np.concatenate(frames)).save(file, 'WEBP', lossless=True, method=4)
  data = base64.b64encode(file.getvalue()).decode()
  # Handlers in the elements themselves: they work independently of the rest of the page.
  move = (
    'const p=this.parentNode,i=+this.value;'
    f'p.children[0].style.backgroundPositionY=-{shown}*i+"px";'
    'p.children[2].textContent=p.children[2].dataset.names.split("|")[i]||""'
  )
  labels = '|'.join(html.escape(name.replace('|', '/'), quote=True) for name in names)
  first = html.escape(names[start]) if names else ''
  style = (
    f'width:{width}px;height:{shown}px;background-size:{width}px {shown * len(frames)}px;'
    f'background-position:0 {-shown * start}px;image-rendering:pixelated;'
    f'background-image:url(data:image/webp;base64,{data})'
  )
  return _display().HTML(
    f'<div style="width:{width}px;font-family:sans-serif;font-size:13px">'
    f'<div style="{style}"></div>'
    f'<input type="range" min="0" max="{len(frames) - 1}" value="{start}" '
    f'style="width:100%;margin:6px 0" oninput=\'{move}\'>'
    f'<div style="text-align:center;min-height:1.4em" data-names="{labels}">{first}</div></div>'
  )


def mesh(shape, camera, height: int = 360):
  """Returns a mesh as the output of a cell, to be turned with the mouse.

  The page and its three.js come with trimesh: nothing is loaded.

  Args:
    shape: A `trimesh.Trimesh`.
    camera: One camera [1], of the first view.
    height: Pixels on the screen.
  """
  from trimesh.viewer import notebook

  scene = shape.scene()
  view = np.array(camera.cam2world[0], np.float64)
  view[:3, 1:3] *= -1  # OpenCV's axes → OpenGL's
  focal = np.asarray(camera.intrinsics, np.float64)[0, 1, 1]
  scene.camera.fov = 2 * [np.degrees(2 * np.arctan(0.5 / focal))]
  scene.camera_transform = view

  class Page:
    """Makes the material of a glTF tree non-metallic, since metals are dark without environment."""

    camera = scene.camera

    def export(self, file_type):
      return scene.export(file_type=file_type, tree_postprocessor=_make_matt)

  page = notebook.scene_to_html(Page(), escape_quotes=True)
  return _display().HTML(
    f'<div><iframe srcdoc="{page}" style="border:none;width:100%;height:{height}px"></iframe></div>'
  )


def _make_matt(tree: dict) -> None:
  material = {'pbrMetallicRoughness': {'metallicFactor': 0.0, 'roughnessFactor': 1.0}}
  tree.setdefault('materials', []).append(material)
  for item in tree['meshes']:
    for primitive in item['primitives']:
      primitive.setdefault('material', len(tree['materials']) - 1)
