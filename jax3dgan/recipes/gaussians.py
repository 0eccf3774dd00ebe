"""3D Gaussian splatting's recipe (Kerbl et al., SIGGRAPH 2023, arXiv 2308.04079): one scene from
photos whose cameras are known.

Whole photos are compared, by the mean absolute error and structural similarity (Eq. 7). Gaussians
are cloned, split and removed every few steps (`densification`), and at times all opacities are
lowered, so that those that are not needed stay transparent and are removed (Sec. 5.2). There is no
discriminator and no latent.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from jax3dgan import cameras
from jax3dgan.errors import UserError
from jax3dgan.generators.gaussians import GaussianSplats, logit
from jax3dgan.losses.ssim import ssim
from jax3dgan.recipes import checks, densification, initial_points
from jax3dgan.recipes.base import Inputs, Networks, Phase, Recipe, Terms
from jax3dgan.training.ranges import Range

_STATISTICS = 'densification'  # the recipe's own buffer
_AROUND = 1.1  # the scene's extent in distances of the cameras from its centre


@dataclasses.dataclass(frozen=True)
class Loss:
  """`config.loss`.

  Attributes:
    ssim: λ, the weight of 1 − SSIM; that of the mean absolute error is 1 − λ.
  """

  ssim: float = 0.2


@dataclasses.dataclass(frozen=True)
class Own:
  """`config.gaussians`. The defaults are the paper's.

  Lengths of the scene are shares of its extent, 1.1 times `render.radius`. Learning rates are
  multiplied by `optimizer.lr_generator`.

  Attributes:
    points: file .npy of points [m, 3] in the library's world, with colours in [0, 1] [m, 6], where
      the Gaussians are at first; '' for random ones (`model.num_points`).
    position_rate, position_rate_end, position_steps: learning rate of positions, in extents; it
      falls exponentially to its end in so many steps.
    scale_rate, rotation_rate, opacity_rate, colour_rate, harmonics_rate: of the other parameters;
      colours are the harmonics of degree 0, `harmonics` those above.
    degree_every: steps after which the next degree of the harmonics is used.
    densify_every, densify_from, densify_until: Gaussians are cloned, split and removed every so
      many steps, from one step on and before another; until 0 for never.
    gradient: see `densification.Thresholds`, half image widths.
    large, too_large: see there, in extents.
    least_opacity: see there.
    reset_every: opacities are lowered to `reset_opacity` every so many steps as long as Gaussians
      are cloned and split; 0 for never.
    reset_opacity: what they are lowered to.
  """

  points: str = ''
  position_rate: float = 1.6e-4
  position_rate_end: float = 1.6e-6
  position_steps: int = 30_000
  scale_rate: float = 5e-3
  rotation_rate: float = 1e-3
  opacity_rate: float = 5e-2
  colour_rate: float = 2.5e-3
  harmonics_rate: float = 1.25e-4
  degree_every: int = 1000
  densify_every: int = 100
  densify_from: int = 500
  densify_until: int = 15_000
  gradient: float = 2e-4
  large: float = 0.01
  too_large: float = 0.1
  least_opacity: float = 0.005
  reset_every: int = 3000
  reset_opacity: float = 0.01


_POSITIVE = Range(0, above=True)
RANGES = {
  'loss.ssim': Range(0, 1),
  **{
    f'gaussians.{name}': _POSITIVE
    for name in ('position_rate', 'position_rate_end', 'gradient', 'large', 'too_large')
  },
  **{
    f'gaussians.{name}_rate': Range(0)
    for name in ('scale', 'rotation', 'opacity', 'colour', 'harmonics')
  },
  **{f'gaussians.{name}': Range(1) for name in ('position_steps', 'degree_every', 'densify_every')},
  'gaussians.densify_from': Range(0),
  'gaussians.densify_until': Range(0, note='0 for never'),
  'gaussians.least_opacity': Range(0, 1, below=True),
  'gaussians.reset_every': Range(0, note='0 for never'),
  'gaussians.reset_opacity': Range(0, 1, above=True, below=True),
}


class Gaussians(Recipe):
  """See the module."""

  groups = {'loss': Loss, 'gaussians': Own}
  defaults = {
    'batch_size': 1,
    'data': dict(use_labels=True),
    'render': dict(near=2.0, far=6.0, white_back=True, align_corners=False),
    'display': dict(truncation_psi=1.0),
    'optimizer': dict(lr_generator=1.0, beta1=0.9, beta2=0.999, epsilon=1e-15, grad_clip=0.0),
    'ema': dict(rates=(0.0,), display_rate=0.0),
    'eval': dict(metrics='held_out'),
  }
  model = 'gaussians'
  discriminator = 'none'
  uses_labels = True
  needs_labels = True
  of_weights = {
    'model.sh_degree': ('gaussians.degree_every', 'gaussians.harmonics_rate'),
    'gaussians.densify_until': tuple(
      f'gaussians.{name}'
      for name in (
        *('densify_every', 'densify_from', 'gradient', 'large', 'too_large', 'least_opacity'),
        *('reset_every', 'reset_opacity'),
      )
    ),
    'gaussians.reset_every': ('gaussians.reset_opacity',),
  }

  def check(self, config, generator, discriminator):
    """See `Recipe.check`."""
    checks.labels(config, uses=True, needs=True)
    checks.no_discriminator(config, discriminator)
    if not isinstance(generator, GaussianSplats):
      raise UserError(
        f"The recipe '{config.recipe}' clones, splits and removes the Gaussians of one scene, and "
        f"'{config.model.name}' is another kind of model. Take the model 'gaussians', see "
        'config.set_model.'
      )
    checks.rendering(config, generator)
    checks.in_ranges(config, RANGES)
    checks.not_mirrored(config)
    initial_points.check(config)

  def check_data(self, config, dataset):
    """See `Recipe.check_data`: the same background."""
    if dataset.scene:
      checks.background(config, dataset)

  def init_networks(self, config, generator, discriminator, keys) -> Networks:
    """See `Recipe.init_networks`; with what densification gathers: means over a batch's images,
    summed over steps, of the norms of the gradients of places on the image, and of whether there
    are any, [n]."""
    networks = super().init_networks(config, generator, discriminator, keys)
    zeros = {name: jnp.zeros(generator.capacity) for name in ('gradients', 'counts')}
    return networks._replace(buffers={**networks.buffers, _STATISTICS: zeros})

  def warm_up(self, config, generator, networks, given, report, say=print):
    """Points of a file, where `config.gaussians.points` names one."""
    del generator, given, report, say
    if not config.gaussians.points:
      return networks
    points = initial_points.read(config.gaussians.points)
    params, alive = initial_points.fill(networks.params['generator'], points)
    own = {**networks.buffers['generator'], 'alive': alive}
    return Networks(
      {**networks.params, 'generator': params}, {**networks.buffers, 'generator': own}
    )

  def draw(self, keys, phase, config, generator, photos, now, buffers) -> Inputs:
    """The photos and their cameras: nothing is random."""
    del keys, phase, config, now, buffers
    b = photos.image.shape[0]
    return Inputs(
      z=jnp.zeros((b, generator.z_dim)),
      camera=cameras.from_label(photos.label),
      images=photos.image,
    )

  def phases(self, config, generator, discriminator, stage):
    """One: the photometric error, with the gradients of places on the image."""
    del discriminator
    own, options = config, stage.options
    levels = np.floor(np.sqrt(np.arange(1, (generator.sh_degree + 1) ** 2)))  # of `harmonics`

    def photometric(params, networks, inputs, now, offsets=None):
      if generator.sh_degree:
        used = levels <= now.step // own.gaussians.degree_every
        params = params | {'harmonics': jnp.where(used[:, None], params['harmonics'], 0)}
      variables = networks.variables('generator', params)
      scene = generator.apply(variables, inputs.z[:1], method='prepare')
      image = generator.apply(
        variables, scene, inputs.camera, options, offsets, method='splat'
      ).composite.colour
      true = 0.5 * (inputs.images + 1)
      absolute, square = jnp.mean(jnp.abs(image - true)), jnp.mean((image - true) ** 2)
      similarity = jnp.mean(ssim(image, true))
      weight = own.loss.ssim
      metrics = {
        'generator/l1': absolute,
        'generator/ssim': similarity,
        'generator/mse': square,
        'generator/psnr': -10 * jnp.log10(square),
      }
      return (1 - weight) * absolute + weight * (1 - similarity), Terms(metrics)

    def gradient(params, networks, inputs, now):
      b, n = inputs.images.shape[0], generator.capacity

      def loss(params, offsets):
        return photometric(params, networks, inputs, now, offsets)

      of_both = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)
      (value, terms), (gradients, places) = of_both(params, jnp.zeros((b, n, 2)))
      # Of each image's own loss, in half image widths.
      norms = b * options.resolution / 2 * jnp.linalg.norm(places, axis=-1)
      before = networks.buffers[_STATISTICS]
      statistics = {
        'gradients': before['gradients'] + norms.mean(0),
        # Those that the camera does not see have no gradient.
        'counts': before['counts'] + (norms > 0).mean(0),
      }
      return gradients, (value, terms._replace(buffers={_STATISTICS: statistics}))

    return (Phase('generator', 'generator', photometric, gradient=gradient),)

  def scale_updates(self, network, updates, config, now):
    """The learning rates of each kind of parameter (App. B)."""
    del network
    own = config.gaussians
    share = jnp.minimum(now.step / own.position_steps, 1.0)
    position = own.position_rate * (own.position_rate_end / own.position_rate) ** share
    rates = {
      'means': _AROUND * config.render.radius * position,
      'log_scales': own.scale_rate,
      'quaternions': own.rotation_rate,
      'opacities': own.opacity_rate,
      'colours': own.colour_rate,
      'harmonics': own.harmonics_rate,
    }
    return {name: rates[name] * x for name, x in updates.items()}

  def after_step(self, state, key, config, stage, now):
    """See `Recipe.after_step`: Gaussians are cloned, split and removed, and opacities lowered."""
    del stage
    own, done = config.gaussians, now.step + 1
    if not own.densify_until:
      return state, {}
    active = (done >= own.densify_from) & (done < own.densify_until)
    due = active & (done % own.densify_every == 0)
    extent = _AROUND * config.render.radius
    thresholds = densification.Thresholds(
      own.gradient, own.large * extent, own.least_opacity, own.too_large * extent
    )
    buffers = state.buffers['generator']

    def densified(parts):
      params, rest, alive, statistics = parts
      seen = statistics['counts'] > 0
      means = statistics['gradients'] / jnp.where(seen, statistics['counts'], 1)
      change = densification.densify(params, alive, means, key, thresholds)

      def renewed(name, x, of_moments):
        new = jnp.zeros_like(x) if of_moments else change.params[name]
        return jnp.where(densification.rows(change.fresh, x), new, x)

      rest = densification.of_rest(rest, renewed)
      zeros = jax.tree.map(jnp.zeros_like, statistics)
      return change.params, rest, change.alive, zeros, change.counts

    rest = (state.optimizers['generator'], state.ema['generator'])
    parts = state.networks['generator'], rest, buffers['alive'], state.buffers[_STATISTICS]
    counts = jax.eval_shape(densified, parts)[-1]

    def unchanged(parts):
      return *parts, {name: jnp.full(x.shape, jnp.nan, x.dtype) for name, x in counts.items()}

    params, rest, alive, statistics, counts = jax.lax.cond(due, densified, unchanged, parts)
    if own.reset_every:
      reset = active & (done % own.reset_every == 0)
      params, rest = densification.lowered(params, rest, reset, logit(own.reset_opacity))
    state = state.replace(
      networks={**state.networks, 'generator': params},
      optimizers={**state.optimizers, 'generator': rest[0]},
      ema={**state.ema, 'generator': rest[1]},
      buffers={
        **state.buffers,
        'generator': {**buffers, 'alive': alive},
        _STATISTICS: statistics,
      },
    )
    return state, {f'gaussians/{name}': value for name, value in counts.items()}
