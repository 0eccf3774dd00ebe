"""A generator with its parameters: from latents to pictures, whatever the paper."""

import dataclasses
import functools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import ml_collections
import numpy as np

from jax3dgan import cameras, generators, recipes
from jax3dgan.cameras import camera_generator
from jax3dgan.devices import ray_parallel
from jax3dgan.errors import UserError
from jax3dgan.generators.base import GROWTH
from jax3dgan.trained import batches
from jax3dgan.trained.compiled import Compiled
from jax3dgan.training import schedule

_LOOK_AROUND = math.radians(20)


@dataclasses.dataclass(eq=False)
class Trained:
  """A generator with its parameters.

  Attributes:
    config: The config of its training.
    generator: The Flax module.
    variables: {'params': its parameters (of one EMA), 'buffers': what is not trained, if any}. A
      generator that has not grown to its end gets the buffer `GROWTH` here.
    step: Steps of training behind them.
    name: What to call it: the workdir's or the pretrained model's name.
    devices: Those that share a rendering, of this process; None for all that it has (or the one of
      `jax.default_device`). For others: `dataclasses.replace(model, devices=...)`.
  """

  config: ml_collections.ConfigDict
  generator: Any
  variables: Any
  step: int
  name: str = 'generator'
  devices: Sequence[jax.Device] | None = None

  _placed = (None, None)  # variables, and their copies on the mesh

  def __post_init__(self):
    if self.variables is not None:
      self.variables = _with_growth(self.variables, self.generator, self.config, self.step)

  @property
  def params(self):
    """Its parameters."""
    return self.variables['params']

  def with_params(self, params, step: int) -> 'Trained':
    """Returns the same with other parameters; what is compiled already serves both."""
    return self.with_variables({**self.variables, 'params': params}, step)

  def with_variables(self, variables, step: int) -> 'Trained':
    """Returns the same with other variables; what is compiled already serves both."""
    other = dataclasses.replace(self, variables=variables, step=step)
    other.__dict__['compiled'] = self.compiled
    return other

  @functools.cached_property
  def compiled(self) -> Compiled:
    """The generator's compiled functions, for which variables are arguments."""
    return Compiled(self.generator, self.devices)

  @property
  def mesh(self) -> jax.sharding.Mesh:
    """The devices that share a rendering."""
    return self.compiled.mesh

  def variables_on_mesh(self):
    """The variables where a rendering reads them."""
    if self.devices is None and self.mesh.size == 1:
      return self.variables
    if self._placed[0] is not self.variables:  # once, not for every batch
      self._placed = (self.variables, ray_parallel.place(self.variables, self.mesh))
    return self._placed[1]

  @functools.cached_property
  def _stage(self) -> schedule.Stage:
    """The stage of training that the parameters are from."""
    return schedule.stage_at(schedule.stages(self.config, None), max(self.step - 1, 0))

  @property
  def resolution(self) -> int:
    """Pixels on a side at the stage of training that the parameters are from."""
    return self._stage.resolution

  @functools.cached_property
  def pose_prior(self) -> cameras.PosePrior:
    """The distribution of the cameras that it was trained with, to show them; of a learned one its
    means and deviations. To draw cameras: `prior_of`."""
    return camera_generator.summarise(self.prior_of(self.params))

  def prior_of(self, params):
    """The pose prior, given or learned, of parameters, which may be traced: see
    `camera_generator.sample_angles`."""
    return recipes.create(self.config.recipe).pose_prior(self.config, params)

  @functools.cached_property
  def yaw_half_range(self) -> float:
    """Radians to each side of the front that the pose prior covers; π is the full circle. Where all
    its cameras have one azimuth, as where it is objects that turn, some degrees: pictures are to
    show that there is space, and what is measured between views needs several."""
    return cameras.yaw_half_range(self.pose_prior) or _LOOK_AROUND

  @functools.cached_property
  def mean_elevation(self) -> float:
    """Elevation of the pose prior's middle, radians."""
    return math.pi / 2 - cameras.mean_pitch(self.pose_prior)

  @property
  def has_camera(self) -> bool:
    """Whether its images depend on the camera; those of a 2D generator do not."""
    return self.generator.uses_camera

  @property
  def has_depth(self) -> bool:
    """Whether its renderings have a depth and an opacity."""
    return self.generator.has_depth

  @property
  def has_field(self) -> bool:
    """Whether there is a field to ask (`query`)."""
    return self.generator.has_field

  def check_latents(self) -> None:
    """UserError for a single scene, where what is to be done needs latents."""
    if not self.generator.z_dim:
      raise UserError(f'{self.name} is a single scene without latents. Give a model with some.')

  def latents(self, seeds: Sequence[int]) -> np.ndarray:
    """Returns z [n, z_dim] of seeds [n]: the z of a seed depends on nothing else."""
    size = self.generator.z_dim
    rows = [np.random.default_rng(seed).standard_normal(size, np.float32) for seed in seeds]
    return np.stack(rows) if rows else np.zeros((0, size), np.float32)

  @functools.cached_property
  def average_w(self) -> jax.Array:
    """The mean style, [...] without a batch axis."""
    return self.compiled.mean(self.variables)

  @functools.cached_property
  def front(self) -> cameras.Camera:
    """The camera in front, [1]."""
    return self.orbit(0.0)

  @property
  def is_conditioned(self) -> bool:
    """Whether the mapping network is conditioned on a camera."""
    return bool(self.generator.label_dim)

  def map(self, z: np.ndarray, psi: float | None = None, label=None) -> jax.Array:
    """Returns styles w [n, ...] of latents z [n, z_dim].

    Args:
      z: Latents.
      psi: Truncation: 1 leaves w as it is, 0 gives the average; None takes the config's.
      label: [n, 25] cameras that the mapping network is conditioned on, where it is on any; None
        for the one in front, so that an identity is the same from every side.
    """
    psi = self.config.display.truncation_psi if psi is None else psi
    average = None if psi == 1 else self.average_w
    if self.is_conditioned:
      label = self.front.label() if label is None else label
      label = np.broadcast_to(np.asarray(label, np.float32), (len(z), 25))
    else:
      label = None
    return self.compiled.map(self.variables, z, psi, average, label)

  def prepare(self, w):
    """Returns what of styles w [n, ...] depends on no camera, computed once: a scene.

    A pytree with leaves [n, ...], which `render` and `query` take in place of w. For a generator
    without such a part (π-GAN: its styles are all there is) w itself.
    """
    if isinstance(w, generators.Scene) or not self.generator.prepares_scene:
      return w
    return self.compiled.prepare(self.variables, w)

  def query(self, w, points, directions=None, chunk: int = 2**16) -> tuple[np.ndarray, np.ndarray]:
    """Asks the field at points of world space, in the memory of one chunk.

    Args:
      w: [n, ...] styles or scenes (see `prepare`), or [1, ...] for the same one everywhere.
      points: [n, m, 3].
      directions: [n, m, 3] unit view directions; None looks from the front, (0, 0, −1).
      chunk: Points of each example at a time. Compiled once per chunk size.

    Returns:
      Raw density (or signed distance) [n, m] and features [n, m, c], for π-GAN colours in [0, 1].

    Raises:
      UserError: The generator has no field.
    """
    if not self.has_field:
      raise UserError(f'{self.name} has no field to ask: its generator draws images only.')
    points = np.asarray(points, np.float32)
    if directions is None:
      directions = np.broadcast_to(np.float32([0, 0, -1]), points.shape)
    directions = np.broadcast_to(np.asarray(directions, np.float32), points.shape)
    num = points.shape[1]
    if not num:  # the shapes of the result, from one extra point
      origin = np.zeros_like(points, shape=(len(points), 1, 3))
      return jax.tree.map(lambda x: x[:, :0], self.query(w, origin))
    chunk = min(chunk, num)
    parts = []
    for start in range(0, num, chunk):
      rows = np.minimum(np.arange(start, start + chunk), num - 1)  # the last point pads
      out = self.compiled.query(self.variables, w, points[:, rows], directions[:, rows])
      parts.append(jax.tree.map(lambda x, end=num - start: np.asarray(x)[:, :end], out))
    return jax.tree.map(lambda *leaves: np.concatenate(leaves, axis=1), *parts)

  def gaussians(self, w):
    """The 3D Gaussians of styles w [n, ...] or scenes, `rendering.splatting.Gaussians` of NumPy
    arrays [n, k, ...].

    Raises:
      UserError: The generator has none.
    """
    if not self.generator.has_gaussians:
      raise UserError(f'{self.name} has no Gaussians: it is a {self.config.model.name}.')
    return jax.tree.map(np.asarray, self.compiled.gaussians(self.variables, w))

  @functools.cached_property
  def w_shape(self) -> tuple[int, ...]:
    """The shape of one style w, without a batch axis."""
    z, label = np.zeros((1, self.generator.z_dim), np.float32), None
    if self.is_conditioned:
      label = np.zeros((1, 25), np.float32)
    return jax.eval_shape(self.compiled.map, self.variables, z, 1.0, None, label).shape[1:]

  def rows_are_alike(self, rows=None) -> bool:
    """Whether one style serves these rows of w, by default all: a generator of layers gives every
    layer the same. In others each row is a code of its own: of the shape and of the appearance, of
    an object, of a decoder."""
    w = np.asarray(self.map(self.latents((0, 1)), psi=1))
    w = w if rows is None else w[:, sorted(rows)]
    return bool((w == w[:, :1]).all())

  def orbit(self, azimuth, elevation=None) -> cameras.Camera:
    """Returns cameras that look at the origin as those of training do.

    Args:
      azimuth: [n] or a scalar, radians; 0 is the front, positive towards +x.
      elevation: The same, radians upwards; None for the pose prior's middle.
    """
    elevation = self.mean_elevation if elevation is None else elevation
    angles = np.broadcast_arrays(np.float32(azimuth), np.float32(elevation))
    render = self.config.render
    return _orbit(
      *map(np.atleast_1d, angles), render.radius, render.fov_degrees, tuple(render.pivot)
    )

  def options(self, resolution: int | None = None, **overrides):
    """Returns the options of rendering for people: more samples than in training."""
    resolution = resolution or self.resolution
    overrides = {'low_resolution': self._stage.options.low_resolution, **overrides}
    return generators.render_options(self.config, display=True, resolution=resolution, **overrides)

  def render(
    self,
    w: jax.Array,
    camera: cameras.Camera,
    resolution: int | None = None,
    batch: int | None = None,
    **overrides,
  ) -> generators.Rendering:
    """Renders any number of images, deterministically, in bounded memory, on all devices.

    Args:
      w: [n, ...] styles or scenes (see `prepare`), or [1, ...] for the same one from every camera.
      camera: n cameras, or one for all.
      resolution: Pixels on a side; None for that of training.
      batch: Images at a time, of all devices together; None chooses. One that the devices cannot
        share evenly is cut along its rays. Compiled once per batch, resolution and overrides.
      **overrides: Fields of the rendering options.

    Returns:
      Rendering of NumPy arrays, n images; see `generators.Rendering`.
    """
    parts = list(self.render_batches(w, camera, resolution, batch, **overrides))
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)

  def render_batches(
    self, w, camera, resolution=None, batch=None, **overrides
  ) -> Iterator[generators.Rendering]:
    """Yields the batches of `render` as they get ready."""
    return batches.render(self, w, camera, self.options(resolution, **overrides), batch)


def _with_growth(variables, generator, config, step: int):
  """The variables with the buffer `GROWTH` where a generator has sizes to come, else without it."""
  sizes = generator.resolutions
  if not sizes:
    return variables
  growth = schedule.growth(config, sizes, step)
  buffers = {k: v for k, v in variables.get('buffers', {}).items() if k != GROWTH}
  if growth < len(sizes) - 1:
    buffers[GROWTH] = np.float32(growth)
  return {**variables, 'buffers': buffers}


# Outside of a jit each small operation would be compiled on its own.
_orbit = jax.jit(cameras.orbit, static_argnums=(2, 3, 4))
