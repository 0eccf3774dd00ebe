"""`config.init_from`: a fresh run from another run's weights, whatever the models and recipes.

The source is the workdir of a run (its latest sound checkpoint; also one that `convert` wrote), the
name of a model that comes with the package, or the file `NAME.npz` of a packaged one. Of each of
its networks the moving average at its config's display rate is taken, or the parameters of training
where there is no average. Every leaf whose path and shape are those of the fresh network becomes
that network's; so do the network's buffers, such as a running mean of styles. Averages begin at the
parameters, and optimizers, the step, random numbers and a recipe's own buffers (the strength of an
augmentation) begin afresh.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from jax3dgan import generators
from jax3dgan.config import complete
from jax3dgan.config_json import config_from
from jax3dgan.devices import agreement
from jax3dgan.errors import UserError
from jax3dgan.runs import (
  checkpoint_files,
  checksums,
  old_checkpoints,
  packaged,
  restoring,
  workdirs,
)
from jax3dgan.runs.read_failures import Damaged

_FLAG = '--config.init_from'
_MISSING, _SHAPE = 'not in it', 'of another shape'
_MAX_NAMED = 6  # subtrees in one list of the line


@dataclasses.dataclass(frozen=True)
class Weights:
  """What there is to start from.

  Attributes:
    config: Of the run that made them.
    networks: Parameters by network, NumPy.
    buffers: By network, NumPy.
    origin: Where they are from, for a line.
  """

  config: Any
  networks: Mapping[str, Any]
  buffers: Mapping[str, Any]
  origin: str


def check(config, workdir) -> None:
  """What can be said before anything is computed; called by all processes.

  Raises:
    UserError: A run that begins would find nothing to start from, or names itself.
  """
  if config.get('init_from'):
    agreement.together(lambda: _check(config.init_from, workdir))


def remembered(config, workdir):
  """The config of a run that goes on, with what the run began from where it does not say so: a
  recipe that needs a start would ask for one. Called by all processes."""

  def recorded():
    goes_on = checkpoint_files.steps(workdir)
    return workdirs.with_beginnings(workdir, {}).get('init_from', '') if goes_on else ''

  if config.get('init_from'):
    return config
  config = config.copy_and_resolve_references()
  config.init_from = agreement.together(recorded)
  return config


def _check(source: str, workdir) -> None:
  if pathlib.Path(source).resolve() == pathlib.Path(workdir).resolve():
    raise UserError(
      f'config.init_from is the workdir itself, {workdir}: the run there goes on without it. Leave '
      f'out {_FLAG}, or choose another --workdir for a run that starts from its weights.'
    )
  if checkpoint_files.steps(workdir) or _packaged(source):
    return
  folder = pathlib.Path(source)
  if folder.is_file():
    raise UserError(
      f'config.init_from={source} is a file of another kind. Give the workdir of a run, or the '
      'NAME.npz of a packaged model; jax3dgan convert makes a workdir of official weights.'
    )
  if not folder.is_dir():
    known = ', '.join(packaged.pretrained_names())
    models = f', or one of the models that come with the package: {known}' if known else ''
    raise UserError(
      f'config.init_from={source} does not exist. Give the workdir of another run{models}.'
    )
  if not checkpoint_files.steps(folder):
    raise UserError(
      f'config.init_from={source} has no checkpoint. Train there first, or give the workdir of '
      'another run.'
    )


def _packaged(source: str) -> tuple[str, pathlib.Path] | None:
  """(name, folder) of a packaged model; None for a workdir."""
  path = pathlib.Path(source)
  if path.suffix == '.npz' and path.is_file() and path.with_suffix('.json').is_file():
    return path.stem, path.parent
  if not path.exists() and source in packaged.pretrained_names():
    return source, packaged.PRETRAINED
  return None


def start(state, config, say: Callable[[str], None], frozen=None):
  """(a fresh state with the weights of `config.init_from`, the names of its parameters that are
  from there: 'generator/field/beta'); called by all processes.

  Args:
    state: `TrainState` of step 0, on its devices.
    config: Of the run that begins.
    say: Called with one line: what was taken, what stays fresh, and why.
    frozen: By network, the top-level names of what the run does not train (`Recipe.frozen`);
      None for nothing.

  Raises:
    UserError: There are no weights, they are not finite, none fits, or not all that is frozen is
      among them, and would stay as it was drawn.
  """
  if not config.get('init_from'):
    return state, frozenset()
  weights = load(config.init_from, tuple(state.networks), say)
  taken, buffers, fresh, unused = {}, {}, {}, {}
  for name, params in state.networks.items():
    own, there = _named(name, params), _named(name, weights.networks.get(name, {}))
    own_buffers = _named(f'buffers/{name}', state.buffers.get(name, {}))
    buffers_there = _named(f'buffers/{name}', weights.buffers.get(name, {}))
    if problem := _other_kind(name, weights, config):
      fresh |= dict.fromkeys((*own, *own_buffers), problem)
      continue
    taken |= _fitting(own, there, fresh)
    buffers |= _fitting(own_buffers, buffers_there, fresh)
    unused |= {x: '' if x not in own else None for x in there}
  names = _named('', state.networks) | _named('buffers', state.buffers)
  subtrees = _shortened(_collapsed({name: fresh.get(name) for name in names}))
  if not taken:
    raise UserError(
      f'config.init_from={config.init_from}: nothing in it fits ({subtrees}). Give a run of a '
      "model with the same layers, or set this run's config.model as it is there."
    )
  for name, reason in fresh.items():
    network, group, *_ = name.split('/')
    if group in (frozen or {}).get(network, ()):
      raise UserError(
        f"config.init_from={config.init_from}: the recipe '{config.recipe}' does not train "
        f'{network}/{group}, and {name} of it is {reason}. Give a run whose config.model has the '
        "same sizes, or set this run's config.model as it is there."
      )
  line = [f'Starting from the weights of {weights.origin}: {_counts(state.networks, taken)}.']
  line += [f'Fresh: {subtrees}.'] if subtrees else []
  left = _shortened(_collapsed(unused))
  say(' '.join([*line, f'Not used of it: {left}.'] if left else line))
  state = state.replace(
    networks={name: _replaced(name, x, taken) for name, x in state.networks.items()},
    ema={
      name: {rate: _replaced(name, x, taken) for rate, x in averages.items()}
      for name, averages in state.ema.items()
    },
    buffers={name: _replaced(f'buffers/{name}', x, buffers) for name, x in state.buffers.items()},
  )
  return state, frozenset(taken)


def load(source: str, networks, say: Callable[[str], None] = print) -> Weights:
  """The weights of a source, see the module; called by all processes, which read the same.

  Args:
    networks: Names of those that are wanted; others are not read.
    say: Called with one line for a damaged checkpoint, and while a file system does not answer.

  Raises:
    UserError: There are none, or they are not finite.
  """
  if model := _packaged(source):
    weights = agreement.together(lambda: _of_package(*model))
  else:
    weights = _of_run(source, networks, say)
  for name, params in weights.networks.items():
    if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params)):
      raise UserError(
        f'config.init_from={source}: the weights of its {name} are not finite: its training '
        'diverged. Give another run, or delete its checkpoints after the last good one.'
      )
  return weights


def _of_package(name: str, directory) -> Weights:
  config = complete(config_from(packaged.metadata(name, directory)['config']))
  arrays, step = packaged.read(name, directory)
  variables = packaged.variables_of(generators.create(config), arrays)
  variables = jax.tree.map(np.asarray, variables)
  buffers = {'generator': variables['buffers']} if 'buffers' in variables else {}
  origin = f"the packaged model '{name}' (step {step:,})"
  return Weights(config, {'generator': variables['params']}, buffers, origin)


def _of_run(workdir: str, networks, say) -> Weights:
  config = agreement.together(lambda: complete(workdirs.load_config(workdir)))
  rate, problems = str(config.ema.display_rate), []
  for step in reversed(restoring.agreed_steps(workdir)):
    path = checkpoint_files.path_of(workdir, step)
    try:
      read = lambda path=path: _read(path, networks, rate)  # noqa: E731
      params, buffers, averaged = restoring.read_together(read, path, say)
    except Damaged as error:
      if not path.exists():
        raise UserError(
          f'{path} was deleted while it was read: the run that trains there keeps only its latest '
          'checkpoints. Run the same command again.'
        ) from error
      problems.append(f'the checkpoint of step {step:,} is damaged ({error})')
      say(f'{workdir}: {problems[-1]}; it stays where it is, and the one before is read.')
      continue
    which = f', averages {rate}' if averaged else ''
    return Weights(config, params, buffers, f'{workdir} (step {step:,}{which})')
  problem = f'all of its checkpoints are damaged: {"; ".join(problems)}' if problems else ''
  raise UserError(
    f'config.init_from={workdir}: {problem or "it has no checkpoint"}. Give the workdir of another '
    'run.'
  )


def _read(path, networks, rate: str) -> tuple[dict, dict, bool]:
  """(parameters, buffers) by network of a checkpoint, NumPy; whether any are averages."""
  metadata = checkpoint_files.metadata_of(path)
  if old_checkpoints.is_old(metadata.metadata):
    whole = old_checkpoints.upgrade(checkpoint_files.load(path, (), metadata))
    part = lambda *keys: _at(whole, keys)  # noqa: E731
    tree = whole
  else:
    part = lambda *keys: checkpoint_files.load(path, keys, metadata)  # noqa: E731
    tree = metadata.metadata
  params, buffers, averages = {}, {}, tree.get('ema') or {}
  for name in networks:
    if name not in tree['networks']:
      continue
    averaged = rate in averages.get(name, {})
    params[name] = part('ema', name, rate) if averaged else part('networks', name)
    if (tree.get('buffers') or {}).get(name):
      buffers[name] = part('buffers', name)
  return params, buffers, any(rate in averages.get(name, {}) for name in params)


def _at(tree, keys):
  for key in keys:
    tree = tree[key]
  return tree


def _other_kind(network: str, weights: Weights, config) -> str:
  """Why nothing of a network is taken; ''."""
  if network not in weights.networks:
    return _MISSING
  # A discriminator of another kind reads its features otherwise, whatever its shapes.
  if network == 'discriminator':
    there, here = (c.discriminator.name for c in (weights.config, config))
    if there != here:
      return f"'{there}' there, '{here}' here"
  return ''


def _fitting(fresh: dict, source: dict, why: dict[str, str]) -> dict[str, np.ndarray]:
  """The arrays of a source that fit, by name; the reasons of the others are added to `why`."""
  taken = {}
  for name, leaf in fresh.items():
    if name not in source:
      why[name] = _MISSING
    elif source[name].shape != leaf.shape:
      why[name] = _SHAPE
    else:
      taken[name] = source[name]
  return taken


def _named(prefix: str, tree) -> dict[str, Any]:
  """Leaves by name, 'generator/mapping/kernel'."""
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  return {f'{prefix}/{checksums.name(path)}'.lstrip('/'): leaf for path, leaf in leaves}


def _replaced(prefix: str, tree, values: Mapping[str, np.ndarray]):
  """The tree with these leaves, on its devices; each a buffer of its own, which can be donated."""

  def place(path, leaf):
    if (name := f'{prefix}/{checksums.name(path)}') not in values:
      return leaf
    array = np.asarray(values[name], leaf.dtype)
    return jax.make_array_from_callback(leaf.shape, leaf.sharding, lambda index: array[index])

  return jax.tree_util.tree_map_with_path(place, tree)


def _counts(networks, taken) -> str:
  parts = []
  for network, params in networks.items():
    sizes = {name: leaf.size for name, leaf in _named(network, params).items()}
    found = sum(size for name, size in sizes.items() if name in taken)
    parts.append(f'{network} {found:,} of {sum(sizes.values()):,}')
  return f'{", ".join(parts)} parameters'


def _collapsed(reasons: Mapping[str, str | None]) -> dict[str, str]:
  """{subtree: reason}: the largest subtrees all of whose leaves have the same reason.

  Args:
    reasons: Of all leaves 'a/b/c'; None for one that is not meant.
  """
  below = {}
  for name, reason in reasons.items():
    for prefix in _prefixes(name):
      below.setdefault(prefix, set()).add(reason)
  result = {}
  for name, reason in reasons.items():
    if reason is not None:
      result[next(x for x in _prefixes(name) if len(below[x]) == 1)] = reason
  return result


def _prefixes(name: str) -> list[str]:
  parts = name.split('/')
  return ['/'.join(parts[: i + 1]) for i in range(len(parts))]


def _shortened(subtrees: Mapping[str, str]) -> str:
  shown = [f'{name} ({reason})' if reason else name for name, reason in subtrees.items()]
  more = f' and {len(shown) - _MAX_NAMED} more' if len(shown) > _MAX_NAMED else ''
  return f'{", ".join(shown[:_MAX_NAMED])}{more}'
