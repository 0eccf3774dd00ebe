"""`config.init_from`: a fresh run from another run's weights, whatever the models and recipes.

The source is the workdir of a run (its latest sound checkpoint; also one that `convert` wrote), the
name of a model that comes with the package, or the file `NAME.npz` of a packaged one. Of each of
its networks the moving average at its config's display rate is taken, or the parameters of training
where there is no average. Every leaf whose path and shape are those of the fresh network becomes
that network's; so do the network's buffers, such as a running mean of styles (see
`Generator.fitted_buffers`). Averages begin at the parameters, and optimizers, the step, random
numbers and a recipe's own buffers (the strength of an augmentation) begin afresh.
"""

import math
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jax3dgan import generators
from jax3dgan.config_json import differences, plain
from jax3dgan.devices import agreement
from jax3dgan.errors import UserError
from jax3dgan.runs import checkpoint_files, checksums, init_weights, packaged, workdirs

_FLAG = '--config.init_from'
_MISSING, _SHAPE = 'not in it', 'of another shape'
_MAX_NAMED = 6  # subtrees in one list of the line


def check(config, workdir, fixed: Sequence[str] = ()) -> None:
  """What can be said before anything is computed; called by all processes.

  Args:
    fixed: Fields that must be as they were where the weights are from (`Recipe.frozen_fields`).

  Raises:
    UserError: A run that begins would find nothing to start from, names itself, or would have
      frozen weights of another model, or under other values of `fixed`.
  """
  if config.get('init_from'):
    agreement.together(lambda: _check(config, workdir, fixed))


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


def _check(config, workdir, fixed: Sequence[str]) -> None:
  source = config.init_from
  if pathlib.Path(source).resolve() == pathlib.Path(workdir).resolve():
    raise UserError(
      f'config.init_from is the workdir itself, {workdir}: the run there goes on without it. Leave '
      f'out {_FLAG}, or choose another --workdir for a run that starts from its weights.'
    )
  if checkpoint_files.steps(workdir):
    return  # a run goes on, and reads nothing
  if init_weights.packaged_of(source):
    _check_fixed(init_weights.config_of(source), config, fixed)
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
  _check_fixed(init_weights.config_of(source), config, fixed)


def _check_fixed(there, here, fixed: Sequence[str]) -> None:
  """UserError where what stays frozen is of another model, or of other values of these fields."""
  if not fixed:
    return
  what = f"the recipe '{here.recipe}' does not train what it takes of"
  if there.model.name != here.model.name:
    raise UserError(
      f"config.init_from={here.init_from} is a run of the model '{there.model.name}', and {what} "
      f"'{here.model.name}'. Give a run of that model."
    )
  found = {}
  for group in dict.fromkeys(field.partition('.')[0] for field in fixed):
    found |= differences(plain(there[group]), plain(here[group]), f'{group}.')
  other = {name: values for name, values in found.items() if name in fixed and _differ(*values)}
  if other:
    named = ', '.join(f'config.{name} ({a}, here {b})' for name, (a, b) in other.items())
    flags = ' '.join(
      f"--config.{name}='{tuple(a)}'" if isinstance(a, list) else f'--config.{name}={a}'
      for name, (a, _) in other.items()
    )
    raise UserError(
      f'config.init_from={here.init_from} was trained with other values of {named}, and {what} it, '
      f'which would show another scene. Set {flags}.'
    )


def _differ(a, b) -> bool:
  """Whether two values are not the same, but for the rounding of a quotient."""
  if isinstance(a, float | int) and isinstance(b, float | int):
    return not math.isclose(a, b, rel_tol=1e-6)
  return a != b


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
  weights = init_weights.load(config.init_from, tuple(state.networks), say)
  taken, buffers, fresh, unused = {}, {}, {}, {}
  for name, params in state.networks.items():
    own, there = _named(name, params), _named(name, weights.networks.get(name, {}))
    own_buffers = _named(f'buffers/{name}', state.buffers.get(name, {}))
    there_too = weights.buffers.get(name, {})
    if name == 'generator' and there_too and config.model.name == weights.config.model.name:
      here = jax.tree.map(lambda x: np.asarray(x.addressable_data(0)), state.buffers.get(name, {}))
      there_too = generators.create(config).fitted_buffers(there_too, here, weights.config.model)
    buffers_there = _named(f'buffers/{name}', there_too)
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
  line += [f'Not used of it: {left}.'] if left else []
  if other := _shortened(_other_values(weights.config, config)):
    line.append(f'Another value there: {other}.')
  say(' '.join(line))
  state = state.replace(
    networks={name: _replaced(name, x, taken) for name, x in state.networks.items()},
    ema={
      name: {rate: _replaced(name, x, taken) for rate, x in averages.items()}
      for name, averages in state.ema.items()
    },
    buffers={name: _replaced(f'buffers/{name}', x, buffers) for name, x in state.buffers.items()},
  )
  return state, frozenset(taken)


def _other_kind(network: str, weights: init_weights.Weights, config) -> str:
  """Why nothing of a network is taken; ''."""
  if network not in weights.networks:
    return _MISSING
  # A discriminator of another kind reads its features otherwise, whatever its shapes.
  if network == 'discriminator':
    there, here = (c.discriminator.name for c in (weights.config, config))
    if there != here:
      return f"'{there}' there, '{here}' here"
  return ''


def _other_values(there, here) -> dict[str, str]:
  """{field: both values} of what no shape shows: numbers and words of a model of the same name,
  of rendering and views, with which the same weights mean something else."""
  same = there.model.name == here.model.name
  initial = generators.create(here).initial_fields if same else ()
  found = {}
  for group in ('model', 'render', 'pose_prior') if same else ('render', 'pose_prior'):
    for name, values in differences(plain(there[group]), plain(here[group]), f'{group}.').items():
      if name.partition('.')[2] in initial:
        continue  # of fresh parameters alone
      if all(isinstance(x, float | str | bool) for x in values) and 'dtype' not in name:
        found[f'config.{name}'] = '{}, here {}'.format(*values)
  return found


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
