"""The programs of an exported generator: `map` and `synthesize` as StableHLO."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jax3dgan import cameras
from jax3dgan.errors import UserError
from jax3dgan.nn import backend

PLATFORMS = ('cpu', 'cuda', 'tpu')
AVERAGE = 'average_w'  # among the weights, whose names have slashes


def programs(
  model, resolution: int | None = None, platforms: Sequence[str] = PLATFORMS, **overrides
) -> tuple[dict[str, bytes], dict[str, str]]:
  """Exports `map` and `synthesize`.

  `map`: (weights, z [b, z_dim], psi) → w [b, ...]; `synthesize`: (weights, w [b, ...], cam2world
  [b, 4, 4], intrinsics [b, 3, 3]) → {'image': [b, h, w, 3], ...}, without the cameras for a
  generator that has none. b is any number from 1.

  On a CPU the pictures are rendered one after the other, with the memory of one: the renderer does
  the same for sizes of 32² and more. On an accelerator they are rendered together, which uses it
  better, or one after the other if a generator's code needs to know the batch size.

  Args:
    model: A `trained.Trained`.
    resolution: Pixels on a side; None for that of training.
    platforms: Of `PLATFORMS`.
    overrides: Fields of the rendering options.

  Returns:
    {'map.cpu': bytes, ...} and how each platform processes a batch: {'cpu': 'one by one', ...}.

  Raises:
    UserError: An unknown platform, a wrong option, or no flatbuffers to serialise with.
  """
  require_flatbuffers()
  unknown = [name for name in platforms if name not in PLATFORMS]
  if unknown or not platforms:
    raise UserError(
      f'No platform is called {unknown[0] if unknown else ""!r}. '
      f'Choose some of {", ".join(PLATFORMS)}.'
    )
  options = model.options(resolution, **overrides)
  weights = weights_of(model)
  front = jnp.asarray(model.front.label()[0]) if model.is_conditioned else None
  structure = jax.tree.structure(model.variables)
  names = [_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(model.variables)]

  def variables(weights):
    return jax.tree.unflatten(structure, [weights[name] for name in names])

  def styles(weights, z, psi):
    label = None
    if front is not None:  # as `Trained.map` does without a label
      label = jnp.broadcast_to(front, (z.shape[0], front.shape[-1]))
    return model.compiled.map(variables(weights), z, psi, weights[AVERAGE], label)

  def together(weights, w, *camera):
    # Without a camera the generator is called as by `Trained.render`: it uses none.
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
  # A program contains the source line of each operation, with paths of this machine.
  jax.config.update('jax_traceback_in_locations_limit', 0)
  try:
    # A new function, so that JAX does not reuse the trace for another platform.
    with backend.lowering_for(platform):
      jitted = jax.jit(lambda *args: function(*args))
      return bytes(jax.export.export(jitted, platforms=(platform,))(*inputs).serialize())
  finally:
    jax.config.update('jax_traceback_in_locations_limit', limit)


def require_flatbuffers() -> None:
  try:
    import flatbuffers  # noqa: F401  jax.export serialises with it
  except ImportError:
    raise UserError(
      'Exported programs need flatbuffers: pip install jax3dgan[export], or flatbuffers alone.'
    ) from None


def _name(path) -> str:
  return jax.tree_util.keystr(path, simple=True, separator='/')


def weights_of(model) -> dict[str, np.ndarray]:
  leaves = jax.tree_util.tree_leaves_with_path(model.variables)
  return {_name(path): np.asarray(leaf) for path, leaf in leaves} | {
    AVERAGE: np.asarray(model.average_w)
  }
