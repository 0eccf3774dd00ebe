"""Does moving one object of a scene change the others and the ground (GIRAFFE, Niemeyer & Geiger,
CVPR 2021, arXiv 2011.12100)?

One object is moved and turned; which pixels it covers before and afterwards the model's own
rendering says (`GIRAFFE.object_maps`), with one rendered pixel around for the neural renderer's
reach. All other pixels should stay: how much they change is the figure. Where the data are scenes
with the truth of a move (`toys.generate.scenes_truth`), the same is measured of it: 0, but for
rounding.

  objects/ground     mean absolute change, of 255, of pixels that show the ground before and after
  objects/others     the same of pixels that show other objects
  objects/moved      the same of the pixels of the moved object, for comparison
  objects/coupling   ground and others together, divided by `moved`: 0 is disentangled
  objects/…_truth    of the data's own scenes, where it is known
"""

import jax
import jax.numpy as jnp
import numpy as np

from jax3dgan import viz
from jax3dgan.evaluation import geometry3d
from jax3dgan.evaluation.results import Result
from jax3dgan.generators.giraffe_scene import needs_objects

_SHOWN = 6
_SHARE = 0.5  # of a pixel that is an object's
_TOUCHED = 0.02  # of a pixel that the moved object has any part in
_GAP = 2  # pixels around an object of the truth whose edges are smoothed


def changes(before, after, covered, others) -> dict[str, float]:
  """Mean absolute changes of colours, of 255.

  Args:
    before, after: uint8 [n, h, w, 3].
    covered: bool [n, h, w] of the moved object, before or after.
    others: bool [n, h, w] of other objects; the ground is what remains.
  """
  change = np.abs(after.astype(np.float64) - before).mean(-1)
  rest = ~covered

  def mean(mask):
    return float(change[mask].mean()) if mask.any() else float('nan')

  values = {'ground': mean(rest & ~others), 'others': mean(rest & others), 'moved': mean(covered)}
  moved = values['moved']
  return values | {'coupling': mean(rest) / moved if moved else float('nan')}


def grown(mask, pixels: int = 1):
  """A mask [n, h, w] and so many pixels around it."""
  for axis in (1, 2):
    padded = np.pad(mask, [(pixels, pixels) if i == axis else (0, 0) for i in range(3)])
    shifts = (
      np.take(padded, np.arange(i, i + mask.shape[axis]), axis) for i in range(2 * pixels + 1)
    )
    mask = np.logical_or.reduce([*shifts])
  return mask


def measure(
  model, num_latents: int = 256, seed: int = 0, psi=1.0, resolution=None, say=None
) -> Result:
  """Measures a `trained.Trained`: in each latent's scene the first object that is there moves.

  Raises:
    UserError: The model has no objects.
  """
  needs_objects(model.generator, model.name)
  rng = np.random.default_rng(seed)
  seeds = geometry3d.seeds_from(num_latents, seed)
  w = np.asarray(model.map(model.latents(seeds), psi))
  other = np.asarray(model.map(model.latents([s + 10**6 for s in seeds]), psi))
  layout = model.generator.object_layout
  poses, goals = layout.split(w)[2], layout.split(other)[2]
  first = np.argmax(poses.presence > 0, axis=1)
  moved = np.array(w)
  d = 2 * layout.latent_dim
  for i, row in enumerate(first):
    moved[i, row, d + 3 : d + 6] = goals.position[i, row]
    moved[i, row, d + 6] += rng.uniform(0.5, 2 * np.pi - 0.5)
  camera = model.orbit(0.0)
  before, after = (model.render(x, camera, resolution).image for x in (w, moved))
  if say is not None:
    say(num_latents)
  before, after = viz.to_uint8(before), viz.to_uint8(after)
  maps = [_maps(model, x, camera) for x in (w, moved)]  # [n, r, r, objects + 1]
  rows = np.arange(len(w))
  own = [x[rows, :, :, first] for x in maps]
  covered = grown(np.maximum(*own) > _TOUCHED)
  rest = [x[..., : layout.num_objects].sum(-1) - mine for x, mine in zip(maps, own, strict=True)]
  others = np.minimum(*rest) > _SHARE
  factor = before.shape[1] // covered.shape[1]
  covered, others = (np.kron(x, np.ones((factor, factor), bool)) for x in (covered, others))
  found = changes(before, after, covered, others)
  values = {f'objects/{name}': value for name, value in found.items()}
  values |= {f'objects/{name}_truth': value for name, value in _truth(model).items()}
  text = geometry3d.protocol(
    model, model.options(resolution), seeds, psi, 'frontal view', 'one object moved and turned'
  )
  return Result(values, text, _sheet(before, after, covered, values))


def _maps(model, w, camera, batch: int = 16):
  options = model.options()

  @jax.jit
  def run(variables, w):
    same = jax.tree.map(lambda x: jnp.broadcast_to(x, (len(w), *x.shape[1:])), camera)
    return model.generator.apply(variables, w, same, options, method='object_maps')

  parts = []
  for start in range(0, len(w), batch):
    chosen = np.minimum(np.arange(start, start + batch), len(w) - 1)
    parts.append(np.asarray(run(model.variables, w[chosen]))[: len(w) - start])
  return np.concatenate(parts)


def _truth(model) -> dict[str, float]:
  """`changes` of the data's own scenes; {} where their truth is not known."""
  data = model.config.data
  if data.source != 'toys' or not data.split.startswith('scenes'):
    return {}
  from jax3dgan.data import images
  from jax3dgan.data.builders.toys import generate

  examples = list(generate.examples('scenes_test', 16))
  before = np.stack([images.decode(example['image']) for example in examples])
  truths = [generate.scenes_truth(example['extras']) for example in examples]
  return of_truth(before, truths)


def of_truth(before, truths) -> dict[str, float]:
  """`changes` of scenes [n, h, w, 3] and of what `generate.scenes_truth` says of them."""
  after = np.stack([truth['moved']['image'] for truth in truths])
  numbers = [np.stack([t['objects'] for t in ts])
             for ts in (truths, [t['moved'] for t in truths])]  # fmt: skip
  covered = grown((numbers[0] == 1) | (numbers[1] == 1), _GAP)
  return changes(before, after, covered, (numbers[0] > 1) & (numbers[1] > 1))


def _sheet(before, after, covered, values):
  shown = slice(min(_SHOWN, len(before)))
  change = np.abs(after[shown].astype(int) - before[shown])
  outside = np.where(covered[shown][..., None], 0, np.minimum(4 * change, 255)).astype(np.uint8)
  title = (
    f'An object moves: the rest changes by {values["objects/coupling"]:.3f} of what it changes '
    'itself'
  )
  rows = [(title, viz.grid(before[shown], _SHOWN)), ('afterwards', viz.grid(after[shown], _SHOWN))]
  rows.append(('what changes elsewhere, four times', viz.grid(outside, _SHOWN)))
  return viz.sheet(rows)
