"""Inversion: the style whose rendering is a given picture, as π-GAN's release searches for it.

Starting from the average style, an offset is optimised until the rendering matches the picture in
mean squared error. Noise on the style, which falls to zero, helps to escape local minima; weight
decay on the offset keeps the style near to those of training. The pose is given and fixed. The
found style can be rendered from any other side.

  from jax3dgan import inversion, trained

  model = trained.load(pretrained='toys')
  options = model.options(num_coarse=24, num_fine=0)
  camera = model.orbit(azimuth=0.0)
  found = inversion.invert(
    model.generator, model.variables, image, camera, model.average_w, jax.random.key(0), options
  )
  model.render(found.w, model.orbit(azimuth=1.0))
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jax3dgan.cameras import Camera
from jax3dgan.errors import UserError
from jax3dgan.rendering.hierarchical import Draws, RenderOptions


@dataclasses.dataclass(frozen=True)
class InversionOptions:
  """How to search; the defaults are those of π-GAN's release.

  Attributes:
    learning_rate: of Adam, multiplied by `decay` every `decay_steps` steps.
    weight_decay: added to the gradient as this times the offset (L2, not decoupled).
    noise_std: of the style at the first step; falls linearly to zero over `noise_steps` steps
      (None: over all of them).
  """

  learning_rate: float = 1e-2
  decay: float = 0.75
  decay_steps: int = 100
  weight_decay: float = 1e-4
  noise_std: float = 0.03
  noise_steps: int | None = None

  def optimizer(self) -> optax.GradientTransformation:
    """Adam with its falling learning rate."""
    rate = optax.exponential_decay(self.learning_rate, self.decay_steps, self.decay, staircase=True)
    return optax.chain(optax.add_decayed_weights(self.weight_decay), optax.adam(rate))


class InversionDraws(NamedTuple):
  """The random numbers of an inversion, n steps; None makes its part deterministic.

  Attributes:
    noise: [n, b, ...] normals, of the style's shape.
    jitter: [n, b, r, s] uniforms that place the samples along the rays.
  """

  noise: jax.Array | None = None
  jitter: jax.Array | None = None


class Inversion(NamedTuple):
  """What was found.

  Attributes:
    w: [b, ...] styles.
    losses: [n, b] mean squared errors of the images before each step, noise included.
  """

  w: jax.Array
  losses: np.ndarray


def invert(
  generator,
  variables,
  image,
  camera: Camera,
  average_w,
  key=None,
  options: RenderOptions | None = None,
  num_steps: int = 700,
  search: InversionOptions = InversionOptions(),
  draws: InversionDraws | None = None,
  callback: Callable | None = None,
) -> Inversion:
  """Finds the styles of pictures; those of a batch are independent.

  A step costs one rendering of each picture and its gradient; it is compiled once.

  Args:
    generator, variables: see `generators`.
    image: [b, h, h, 3] in [−1, 1].
    camera: where each picture was taken from, [b], or [1] for all.
    average_w: [...] the style to start from, see `generators.average_w`.
    key: of the noise and of the samples' positions along the rays; None for deterministic ones.
    options: how to render; None for 24 samples in one pass and the defaults otherwise. A trained
      model's own: `model.options(num_coarse=24, num_fine=0)`. `ray_chunk` bounds the memory.
    num_steps: n.
    search: learning rate, noise and decay.
    draws: the random numbers themselves, instead of a key.
    callback: called after each step with (step, w [b, ...] after it, image [b, h, h, 3] before it,
      loss [b]), for progress and for films of the search.

  Raises:
    UserError: shapes that do not fit, or whole-number pixels.
  """
  image, average_w = jnp.asarray(image), jnp.asarray(average_w)
  options = options or RenderOptions(image.shape[-2], num_coarse=24, num_fine=0)
  _check(image, camera, options)
  b = image.shape[0]
  camera = jax.tree.map(lambda x: jnp.broadcast_to(x, (b, *x.shape[1:])), camera)
  if search.noise_steps is None:
    search = dataclasses.replace(search, noise_steps=num_steps)
  keys = None if key is None else jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(b))
  offset = jnp.zeros((b, *average_w.shape), average_w.dtype)
  state = (offset, search.optimizer().init(offset))
  losses = []
  for i in range(num_steps):
    own = jax.tree.map(lambda x, i=i: x[i], draws)
    state, rendered, loss = _step(
      generator, options, search, variables, image, camera, average_w, state, i, keys, own
    )
    losses.append(loss)
    if callback is not None:
      callback(i, average_w + state[0], rendered, loss)
  return Inversion(average_w + state[0], np.reshape(jax.device_get(losses), (num_steps, b)))


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _step(
  generator, options, search, variables, image, camera, average_w, state, index, keys, draws
):
  """One step: (state, image rendered before it, its losses [b])."""
  offset, moments = state
  noise = render_key = None
  if draws is not None:
    noise, render_key = draws.noise, Draws(jitter=draws.jitter)
  elif keys is not None:
    keys = jax.vmap(lambda key: jax.random.split(jax.random.fold_in(key, index)))(keys)  # [b, 2]
    noise = jax.vmap(lambda key: jax.random.normal(key, offset.shape[1:], offset.dtype))(keys[:, 0])
    render_key = keys[:, 1]
  start = average_w
  if noise is not None:
    share = jnp.maximum(1 - index / search.noise_steps, 0).astype(offset.dtype)
    start = average_w + search.noise_std * share * noise

  def total(offset):
    # A sum over the batch: gradients of different pictures are independent.
    inputs = (start + offset, camera, render_key, options)
    out = generator.apply(variables, *inputs, method='synthesize')
    loss = jnp.mean((out.image - image) ** 2, axis=(1, 2, 3))
    return jnp.sum(loss), (out.image, loss)

  gradient, (rendered, loss) = jax.grad(total, has_aux=True)(offset)
  updates, moments = search.optimizer().update(gradient, moments, offset)
  return (optax.apply_updates(offset, updates), moments), rendered, loss


def _check(image, camera, options):
  r = options.resolution
  if image.ndim != 4 or image.shape[1:] != (r, r, 3):
    raise UserError(
      f'Images of shape {image.shape} are not [b, {r}, {r}, 3]. '
      'Resize them, or set the resolution of the options.'
    )
  if not jnp.issubdtype(image.dtype, jnp.floating):
    raise UserError(f'Images of {image.dtype} are not in [−1, 1]. Give image / 127.5 − 1.')
  num = camera.cam2world.shape[0] if camera.cam2world.ndim == 3 else None
  if num not in (1, len(image)):
    raise UserError(
      f'Cameras of shape {camera.cam2world.shape} do not fit {len(image)} images. '
      'Give one camera, [1, 4, 4], or one for each image.'
    )
