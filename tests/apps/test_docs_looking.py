"""docs/looking.md: its commands run as they are, and make the pictures that it shows; what pictures
of docs/models.md say of themselves."""

import importlib.util
import pathlib
import re

import numpy as np
import pytest
from PIL import Image, ImageSequence

from jax3dgan import cli, trained
from jax3dgan.runs import provenance

DOCS = pathlib.Path(__file__).parents[2] / 'docs'
PAGE = (DOCS / 'looking.md').read_text(encoding='utf-8')


def script():
  spec = importlib.util.spec_from_file_location('looking', DOCS / 'make_looking_images.py')
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


SHARE = 3  # of the frames of a video, every third is rendered here


def fewer(command):
  """The command with a third of a video's frames: a closed path's frames are equally spaced."""
  if any('.webp' in word for word in command):
    command = [
      f'--frames={int(word.removeprefix("--frames=")) // SHARE}' if '--frames=' in word else word
      for word in command
    ]
  return command


@pytest.fixture(scope='module')
def made(opened, tmp_path_factory):
  """The folder in which all commands of the page ran, in their order; videos have fewer frames."""
  folder = tmp_path_factory.mktemp('looking')
  with pytest.MonkeyPatch.context() as patch:
    patch.chdir(folder)
    patch.setattr(trained, 'load', opened)
    for command in script().commands(PAGE):
      assert not cli.main(fewer(command))
  return folder


def frames(path):
  with Image.open(path) as file:
    return np.stack([np.asarray(x.convert('RGB'), int) for x in ImageSequence.Iterator(file)])


@pytest.mark.thorough
def test_every_picture_of_the_page_is_what_its_command_makes(made):
  shown = script().pictures(PAGE)
  assert len(shown) >= 7
  for name in shown:
    now, kept = frames(made / name), frames(DOCS / 'images' / 'looking' / name)
    if name.endswith('.webp'):
      # A lossy format, whose frames depend on the ones before them.
      kept, other = kept[::SHARE], kept[1::SHARE]
      assert now.shape == kept.shape, name
      difference = np.abs(now - kept).mean()
      assert difference < 2 and difference < np.abs(now - other).mean() / 2, name
    else:
      assert now.shape == kept.shape, name
      assert np.abs(now - kept).mean() < 1, name  # two compilers' sines


def test_the_pictures_are_small():
  sizes = [path.stat().st_size for path in (DOCS / 'images' / 'looking').iterdir()]
  assert sum(sizes) < 300_000
  assert {p.name for p in (DOCS / 'images' / 'looking').iterdir()} == set(script().pictures(PAGE))


@pytest.mark.thorough
def test_what_is_repeated_is_the_same(made):
  assert (made / 'again.png').read_bytes() == (made / 'mixed.png').read_bytes()
  assert frames(made / 'other.webp').shape[:2] == (4, 144)  # as many frames, of another size


@pytest.mark.thorough
def test_the_python_of_the_page(made, packaged):
  (code,) = re.findall(r'```python\n(.*?)```', PAGE, re.S)
  found = {}
  exec(code, found)
  assert found['views'].image.shape == (2, 4, 32, 32, 3) and found['between'].shape[0] == 8


def test_pictures_say_how_they_were_made():
  """Those of docs/models.md whose caption is a command of an app have its record in the file."""
  page = (DOCS / 'models.md').read_text(encoding='utf-8')
  captions = re.findall(r'\]\((images/\w+\.png)\)\n\n\*([^*]+)\*\n', page)
  made = [
    (name, *command.groups())
    for name, caption in captions
    if (command := re.search(r'`jax3dgan (\w+) --pretrained=(\w+)', caption))
  ]
  assert len(made) > 8
  for name, app, model in made:
    entry = provenance.read(DOCS / name)
    assert (entry['app'], entry['flags']['pretrained']) == (app, model), name
