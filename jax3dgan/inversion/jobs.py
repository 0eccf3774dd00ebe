"""The settings of a run of `apps.invert`, from its flags, and the given cameras of its photos."""

import dataclasses
import hashlib
import json
import math
import pathlib

import jax
import numpy as np

from jax3dgan import atomic, camera_checks, cameras
from jax3dgan.cameras import Camera
from jax3dgan.data import images
from jax3dgan.errors import UserError
from jax3dgan.inversion import frames, losses, photos, poses, spaces
from jax3dgan.inversion import search as search_lib
from jax3dgan.runs import provenance

# Flags that do not change a result.
_FREE_FLAGS = (
  'input',
  'out',
  'repeat',
  'app',
  'overwrite',
  'batch',
  'recorded_weights',
  'lpips',
  'inception',
)
_FREE_FLAGS += (
  'psi',
  'workdir',
  'pretrained',
  'ema',
  'step',
)  # the hash of the weights replaces them
_SAMPLES = 12  # per ray while searching


@dataclasses.dataclass
class Job:
  """The settings that all photos of a run share."""

  model: object
  args: object
  out: pathlib.Path
  space: spaces.Space
  perceptual: losses.Perceptual
  options: search_lib.SearchOptions
  find: tuple[str, ...]
  resolution: int
  table: dict | None
  frame: object
  settings: str


def prepare(model, args, out, files, say) -> Job:
  """The job of these flags; UserError where they do not fit the model or each other."""
  if args.samples is not None and not model.has_field:
    raise UserError(f'{model.name} has no field to take samples of. Leave out --samples.')
  args.samples = args.samples or _SAMPLES
  given = args.yaw is not None
  table = None
  if model.has_camera and not given and not args.no_labels:
    table = photos.label_table(args.input, args.labels, say)
  elif given and not model.has_camera:
    raise UserError(f'{model.name} is a 2D model: its images have no camera. Leave out --yaw.')
  if table:
    for oddity in camera_checks.oddities(np.stack(list(table.values())), of_training=False):
      say(f'Warning: the labels: {oddity}')
  known = given or table is not None
  asked = args.find or ('none' if known else ','.join(poses.unknown(model, args.one_identity)))
  find = () if asked == 'none' else tuple(part.strip() for part in asked.split(','))
  unknown = [part for part in find if part not in poses.NUMBERS]
  if unknown:
    raise UserError(f'--find={asked}: cameras have no {unknown[0]!r}, but {poses.NUMBERS}.')
  perceptual = losses.choose(args.perceptual, args.lpips, args.inception)
  args.perceptual = perceptual.kind  # what `auto` chose, for the record
  space = spaces.create(model, args.space, args.seed)
  options = search_lib.SearchOptions(
    num_steps=args.steps, samples=args.samples, num_starts=args.starts
  )
  if args.learning_rate is not None:
    options = dataclasses.replace(options, learning_rate=args.learning_rate)
  resolution = args.resolution or model.resolution
  say(f'Space {spaces.described(model, space, args.space)}; perceptual loss: {perceptual.name}.')
  if not model.has_camera:
    camera = 'none, it is a 2D model'
  else:
    camera = 'given' if known else f'the best of {args.starts} sides'
    if model.generator.object_layout is not None:
      camera = 'given' if known else 'in front' if poses.objects_turn(model) else 'from all sides'
      camera += f', the objects the best of {args.starts} random poses'
    camera += f', searched: {", ".join(find)}' if find else ''
  say(f'Camera: {camera}.')
  flags = {k: v for k, v in vars(args).items() if k not in _FREE_FLAGS and not callable(v)}
  flags |= {'weights': provenance.fingerprint(model.params), 'resolution': resolution}
  flags['labels'] = (
    None if table is None else _digest(sorted((k, v.tolist()) for k, v in table.items()))
  )
  job = Job(
    model, args, out, space, perceptual, options, find, resolution, table, None, _digest(flags)
  )
  if args.fit_frame:
    if table is None:
      raise UserError('--fit-frame needs labels. Give --labels=FILE.')
    job.frame = _frame(job, files, say)
  return job


def _digest(value) -> str:
  return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def _frame(job, files, say):
  """The data set's frame in the generator's world, fitted to the first photos and kept."""

  path = job.out / 'frame.json'
  try:
    kept = json.loads(path.read_text())
    if kept['settings'] == job.settings:
      return frames.Frame(kept['yaw'], kept['mirrored'])
  except (OSError, ValueError, KeyError, TypeError):
    pass
  say('Fitting the frame of the labels to the first four photos ...')
  first, size = [], frames.search_resolution(job.model)
  for name, file in files.items():
    try:
      first.append(photos.read(name, file, size, job.args.crop, job.table, root(job)))
    except images.ImageError:
      continue  # reported later
    if len(first) == 4:
      break
  if not first:
    raise UserError(f'No photo of {job.args.input} can be used to fit a frame.')
  camera = cameras.from_label(np.stack([photo.label for photo in first]))
  camera = jax.tree.map(np.asarray, camera)
  image = np.stack([photo.image for photo in first])
  frame, _ = frames.find_frame(job.model, image, camera, resolution=size)
  job.out.mkdir(parents=True, exist_ok=True)
  about = {'settings': job.settings, 'yaw': frame.yaw, 'mirrored': frame.mirrored}
  atomic.write(path, json.dumps(about).encode())
  say(f'Frame: turned by {math.degrees(frame.yaw):.0f}°, mirrored: {frame.mirrored}.')
  return frame


def root(job) -> pathlib.Path | None:
  """The folder of the photos; None where a single one is given."""
  path = pathlib.Path(job.args.input)
  return path if path.is_dir() else None


def cameras_known(job) -> bool:
  """Whether the cameras are given, at least approximately."""
  return job.args.yaw is not None or job.table is not None or not job.model.has_camera


def start_steps(job, num: int = 1) -> int:
  """Steps of the short searches before the search of `num` photos of one object: the first photo's,
  then those for the other photos' cameras."""
  has_objects = job.model.generator.object_layout is not None
  if cameras_known(job):
    return job.options.start_steps if has_objects else 0
  return job.options.start_steps * min(num, 2)


def given_cameras(job, batch) -> Camera | None:
  """The cameras [n] that are given."""
  if job.args.yaw is not None:
    pitch = job.args.pitch
    angles = [np.radians(x) for x in (job.args.yaw, pitch) if x is not None]
    if any(len(x) not in (1, len(batch)) for x in angles):
      raise UserError(f'{len(batch)} photos need one --yaw and --pitch, or {len(batch)} of each.')
    angles = [np.broadcast_to(x, (len(batch),)) for x in angles]
    return jax.tree.map(np.asarray, job.model.orbit(*angles))
  if job.table is None:
    return None
  camera = cameras.from_label(np.stack([photo.label for photo in batch]))
  camera = jax.tree.map(np.asarray, camera)
  return camera if job.frame is None else job.frame.camera(camera)


def pictures(job, batch) -> np.ndarray:
  """The photos [n, h, w, 3], converted to the generator's world."""
  image = np.stack([photo.image for photo in batch])
  return image if job.frame is None else np.ascontiguousarray(job.frame.image(image))
