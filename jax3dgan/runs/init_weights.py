"""The weights that `config.init_from` names: of a run, or of a packaged model (see `init_from`)."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from jax3dgan import generators
from jax3dgan.config_json import config_from
from jax3dgan.devices import agreement
from jax3dgan.errors import UserError
from jax3dgan.old_configs import complete
from jax3dgan.runs import checkpoint_files, old_checkpoints, packaged, restoring, workdirs
from jax3dgan.runs.read_failures import Damaged


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


def packaged_of(source: str) -> tuple[str, pathlib.Path] | None:
  """(name, folder) of a packaged model; None for a workdir."""
  path = pathlib.Path(source)
  if path.suffix == '.npz' and path.is_file() and path.with_suffix('.json').is_file():
    return path.stem, path.parent
  if not path.exists() and source in packaged.pretrained_names():
    return source, packaged.PRETRAINED
  return None


def config_of(source: str):
  """The config of the run that made a source's weights; UserError where there is none."""
  if model := packaged_of(source):
    return complete(config_from(packaged.metadata(*model)['config']))
  return complete(workdirs.load_config(source))


def load(source: str, networks, say: Callable[[str], None] = print) -> Weights:
  """The weights of a source, see the module; called by all processes, which read the same.

  Args:
    networks: Names of those that are wanted; others are not read.
    say: Called with one line for a damaged checkpoint, and while a file system does not answer.

  Raises:
    UserError: There are none, or they are not finite.
  """
  if packaged_of(source):
    weights = agreement.together(lambda: _of_package(source))
  else:
    weights = _of_run(source, networks, say)
  for name, params in weights.networks.items():
    if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params)):
      raise UserError(
        f'config.init_from={source}: the weights of its {name} are not finite: its training '
        'diverged. Give another run, or delete its checkpoints after the last good one.'
      )
  return weights


def _of_package(source: str) -> Weights:
  name, directory = packaged_of(source)
  config = config_of(source)
  arrays, step = packaged.read(name, directory)
  variables = packaged.variables_of(generators.create(config), arrays)
  variables = jax.tree.map(np.asarray, variables)
  buffers = {'generator': variables['buffers']} if 'buffers' in variables else {}
  origin = f"the packaged model '{name}' (step {step:,})"
  return Weights(config, {'generator': variables['params']}, buffers, origin)


def _of_run(workdir: str, networks, say) -> Weights:
  config = agreement.together(lambda: config_of(workdir))
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
