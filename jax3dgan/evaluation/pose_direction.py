"""The best linear direction of a 2D generator's latent space for turning its objects.

A generator without a camera may still have learned pose, somewhere in its latents. All the usual
methods to find it are tried, in the styles, in the styles of the coarse layers alone, and in z, and
all are compared by one score on latents that they were not fitted to, so that the baseline is as
strong as possible:

* `boundary`: the normal of a logistic regression of the sides (InterFaceGAN: Shen et al., CVPR
  2020, Sec. 3.2);
* `ridge`: linear regression of sine and cosine of the azimuth; `conditional`: the same, orthogonal
  to the directions that a regression of the identity gives (InterFaceGAN's conditional
  manipulation, Sec. 3.3); `mean`: along the mean latents of the poses;
* `component`: principal components of the styles (GANSpace: Härkönen et al., NeurIPS 2020).

Poses that go all the way round have no single direction: where the sine increases at the front, it
decreases at the back. So `ridge`, `conditional` and `mean` are tried as one direction for all, as
the `tangent` at each latent's own azimuth, as a `circle` in the plane of the two, and as a
`rotation` of the latent's projection on that plane.
"""

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np

from jax3dgan import viz
from jax3dgan.errors import UserError
from jax3dgan.evaluation import pose, turning
from jax3dgan.evaluation.identity import NO_EMBEDDING
from jax3dgan.evaluation.probes import Probes
from jax3dgan.evaluation.results import Result

NUM_FIT = 4096  # latents of the regressions
_SIGMAS = 8.0  # how far a line is followed, in standard deviations of the latents along it
_NUM_COMPONENTS = 8


@dataclasses.dataclass(eq=False)
class Space:
  """A space in which latents are moved.

  Attributes:
    name: 'w', 'w, layers 0–1' or 'z'.
    vectors: (z, w) → [n, d], the latents as vectors.
    moved: (z, w, steps [n, d]) → styles, the latents after a step.
  """

  name: str
  vectors: Callable[[np.ndarray, np.ndarray], np.ndarray]
  moved: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def spaces(model, w: np.ndarray, psi: float | None) -> list[Space]:
  """The spaces of a generator's latents; w [n, ...] are examples of its styles."""
  whole = Space('w', lambda z, w: w.reshape(len(w), -1), lambda z, w, d: w + d.reshape(w.shape))
  out = [whole]
  if w.ndim == 3 and w.shape[1] > 1 and np.allclose(w, w[:, :1]):  # one style for all layers
    for last in sorted({2, 4, w.shape[1]}):
      if last <= w.shape[1]:
        layers = (np.arange(w.shape[1]) < last)[:, None].astype(w.dtype)
        name = 'w' if last == w.shape[1] else f'w, layers 0–{last - 1}'
        out.append(
          Space(
            name, lambda z, w: w[:, 0], lambda z, w, d, m=layers: w + m * d[:, None].astype('f')
          )
        )
    out = out[1:]  # every layer with the same step is the whole
  out.append(Space('z', lambda z, w: z, lambda z, w, d: np.asarray(model.map(z + d, psi))))
  return out


@dataclasses.dataclass(eq=False)
class Direction:
  """A method to turn objects.

  Attributes:
    name: How it was found.
    space: The space of its steps.
    step: (latents [n, d] at the start, their azimuths [n] in radians, position on the grid) →
      steps [n, d].
    extent: The range of the grid is ±extent.
  """

  name: str
  space: Space
  step: Callable[[np.ndarray, np.ndarray, float], np.ndarray]
  extent: float = _SIGMAS


def ridge(x: np.ndarray, y: np.ndarray) -> np.ndarray:
  """Weights [d, k] of a linear regression of centred y [n, k] on centred x [n, d].

  The penalty is the one that predicts every fourth row best from the others.
  """
  held = np.arange(len(x)) % 4 == 3
  scale = (x**2).sum() / x.shape[1]  # mean eigenvalue of xᵀx

  def solve(x, y, penalty):
    return np.linalg.solve(x.T @ x + penalty * scale * np.eye(x.shape[1]), x.T @ y)

  penalties = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
  losses = [((x[held] @ solve(x[~held], y[~held], p) - y[held]) ** 2).sum() for p in penalties]
  return solve(x, y, penalties[int(np.argmin(losses))])


def boundary(x: np.ndarray, side: np.ndarray, steps: int = 8) -> np.ndarray:
  """Normal [d] of the logistic regression of side [n] (bool) on centred x [n, d], by Newton."""
  penalty = 1e-2 * (x**2).sum() / x.shape[1]
  weights = np.zeros(x.shape[1] + 1)
  x = np.concatenate([x, np.full((len(x), 1), x.std())], axis=1)  # the last for the offset
  for _ in range(steps):
    p = 1 / (1 + np.exp(-np.clip(x @ weights, -30, 30)))
    curvature = (x * (p * (1 - p))[:, None]).T @ x + penalty * np.eye(x.shape[1])
    weights = weights - np.linalg.solve(curvature, x.T @ (p - side) + penalty * weights)
  return weights[:-1]


def candidates(
  space: Space, x: np.ndarray, azimuth: np.ndarray, embedded: np.ndarray
) -> Iterator[Direction]:
  """All methods to turn objects in a space.

  Args:
    space: Of the directions.
    x: [n, d] latents.
    azimuth: [n] radians, read from their images.
    embedded: [n, k] their identities.
  """
  centre = x.mean(0, dtype=np.float64)
  x = x - centre
  circle = np.stack([np.sin(azimuth), np.cos(azimuth)], axis=-1)  # [n, 2]
  y, e = circle - circle.mean(0), embedded - embedded.mean(0)

  def sigma(v):  # the standard deviation of the latents along v [..., d]
    unit = v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-12)
    return unit * np.sqrt(((x @ unit.T) ** 2).mean(0))[..., None]

  def line(name, v):
    v = sigma(v[None])[0]
    return Direction(name, space, lambda x, phi, a: np.broadcast_to(a * v, x.shape))

  weights = ridge(x, y)  # [d, 2]
  nuisance = np.linalg.qr(ridge(x, e))[0]  # [d, k] orthonormal
  planes = {'ridge': weights, 'mean': x.T @ y / (y**2).sum(0)}
  if nuisance.shape[1] + 2 <= x.shape[1]:
    planes['conditional'] = weights - nuisance @ (nuisance.T @ weights)
  for name, plane in planes.items():
    for i, part in enumerate(('sine', 'cosine')):
      yield line(f'{name}, {part}', plane[:, i])

    def tangent(x, phi, a, plane=plane):
      return a * sigma(np.cos(phi)[:, None] * plane[:, 0] - np.sin(phi)[:, None] * plane[:, 1])

    # A linear reading of sine and cosine, and the smallest step that changes it; for the means the
    # step is known instead.
    inverse = np.linalg.pinv(plane).T
    reading, back = (inverse, plane) if name == 'mean' else (plane, inverse)

    def rotated(x, phi, a, reading=reading, back=back):
      now = (x - centre) @ reading  # [n, 2]
      c, s = np.cos(a), np.sin(a)
      return (now @ np.array([[c, -s], [s, c]]) - now) @ back.T

    yield Direction(f'{name}, tangent', space, tangent)
    yield Direction(f'{name}, rotation', space, rotated, np.pi)
    for gain in (1, 2, 3):

      def turned(x, phi, a, back=back, gain=gain):
        change = np.stack([np.sin(phi + a) - np.sin(phi), np.cos(phi + a) - np.cos(phi)], axis=-1)
        return gain * change @ back.T

      yield Direction(f'{name}, circle x{gain}', space, turned, np.pi)
  for i, part in enumerate(('sides', 'front and back')):
    clear = np.abs(circle[:, i]) > 0.5  # clear cases only, as in InterFaceGAN
    if 0 < (circle[clear, i] > 0).sum() < clear.sum():
      yield line(f'boundary, {part}', boundary(x[clear], circle[clear, i] > 0))
  axes = np.linalg.svd(x, full_matrices=False)[2]
  for i, axis in enumerate(axes[:_NUM_COMPONENTS]):
    yield line(f'component {i}', axis)


def traverse(
  model, probes: Probes, direction: Direction, z, w, azimuth, num_steps: int
) -> turning.Traversal:
  """Latents z [l, z_dim] with styles w [l, ...] at azimuths [l], moved along a direction."""
  grid = np.linspace(-direction.extent, direction.extent, num_steps)
  x = direction.space.vectors(z, w)
  styles = [direction.space.moved(z, w, direction.step(x, azimuth, a)) for a in grid]
  styles = np.stack(styles, axis=1).astype(np.float32)  # [l, s, ...]
  images = _images(model, styles.reshape(-1, *styles.shape[2:]))
  return turning.read(probes, grid, images.reshape(*styles.shape[:2], *images.shape[1:]))


def _images(model, w) -> np.ndarray:
  return viz.to_uint8(model.render(w, model.orbit(0.0)).image)


@dataclasses.dataclass(eq=False)
class Found:
  """The directions that were tried.

  Attributes:
    ranking: [(score, Direction)], best first.
    readable: R² with which sine and cosine of the azimuth are linear in w, on latents held out.
  """

  ranking: list[tuple[float, Direction]]
  readable: float


def find(
  model,
  probes: Probes,
  num_fit: int = NUM_FIT,
  num_scored: int = 16,
  num_steps: int = 17,
  seed: int = 0,
  psi: float | None = 1.0,
  say: Callable[[str], None] | None = None,
) -> Found:
  """Finds the best direction of a generator whose images need no camera.

  Args:
    model: A Trained.
    probes: With an embedding, of the model's resolution.
    num_fit: Latents that directions are fitted to.
    num_scored: Others, on which each is scored, see `turning.Traversal.score`.
    num_steps: Images along each direction for the score; an odd number.
    seed: Of the latents: this one and those after it.
    psi: Truncation.
    say: Called with lines of progress.
  """
  if probes.embedding is None:
    raise UserError('The score of a pose direction needs identity. Pass probes with an embedding.')
  z = model.latents(range(seed, seed + num_fit + num_scored))
  w = np.asarray(model.map(z, psi))
  if say:
    say(f'pose direction: {len(z):,} images')
  images = _images(model, w)
  azimuth, embedded = pose.azimuth(probes.direction(images)), probes.embedding(images)
  fitted, scored = slice(num_fit), slice(num_fit, None)
  ranking, readable = [], np.nan
  for space in spaces(model, w[:2], psi):
    x = space.vectors(z, w)
    if space.name == 'w':
      readable = _readable(x[fitted], azimuth[fitted])
    for direction in candidates(space, x[fitted], azimuth[fitted], embedded[fitted]):
      path = traverse(model, probes, direction, z[scored], w[scored], azimuth[scored], num_steps)
      ranking.append((path.score(), direction))
    if say:
      score, best = max((r for r in ranking if r[1].space is space), key=lambda r: r[0])
      say(f'pose direction: in {space.name}, best {best.name}, score {score:.3f}')
  ranking.sort(key=lambda r: -r[0])  # stable: among equals, the first
  return Found(ranking, readable)


def _readable(x, azimuth) -> float:
  """R² on every second row of sine and cosine, regressed on the others."""
  y = np.stack([np.sin(azimuth), np.cos(azimuth)], axis=-1)
  x = np.asarray(x, np.float64)
  fit, test = slice(0, None, 2), slice(1, None, 2)
  mx, my = x[fit].mean(0), y[fit].mean(0)
  predicted = (x[test] - mx) @ ridge(x[fit] - mx, y[fit] - my) + my
  return float(1 - ((y[test] - predicted) ** 2).sum() / ((y[test] - y[test].mean(0)) ** 2).sum())


def measure(
  model,
  probes: Probes,
  num_latents: int = 64,
  seed: int = 0,
  psi: float | None = 1.0,
  say: Callable[[str], None] | None = None,
  num_steps: int = 49,
  num_fit: int = NUM_FIT,
) -> Result:
  """How identity changes while objects turn: by the camera, or by the best direction without one.

  See `turning.Traversal.values` for the figures and `pose.measure` for the arguments.
  """
  if probes.embedding is None:
    return Result({}, skipped=NO_EMBEDDING)
  if model.has_camera:
    w = model.map(model.latents(range(seed, seed + num_latents)), psi)
    start = turning.starts(num_latents, model.yaw_half_range, seed)
    path = turning.by_camera(model, probes, w, start, turning.camera_grid(num_steps))
    how, extra = 'turned by the camera', {}
  else:
    found = find(model, probes, num_fit, seed=seed + num_latents, psi=psi, say=say)
    z = model.latents(range(seed, seed + num_latents))
    w = np.asarray(model.map(z, psi))
    azimuth = pose.azimuth(probes.direction(_images(model, w)))
    best = found.ranking[0][1]
    path = traverse(model, probes, best, z, w, azimuth, num_steps)
    how = (
      f'turned by the best of {len(found.ranking)} directions ({best.name} in {best.space.name})'
    )
    extra = {'turn/readable': found.readable}
  psi = model.config.display.truncation_psi if psi is None else psi
  protocol = f'{num_latents} latents {how}, psi {psi:g}, seed {seed}; {probes.protocol}'
  shown = (-90, -60, -30, 0, 30, 60, 90)
  factor = max(64 // path.images.shape[2], 1)
  tiles = np.concatenate([path.strip(i, shown) for i in range(min(num_latents, 4))])
  grid = viz.grid(viz.enlarge(tiles, factor), columns=len(shown))
  title = f'{how}; achieved turn {", ".join(map(str, shown))}°, white where it is not reached'
  return Result(path.values() | extra, protocol, viz.sheet([(title, grid)]))
