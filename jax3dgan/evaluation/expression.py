"""Whether a generator's faces have the expression that they are told, against the exact truth.

The face model says where every landmark of a person with an expression is in the picture of a
camera; a network that was trained on true pictures alone (`expression_reader`) reads where they are
in the generated one. All figures stand beside the same figures of true pictures ('floor_…'): the
network's own error. Of a preset that it cannot read in true pictures there is no figure.

  expression/placement        mean |read − true| of landmarks, in distances between the outer
                              corners of the eyes
  expression/gain[/NAME]      Σ Δread·Δtrue / Σ |Δtrue|² from the neutral face: 1 obeys, 0 ignores
  expression/correlation[/NAME]   Σ Δread·Δtrue over both lengths: the way alone, not how far
  expression/wrong            mean gain on the movements of other expressions
  expression/recognised       share of movements most like the right one, of all presets
  expression/still_pixels     what landmarks that stay seem to move, root mean square
  expression/identity         squared distance of the identity that is read between expressions of a
                              person, over that between people: 0 kept, 1 another person
  expression/outside          mean change, of 255, of pixels beside the face model's region
  expression/colour_person_share, expression/colour_expression_share
                              of the variance of the region's mean colour
  expression/depth/…          of the region against the mesh, see `truth.depth_errors`
  expression/volume/depth/…   the same without the samples of the mesh, where there are such: has
                              the volume learned a face, or does it lean on the mesh
"""

import dataclasses

import jax
import numpy as np

from jax3dgan import viz
from jax3dgan.data import images as image_lib
from jax3dgan.errors import UserError
from jax3dgan.evaluation import expression_figures, identity, pose, truth
from jax3dgan.evaluation.expression_reader import Reader, measured
from jax3dgan.evaluation.results import Result
from jax3dgan.morphable import MorphableModel, maps
from jax3dgan.rendering import depth_maps
from jax3dgan.trained.expressions import Faces

NUM_PEOPLE = 64
_SHOWN = 4  # people of the sheet
_FIGURES = ('gain', 'correlation', 'wrong', 'recognised', 'still_pixels', 'placement', 'identity')
_BATCH = 64  # faces whose region is drawn at a time


def measure(
  model,
  reader: Reader,
  morphable: MorphableModel,
  num_latents: int = NUM_PEOPLE,
  seed: int = 0,
  psi: float | None = 1.0,
  say=None,
  faces: Faces | None = None,
) -> Result:
  """Measures a `trained.Trained` whose styles have codes of the reader's face model.

  Args:
    reader: of `expression_reader.train`.
    morphable: the whole face model.
    num_latents: people, each from a camera of its own.
    seed: of the first person and of the cameras.
    psi: truncation.
    say: gets the number of people done.
    faces: of the model; None makes them.

  Raises:
    UserError: see `check`.
  """
  faces = faces or Faces(model)
  check(model, morphable, num_latents)
  people = faces.of_seeds(range(seed, seed + num_latents))
  camera, _ = pose.prior_cameras(model, num_latents, seed)
  camera = jax.tree.map(np.asarray, camera)
  told = told_expressions(reader, num_latents)
  pictures = []
  for i, expression in enumerate(told):
    out = model.render(faces.styles(people, expression, psi), camera)
    pictures.append(viz.to_uint8(out.image))
    if say:
      say((i + 1) * num_latents // len(told))
  pictures = np.stack(pictures)
  true = reader.landmarks.of_each(people.identity, told, camera)
  values = of_pictures(reader, pictures, true)
  drawn = regions(morphable, people.identity, told, camera, pictures.shape[2])
  values |= beside(pictures, np.isfinite(drawn))
  values |= _geometry(model, morphable, faces, people, told, camera, psi)
  return Result(
    values,
    protocol(reader, f'{num_latents} people, a camera of the pose prior each, seed {seed}'),
    sheet(pictures, reader, values),
  )


def check(model, morphable: MorphableModel, num_latents: int) -> None:
  """UserError in one line where a model with codes cannot be measured so."""
  own, codes = model.generator.code_sizes['expression'], len(morphable.expression_basis)
  if own != codes:
    raise UserError(
      f'{model.name} has {own} weights of expression, and the face model of the data {codes}. Name '
      'the data that it was trained with (--config.data.source).'
    )
  if num_latents < 2:
    raise UserError('Expressions are compared between people. Set --config.eval.num_latents=2.')


def told_expressions(reader: Reader, num: int) -> np.ndarray:
  """float32 [1 + p, num, e]: neutral, then each preset, of so many people."""
  presets = np.stack([np.zeros_like(next(iter(reader.presets.values()))), *reader.presets.values()])
  return np.repeat(presets[:, None], num, axis=1).astype(np.float32)


def of_pictures(reader: Reader, pictures, true) -> dict[str, float]:
  """The figures of what the reader sees of pictures [1 + p, n, r, r, 3], beside those of true ones;
  see `expression_reader.measured`."""
  values, found = {}, measured(reader, pictures, true)
  for key in _FIGURES:
    for full in (key, *(f'{key}/{name}' for name in reader.readable)):
      if full in found:
        values[f'expression/{full}'] = found[full]
        values[f'expression/floor_{full}'] = reader.report[full]
  return values


def regions(morphable, people, told, camera, resolution: int) -> np.ndarray:
  """Distances [m, n, r, r] of the face model's region along rays, inf beside it, of people [n, k]
  with expressions [m, n, e] from cameras [n]."""
  region = morphable.of_region()
  m, n = told.shape[:2]
  batch = min(_BATCH, m * n)

  @jax.jit
  def draw(region, people, expression, camera):
    vertices = region.vertices(people, expression)
    return maps.perspective(region, vertices, camera, resolution).depth

  rows, out = np.tile(np.arange(n), m), []
  expression = told.reshape(m * n, -1)
  for start in range(0, m * n, batch):
    index = np.minimum(np.arange(start, start + batch), m * n - 1)  # the last one pads
    views = jax.tree.map(lambda x, index=index: x[rows[index]], camera)
    out.append(np.asarray(draw(region, people[rows[index]], expression[index], views)))
  return np.concatenate(out)[: m * n].reshape(m, n, resolution, resolution)


def beside(pictures, region) -> dict[str, float]:
  """What changes with the expression and should not: `expression/outside` and the shares."""
  shares = identity.variance_shares(expression_figures.region_colours(pictures, region))
  return {
    'expression/outside': expression_figures.outside(pictures, region),
    'expression/colour_person_share': shares['latent'],
    'expression/colour_expression_share': shares['view'],
  }


def _geometry(model, morphable, faces, people, told, camera, psi) -> dict[str, float]:
  """Depth of half of the people neutral, of the others with each preset in turn."""
  if not model.has_depth or model.generator.parallel_rays:
    return {}
  n = len(people.identity)
  which = np.where(np.arange(n) % 2, 1 + np.arange(n) // 2 % (len(told) - 1), 0)
  expression = told[which, np.arange(n)]
  styles, values = faces.styles(people, expression, psi), {}
  alone = model.generator.without_surface()
  for prefix, generator in (('', model.generator), ('volume/', alone)):
    if prefix and alone is model.generator:
      continue
    drawn = dataclasses.replace(model, generator=generator)
    out = drawn.render(styles, camera)
    distance, solid = depth_maps.surface(out, drawn.options())
    (true,) = regions(morphable, people.identity, expression[None], camera, distance.shape[1])
    mask = np.isfinite(true)
    errors = truth.depth_errors(distance, solid & mask, np.where(mask, true, 0), mask)
    solid_share = errors.pop('mask/iou')
    values |= {f'expression/{prefix}{name}': value for name, value in errors.items()}
    values[f'expression/{prefix}depth/solid_share'] = solid_share
  return values


def protocol(reader: Reader, what: str) -> str:
  """One line."""
  left_out = [name for name in reader.presets if name not in reader.readable]
  text = f'{what}; {len(reader.presets)} presets, {reader.about}, at {reader.resolution}²'
  if left_out:
    text += f'; not readable in true pictures, and not reported alone: {", ".join(left_out)}'
  return text


def sheet(pictures, reader: Reader, values) -> np.ndarray:
  """Rows of people, columns of expressions; uint8 [h, w, 3]."""
  shown = pictures[:, :_SHOWN]
  factor = shown.shape[2] // 64 if shown.shape[2] % 64 == 0 else 1
  tiles = np.swapaxes(image_lib.box_downscale(shown, max(factor, 1)), 0, 1)
  tiles = viz.enlarge(tiles.reshape(-1, *tiles.shape[2:]), max(96 // tiles.shape[2], 1))
  names = ', '.join(
    f'{name} {values[f"expression/gain/{name}"]:.2f} (of {reader.report[f"gain/{name}"]:.2f})'
    for name in reader.readable
  )
  title = 'neutral, ' + ', '.join(reader.presets)
  return viz.sheet(
    [(title, viz.grid(tiles, columns=len(pictures))), ('gain: ' + names, tiles[0][:1])]
  )
