"""Frames per second of the viewer: what a client gets, and what the rendering alone would give.

A client that speaks viser's protocol over the loopback turns its camera sixty times a second, as a
dragging mouse does, and counts the pictures that come: rendered, encoded, sent, received.

  python -m benchmarks.viewer --pretrained=toys --sizes=64,128 --seconds=5
"""

import argparse
import math
import time

import numpy as np


class Client:
  """A viewer's client without a browser, on viser's own messages.

  Args:
    port: Of a viewer on the loopback.
    aspect: (width, height) of the canvas.
    position: Where the camera is, looking at the origin.
    fov: Vertical field of view, radians.
  """

  def __init__(self, port: int, aspect=(800, 800), position=(0.0, 0.3, 1.0), fov: float = 0.8):
    import viser
    import websocket

    self.size, self.fov = aspect, fov
    self._socket = websocket.create_connection(
      f'ws://127.0.0.1:{port}', subprotocols=[f'viser-v{viser.__version__}'], timeout=60
    )
    self.controls, self.notifications, self.pictures, self.files = {}, [], [], {}
    self._downloads, self.ground = {}, None
    self.look_from(position)

  def send(self, message) -> None:
    """Sends one of viser's messages."""
    import msgspec

    self._socket.send_binary(msgspec.msgpack.encode(message.as_serializable_dict()))

  def look_from(self, position) -> None:
    """Moves the camera, which looks at the origin."""
    from viser import _messages

    from jax3dgan import cameras
    from jax3dgan.viewer import poses

    forward = -np.asarray(position) / np.linalg.norm(position)
    right = np.cross(forward, (0, 1, 0))
    right /= np.linalg.norm(right)
    cam2world = np.eye(4)
    cam2world[:3] = np.stack([right, np.cross(forward, right), forward, position], axis=-1)
    camera = cameras.Camera(cam2world[None], np.eye(3)[None])
    wxyz = poses.to_viser(camera)[1]
    self.send(
      _messages.ViewerCameraMessage(
        wxyz=tuple(map(float, wxyz)),
        position=tuple(map(float, position)),
        fov=self.fov,
        near=0.01,
        far=1000.0,
        image_height=self.size[1],
        image_width=self.size[0],
        look_at=(0.0, 0.0, 0.0),
        up_direction=(0.0, 1.0, 0.0),
      )
    )

  def set(self, label: str, value=True) -> None:
    """Sets the control of this label; a button is pressed."""
    from viser import _messages

    self.send(_messages.GuiUpdateMessage(self.controls[label]['uuid'], {'value': value}))

  def value(self, label: str):
    """What a control says."""
    return self.controls[label]['value']

  def upload(self, label: str, name: str, data: bytes) -> None:
    """Sends a file through the upload button of this label."""
    from viser import _messages

    uuid = self.controls[label]['uuid']
    self.send(_messages.FileTransferStartUpload(uuid, name, name, 'image/png', 1, len(data)))
    self.send(_messages.FileTransferPart(uuid, name, 0, data))

  def receive(self, timeout: float = 60.0) -> None:
    """Takes in what comes next; nothing where nothing comes in time."""
    import msgspec
    import websocket
    import zstandard

    self._socket.settimeout(timeout)
    try:
      data = self._socket.recv()
    except (websocket.WebSocketTimeoutException, BlockingIOError):
      return
    compressed = int.from_bytes(data[8:16], 'little')
    inner = zstandard.ZstdDecompressor().decompress(data[16 : 16 + compressed])
    for message in msgspec.msgpack.decode(inner)['messages']:
      self._take(message)

  def _take(self, message: dict) -> None:
    kind = message['type']
    if kind == 'BackgroundImageMessage':
      self.ground = message['rgb_data']
      if self.ground is not None:
        self.pictures.append((time.perf_counter(), self.ground))
    elif kind in ('NotificationShowMessage', 'NotificationUpdateMessage'):
      self.notifications.append((message['props']['title'], message['props']['body']))
    elif kind == 'FileTransferStartDownload':
      self._downloads[message['transfer_uuid']] = (message['filename'], message['part_count'], {})
    elif kind == 'FileTransferPart':
      name, num, parts = self._downloads[message['transfer_uuid']]
      parts[message['part_index']] = message['content']
      if len(parts) == num:
        self.files[name] = b''.join(parts[i] for i in range(num))
    elif kind == 'GuiUpdateMessage':
      for control in self.controls.values():
        if control['uuid'] == message['uuid']:
          control.update(message['updates'])
    elif 'props' in message and 'uuid' in message:
      props = message['props']
      label = props.get('label', message['uuid'])
      self.controls[label] = {'uuid': message['uuid'], 'value': message.get('value'), **props}

  def wait(self, condition, seconds: float = 60.0):
    """Receives until `condition()` is true and returns its value."""
    end = time.monotonic() + seconds
    while not (value := condition()):
      assert time.monotonic() < end, 'waited in vain'
      self.receive(1.0)
    return value

  def close(self) -> None:
    """Goes."""
    self._socket.close()


def turning(client: Client, seconds: float, radius: float, elevation: float, rate: float = 60.0):
  """Turns the camera at so many messages per second; returns the times at which pictures came."""
  from jax3dgan.viewer import poses

  start = time.perf_counter()
  before, sent = len(client.pictures), 0
  while (now := time.perf_counter() - start) < seconds:
    if now * rate >= sent:
      client.look_from(poses.position(0.8 * math.sin(now), elevation, radius))
      sent += 1
    client.receive(0.002)
  return [at for at, _ in client.pictures[before:]]


def bare(model, level, num: int = 20) -> tuple[float, float]:
  """Returns the seconds of rendering alone, from a new side each time: (least by the clock, mean
  of the processor's)."""
  scene = model.prepare(model.map(model.latents([0])))
  model.render(scene, model.orbit(0.0), level.resolution, **level.overrides())
  times, before = [], time.process_time()
  for azimuth in np.linspace(-0.8, 0.8, num):
    camera = model.orbit(azimuth)
    start = time.perf_counter()
    model.render(scene, camera, level.resolution, **level.overrides())
    times.append(time.perf_counter() - start)
  return min(times), (time.process_time() - before) / num


def measure(model, level, seconds: float) -> list[float]:
  """Measures rendering alone, and what a client gets.

  Returns:
    Frames per second and seconds of the processor for each picture, of both. Frames per second are
    of the best moment (a picture; a second), as what else the machine does comes and goes.
  """
  from jax3dgan.viewer import server

  least, alone = bare(model, level)
  viewer = server.Viewer(model, port=0)
  viewer.wants_directions = False
  viewer.ladder.levels = [level]
  viewer.open()
  try:
    client = Client(viewer.port, fov=viewer.fov)
    client.wait(lambda: client.pictures)
    turning(client, 1.0, viewer.radius, model.mean_elevation)
    before = time.process_time()
    times = np.array(turning(client, seconds, viewer.radius, model.mean_elevation))
    both = (time.process_time() - before) / len(times)
    client.close()
  finally:
    viewer.close()
  in_a_second = np.searchsorted(times, times + 1.0) - np.arange(len(times))
  return [1 / least, alone, float(in_a_second.max()), both]


def main() -> None:
  """The program."""
  from jax3dgan import trained
  from jax3dgan.devices import compilation
  from jax3dgan.viewer.quality import Level

  flags = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  flags.add_argument('--pretrained', default='toys')
  flags.add_argument('--sizes', default='64,128')
  flags.add_argument('--seconds', type=float, default=5.0)
  args = flags.parse_args()
  compilation.use_cache()
  model = trained.load(pretrained=args.pretrained)
  options = model.options()
  full = (options.num_coarse, options.num_fine)
  print('| picture | samples | rendering alone | processor | what a client gets | processor |')
  print('|---|---|---|---|---|---|')
  for size in map(int, args.sizes.split(',')):
    for coarse, fine in (full, (sum(full) // 2, 0)):
      fps, alone, got, both = measure(model, Level(size, coarse, fine), args.seconds)
      cells = f'{fps:.0f} fps | {1000 * alone:.0f} ms | {got:.0f} fps | {1000 * both:.0f} ms'
      print(f'| {size}² | {coarse} + {fine} | {cells} |', flush=True)


if __name__ == '__main__':
  main()
