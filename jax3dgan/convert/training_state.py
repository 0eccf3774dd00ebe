"""The networks of a release's training state: the generator's moving average, the generator as
trained, the discriminator."""

from collections.abc import Callable
from typing import Any, NamedTuple

from jax3dgan.convert import official, wrapped
from jax3dgan.convert.networks import Network, shapes


class Release(NamedTuple):
  """What reads the networks of one release.

  Attributes:
    what: Names its generator in messages: 'generator of GRAF'.
    otherwise: Ends the message where a file has none: '(pts_linears). Give a checkpoint of GRAF.'
    is_generator: Whether a value of a file is its generator.
    generator: (path, name, value) → the generator.
    discriminator: (path, value) → the discriminator.
  """

  what: str
  otherwise: str
  is_generator: Callable[[Any], bool]
  generator: Callable[[Any, str, Any], Network]
  discriminator: Callable[[Any, Any], Network]


def read(
  path,
  tree,
  found: dict[str, Any],
  release: Release,
  say: Callable[[str], None],
  entry: str | None = None,
) -> tuple[Network, Network | None, Network | None]:
  """(generator that is shown, generator as trained, discriminator); None for what there is not.

  Args:
    path: The file, for messages.
    tree: What is in it.
    found: {name: value, None for what the file lacks} of the average, the trained generator and the
      discriminator, in this order; see `wrapped.shown_generator`.
    say: Called with lines of progress.
    entry: The generator's name in a training state, where several are there.

  Raises:
    UserError: There is no generator, or the two have other shapes.
  """
  is_generator = release.is_generator
  shown = wrapped.shown_generator(
    path, tree, entry, found, is_generator, release.what, release.otherwise
  )
  say(f'Checking {", ".join(name for name, value in found.items() if value is not None)} ...')
  average_name, trained_name, judge_name = found
  average, trained = release.generator(path, shown, found[shown]), None
  if shown == average_name and is_generator(found[trained_name]):
    trained = release.generator(path, trained_name, found[trained_name])
    official.compare_shapes(path, shapes(trained.params), shapes(average.params), average_name)
  judge = found[judge_name]
  return average, trained, None if judge is None else release.discriminator(path, judge)
