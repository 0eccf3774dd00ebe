"""Downloads of a client: snapshots, videos and meshes, with the record of how they were made."""

import argparse
import functools
import pathlib
import tempfile
import time

import numpy as np

from jax3dgan import cameras, json_text, viz
from jax3dgan.errors import UserError
from jax3dgan.runs import provenance
from jax3dgan.viewer import path as path_lib
from jax3dgan.viewer import pictures
from jax3dgan.viewer.identity import Identity
from jax3dgan.viewer.jobs import video_frames

FPS = 24


def connect(session, on) -> None:
  """Attaches the controls of the panel's last tab."""
  p = session.panel
  on(p.snapshot.on_click, lambda: snapshot(session))
  on(p.record.on_update, lambda: _record_switched(session))
  on(p.keyframe.on_click, lambda: _add_keyframe(session))
  on(p.clear_path.on_click, lambda: _set_path(session, [], False))
  on(p.video.on_click, lambda: video(session))
  on(p.mesh.on_click, lambda: mesh(session))
  on(p.hide_mesh.on_click, lambda: (hide_mesh(session), session.changed()))


def record(session, view, resolution: int, **more) -> dict:
  """Returns the provenance record of a view; a photo's style is part of it."""
  identity = view.identity
  about = {
    'kind': view.kind,
    'mix_seed': identity.mix_seed,
    'mix_layers': identity.mix_layers,
    'edits': dict(identity.edits),
    'camera': session.camera_of(view).label()[0],
    'look_at': view.look_at,
  }
  if identity.expression is not None:
    about['expression'] = dict(identity.expression)
  if identity.photo is not None:
    about['w'] = session.viewer.styles.photos[identity.photo]
  flags = {'seed': identity.seed, 'psi': identity.psi, 'resolution': resolution}
  args = argparse.Namespace(**{**vars(session.viewer.flags), **flags})
  return provenance.record('view', args, session.model, view=about, **more)


def identity_of(entry: dict, styles) -> Identity:
  """Returns the identity in a record; the style of a photo is added to `styles`."""
  about, flags = entry.get('view', {}), entry['flags']
  photo = None
  if 'w' in about:
    photo = -1
    styles.photos[photo] = np.float32(about['w'])
  return Identity(
    seed=flags.get('seed') or 0,
    psi=float(flags['psi']),
    mix_seed=about.get('mix_seed'),
    mix_layers=tuple(about.get('mix_layers', (0, 0))),
    edits=tuple(about.get('edits', {}).items()),
    photo=photo,
    expression=tuple(about['expression'].items()) if 'expression' in about else None,
  )


def camera_of(entry: dict):
  """Returns the camera [1] of a record, NumPy arrays; None where it has none."""
  label = entry.get('view', {}).get('camera')
  if label is None:
    return None
  camera = cameras.from_label(np.float32(label)[None])
  return cameras.Camera(np.asarray(camera.cam2world), np.asarray(camera.intrinsics))


def set_panel(session, identity: Identity, kind: str) -> None:
  """Sets the controls to the start of a session, as far as the panel's defaults differ."""
  p = session.panel
  if kind in pictures.kinds(session.model) and kind != p.show.value:
    p.show.value = kind
  if identity.mix_seed is not None:
    p.mix_seed.value, p.layers.value, p.mix.value = identity.mix_seed, identity.mix_layers, True
  p.tell(identity.expression)
  if identity.photo is not None:
    session.photo = identity.photo
    p.use_photo.visible = p.use_photo.value = True


def _name(session, identity: Identity, ending: str) -> str:
  who = 'photo' if identity.photo is not None else f'seed{identity.seed}'
  return f'{session.model.name}_{who}{ending}'


def snapshot(session) -> None:
  """Renders the view with all samples and sends it as PNG, its record inside."""
  view = session.view()
  level = session.viewer.ladder.still(view.still, view.traced_at_rest)

  def work(step):
    scene = session.viewer.styles.scene(view.identity)
    camera = session.camera_of(view)
    out = session.viewer.render(scene, camera, level, view.kind)
    step(0.9)
    picture = pictures.picture(session.model, out, view.kind, camera)
    texts = provenance.texts(record(session, view, level.resolution))
    name = _name(session, view.identity, '.png')
    session.client.send_file_download(name, viz.png_bytes(picture, texts), save_immediately=True)

  session.jobs.start('Snapshot', work)


# Paths and videos.


def record_view(session) -> None:
  """Records the camera while the user moves it."""
  if len(session.keys) < path_lib.MAX_KEYS:
    now = time.monotonic() - session.record_start
    if not session.keys or now > session.keys[-1].time:
      session.keys.append(_key(session, now))


def _key(session, now: float):
  view = session.view()
  return path_lib.Key.of(now, session.camera_of(view), view.look_at)


def _record_switched(session) -> None:
  if session.panel.record.value:
    session.record_start = time.monotonic()
    _set_path(session, [], True)
    record_view(session)
  else:
    _set_path(session, session.keys, True)


def _add_keyframe(session) -> None:
  keys = [] if session.recorded else session.keys
  _set_path(session, [*keys, _key(session, float(len(keys)))], False)


def _set_path(session, keys, recorded: bool) -> None:
  session.keys, session.recorded = keys, recorded
  if not keys:
    text = 'No views yet.'
  elif recorded:
    text = f'A recording of {keys[-1].time:.1f} s.'
  else:
    text = f'{len(keys)} keyframe{"s" if len(keys) > 1 else ""}.'
  session.panel.path.content = text


def video(session) -> None:
  """Renders the path and sends it as mp4, its record beside it."""
  view, model = session.view(), session.model
  if session.recorded:
    keys = path_lib.thinned(session.keys)
  else:
    keys = path_lib.spaced(session.keys, float(session.panel.duration.value))
  path = path_lib.spline(keys, FPS, session.viewer.radius)
  level = session.viewer.ladder.still(view.still, view.traced_at_rest)
  resolution = level.resolution

  def work(step):
    scene = session.viewer.styles.scene(view.identity)
    entry = record(session, view, resolution, fps=FPS, path=np.asarray(path.label()))
    limits = []
    render = functools.partial(session.viewer.render, scene, level=level, kind=view.kind)

    def draw(out, camera):
      if view.kind == 'depth' and not limits:
        limits.append(pictures.depth_limits(model, out))
      return pictures.picture(model, out, view.kind, camera, *limits)

    name = _name(session, view.identity, '.mp4')
    with tempfile.TemporaryDirectory() as folder:
      file = pathlib.Path(folder) / name
      viz.write_video(file, video_frames(render, path, resolution, step, draw), FPS)
      data = file.read_bytes()
    session.client.send_file_download(name, data, save_immediately=True)
    text = json_text.dumps(entry)
    session.client.send_file_download(f'{name}.json', text.encode())  # as a second download

  session.jobs.start('Video', work)


# Meshes.


def mesh(session) -> None:
  """Extracts the surface and lets viser show it instead of the picture."""
  view = session.view()
  size = int(session.panel.mesh_size.value.rstrip('³'))

  def work(step):
    from jax3dgan.meshes import meshing

    step(0.1)
    w = session.viewer.styles.w(view.identity)
    surface = meshing.extract(session.model, w, size)
    step(0.9)
    if not len(surface.faces):
      raise UserError('There is no surface at this density. Try another seed.')
    session.mesh = (view.identity, session.client.scene.add_mesh_trimesh('/mesh', surface))
    session.client.scene.set_background_image(None)
    session.panel.hide_mesh.visible = True

  session.jobs.start('Mesh', work)


def hide_mesh(session) -> None:
  """Shows the picture again."""
  if session.mesh is not None:
    _, handle = session.mesh
    session.mesh = None
    handle.remove()
    session.panel.hide_mesh.visible = False
