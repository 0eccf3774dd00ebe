"""Exp-GAN's losses, for one device's share of the batch (Lee et al., ACCV 2022, Sec. 3.4).

`recipes.expgan` makes phases of them.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jax3dgan.discriminators.expgan import HEADS, LOW
from jax3dgan.losses import adversarial, regularizers
from jax3dgan.nn import resample
from jax3dgan.recipes import loss_terms, top_k
from jax3dgan.recipes.base import Terms
from jax3dgan.training import schedule

_LEAST_ALPHA = 1e-8  # whose logarithm is taken


class Losses(NamedTuple):
  """The losses of a stage, see `Phase.loss`: (params, networks, inputs, now) → (scalar, Terms).

  Attributes:
    generator: Of the generator's parameters.
    discriminator, r1: Of the discriminator's.
    chosen_before: See `top_k.chosen_before`.
  """

  generator: Callable
  discriminator: Callable
  r1: Callable
  chosen_before: Callable


def auxiliary(low, picture):
  """Mean squared difference of the auxiliary images [b, v, v, 3] from the pictures' means over as
  many pixels as make one of theirs: both learn from it."""
  b, size, _, c = low.shape
  factor = picture.shape[1] // size
  means = picture.reshape(b, size, factor, size, factor, c).mean((2, 4))
  return jnp.square(low - means).mean()


def face_alpha(alpha, cover):
  """−log α of the face model's surface, weighted by how much of a pixel it covers: it is to be seen
  where it is. The mean over all pixels.

  Args:
    alpha: [b, v, v], 0 beside it.
    cover: [b, v, v] in [0, 1].
  """
  alpha = jnp.clip(alpha, _LEAST_ALPHA, 1)
  return -jnp.mean(jnp.log(alpha) * cover)


def guesses(heads, targets, prefix: str = '', pose_bound: float = 0.0) -> dict:
  """{name: mean squared error} of one network's heads, of those that there are.

  Args:
    heads: by name, [b, k] each.
    targets: by name, [b, k] each.
    prefix: of the network's names.
    pose_bound: of the squared error of each number of a pose; 0 for none.
  """
  errors = {
    name: jnp.square(heads[prefix + name] - targets[name])
    for name in HEADS
    if prefix + name in heads
  }
  if pose_bound and 'pose' in errors:
    errors['pose'] = jnp.minimum(errors['pose'], pose_bound)
  return {name: error.mean() for name, error in errors.items()}


def has_r1(loss) -> bool:
  """Whether `config.loss` has R1 of either network."""
  return bool(loss.r1 or loss.r1_low)


def make_losses(config, generator, discriminator, stage) -> Losses:
  """The losses of a `schedule.Stage`, before their mean over devices."""
  loss, options = config.loss, stage.options

  def fade_at(now):
    return jnp.minimum(now.step / loss.fade_steps, 1.0) if loss.fade_steps else 1.0

  def made(variables, inputs, now):
    """`Training` of the inputs, and the styles."""
    noise_std = schedule.density_noise(now.step, loss.density_noise, loss.density_noise_steps)
    extras = inputs.extras
    codes = (extras['identity'], extras['expression'])
    w = generator.apply(variables, inputs.z, *codes, method='map_codes')
    out = generator.apply(
      variables,
      w,
      inputs.camera,
      inputs.keys,
      options,
      noise_std,
      method='synthesize_for_training',
    )
    return out, w

  def pair_of(out):
    return out.rendering.image, out.rendering.low_res

  def photo_pair(images):
    return images, resample.resize_bilinear(images, generator.low_resolution, antialias=False)

  def discriminate(variables, pair, now):
    return discriminator.apply(variables, pair, fade_at(now))

  def of_heads(out, inputs, whose: str):
    """The weighted errors of both networks' guesses, and what is logged: their means, and those of
    the auxiliary images' network."""
    targets = {name: inputs.extras[f'{whose} {name}'] for name in HEADS}
    errors = [guesses(out.heads, targets, prefix, loss.pose_bound) for prefix in ('', LOW)]
    total, metrics = jnp.zeros(()), {}
    for name in errors[0]:
      error = 0.5 * (errors[0][name] + errors[1][name])
      total += loss[name] * error
      metrics |= {f'{name}_error': error, f'low_{name}_error': errors[1][name]}
    return total, metrics

  def weights_of(logits, now):
    fraction = adversarial.top_k_fraction(now.step, loss.top_k_interval, loss.top_k_floor)
    return top_k.weights(logits, fraction, stage)

  def low_logits(networks, inputs, now):
    out, _ = made(networks.variables('generator'), inputs, now)
    judged = discriminate(networks.variables('discriminator'), pair_of(out), now)
    return judged.heads[LOW + 'logits']

  def of_generator(params, networks, inputs, now):
    out, _ = made(networks.variables('generator', params), inputs, now)
    pair = pair_of(out)
    judged = discriminate(networks.variables('discriminator'), pair, now)
    low = judged.heads[LOW + 'logits']
    weights = inputs.extras.get(top_k.WEIGHTS)
    if loss.top_k_interval and weights is None:
      weights = weights_of(low, now)
    full = adversarial.generator_loss(judged.logits)
    losses = adversarial.generator_losses(low)
    of_low = losses.mean() if weights is None else (losses * weights).mean()
    penalty, errors = of_heads(judged, inputs, 'fake')
    same = auxiliary(pair[1], pair[0])
    alpha = face_alpha(out.alpha, out.cover)
    metrics = {
      'generator/adversarial': full,
      'generator/low_adversarial': of_low,
      'generator/auxiliary': same,
      'generator/face_alpha': alpha,
      'generator/face_weight': out.weight.mean(),
      **{f'generator/{name}': error for name, error in errors.items()},
    }
    total = full + of_low + penalty + loss.auxiliary * same + loss.face_alpha * alpha
    return total, Terms(metrics)

  def of_discriminator(params, networks, inputs, now):
    variables = networks.variables('discriminator', params)
    out, w = jax.lax.stop_gradient(made(networks.variables('generator'), inputs, now))
    fake = discriminate(variables, pair_of(out), now)
    real = discriminate(variables, photo_pair(inputs.images), now)
    total, metrics = loss_terms.of_discriminator(real.logits, fake.logits)
    low = adversarial.discriminator_loss(real.heads[LOW + 'logits'], fake.heads[LOW + 'logits'])
    penalty, errors = of_heads(real, inputs, 'photo')
    metrics['discriminator/low_adversarial'] = low
    metrics |= {f'discriminator/{name}': error for name, error in errors.items()}
    total = total + low + penalty
    if has_r1(loss) and loss.r1_every <= 1:
      more, own = gradients(variables, inputs, now)
      total, metrics = total + more, metrics | own
    decay = config.expgan.w_average_decay
    mean = decay * networks.buffers['generator']['w_average'] + (1 - decay) * w[:, 0].mean(0)
    return total, Terms(metrics, {'generator': {'w_average': mean}})

  def gradients(variables, inputs, now):
    """R1 of both networks."""
    image, low = photo_pair(inputs.images)

    def logits(image, low):
      out = discriminate(variables, (image, low), now)
      return out.logits, out.heads[LOW + 'logits']

    # Neither depends on the other's image: one gradient serves both.
    found = jax.grad(lambda *pair: sum(x.sum() for x in logits(*pair)), argnums=(0, 1))(image, low)
    full, small = (regularizers.squared_norms(x).mean() for x in found)
    metrics = {'discriminator/r1': full, 'discriminator/low_r1': small}
    return 0.5 * (loss.r1 * full + loss.r1_low * small), metrics

  def of_r1(params, networks, inputs, now):
    total, metrics = gradients(networks.variables('discriminator', params), inputs, now)
    return total, Terms(metrics)

  return Losses(of_generator, of_discriminator, of_r1, top_k.chosen_before(low_logits, weights_of))
