"""A generator as one file that runs without this package, for any batch, on CPU, GPU and TPU.

  from jax3dgan import export, trained

  export.write(trained.load(pretrained='toys'), 'toys.zip')
  model = export.load('toys.zip')  # or the file's own load.py, without jax3dgan

The file is a zip: `map` and `synthesize` as JAX's exported programs (StableHLO), one for each
platform, in the form that is fastest there; the weights; `about.json`, which describes their use;
and the loader, `load.py`.
"""

import dataclasses
import io
import json
import pathlib
import zipfile
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jax3dgan import atomic, cameras, json_text
from jax3dgan.errors import UserError
from jax3dgan.export import loader
from jax3dgan.export.programs import PLATFORMS, programs, require_flatbuffers, weights_of

FORMAT = 1  # of the file; increase it when older loaders cannot read it
CAMERA_CONVENTION = (
  'cam2world with OpenCV axes (x right, y down, z forward) in a world with y up; the frontal '
  'camera stands on +z and looks at the origin. Intrinsics are normalised by the size of the '
  'image: u = fx x/z + cx from 0 at the left edge to 1 at the right one.'
)


def about(
  model,
  resolution: int | None = None,
  platforms: Sequence[str] = PLATFORMS,
  psi: float | None = None,
  **overrides,
) -> dict[str, Any]:
  """Returns the description of the file: names, shapes, cameras, options, versions."""
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
      'convention': CAMERA_CONVENTION,
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
  """Writes the file atomically; the same bytes for the same model and versions.

  Args:
    model: A `trained.Trained`.
    path: The zip file.
    resolution: Pixels on a side; None for that of training.
    platforms: Of `PLATFORMS`.
    psi: The default truncation of `map`; None takes the config's.
    record: How it was made, see `runs.provenance`.
    overrides: Fields of the rendering options, such as `num_coarse`.

  Returns:
    The contents of `about.json`.
  """
  path = pathlib.Path(path)
  files, batches = programs(model, resolution, platforms, **overrides)
  facts = about(model, resolution, platforms, psi, **overrides) | {'batches': batches}
  if record is not None:
    facts['provenance'] = record
  files['weights.npz'] = _npz(weights_of(model))
  files['about.json'] = json_text.dumps(facts).encode()
  files['load.py'] = pathlib.Path(loader.__file__).read_bytes()
  path.parent.mkdir(parents=True, exist_ok=True)
  atomic.write(path, _zip(files, zipfile.ZIP_DEFLATED))
  return facts


def _zip(files: dict[str, bytes], compression: int) -> bytes:
  data = io.BytesIO()
  with zipfile.ZipFile(data, 'w') as file:
    for name, content in sorted(files.items()):
      # A fixed date: the same model gives the same bytes.
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
  """Returns the model of a file; `platform` None for that of the default backend.

  Raises:
    UserError: No such file, another kind of file, one of a newer format, or no such platform in it.
  """
  require_flatbuffers()
  path = pathlib.Path(path)
  try:
    with zipfile.ZipFile(path) as file:
      facts = json.loads(file.read('about.json'))
      there, version = facts['platforms'], facts['format']
  except (OSError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
    raise UserError(f'{path} is not a file that `jax3dgan export` wrote ({error}).') from None
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

  One picture at a time, as in the file's program for a CPU: the last bits of XLA's sums depend on
  the batch.
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
