"""Disentanglement: does identity depend on the latent only, and not on the camera?

Latents are rendered from several cameras, and each image is embedded in a space whose distances
measure how different two objects are. All distances are squared: these are additive (identity +
view + noise), so that the noise of the embedding can be measured on real objects, which keep their
identity, and subtracted.
"""

from collections.abc import Callable

import numpy as np

from jax3dgan import viz
from jax3dgan.errors import UserError
from jax3dgan.evaluation.pose import prior_cameras
from jax3dgan.evaluation.probes import Probes
from jax3dgan.evaluation.results import Result

NUM_REAL = 64  # real objects for the floor
NO_EMBEDDING = (
  'No embedding distinguishes the objects of this data set. Pass one, or, for the toys, train the '
  'probes longer: --config.eval.probe_steps=1500.'
)


def _checked(embedded) -> np.ndarray:
  embedded = np.asarray(embedded, np.float64)
  if embedded.ndim != 3 or min(embedded.shape[:2]) < 2:
    raise UserError(
      f'Disentanglement needs embeddings [latents, views, d], two or more of each, not '
      f'{embedded.shape}. Set --config.eval.num_latents=2 or more.'
    )
  if not np.isfinite(embedded).all():
    raise UserError('An embedding is not a number. Look at the images of the generator first.')
  return embedded


def within_distance(embedded: np.ndarray) -> float:
  """Mean squared distance between two views of one latent, of embeddings [l, v, d]."""
  # 2 × the unbiased variance is the mean over all pairs.
  return float(2 * _checked(embedded).var(axis=1, ddof=1).sum(-1).mean())


def across_distance(embedded: np.ndarray) -> float:
  """Mean squared distance between two latents in the same view, of embeddings [l, v, d]."""
  return float(2 * _checked(embedded).var(axis=0, ddof=1).sum(-1).mean())


def variance_shares(embedded: np.ndarray) -> dict[str, float]:
  """Two-way analysis of variance without replication (Fisher) of embeddings [l, v, d].

  Returns:
    Shares 'latent', 'view' and 'interaction' of the variance, which sum to 1: unbiased estimates
    of the components, those below 0 set to 0. Noise of the embedding is part of the interaction.
  """
  x = _checked(embedded)
  num_latents, num_views, _ = x.shape
  mean = x.mean((0, 1))
  latent, view = x.mean(1) - mean, x.mean(0) - mean  # [l, d], [v, d]
  rest = x - mean - latent[:, None] - view
  ms_latent = num_views * (latent**2).sum() / (num_latents - 1)
  ms_view = num_latents * (view**2).sum() / (num_views - 1)
  ms_rest = (rest**2).sum() / ((num_latents - 1) * (num_views - 1))
  components = np.array(
    [(ms_latent - ms_rest) / num_views, (ms_view - ms_rest) / num_latents, ms_rest]
  ).clip(0)
  components /= max(components.sum(), 1e-300)
  return dict(zip(('latent', 'view', 'interaction'), map(float, components), strict=True))


def disentanglement(embedded: np.ndarray, real: np.ndarray | None = None) -> dict[str, float]:
  """The figures of disentanglement.

  Args:
    embedded: [l, v, d], every latent from v cameras; view i is the same camera for all latents.
    real: [l', v', d], real objects from several cameras, for the floor; None where there are none.

  Returns:
    'identity/ratio': squared distance between two views of a latent over that between two latents
      in one view: 0 if identity depends on the latent only, 1 if not at all.
    'identity/floor': the same of the real objects, the lowest value that the embedding can give.
    'identity/ratio_above_floor': the ratio after the distance between two views of a real object is
      subtracted from both distances; about 0 for a perfect generator.
    'identity/latent_share', 'identity/view_share', 'identity/interaction_share': see
      `variance_shares`.
  """
  within, across = within_distance(embedded), across_distance(embedded)
  values = {'identity/ratio': within / max(across, 1e-300)}
  if real is not None:
    noise, spread = within_distance(real), across_distance(real)
    values['identity/floor'] = noise / max(spread, 1e-300)
    # Where latents differ by no more than noise, there is no identity to keep.
    above = (within - noise) / (across - noise) if across > noise else np.nan
    values['identity/ratio_above_floor'] = float(above)
  shares = variance_shares(embedded)
  return values | {f'identity/{name}_share': share for name, share in shares.items()}


def measure(
  model,
  probes: Probes,
  num_latents: int = 64,
  seed: int = 0,
  psi: float | None = 1.0,
  say: Callable[[str], None] | None = None,
  num_views: int = 6,
) -> Result:
  """Disentanglement of a generator: latents, all from the same random cameras of the prior.

  See `pose.measure` for the arguments. Without an embedding nothing is measured.
  """
  if probes.embedding is None:
    return Result({}, skipped=NO_EMBEDDING)
  if not model.has_camera:
    return Result(
      {},
      skipped='The images have no camera to vary. evaluation.pose_direction turns them otherwise.',
    )
  if num_latents < 2:
    raise UserError('Disentanglement compares latents. Set --config.eval.num_latents=2 or more.')
  if say:
    say(f'identity: {num_latents} latents from {num_views} cameras each')
  w = np.asarray(model.map(model.latents(range(seed, seed + num_latents)), psi))
  camera, direction = prior_cameras(model, num_views, seed)
  import jax

  camera = jax.tree.map(lambda x: np.concatenate([np.asarray(x)] * num_latents), camera)
  images = viz.to_uint8(model.render(np.repeat(w, num_views, axis=0), camera).image)
  embedded = probes.embedding(images).reshape(num_latents, num_views, -1)
  real = None
  if probes.views is not None:
    azimuths = np.arctan2(direction[:, 0], direction[:, 2])
    pictures = probes.views(NUM_REAL, azimuths[None], seed)
    real = probes.embedding(pictures.reshape(-1, *pictures.shape[2:]))
    real = real.reshape(NUM_REAL, num_views, -1)
  psi = model.config.display.truncation_psi if psi is None else psi
  protocol = (
    f'{num_latents} latents from the same {num_views} cameras of the pose prior, psi {psi:g}, '
    f'seed {seed}; {probes.protocol}'
  )
  tiles = images.reshape(num_latents, num_views, *images.shape[1:])
  return Result(disentanglement(embedded, real), protocol, _sheet(tiles, embedded))


def _sheet(images: np.ndarray, embedded: np.ndarray) -> np.ndarray:
  """Latents from two cameras, and for each of the first images the nearest of the second ones."""
  shown, first, second = min(len(images), 8), 0, images.shape[1] // 2
  factor = max(64 // images.shape[2], 1)
  distance = ((embedded[:, None, first] - embedded[None, :, second]) ** 2).sum(-1)  # [l, l]
  nearest = distance.argmin(1)
  right = int((nearest == np.arange(len(images))).sum())
  rows = [
    ('latents, from one camera', images[:shown, first]),
    ('the same latents, from another camera', images[:shown, second]),
    (
      f'nearest to the first row among all latents from the other camera: the same latent for '
      f'{right} of {len(images)}',
      images[nearest[:shown], second],
    ),
  ]
  return viz.sheet([(t, viz.grid(viz.enlarge(x, factor), columns=shown)) for t, x in rows])
