"""A generator as one file that runs without this package, for any batch, on CPU, GPU and TPU.

  from jax3dgan import export, trained

  export.write(trained.load(pretrained='toys'), 'toys.zip')
  model = export.load('toys.zip')  # or the file's own load.py, without jax3dgan

The file is a zip: `map` and `synthesize` as JAX's exported programs (StableHLO), one for each
platform, in the form that is best there; the weights once, beside them; what must be known to use
them, `about.json`; and the loader, `load.py`.
"""

import dataclasses
import io
import json
import os
import pathlib
import zipfile
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jax3dgan import cameras
from jax3dgan.errors import UserError
from jax3dgan.export import loader
from jax3dgan.nn import backend

PLATFORMS = ('cpu', 'cuda', 'tpu')
FORMAT = 1  # of the file; to be raised when the loader of an older one cannot read it
_AVERAGE = 'average_w'  # among the weights, whose names have slashes
_AXES = (
  'cam2world with OpenCV axes (x right, y down, z forward) in a world with y up; the frontal '
  'camera stands on +z and looks at the origin. Intrinsics are normalised by the size of the '
  'image: u = fx x/z + cx from 0 at the left edge to 1 at the right one.'
)


def programs(
  model, resolution: int | None = None, platforms: Sequence[str] = PLATFORMS, **overrides
) -> tuple[dict[str, bytes], dict[str, str]]:
  """Exports `map` and `synthesize`.

  `map`: (weights, z [b, z_dim], psi) → w [b, ...]; `synthesize`: (weights, w [b, ...], cam2world
  [b, 4, 4], intrinsics [b, 3, 3]) → {'image': [b, h, w, 3], ...}, without the cameras for a
  generator that has none. b is any number from 1.

  On a CPU the pictures are rendered one after the other, which is how the renderer tiles any of
  32² and more there, in the memory of one. On an accelerator they are rendered together, which
  keeps it busy, or one after the other where a generator's code needs to know the batch.

  Args:
    model: A `trained.Trained`.
    resolution: Pixels on a side; None for that of training.
    platforms: Of `PLATFORMS`.
    overrides: Fields of the rendering options.

  Returns:
    {'map.cpu': bytes, ...} and how each platform goes through a batch: {'cpu': 'one by one', ...}.

  Raises:
    UserError: An unknown platform, a wrong option, or no flatbuffers to serialise with.
  """
  _need_flatbuffers()
  unknown = [name for name in platforms if name not in PLATFORMS]
  if unknown or not platforms:
    raise UserError(
      f'No platform is called {unknown[0] if unknown else ""!r}. '
      f'Choose some of {", ".join(PLATFORMS)}.'
    )
  options = model.options(resolution, **overrides)
  weights = _weights(model)
  front = jnp.asarray(model.front.label()[0]) if model.is_conditioned else None
  structure = jax.tree.structure(model.variables)
  names = [_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(model.variables)]

  def variables(weights):
    return jax.tree.unflatten(structure, [weights[name] for name in names])

  def styles(weights, z, psi):
    label = None
    if front is not None:  # as `Trained.map` does without a label
      label = jnp.broadcast_to(front, (z.shape[0], front.shape[-1]))
    return model._map(variables(weights), z, psi, weights[_AVERAGE], label)

  def together(weights, w, *camera):
    # Without a camera the generator is asked as `Trained.render` does: it looks at none.
    camera = cameras.Camera(*camera) if camera else None
    inputs = (variables(weights), w, camera)
    out = model.generator.apply(*inputs, key=None, options=options, method='synthesize')
    return {key: value for key, value in vars(out).items() if value is not None}

  def one_by_one(weights, *inputs):
    def single(part):
      return together(weights, *(x[None] for x in part))

    return jax.tree.map(lambda x: x[:, 0], jax.lax.map(single, inputs))

  (b,) = jax.export.symbolic_shape('b')

  def shape(*sizes):
    return jax.ShapeDtypeStruct(sizes, np.float32)

  like = {name: jax.ShapeDtypeStruct(x.shape, x.dtype) for name, x in weights.items()}
  w = shape(b, *model.average_w.shape)
  view = (shape(b, 4, 4), shape(b, 3, 3)) if model.has_camera else ()
  files, batches = {}, {}
  for platform in platforms:
    inputs = (like, shape(b, model.generator.z_dim), shape())
    files[f'map.{platform}'] = _export(styles, platform, *inputs)
    ways = {'together': together, 'one by one': one_by_one}
    if platform == 'cpu':
      del ways['together']
    for way, function in ways.items():
      try:
        files[f'synthesize.{platform}'] = _export(function, platform, like, w, *view)
        batches[platform] = way
        break
      except jax.errors.InconclusiveDimensionOperation:
        if way == 'one by one':
          raise
  return files, batches


def _export(function, platform: str, *inputs) -> bytes:
  limit = jax.config.jax_traceback_in_locations_limit
  # A program says of each operation which line of which file it came from: paths of this machine.
  jax.config.update('jax_traceback_in_locations_limit', 0)
  try:
    # `lambda`: a function of its own, so that no trace for another platform is taken for this one.
    with backend.lowering_for(platform):
      jitted = jax.jit(lambda *args: function(*args))
      return bytes(jax.export.export(jitted, platforms=(platform,))(*inputs).serialize())
  finally:
    jax.config.update('jax_traceback_in_locations_limit', limit)


def _need_flatbuffers() -> None:
  try:
    import flatbuffers  # noqa: F401  jax.export serialises with it
  except ImportError:
    raise UserError(
      'Exported programs need flatbuffers: pip install jax3dgan[export], or flatbuffers alone.'
    ) from None


def _name(path) -> str:
  return jax.tree_util.keystr(path, simple=True, separator='/')


def _weights(model) -> dict[str, np.ndarray]:
  leaves = jax.tree_util.tree_leaves_with_path(model.variables)
  return {_name(path): np.asarray(leaf) for path, leaf in leaves} | {
    _AVERAGE: np.asarray(model.average_w)
  }


def about(
  model,
  resolution: int | None = None,
  platforms: Sequence[str] = PLATFORMS,
  psi: float | None = None,
  **overrides,
) -> dict[str, Any]:
  """Returns what must be known to use the file: names, shapes, cameras, options, versions."""
  import jax3dgan

  options = model.options(resolution, **overrides)
  like = jax.eval_shape(
    lambda variables, w, camera: model.generator.apply(
      variables, w, camera, key=None, options=options, method='synthesize'
    ),
    model.variables,
    model.average_w[None],
    model.orbit(0.0),
  )
  outputs = {k: ['b', *v.shape[1:]] for k, v in vars(like).items() if v is not None}
  camera = None
  if model.has_camera:
    render = model.config.render
    camera = {
      'convention': _AXES,
      'radius': render.radius,
      'fov_degrees': render.fov_degrees,
      'elevation': model.mean_elevation,
      'yaw_half_range': model.yaw_half_range,
      'intrinsics': np.asarray(cameras.intrinsics_from_fov(render.fov_degrees)).tolist(),
    }
  return {
    'format': FORMAT,
    'name': model.name,
    'step': int(model.step),
    'z_dim': int(model.generator.z_dim),
    'w_shape': ['b', *model.average_w.shape],
    'outputs': outputs,
    'values': 'image in [-1, 1]; depth is the distance along the ray, opacity in [0, 1]',
    'psi': float(model.config.display.truncation_psi if psi is None else psi),
    'camera': camera,
    'options': dataclasses.asdict(options),
    'platforms': list(platforms),
    'versions': {'jax': jax.__version__, 'jax3dgan': jax3dgan.__version__},
  }


def write(
  model,
  path,
  resolution: int | None = None,
  platforms: Sequence[str] = PLATFORMS,
  psi: float | None = None,
  record: dict | None = None,
  **overrides,
) -> dict[str, Any]:
  """Writes the file, whole or not at all; the same bytes for the same model and versions.

  Args:
    model: A `trained.Trained`.
    path: The zip file.
    resolution: Pixels on a side; None for that of training.
    platforms: Of `PLATFORMS`.
    psi: Truncation where `map` is given none; None takes the config's.
    record: How it was made, see `runs.provenance`.
    overrides: Fields of the rendering options, such as `num_coarse`.

  Returns:
    What `about.json` in it says.
  """
  path = pathlib.Path(path)
  files, batches = programs(model, resolution, platforms, **overrides)
  told = about(model, resolution, platforms, psi, **overrides) | {'batches': batches}
  if record is not None:
    told['provenance'] = record
  files['weights.npz'] = _npz(_weights(model))
  files['about.json'] = (json.dumps(told, indent=2, ensure_ascii=False) + '\n').encode()
  files['load.py'] = pathlib.Path(loader.__file__).read_bytes()
  path.parent.mkdir(parents=True, exist_ok=True)
  temporary = path.with_name(f'.{os.getpid()}-{path.name}')
  try:
    temporary.write_bytes(_zip(files, zipfile.ZIP_DEFLATED))
    temporary.replace(path)
  finally:
    temporary.unlink(missing_ok=True)
  return told


def _zip(files: dict[str, bytes], compression: int) -> bytes:
  data = io.BytesIO()
  with zipfile.ZipFile(data, 'w') as file:
    for name, content in sorted(files.items()):
      # A date of its own would make each file another.
      file.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content, compression)
  return data.getvalue()


def _npz(arrays: dict[str, np.ndarray]) -> bytes:
  files = {}
  for name, array in arrays.items():
    member = io.BytesIO()
    np.save(member, array, allow_pickle=False)
    files[f'{name}.npy'] = member.getvalue()
  return _zip(files, zipfile.ZIP_STORED)  # the zip around it is compressed


def load(path, platform: str | None = None) -> loader.Model:
  """Returns the model of a file; `platform` None for the one at hand.

  Raises:
    UserError: No such file, another kind of file, one of a newer format, or no such platform in it.
  """
  _need_flatbuffers()
  path = pathlib.Path(path)
  try:
    with zipfile.ZipFile(path) as file:
      told = json.loads(file.read('about.json'))
      there, version = told['platforms'], told['format']
  except (OSError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
    raise UserError(f'{path} is no file that `jax3dgan export` wrote ({error}).') from None
  if version > FORMAT:
    raise UserError(f'{path} has format {version}; this version reads up to {FORMAT}. Update it.')
  wanted = platform or {'gpu': 'cuda'}.get(jax.default_backend(), jax.default_backend())
  if wanted not in there:
    raise UserError(
      f'{path} has programs for {", ".join(there)}, not for {wanted}. Export it with --platforms.'
    )
  return loader.Model(path, platform)


def check(model, path, batch: int = 3, resolution: int | None = None, **overrides) -> float:
  """Returns the largest difference of the file's pictures and maps from those of `model.render`.

  One picture at a time, as the file's program for a CPU does it: XLA's sums, and with them the last
  bits, depend on the batch.
  """
  exported = load(path)
  z = model.latents(range(batch))
  psi = exported.about['psi']
  w = exported.map(z, psi)
  camera = model.orbit(np.linspace(-0.5, 0.5, batch))
  view = (camera.cam2world, camera.intrinsics) if model.has_camera else ()
  out = exported.synthesize(w, *view)
  expected = model.render(model.map(z, psi), camera, resolution, batch=1, **overrides)
  return max(float(np.abs(np.asarray(out[k]) - getattr(expected, k)).max()) for k in out)
