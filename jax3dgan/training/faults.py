"""Training that diverges: found on the device, told apart, and undone from the last checkpoint.

Each step returns, among its metrics, which leaf of which network's gradient is the first that is
not finite. Nothing waits for it: the numbers are fetched where a run waits anyway, before a line of
the log and before a save, so that no checkpoint holds a broken state.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jax3dgan.errors import UserError

PREFIX = 'fault/'
NETWORKS = ('discriminator', 'generator')
MAX_RESTORES = 3


def first_bad_leaf(tree) -> jax.Array:
  """The number of the first leaf of `tree` with a value that is not finite, or −1; int32 scalar."""
  bad = jnp.stack([~jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)])
  return jnp.where(jnp.any(bad), jnp.argmax(bad), -1).astype(jnp.int32)


@dataclasses.dataclass(frozen=True)
class Fault:
  """What went wrong first.

  Attributes:
    step: The step, from 0.
    network: 'discriminator' or 'generator'.
    what: 'its gradient of mapping/hidden_0/kernel is not finite', for example.
  """

  step: int
  network: str
  what: str

  def __str__(self) -> str:
    return f'step {self.step:,}: {self.network}: {self.what}'


class Watch:
  """Keeps the metrics of the steps on the device until they are asked for.

  Args:
    params: The parameters of each network by its name, for the names of their leaves.
    limit: A loss beyond it, either way, counts as exploded; 0 for no limit.
  """

  def __init__(self, params: Mapping[str, object], limit: float = 0.0):
    self._names = {network: _names(tree) for network, tree in params.items()}
    self._limit = limit
    self._pending: list[tuple[int, dict]] = []
    self._fetched: list[dict] = []

  def note(self, step: int, metrics: Mapping[str, jax.Array]) -> None:
    """Takes the metrics of a step as they are, perhaps still being computed."""
    self._pending.append((step, dict(metrics)))

  def check(self) -> Fault | None:
    """Waits for the steps so far; returns the first fault in them."""
    pending, self._pending = self._pending, []
    values = jax.device_get([metrics for _, metrics in pending])
    for (step, _), metrics in zip(pending, values, strict=True):
      fault = self._fault(step, metrics)
      if fault:
        return fault
      self._fetched.append(metrics)
    return None

  def means(self) -> dict[str, float]:
    """Means since the last call, of what `check` has found good."""
    fetched, self._fetched = self._fetched, []
    names = [name for name in fetched[0] if not name.startswith(PREFIX)] if fetched else []
    return {name: float(np.mean([metrics[name] for metrics in fetched])) for name in names}

  def forget(self) -> None:
    """Drops everything, after a restore."""
    self._pending, self._fetched = [], []

  def _fault(self, step, metrics) -> Fault | None:
    # In the order of the computation: the discriminator's loss, its gradient, the generator's ones.
    for network in NETWORKS:
      loss = float(metrics[f'{network}/loss'])
      leaf = int(metrics.get(PREFIX + network, -1))
      if leaf >= 0:
        name = self._names[network][leaf]
        return Fault(step, network, f'the gradient of {name} is not finite (loss {loss:.3g})')
      if not np.isfinite(loss):
        return Fault(step, network, f'the loss is {loss}')
      if self._limit and abs(loss) > self._limit:
        return Fault(step, network, f'the loss is {loss:.3g}, beyond {self._limit:g}')
    return None


class Broken:
  """Finds what is not finite in a state itself: a gradient that is may still overflow Adam's step.

  Args:
    names: The fields of the state to look at, in order.
  """

  def __init__(self, names: Sequence[str] = ('discriminator', 'generator', 'ema')):
    self._fields = names
    self._first = jax.jit(lambda trees: {name: first_bad_leaf(t) for name, t in trees.items()})

  def __call__(self, state, step: int) -> Fault | None:
    """The first fault in a state after `step` steps; waits for it."""
    trees = {name: getattr(state, name) for name in self._fields}
    found = jax.device_get(self._first(trees))
    for name in self._fields:
      if found[name] >= 0:
        network = name if name in NETWORKS else 'generator'
        leaf = _names(trees[name])[int(found[name])]
        average = 'the average of ' if name not in NETWORKS else ''
        return Fault(step - 1, network, f'{average}{leaf} is not finite after the step')
    return None


def diagnosis(faults: Sequence[Fault]) -> UserError:
  """The end of a run that went wrong again after each restore."""
  told = '; '.join(map(str, faults))
  who = faults[-1].network
  return UserError(
    f'Training diverged {len(faults)} times, each time after a restore with other random numbers '
    f'({told}). The last good checkpoint is kept. Remedy: lower --config.optimizer.lr_{who}, raise '
    '--config.loss.r1, or set --config.optimizer.grad_clip=1, and run the same command again.'
  )


def reseed(key_data: jax.Array, attempt: int) -> jax.Array:
  """Key data of the same run with other random numbers, so that it does not go wrong alike."""
  key = jax.random.fold_in(jax.random.wrap_key_data(key_data), attempt)
  return jax.random.key_data(key)


def _names(tree) -> list[str]:
  paths = jax.tree_util.tree_leaves_with_path(tree)
  return [jax.tree_util.keystr(path, simple=True, separator='/') for path, _ in paths]
