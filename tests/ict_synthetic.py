"""A face model in the format of ICT Face Model Light, made of ellipsoids: for tests without it."""

import numpy as np

from jax3dgan.data import face_models

NAMES = ('eyeBlink_L', 'eyeBlink_R', 'jawOpen', 'mouthSmile_L', 'mouthSmile_R')
CENTRE, RADII = np.array([0.0, 3.0, 2.0]), np.array([8.0, 11.0, 9.0])
_EYE_RADIUS, _EYE_Z = 1.3, 9.6


def write(folder, **changes):
  """Writes the model's file into a folder; `changes` are arrays instead of its own, None for not
  one."""
  arrays = {**build(), **changes}
  np.savez(
    folder / 'ict_face_model_light.npz', **{k: v for k, v in arrays.items() if v is not None}
  )
  return str(folder)


def build():
  """The arrays of the file."""
  parts, vertices, quads = {}, [], []

  def add(name, v, q):
    first, first_quad = sum(map(len, vertices)), sum(map(len, quads))
    vertices.append(v)
    quads.append(q)
    parts[name] = (first, first + len(v) - 1, first_quad, first_quad + len(q) - 1)

  head, head_quads = _ellipsoid(CENTRE, RADII, 48, 32)
  front = head[head_quads].mean(1)[:, 2] > CENTRE[2]
  add('face', head, head_quads[front])
  add('head_neck', np.zeros((0, 3)), head_quads[~front])
  for name, z in (('mouth_socket', 4.0), ('gums_tongue', 4.5), ('teeth', 5.0)):
    square = np.array([(-1.0, -3.0, z), (1.0, -3.0, z), (1.0, -2.0, z), (-1.0, -2.0, z)])
    add(name, square, np.arange(4)[None] + sum(map(len, vertices)))
  for side, sign in (('l', 1), ('r', -1)):
    # A socket is a quad of the face from within: it shares the rim and is never seen.
    centre = np.array([3.2 * sign, 3.6, 10.2])
    nearest = np.linalg.norm(head[head_quads].mean(1) - centre, axis=1).argmin()
    add(f'eye_socket_{side}', np.zeros((0, 3)), head_quads[nearest][None, ::-1])
  for side, sign in (('l', 1), ('r', -1)):
    eye, eye_quads = _ellipsoid((3.2 * sign, 3.6, _EYE_Z), _EYE_RADIUS * np.ones(3), 24, 16)
    add(f'eyeball_{side}', eye, eye_quads + sum(map(len, vertices)))
  neutral = np.concatenate(vertices).astype(np.float32)
  identity = np.zeros((100, *neutral.shape), np.float16)
  identity[0] = 0.03 * (neutral - CENTRE)
  identity[1, :, 0] = 0.03 * neutral[:, 0]
  expression = np.zeros((len(NAMES), *neutral.shape), np.float16)
  expression[NAMES.index('jawOpen'), :, 1] = -np.clip(-2.0 - neutral[:, 1], 0, 2)
  names = list(parts)
  # Seen along z: what is in front on one unit square, what is behind on the next.
  uv = 0.5 + 0.49 * ((neutral - CENTRE) / RADII)[:, :2]
  faces = np.concatenate(quads).astype(np.int32)
  in_front = neutral[faces].mean(1)[:, 2:] > CENTRE[2]
  return dict(
    neutral=neutral,
    uv=np.concatenate([uv, uv + (1, 0)]).astype(np.float32),
    faces_uv=np.where(in_front, faces, faces + len(uv)).astype(np.int32),
    identity=identity,
    expression=expression,
    expression_names=np.array(NAMES),
    faces=faces,
    part_names=np.array(names),
    part_ranges=np.array([parts[name] for name in names], np.int32),
    landmarks68=_landmarks(head),
  )


def _ellipsoid(centre, radii, around, down):
  """Vertices [n, 3] and quads [m, 4] counter-clockwise from outside, from pole to pole."""
  theta = np.linspace(0, np.pi, down + 1)[:, None]
  phi = np.arange(around) * 2 * np.pi / around
  unit = np.stack(
    [np.sin(theta) * np.sin(phi), np.cos(theta) + 0 * phi, np.sin(theta) * np.cos(phi)], axis=-1
  )
  row, column = (x.ravel() for x in np.mgrid[:down, :around])
  after = (column + 1) % around
  corners = [(row, column), (row + 1, column), (row + 1, after), (row, after)]
  quads = np.stack([r * around + c for r, c in corners], axis=1)
  return unit.reshape(-1, 3) * radii + centre, quads


def _landmarks(head):
  """Vertices nearest to where the 68 points of a face are, seen from the front."""
  t = np.linspace(-1, 1, 17)
  jaw = [(7.2 * x, 3.5 - 11 * np.sqrt(1 - 0.95 * x * x)) for x in t]
  brow = [(-5.4 + 1.05 * k, 5.6 + 0.5 * np.sin(np.pi * k / 4)) for k in range(5)]
  nose = [(0, 3.4 - k) for k in range(4)] + [(0.6 * k, -0.8) for k in range(-2, 3)]
  eye = [(-3.2 + 1.3 * np.cos(a), 3.6 + 0.5 * np.sin(a)) for a in np.pi - np.arange(6) * np.pi / 3]
  other = [(-x, y) for x, y in (eye[3], eye[2], eye[1], eye[0], eye[5], eye[4])]
  turn = np.pi - np.arange(12) * np.pi / 6
  outer = [(2.6 * np.cos(a), -3.6 + 1.2 * np.sin(a)) for a in turn]
  inner = [(1.8 * np.cos(a), -3.6 + 0.3 * np.sin(a)) for a in np.pi - np.arange(8) * np.pi / 4]
  mirrored = [(-x, y) for x, y in brow[::-1]]
  points = np.array(jaw + brow + mirrored + nose + eye + other + outer + inner)
  distance = np.linalg.norm(head[None, :, :2] - points[:, None], axis=-1)
  return np.where(head[:, 2] > CENTRE[2], distance, np.inf).argmin(1)


def fit(config, folder) -> None:
  """Makes a config of an Exp-GAN on rendered faces one of this model, which is in the folder."""
  model = face_models.load(folder).of_region()
  config.data.source = f'ict:{folder}'
  jaw = NAMES.index('jawOpen')
  config.model.update(
    num_vertices=len(model.mean),
    num_triangles=len(model.region),
    num_expression=len(NAMES),
    expression_inputs=(jaw,),
  )
  config.expgan.expressions = (jaw, jaw + 1, jaw + 2)
  config.discriminator.expression_dim = 3
