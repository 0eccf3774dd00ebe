"""The strength of the augmentation, which increases with the overfitting of the discriminator
(Karras et al. 2020, arXiv 2006.06676, Sec. 3)."""

import flax.struct
import jax
import jax.numpy as jnp


@flax.struct.dataclass
class AdaState:
  """A pytree of scalars, part of the training state.

  Attributes:
    p: probability of each transformation.
    sign_sum, count: of the signs of real logits since the last change of p.
  """

  p: jax.Array
  sign_sum: jax.Array
  count: jax.Array

  @classmethod
  def create(cls, p: float = 0.0) -> 'AdaState':
    """The state of a run that begins at p."""
    return cls(*(jnp.asarray(x, jnp.float32) for x in (p, 0, 0)))


def observe(state: AdaState, sign_mean, num) -> AdaState:
  """Adds the mean sign of the logits of `num` (augmented) reals, over all devices."""
  return state.replace(sign_sum=state.sign_sum + num * sign_mean, count=state.count + num)


def ada_update(p, sign_mean, batch, interval, target: float = 0.6, kimg: float = 500.0):
  """The new p in [0, 1]: a step up if the mean sign r_t is above its target, else down.

  Args:
    p: the old one.
    sign_mean: r_t = E[sign(D(real))], in [−1, 1], over the last `interval` steps.
    batch, interval: images of a step, and steps between two changes of p (4 in the paper).
    kimg: thousands of images in which p can rise from 0 to 1.
  """
  step = jnp.sign(sign_mean - target) * (batch * interval / (kimg * 1000))
  return jnp.clip(p + step, 0.0, 1.0)


def adjust(
  state: AdaState, step, interval: int = 4, target: float = 0.6, kimg: float = 500.0
) -> AdaState:
  """After training step `step` (0, 1, ...; may be traced): every `interval` steps a new p, from the
  images added since the last one."""
  sign_mean = state.sign_sum / jnp.maximum(state.count, 1)
  # The images added are batch · interval, or fewer in a first or interrupted interval.
  p = ada_update(state.p, sign_mean, state.count, 1, target, kimg)
  due = (step + 1) % interval == 0
  fresh = AdaState(p=p, sign_sum=jnp.zeros_like(state.sign_sum), count=jnp.zeros_like(state.count))
  return jax.tree.map(lambda a, b: jnp.where(due, a, b), fresh, state)
