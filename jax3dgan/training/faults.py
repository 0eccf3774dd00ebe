"""Divergence of training: detected on the device, diagnosed, and undone from the last checkpoint.

Each phase of a step returns, among its metrics, the first leaf of its gradient that is not finite.
Nothing waits for it: the numbers are fetched when a run waits anyway, before a line of the log and
before a save, so that no checkpoint has a broken state.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jax3dgan.errors import UserError
from jax3dgan.training import packed, small_leaves, streams

PREFIX = 'fault/'
NONE = -1  # the number of no leaf
MAX_RESTORES = 3
# Steps that are dispatched and not finished. A device of XLA's CPU client takes 32 computations;
# where one device's places are full and another's are not, a collective never ends.
MAX_IN_FLIGHT = 8


def first_bad_leaf(tree, layout: small_leaves.Layout | None = None) -> jax.Array:
  """The number of the first leaf of `tree` with a value that is not finite, or NONE; int32.

  Args:
    layout: Of the tree, if it is joined.
  """
  if layout is None:
    layout = small_leaves.Layout(tree)
    tree = layout.join(tree)
  return layout.first(lambda x: ~jnp.isfinite(x), tree, NONE)


@dataclasses.dataclass(frozen=True)
class Fault:
  """The first fault of a step.

  Attributes:
    step: The step, from 0.
    network: 'discriminator' or 'generator', for example.
    what: 'the gradient of mapping/hidden_0/kernel is not finite', for example.
  """

  step: int
  network: str
  what: str

  def __str__(self) -> str:
    return f'step {self.step:,}: {self.network}: {self.what}'


class Watch:
  """Stores the metrics of the steps on the device until they are needed.

  Args:
    params: The parameters of each network by its name, for the names of their leaves.
    phases: The phases of a step in their order: the first that is not finite is the cause.
    limit: A loss whose absolute value exceeds it is a fault; 0 for no limit.
  """

  def __init__(self, params: Mapping[str, object], phases, limit: float = 0.0):
    self._names = {network: _names(tree) for network, tree in params.items()}
    self.phases = tuple(phases)
    self._limit = limit
    self._pending: list[tuple[int, packed.Packed]] = []
    self._fetched: list[dict] = []

  def note(self, step: int, metrics: packed.Packed) -> None:
    """Adds the metrics of a step, which may still be computed; waits for those of the step
    `MAX_IN_FLIGHT` before."""
    self._pending.append((step, metrics))
    if len(self._pending) > MAX_IN_FLIGHT:
      jax.block_until_ready(self._pending[-1 - MAX_IN_FLIGHT][1])

  def check(self) -> Fault | None:
    """Waits for the steps so far; returns the first fault in them."""
    pending, self._pending = self._pending, []
    values = jax.device_get([metrics for _, metrics in pending])
    for (step, _), fetched in zip(pending, values, strict=True):
      metrics = fetched.unpack()
      fault = self._fault(step, metrics)
      if fault:
        return fault
      self._fetched.append(metrics)
    return None

  def means(self) -> dict[str, float]:
    """Means since the last call, of steps without a fault: over the steps at which a metric's
    phase was due (elsewhere it is NaN)."""
    fetched, self._fetched = self._fetched, []
    names = [name for name in fetched[0] if not name.startswith(PREFIX)] if fetched else []
    values = {name: np.array([metrics[name] for metrics in fetched]) for name in names}
    return {
      name: float(np.nanmean(array)) for name, array in values.items() if not np.isnan(array).all()
    }

  def forget(self) -> None:
    """Drops everything, after a restore."""
    self._pending, self._fetched = [], []

  def _fault(self, step, metrics) -> Fault | None:
    for phase in self.phases:  # in the order of the computation: the first is the cause
      if step % phase.every:
        continue
      network, loss = phase.network, float(metrics[f'{phase.name}/loss'])
      leaf = int(metrics.get(PREFIX + phase.name, NONE))
      where = '' if phase.name == network else f" in the phase '{phase.name}'"
      if leaf != NONE:
        name = self._names[network][leaf]
        return Fault(
          step, network, f'the gradient of {name} is not finite{where} (loss {loss:.3g})'
        )
      if not np.isfinite(loss):
        return Fault(step, network, f'the loss is {loss}{where}')
      if self._limit and abs(loss) > self._limit:
        return Fault(step, network, f'the loss is {loss:.3g}{where}, beyond {self._limit:g}')
    return None


class Broken:
  """Finds values in a state that are not finite: a finite gradient may still overflow Adam's step.

  Args:
    phases: Of a step, in their order.
  """

  def __init__(self, phases):
    self._networks = tuple(dict.fromkeys(phase.network for phase in phases))
    self._first = jax.jit(lambda trees: {name: first_bad_leaf(t) for name, t in trees.items()})

  def __call__(self, state, step: int) -> Fault | None:
    """The first fault in a state after `step` steps; waits for it."""
    trees = {name: state.networks[name] for name in self._networks}
    trees |= {f'ema/{name}': averages for name, averages in state.ema.items()}
    trees |= {f'buffers/{name}': tree for name, tree in state.buffers.items()}
    trees = {name: tree for name, tree in trees.items() if jax.tree.leaves(tree)}
    found = jax.device_get(self._first(trees))
    for name, tree in trees.items():
      if found[name] != NONE:
        kind, _, network = name.rpartition('/')
        leaf = _names(tree)[int(found[name])]
        of = {'': '', 'ema': 'the average of ', 'buffers': 'the buffer '}[kind]
        return Fault(step - 1, network, f'{of}{leaf} is not finite after the step')
    return None


def diagnosis(faults: Sequence[Fault], config) -> UserError:
  """The error of a run that diverged again after each restore."""
  found = '; '.join(map(str, faults))
  network = faults[-1].network
  remedies = ['set --config.optimizer.grad_clip=1']
  if f'lr_{network}' in config.optimizer:
    remedies.insert(0, f'lower --config.optimizer.lr_{network}')
  if network == 'discriminator' and 'r1' in config.get('loss', {}):
    remedies.insert(1, 'raise --config.loss.r1')
  return UserError(
    f'Training diverged {len(faults)} times, each time after a restore with other random numbers '
    f'({found}). The last good checkpoint is kept. Remedy: {", or ".join(remedies)}, and run the '
    'same command again.'
  )


def reseed(key_data: jax.Array, attempt: int) -> jax.Array:
  """Key data of the same run with other random numbers, so that it does not diverge again."""
  key = streams.named(jax.random.wrap_key_data(key_data), 'reseed')
  return jax.random.key_data(jax.random.fold_in(key, attempt))


def _names(tree) -> list[str]:
  paths = jax.tree_util.tree_leaves_with_path(tree)
  return [jax.tree_util.keystr(path, simple=True, separator='/') for path, _ in paths]
