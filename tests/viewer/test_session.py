"""What a client gets for what it does, over viser's own protocol, without a browser."""

import contextlib
import io
import json
import math
import types

import imageio_ffmpeg
import jax
import numpy as np
import pytest
from PIL import Image

from benchmarks.viewer import Client
from jax3dgan import cameras, trained, viz
from jax3dgan.errors import UserError
from jax3dgan.viewer import jobs, poses

pytest.importorskip('viser', reason='viser is not installed')


def at_rest(client):
  """The last picture, once nothing changes any more: PNG, as only pictures at rest are."""
  client.wait(lambda: client.pictures and client.pictures[-1][1][:4] == b'\x89PNG')
  return np.asarray(Image.open(io.BytesIO(client.pictures[-1][1])).convert('RGB'))


def after(client, action):
  """The picture at rest that follows an action."""
  client.pictures.clear()
  action()
  return at_rest(client)


@pytest.fixture
def viewer(opened):
  return opened(seed=3)


@pytest.fixture
def connect(opened):
  """Makes clients of viewers, and closes them before those."""
  with contextlib.ExitStack() as stack:

    def make(viewer, **options):
      position, _, _ = poses.to_viser(viewer.start_camera)
      client = Client(viewer.port, position=position, fov=viewer.fov, **options)
      stack.callback(client.close)
      return client

    yield make


def test_the_picture_is_the_models(viewer, connect, lively):
  client = connect(viewer)
  picture = at_rest(client)
  w = lively.map(lively.latents([3]))
  camera = cameras.Camera(*map(np.asarray, jax.tree.leaves(viewer.start_camera)))
  expected = viz.to_uint8(lively.render(w, camera, 64).image)[0]
  # The camera went through a quaternion in double precision.
  assert picture.shape == (64, 64, 3)
  assert np.abs(picture.astype(int) - expected).max() <= 2


def test_a_moving_picture_comes_first_and_is_jpeg(viewer, connect):
  client = connect(viewer)
  at_rest(client)
  client.pictures.clear()
  client.look_from(poses.position(1.0, 0.3, viewer.radius))
  at_rest(client)
  kinds = [data[:2] for _, data in client.pictures]
  assert kinds == [b'\xff\xd8', b'\x89P']


def test_what_is_set_changes_the_picture(viewer, connect):
  client = connect(viewer, aspect=(900, 600))
  first = at_rest(client)
  assert first.shape == (64, 96, 3) and (first[:, :16] == 255).all()  # white beside the square
  pictures = [first]
  pictures.append(after(client, lambda: client.set('', 'Next')))
  client.wait(lambda: client.value('Seed') == 4)
  pictures.append(after(client, lambda: client.set('Truncation', 0.1)))
  pictures.append(after(client, lambda: client.set('Mix')))
  for kind in ('depth', 'normals', 'opacity'):
    pictures.append(after(client, lambda kind=kind: client.set('Show', kind)))
  pictures.append(
    after(client, lambda: client.look_from(poses.position(2.0, 0.3, viewer.radius / 2)))
  )
  for one, other in zip(pictures, pictures[1:], strict=False):
    assert np.abs(one.astype(int) - other).max() > 3
  # And back to what it was.
  client.set('Mix', False)
  client.set('Show', 'colour')
  client.set('Truncation', 0.7)
  client.set('', 'Previous')
  position, _, _ = poses.to_viser(viewer.start_camera)
  again = after(client, lambda: client.look_from(position))
  np.testing.assert_array_equal(again, first)


def test_outside_of_the_trained_views(viewer, connect):
  client = connect(viewer)
  at_rest(client)
  hint = [s for s in viewer.sessions.values()][0].panel.hint
  assert not hint.visible
  low, high = viewer.views.elevation
  held = after(client, lambda: client.look_from(poses.position(0.5, high + 0.6, viewer.radius)))
  assert hint.visible and 'nearest' in hint.content
  higher = after(client, lambda: client.look_from(poses.position(0.5, high + 0.9, viewer.radius)))
  assert np.abs(held.astype(int) - higher).max() <= 3  # held
  free = after(client, lambda: client.set('Trained views only', False))
  assert np.abs(free.astype(int) - held).max() > 3 and 'not trained for it' in hint.content
  after(client, lambda: client.look_from(poses.position(0.5, (low + high) / 2, viewer.radius)))
  assert not hint.visible


def test_two_clients_have_their_own(viewer, connect):
  one, other = connect(viewer), connect(viewer)
  first = at_rest(one)
  np.testing.assert_array_equal(at_rest(other), first)
  changed = after(other, lambda: other.set('Seed', 11))
  assert np.abs(changed.astype(int) - first).max() > 3
  assert one.value('Seed') == 3
  one.receive(0.3)
  np.testing.assert_array_equal(at_rest(one), first)
  assert len(viewer.sessions) == 2
  other.close()
  again = after(one, lambda: one.set('Seed', 11))
  np.testing.assert_array_equal(again, changed)
  one.wait(lambda: len(viewer.sessions) == 1 or one.receive(0.1))


def test_a_snapshot_tells_how_it_was_made(viewer, connect, lively):
  client = connect(viewer)
  at_rest(client)
  client.set('Mix')
  seen = after(client, lambda: client.look_from(poses.position(0.8, 0.3, viewer.radius * 0.7)))
  client.set('Snapshot (PNG)')
  data = client.wait(lambda: client.files.get('tiny_seed3.png'))
  image = Image.open(io.BytesIO(data))
  np.testing.assert_array_equal(np.asarray(image), seen)
  record = json.loads(image.text['jax3dgan'])
  assert record['app'] == 'view' and record['flags']['seed'] == 3
  assert record['flags']['resolution'] == 64 and record['model']['name'] == 'tiny'
  # From the record alone the same picture is made.
  from jax3dgan.viewer import identity, savings

  styles = identity.Styles(lively)
  who = savings.identity_of(record, styles)
  assert who.mix_seed == 1 and who.seed == 3
  out = lively.render(styles.w(who), savings.camera_of(record), 64)
  np.testing.assert_array_equal(viz.to_uint8(out.image)[0], seen)


def test_a_viewer_starts_as_a_snapshot_was_taken(viewer, connect, lively, tmp_path, monkeypatch):
  from jax3dgan.apps import common, view

  client = connect(viewer)
  at_rest(client)
  client.set('Mix')
  client.set('Truncation', 0.4)
  seen = after(client, lambda: client.look_from(poses.position(0.8, 0.3, viewer.radius * 0.7)))
  client.set('Snapshot (PNG)')
  file = tmp_path / 'x.png'
  file.write_bytes(client.wait(lambda: client.files.get('tiny_seed3.png')))
  # The record names no model of the package: the flag does, and brings this one.
  monkeypatch.setattr(common, 'load', lambda args: lively)
  made = []
  monkeypatch.setattr(view, '_main', lambda args: made.append(view.make(args)))
  view.main([f'--repeat={file}', '--pretrained=tiny', '--port=0'])
  again = made[0]
  assert again.start.seed == 3 and again.start.psi == pytest.approx(0.4)
  assert again.start.mix_seed == 1
  position = poses.position(0.8, 0.3, viewer.radius * 0.7)
  np.testing.assert_allclose(again.start_position, position, atol=1e-5)
  again.wants_directions = False
  again.open()
  try:
    other = Client(again.port, position=again.start_position, fov=again.fov)
    other.wait(lambda: other.controls.get('Mix', {}).get('value'))
    picture = at_rest(other)
    assert np.abs(picture.astype(int) - seen).max() <= 2
    other.close()
  finally:
    again.close()


def test_a_video_of_keyframes(viewer, connect, tmp_path):
  client = connect(viewer)
  at_rest(client)
  client.set('Make video (MP4)')
  client.wait(lambda: any('two views at least' in body for _, body in client.notifications))
  client.set('Add keyframe')
  session = next(iter(viewer.sessions.values()))
  client.wait(lambda: len(session.keys) == 1 or client.receive(0.1))
  after(client, lambda: client.look_from(poses.position(0.3, 0.3, viewer.radius)))
  client.set('Add keyframe')
  client.wait(lambda: len(session.keys) == 2 or client.receive(0.1))
  client.set('Seconds', 1)
  client.set('Make video (MP4)')
  data = client.wait(lambda: client.files.get('tiny_seed3.mp4'))
  file = tmp_path / 'x.mp4'
  file.write_bytes(data)
  frames, seconds = imageio_ffmpeg.count_frames_and_secs(str(file))
  assert frames == 25 and seconds == pytest.approx(25 / 24, abs=0.05)
  record = json.loads(client.wait(lambda: client.files.get('tiny_seed3.mp4.json')))
  assert np.shape(record['path']) == (25, 25) and record['fps'] == 24


def test_recording_while_moving(viewer, connect):
  client = connect(viewer)
  at_rest(client)
  client.set('Record')
  session = next(iter(viewer.sessions.values()))
  client.wait(lambda: session.recorded or client.receive(0.1))
  for azimuth in (0.1, 0.2, 0.3, 0.4):
    after(client, lambda a=azimuth: client.look_from(poses.position(a, 0.3, viewer.radius)))
  client.set('Record', False)
  client.wait(lambda: 'recording of' in session.panel.path.content or client.receive(0.1))
  assert len(session.keys) == 5
  azimuths = [key.azimuth for key in session.keys]
  np.testing.assert_allclose(azimuths[1:], [0.1, 0.2, 0.3, 0.4], atol=1e-5)


def photo(model, seed):
  image = model.render(model.map(model.latents([seed]), 1.0), model.orbit(0.0)).image[0]
  buffer = io.BytesIO()
  Image.fromarray(viz.to_uint8(image)).save(buffer, 'PNG')
  return buffer.getvalue()


def test_a_photo_is_inverted_while_the_viewer_stays_usable(viewer, connect, lively):
  client = connect(viewer)
  before = at_rest(client)
  client.set('Steps', 50)
  client.pictures.clear()
  client.upload('Choose a photo', 'car.png', photo(lively, 5))
  session = next(iter(viewer.sessions.values()))
  client.wait(lambda: session.photo is not None or client.receive(0.1))
  # A job is over a moment before its button is gone.
  client.wait(lambda: not session.panel.cancel.visible or client.receive(0.1), 120)
  assert session.panel.use_photo.value and not session.jobs.busy
  found = after(client, lambda: client.set('Truncation', 0.69))  # of no matter for a photo
  assert np.abs(found.astype(int) - before).max() > 3
  record_of_photo = viewer.styles.photos[session.photo]
  assert record_of_photo.shape == (1, *np.shape(lively.average_w))
  client.set('Truncation', 0.7)
  np.testing.assert_array_equal(after(client, lambda: client.set('Show it', False)), before)


def test_an_inversion_is_cancelled(viewer, connect, lively):
  client = connect(viewer)
  at_rest(client)
  client.set('Steps', 700)
  client.upload('Choose a photo', 'car.png', photo(lively, 5))
  session = next(iter(viewer.sessions.values()))
  client.wait(lambda: session.jobs.busy or client.receive(0.05))
  client.set('Snapshot (PNG)')  # one thing at a time
  client.wait(lambda: any('Wait for it, or cancel' in body for _, body in client.notifications))
  client.set('Cancel')
  client.wait(lambda: not session.jobs.busy or client.receive(0.05))
  client.set('Snapshot (PNG)')
  client.wait(lambda: client.files)


@pytest.mark.parametrize(
  'data, message',
  [(b'nothing', 'is no picture'), (b'', 'is no picture'), (bytes(21 * 2**20), 'more than 20 MiB')],
)
def test_a_bad_upload_is_a_message(viewer, connect, capfd, caplog, data, message):
  client = connect(viewer)
  at_rest(client)
  client.upload('Choose a photo', 'bad.png', data)
  client.wait(lambda: any(message in body for _, body in client.notifications))
  after(client, lambda: client.set('Seed', 8))  # it goes on
  out = capfd.readouterr()
  assert 'Traceback' not in out.err + out.out + caplog.text


def test_a_mesh_stands_for_the_picture_until_the_seed_changes(viewer, connect, monkeypatch):
  trimesh = pytest.importorskip('trimesh')
  from jax3dgan.meshes import meshing

  asked = []

  def extract(model, w, resolution, level=None):
    asked.append(resolution)
    return trimesh.creation.icosphere(radius=0.3)

  monkeypatch.setattr(meshing, 'extract', extract)
  client = connect(viewer)
  at_rest(client)
  client.set('Show mesh')
  client.wait(lambda: client.ground is None)  # no picture behind it
  assert asked == [64]
  session = next(iter(viewer.sessions.values()))
  client.wait(lambda: not session.jobs.busy or client.receive(0.05))
  client.pictures.clear()
  client.look_from(poses.position(0.3, 0.3, viewer.radius))
  client.receive(0.5)
  assert not client.pictures
  after(client, lambda: client.set('Seed', 9))
  assert session.mesh is None


class Directions:
  """Stands for `editing.Directions`."""

  names, scales = ('lighter', 'longer'), (1.0, 1.0)

  def apply(self, w, strengths, layers=None):
    return np.asarray(w) + 0.3 * sum(strengths.values())


def test_edit_sliders(opened, connect):
  viewer = opened(directions=Directions())
  client = connect(viewer)
  first = at_rest(client)
  client.wait(lambda: 'longer' in client.controls)
  edited = after(client, lambda: client.set('longer', 2.0))
  assert np.abs(edited.astype(int) - first).max() > 3
  np.testing.assert_array_equal(after(client, lambda: client.set('Clear')), first)


def test_directions_that_are_found_later(opened, connect, monkeypatch):
  import sys

  import jax3dgan

  editing = types.ModuleType('jax3dgan.editing')
  editing.pca = lambda model, seed, count: Directions()
  monkeypatch.setitem(sys.modules, 'jax3dgan.editing', editing)
  monkeypatch.setattr(jax3dgan, 'editing', editing, raising=False)
  client = connect(opened(look_for_directions=True))
  client.wait(lambda: 'longer' in client.controls)


def test_a_2d_model_has_no_camera(opened, connect):
  from jax3dgan import config as config_lib
  from jax3dgan import generators

  config = config_lib.base_config()
  config_lib.set_model(config, 'stylegan2')
  config = config_lib.tiny(config)
  generator = generators.create(config)
  params = generators.init_params(generator, jax.random.key(0))
  viewer = opened(trained.Trained(config, generator, {'params': params}, 5, 'flat'))
  client = connect(viewer)
  first = at_rest(client)
  assert first.shape == (16, 16, 3)
  assert any('2D model' in c.get('_markdown', '') for c in client.controls.values())
  client.pictures.clear()
  client.look_from(poses.position(1.0, 0.3, viewer.radius))
  client.receive(0.5)
  assert not client.pictures  # nothing to turn
  other = after(client, lambda: client.set('Seed', 4))
  assert np.abs(other.astype(int) - first).max() > 0
  assert not client.controls['Reset view']['visible'] and not client.controls['Show']['visible']


def test_a_tall_window_gets_a_wider_view(viewer, connect):
  client = connect(viewer, aspect=(400, 800))
  picture = at_rest(client)
  assert picture.shape == (128, 64, 3)
  camera = next(iter(viewer.sessions.values())).client.camera
  expected = 2 * math.atan(2 * math.tan(viewer.fov / 2))
  assert camera.fov == pytest.approx(expected, rel=1e-3)


def test_an_inversion_without_numbers_is_a_message(lively, monkeypatch):
  w = np.full((1, *np.shape(lively.average_w)), np.nan, np.float32)
  found = types.SimpleNamespace(w=w)
  monkeypatch.setattr(jobs.inversion, 'invert', lambda *args, **fields: found)
  with pytest.raises(UserError, match='not finite. Turn the view'):
    jobs.invert(lively, None, lively.front, 1, print, print)


def test_a_truncation_above_that_of_training(opened, connect):
  client = connect(opened(psi=2.0))
  client.wait(lambda: client.controls.get('Truncation', {}).get('value') == 2)
